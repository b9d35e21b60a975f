//! Names of images on the command line: folders, objects in them, what they are made with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use faultless_image::core::OnExisting;
use faultless_image::flt::{ChunkSize, Codec, Folder, Image, NewFile, Parent};

use super::failure::{unreadable, unstored};
use crate::exit::{Exit, Failure};
use crate::size;

/// Where an image goes, and what it is compressed with.
#[derive(clap::Args)]
pub(super) struct Output {
    /// Where the image goes; it appears there when it is whole
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(super) output: PathBuf,

    /// Replace the file if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,

    /// How chunks are compressed: zstd, zstd:LEVEL from 1 (fast) to 19 (small), lz4, or none
    #[arg(
        long,
        value_name = "CODEC",
        default_value = "zstd:3",
        value_parser = parse_codec,
        help_heading = "Output"
    )]
    pub(super) codec: Codec,
}

impl Output {
    /// Begins the image.
    pub(super) fn create(&self) -> Result<NewFile, Failure> {
        let (folder, name) = place(&self.output)?;
        let object = folder.create(&name, on_existing(self.force));
        object.map_err(|error| unstored(&error))
    }
}

/// Says what `--force` means.
pub(super) fn on_existing(force: bool) -> OnExisting {
    if force { OnExisting::Replace } else { OnExisting::Refuse }
}

/// Splits a path into folder and name.
pub(super) fn place(file: &Path) -> Result<(Folder, String), Failure> {
    Folder::of(file).ok_or_else(|| {
        let message = format!("`{}`: no name an image can have", file.display());
        Failure::new(Exit::Usage, message).next("choose a plain file name in UTF-8")
    })
}

/// Opens an image.
pub(super) fn open(file: &Path) -> Result<Image, Failure> {
    let (folder, name) = place(file)?;
    Image::open(&folder, &name).map_err(|error| unreadable(&error))
}

/// Opens the image a new one at `output` is to be a layer over, with its name.
pub(crate) fn open_parent(parent: &Path, output: &Path) -> Result<Parent, Failure> {
    let image = open(parent)?;
    let (_, name) = place(parent)?;
    if folder_of(parent) != folder_of(output) {
        let message = format!(
            "{} and its parent {} lie in different folders",
            output.display(),
            parent.display()
        );
        return Err(Failure::new(Exit::Usage, message).next("put the layer beside its parent"));
    }
    if parent.file_name() == output.file_name() {
        let message = format!("{} cannot be a layer over itself", output.display());
        return Err(Failure::new(Exit::Usage, message).next("choose another name for it"));
    }
    Ok((name, Arc::new(image)))
}

/// Returns the folder of a file as the system knows it; `None` if there is none.
fn folder_of(file: &Path) -> Option<PathBuf> {
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new(".")).canonicalize().ok()
}

/// Reads the size of chunks.
pub(super) fn parse_chunk(text: &str) -> Result<ChunkSize, String> {
    ChunkSize::new(size::parse(text)?).ok_or_else(|| "a power of two from 4KiB to 2MiB".to_owned())
}

/// Reads a codec.
pub(crate) fn parse_codec(text: &str) -> Result<Codec, String> {
    let (name, level) = match text.split_once(':') {
        Some((name, level)) => (name, Some(level)),
        None => (text, None),
    };
    match (name, level) {
        ("none", None) => Ok(Codec::None),
        ("lz4", None) => Ok(Codec::Lz4),
        ("zstd", None) => Ok(Codec::default()),
        ("zstd", Some(level)) => match level.parse() {
            Ok(level @ 1..=19) => Ok(Codec::Zstd { level }),
            _ => Err("levels of zstd go from 1 to 19".to_owned()),
        },
        _ => Err("one of zstd, zstd:LEVEL, lz4, none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_read_with_their_level() {
        assert_eq!(parse_codec("zstd:19"), Ok(Codec::Zstd { level: 19 }));
        assert_eq!(parse_codec("zstd"), Ok(Codec::Zstd { level: 3 }));
        assert_eq!(parse_codec("lz4"), Ok(Codec::Lz4));
        assert_eq!(parse_codec("none"), Ok(Codec::None));
        for bad in ["", "gzip", "zstd:0", "zstd:20", "zstd:", "lz4:1"] {
            assert!(parse_codec(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn chunk_sizes_are_powers_of_two_in_their_bounds() {
        assert_eq!(parse_chunk("4KiB"), Ok(ChunkSize::MIN));
        assert_eq!(parse_chunk("2MiB"), Ok(ChunkSize::MAX));
        for bad in ["1KiB", "12KiB", "4MiB", "many"] {
            assert!(parse_chunk(bad).is_err(), "{bad}");
        }
    }
}
