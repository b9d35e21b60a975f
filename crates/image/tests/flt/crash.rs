//! A writer killed between any two of its writes leaves the old image, or the new one.
//!
//! The writer is this same test program, run once more; it ends by `abort` at the write it is
//! told, so that nothing tidies up behind it.

use std::path::Path;
use std::process::Command;

use faultless_image::core::{OnExisting, WriteError};
use faultless_image::flt::{Codec, Folder, Image, ImageWriter, NewFile, NewObject};

use crate::support::{PAGE, noise, options, read_all, write};

/// Tells the writer its directory, and at which write it ends.
const DIRECTORY: &str = "FAULTLESS_TEST_CRASH_DIRECTORY";
const LAST: &str = "FAULTLESS_TEST_CRASH_AT";

/// Ends the process after so many writes.
struct Dying {
    file: NewFile,
    left: u32,
}

impl NewObject for Dying {
    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        // Half of it arrives.
        if self.left == 0 {
            self.file.append(&bytes[..bytes.len() / 2])?;
            std::process::abort();
        }
        self.left -= 1;
        self.file.append(bytes)
    }

    fn publish(self) -> Result<(), WriteError> {
        if self.left == 0 {
            std::process::abort();
        }
        self.file.publish()
    }
}

fn memory(seed: u64) -> Vec<u8> {
    noise(seed, 3 * PAGE)
}

fn write_image<O: NewObject>(object: O, seed: u64) {
    let options = options(3 * PAGE, Codec::None);
    write(ImageWriter::new(object, options, None).unwrap(), &memory(seed));
}

/// Runs [`a_writer_that_dies`] as another process; says whether it lived.
fn run_writer(directory: &Path, last: u32) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::a_writer_that_dies", "--test-threads", "1"])
        .env(DIRECTORY, directory)
        .env(LAST, last.to_string())
        .output();
    status.unwrap().status.success()
}

/// The other process; as a test by itself it does nothing.
#[test]
fn a_writer_that_dies() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let left = std::env::var(LAST).unwrap().parse().unwrap();
    let file = Folder::new(directory).create("a.flt", OnExisting::Replace).unwrap();
    write_image(Dying { file, left }, 2);
}

#[test]
fn a_writer_killed_at_any_write_leaves_old_or_new() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::new(directory.path());
    write_image(folder.create("a.flt", OnExisting::Refuse).unwrap(), 1);
    let mut lived = false;
    for last in 0.. {
        lived = run_writer(directory.path(), last);
        let image = Image::open(&folder, "a.flt").unwrap();
        assert!(image.check(|_| true).unwrap().unwrap().is_ok());
        let wanted = memory(if lived { 2 } else { 1 });
        assert!(read_all(&image) == wanted, "killed at write {last}");
        if lived {
            // Head, three chunks, block, root, tables, footer, and the name.
            assert_eq!(last, 9);
            break;
        }
    }
    assert!(lived);
}

#[test]
fn a_writer_that_gives_up_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = Folder::new(directory.path()).create("a.flt", OnExisting::Refuse).unwrap();
    let options = options(3 * PAGE, Codec::None);
    let mut writer = ImageWriter::new(file, options, None).unwrap();
    writer.put(0, &noise(1, PAGE)).unwrap();
    drop(writer);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
