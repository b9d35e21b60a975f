//! What all contenders share: the content, the file that holds it, and memory without pages.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use faultless_pages::{Bytes, PageSize};
use faultless_uffd::{
    Features, HandshakeError, MapError, Mapping, OpenError, OpenOptions, Uffd, Wanted,
};

use crate::exit::{Exit, Failure};

/// Bytes of a page.
pub(super) const PAGE: u64 = PageSize::KIB4.bytes().0;

/// What is served.
pub(super) struct Scene {
    /// Its length: the pages that are touched, and one more that the peer's loop ends with.
    len: Bytes,
    content: Arc<Vec<u8>>,
}

impl Scene {
    /// Makes the content of so many pages: no page is zeros, and no two neighbours are alike.
    pub(super) fn new(pages: u64) -> Result<Scene, Failure> {
        let len = len_of(pages);
        let content = (0..len.0 / 8).flat_map(|word| word_at(Bytes(word * 8)).to_ne_bytes());
        Ok(Scene { len, content: Arc::new(content.collect()) })
    }

    /// What memory shall hold.
    pub(super) fn content(&self) -> &Arc<Vec<u8>> {
        &self.content
    }

    /// Maps private memory of 4 KiB pages, none of which is there.
    pub(super) fn memory(&self) -> Result<Arc<Mapping>, Failure> {
        fresh(self.len)
    }

    /// Writes the content to a file without a name, in the folder for such files.
    pub(super) fn file(&self) -> Result<File, Failure> {
        let path = std::env::temp_dir().join(format!("faultless-bench.{}", std::process::id()));
        let make = || {
            let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            file.write_all(&self.content)?;
            Ok::<_, std::io::Error>(file)
        };
        make().map_err(|error| {
            Failure::new(Exit::Host, format_args!("{}: {error}", path.display()))
                .next("set TMPDIR to a folder with room")
        })
    }
}

/// How long a memory is whose first so many pages are touched.
pub(super) fn len_of(pages: u64) -> Bytes {
    Bytes((pages + 1) * PAGE)
}

/// The word of the content at a place.
pub(super) fn word_at(offset: Bytes) -> u64 {
    offset.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

/// Maps private memory of 4 KiB pages, none of which is there.
pub(super) fn fresh(len: Bytes) -> Result<Arc<Mapping>, Failure> {
    let memory = Mapping::builder(len).huge_pages(false).anonymous();
    memory.map(Arc::new).map_err(|error| host(&error))
}

/// Opens a userfaultfd with these features.
pub(super) fn uffd(required: Features) -> Result<Uffd, Failure> {
    let wanted = Wanted { required, ..Wanted::default() };
    let opened: Result<_, OpenError> = Uffd::open(&OpenOptions::default());
    let unbound = opened.map_err(|error| host(&error).next("ask `faultless doctor`"))?;
    let shaken: Result<_, HandshakeError> = unbound.handshake(wanted);
    shaken.map_err(|error| host(&error))
}

/// Reports what the host lacks.
pub(super) fn host(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Host, error)
}

/// Maps a file privately.
pub(super) fn private(file: File, len: Bytes) -> Result<Arc<Mapping>, Failure> {
    let mapped: Result<_, MapError> = Mapping::file(file.into(), 0, len);
    mapped.map(Arc::new).map_err(|error| host(&error))
}
