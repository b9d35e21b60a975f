//! Every kind of memory is in the core as the process saw it.

#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;

use faultless_image::core::CoreFile;
use faultless_image::flt::{Codec, Folder, Image, Region};
use faultless_pages::{Bytes, Va, VaRange};
use faultless_services::snapshot::{Format, Options, SnapshotError, snapshot};

/// Maps each kind of memory and prints where it is and what its pages hold.
///
/// A page holds its letter throughout; `.` stands for zeros.
const TARGET: &str = "
import ctypes, mmap, os, sys, tempfile
PAGE = 4096
def memfd():
    fd = os.memfd_create('object')
    os.write(fd, b''.join(letter * PAGE for letter in (b'F', b'G', b'H', b'I')))
    return fd
def file():
    fd, name = tempfile.mkstemp(dir=sys.argv[1])
    os.write(fd, b''.join(letter * PAGE for letter in (b'F', b'G', b'H', b'I')))
    return fd
def show(name, memory, pages):
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    print(name, address, pages, flush=True)
def put(memory, page, letter):
    memory[page * PAGE:(page + 1) * PAGE] = letter * PAGE
ANON, PRIVATE, SHARED = mmap.MAP_ANONYMOUS, mmap.MAP_PRIVATE, mmap.MAP_SHARED
a = mmap.mmap(-1, 4 * PAGE, ANON | PRIVATE)
put(a, 1, b'A')
show('anonymous', a, '.A..')
s = mmap.mmap(-1, 4 * PAGE, ANON | SHARED)
put(s, 2, b'S')
show('shared', s, '..S.')
o = mmap.mmap(memfd(), 4 * PAGE, SHARED)
put(o, 0, b'O')
show('object-shared', o, 'OGHI')
p = mmap.mmap(memfd(), 4 * PAGE, PRIVATE)
put(p, 0, b'P')
p[PAGE]
show('object-private', p, 'PGHI')
f = mmap.mmap(file(), 4 * PAGE, PRIVATE)
put(f, 3, b'P')
show('file-private', f, 'FGHP')
print('ready', 0, '', flush=True)
sys.stdin.read()
";

/// The process, ended with the test.
struct Target {
    child: Child,
    memory: BTreeMap<String, (Va, String)>,
}

impl Target {
    fn start(folder: &Path) -> Option<Target> {
        let mut child = Command::new("python3")
            .args(["-c", TARGET])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut memory = BTreeMap::new();
        for line in BufReader::new(child.stdout.as_mut()?).lines() {
            let line = line.ok()?;
            let mut words = line.splitn(3, ' ');
            let (name, address) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
            if name == "ready" {
                break;
            }
            memory.insert(name, (Va(address), words.next()?.to_owned()));
        }
        Some(Target { child, memory })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn options(output: PathBuf) -> Options {
    Options {
        output,
        force: false,
        sync: true,
        format: Format::Core,
        buffer: Bytes::mib(8),
        exact: false,
        tool_version: "test".into(),
    }
}

/// Takes a snapshot and compares every page; `None` if this host allows no snapshots.
fn check(name: &str, change: impl FnOnce(&mut Options)) -> Option<()> {
    let folder = std::env::temp_dir().join(format!("faultless-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let outcome = check_in(&folder, change);
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    outcome
}

fn check_in(folder: &Path, change: impl FnOnce(&mut Options)) -> Option<()> {
    let Some(target) = Target::start(folder) else {
        println!("skipped: python3 is not installed");
        return None;
    };
    let mut options = options(folder.join("target.core"));
    change(&mut options);
    let report = match snapshot(target.child.id(), &options, &(), &AtomicBool::new(false)) {
        Ok(report) => report,
        Err(error @ (SnapshotError::Attach(_) | SnapshotError::Handshake(_))) => {
            println!("skipped: {error}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(report.warnings, [""; 0]);
    let read = reader(&options);
    for (kind, (address, pages)) in &target.memory {
        for (page, letter) in pages.bytes().enumerate() {
            let at = address.add(Bytes::kib(4 * page as u64));
            let mut held = [1; 4096];
            read(at, &mut held);
            let expected = if letter == b'.' { 0 } else { letter };
            assert!(held.iter().all(|&byte| byte == expected), "{kind}, page {page}");
        }
    }
    Some(())
}

/// Reads memory of an output.
type Reader = Box<dyn Fn(Va, &mut [u8])>;

/// Checks the output and returns what reads memory of it.
fn reader(options: &Options) -> Reader {
    if !matches!(options.format, Format::Image(..)) {
        let core = CoreFile::open(&options.output).expect("a core");
        assert_eq!(core.verify(|_| {}).expect("readable").problems, []);
        return Box::new(move |at, held| {
            core.read_memory(at, held).expect("in the core");
        });
    }
    let (folder, name) = Folder::of(&options.output).expect("a name");
    let image = Image::open(&folder, &name).expect("an image");
    let checked = image.check(|_| true).expect("readable").expect("not stopped");
    assert!(checked.is_ok(), "{checked:?}");
    Box::new(move |at, held| {
        let mut regions = image.regions().iter();
        let lies_in = |region: &&Region| VaRange::of(region.address, region.held).contains(at);
        let region = regions.find(lies_in).expect("in the image");
        let offset = Bytes(region.offset.0 + at.since(region.address).0);
        image.read_at(offset, held).expect("readable");
    })
}

#[test]
fn every_kind_of_memory_is_in_an_image() {
    check("kinds-flt", |options| {
        options.format = Format::Image(Codec::Lz4, None);
        options.output.set_extension("flt");
    });
}

#[test]
fn every_kind_of_memory_is_in_the_core() {
    check("kinds", |_| {});
}

#[test]
fn every_kind_of_memory_is_in_a_compressed_core() {
    check("kinds-zst", |options| {
        options.format = Format::CompressedCore(1);
        options.output.set_extension("core.zst");
    });
}

#[test]
fn every_kind_of_memory_is_in_an_exact_core() {
    check("kinds-exact", |options| options.exact = true);
}
