//! zstd frames made and measured by hand.
//!
//! The library compresses and decompresses; this file makes the two kinds of frame it cannot (one
//! whose content may be overwritten in place, one of nothing but zeros at no cost), and walks a
//! file's frames without decompressing them, which lets a reader start anywhere. The frame
//! format is RFC 8878.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::elf::EHDR_LEN;

/// The first four bytes of a frame.
pub(crate) const MAGIC: [u8; 4] = 0xfd2f_b528u32.to_le_bytes();
/// Skippable frames: their magic number with the last four bits cleared.
const SKIPPABLE: u32 = 0x184d_2a50;
/// The longest block.
const BLOCK_LEN: u64 = 128 << 10;
/// Window of 128 KiB, the smallest that allows the longest block.
const WINDOW_128_KIB: u8 = 7 << 3;
/// Where the content of [`header_frame`] starts.
pub(crate) const HEADER_FRAME_CONTENT: u64 = 9;
/// Bytes in one read while walking: one page holds a thousand blocks of zeros.
const WALK_READ: usize = 4096;

/// Makes a frame with one raw block and no checksum: its content can be overwritten in place.
pub(crate) fn header_frame(content: &[u8; EHDR_LEN]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    // Single segment, one byte of content size.
    let len = u8::try_from(EHDR_LEN).expect("64");
    out.extend([1 << 5, len]);
    out.extend(block_header(true, 0, len.into()));
    assert_eq!(out.len() as u64, HEADER_FRAME_CONTENT);
    out.extend(content);
    out
}

/// Makes a frame of `len` zeros, `len` > 0: one run-length block per 128 KiB.
pub(crate) fn zero_frame(len: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    // Eight bytes of content size, and a window: a single segment would ask every decoder to
    // hold the whole frame.
    out.extend([3 << 6, WINDOW_128_KIB]);
    out.extend(len.to_le_bytes());
    let mut left = len;
    while left > 0 {
        let block = left.min(BLOCK_LEN);
        left -= block;
        out.extend(block_header(left == 0, 1, block));
        out.push(0);
    }
    out
}

fn block_header(last: bool, kind: u32, len: u64) -> [u8; 3] {
    let len = u32::try_from(len).expect("at most 128 KiB");
    let [a, b, c, _] = (u32::from(last) | kind << 1 | len << 3).to_le_bytes();
    [a, b, c]
}

/// One frame of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// Where it starts in the file.
    pub(crate) at: u64,
    /// Where it ends in the file.
    pub(crate) end: u64,
    /// Length of its content, `None` if only decompressing tells.
    pub(crate) content: Option<u64>,
    /// Whether the content is nothing but zeros.
    pub(crate) zeros: bool,
}

/// Why a file is not a sequence of frames.
#[derive(Debug)]
pub(crate) enum WalkError {
    Io(u64, io::Error),
    Malformed { at: u64, expected: &'static str, found: String },
}

/// Finds all frames of a file of `len` bytes; skippable ones are left out.
pub(crate) fn walk(file: &File, len: u64) -> Result<Vec<Frame>, WalkError> {
    let mut bytes = Bytes { file, len, window: Vec::new(), at: 0 };
    let mut frames = Vec::new();
    let mut at = 0;
    while at < len {
        let magic = u32::from_le_bytes(bytes.take(at)?);
        if magic & !0xf == SKIPPABLE {
            let size = u32::from_le_bytes(bytes.take(at + 4)?);
            at = bytes.within(at + 8 + u64::from(size))?;
        } else if magic.to_le_bytes() == MAGIC {
            let frame = walk_frame(&mut bytes, at)?;
            at = frame.end;
            frames.push(frame);
        } else {
            return Err(WalkError::Malformed {
                at,
                expected: "the start of a zstd frame",
                found: format!("{magic:#010x}"),
            });
        }
    }
    Ok(frames)
}

fn walk_frame(bytes: &mut Bytes<'_>, start: u64) -> Result<Frame, WalkError> {
    let [descriptor] = bytes.take(start + 4)?;
    let single = descriptor >> 5 & 1;
    let mut at = start + 5 + u64::from(1 - single) + [0, 1, 2, 4][usize::from(descriptor & 3)];
    let declared = match (descriptor >> 6, single) {
        (0, 0) => None,
        (0, _) => Some(u64::from(u8::from_le_bytes(bytes.take(at)?))),
        (1, _) => Some(u64::from(u16::from_le_bytes(bytes.take(at)?)) + 256),
        (2, _) => Some(u64::from(u32::from_le_bytes(bytes.take(at)?))),
        _ => Some(u64::from_le_bytes(bytes.take(at)?)),
    };
    at += match descriptor >> 6 {
        0 => u64::from(single),
        flag => 1 << flag,
    };
    let blocks = walk_blocks(bytes, at)?;
    let checksum = if descriptor & 4 == 0 { 0 } else { 4 };
    if let (Some(declared), Some(counted)) = (declared, blocks.content)
        && declared != counted
    {
        return Err(WalkError::Malformed {
            at: start,
            expected: "the content size its blocks have",
            found: format!("{declared} declared, {counted} in blocks"),
        });
    }
    Ok(Frame {
        at: start,
        end: bytes.within(blocks.end + checksum)?,
        content: declared.or(blocks.content),
        zeros: blocks.zeros,
    })
}

struct Blocks {
    end: u64,
    /// Sum of the blocks' contents, `None` if one is compressed.
    content: Option<u64>,
    zeros: bool,
}

fn walk_blocks(bytes: &mut Bytes<'_>, mut at: u64) -> Result<Blocks, WalkError> {
    let mut content = Some(0u64);
    let mut zeros = true;
    loop {
        let [a, b, c] = bytes.take(at)?;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let (kind, len) = (header >> 1 & 3, u64::from(header >> 3));
        if kind == 3 || len > BLOCK_LEN {
            return Err(WalkError::Malformed {
                at,
                expected: "a zstd block",
                found: format!("{header:#08x}"),
            });
        }
        at += 3;
        if kind == 1 {
            let [byte] = bytes.take(at)?;
            zeros &= byte == 0;
            at += 1;
        } else {
            zeros &= len == 0;
            at = bytes.within(at + len)?;
        }
        content = match kind {
            2 => None,
            _ => content.map(|sum| sum + len),
        };
        if header & 1 == 1 {
            let end = at;
            return Ok(Blocks { end, content, zeros });
        }
    }
}

/// A file read in small forward steps.
struct Bytes<'f> {
    file: &'f File,
    len: u64,
    window: Vec<u8>,
    at: u64,
}

impl Bytes<'_> {
    fn take<const N: usize>(&mut self, at: u64) -> Result<[u8; N], WalkError> {
        self.within(at + N as u64)?;
        let end = self.at + self.window.len() as u64;
        if at < self.at || at + N as u64 > end {
            let len = (self.len - at).min(WALK_READ as u64);
            self.window.resize(usize::try_from(len).expect("a page"), 0);
            self.file.read_exact_at(&mut self.window, at).map_err(|e| WalkError::Io(at, e))?;
            self.at = at;
        }
        let from = usize::try_from(at - self.at).expect("within a page");
        Ok(self.window[from..from + N].try_into().expect("N bytes"))
    }

    /// Checks that the file reaches to `end`.
    fn within(&self, end: u64) -> Result<u64, WalkError> {
        if end <= self.len {
            Ok(end)
        } else {
            Err(WalkError::Malformed {
                at: self.len,
                expected: "the rest of a zstd frame",
                found: "the end of the file".to_string(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(parts: &[&[u8]]) -> (File, u64) {
        let mut file = tempfile::tempfile().unwrap();
        parts.iter().for_each(|part| file.write_all(part).unwrap());
        let len = file.metadata().unwrap().len();
        (file, len)
    }

    #[test]
    fn the_library_reads_what_is_made_by_hand() {
        let header: [u8; 64] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(zstd::decode_all(&header_frame(&header)[..]).unwrap(), header);
        for len in [1, 4096, BLOCK_LEN, BLOCK_LEN + 1, 5 * BLOCK_LEN + 4096] {
            let zeros = zstd::decode_all(&zero_frame(len)[..]).unwrap();
            assert_eq!(zeros.len() as u64, len);
            assert!(zeros.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_gibibyte_of_zeros_costs_32_kib() {
        assert_eq!(zero_frame(1 << 30).len(), 14 + 4 * 8192);
    }

    #[test]
    fn frames_are_measured_without_decompressing() {
        let text = zstd::encode_all(&[b"text".repeat(100_000)].concat()[..], 3).unwrap();
        let skip = [&0x184d_2a53u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"abc"].concat();
        let zeros = zero_frame(1 << 20);
        let (file, len) = file(&[&header_frame(&[1; 64]), &skip, &text, &zeros]);
        let frames = walk(&file, len).unwrap();
        assert_eq!(frames.len(), 3);
        assert_eq!(frames[0].content, Some(64));
        assert!(!frames[0].zeros);
        // A streaming encoder does not know the size when it writes the frame's header.
        assert_eq!(frames[1].content, None);
        assert_eq!(frames[1].end - frames[1].at, text.len() as u64);
        assert_eq!(frames[2].content, Some(1 << 20));
        assert!(frames[2].zeros);
        assert_eq!(frames[2].end, len);
    }

    #[test]
    fn a_cut_file_is_noticed() {
        let frame = zero_frame(1 << 20);
        for cut in 1..frame.len() {
            let (file, len) = file(&[&frame[..cut]]);
            assert!(walk(&file, len).is_err(), "cut at {cut}");
        }
    }
}
