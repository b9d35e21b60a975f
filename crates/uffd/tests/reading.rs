//! Reading another process's memory leaves its pages shared or does not, by the way it is read.

#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uffd::{Pagemap, PagemapEntry, read_memory};
use rustix::process::Pid;

/// A process that shares 1 MiB with a forked child.
struct Family {
    parent: Child,
    shared: VaRange,
}

impl Family {
    fn start() -> Option<Family> {
        let code = "import ctypes, mmap, os\n\
                    memory = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n\
                    memory.write(b'x' * (1 << 20))\n\
                    if os.fork() == 0:\n\
                    \x20   os.read(0, 1)\n\
                    \x20   os._exit(0)\n\
                    print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)\n\
                    os.wait()";
        let mut parent = Command::new("python3")
            .args(["-c", code])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(parent.stdout.as_mut()?).read_line(&mut line).ok()?;
        let start = Va(line.trim().parse().ok()?);
        Some(Family { parent, shared: VaRange::of(start, Bytes::mib(1)) })
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.parent)
    }

    /// Counts the pages the parent has to itself.
    fn own_pages(&self) -> usize {
        let pagemap = Pagemap::open(self.pid()).expect("the page table");
        let mut entries = [PagemapEntry::default(); 256];
        let read = pagemap.entries(self.shared, &mut entries).expect("the page table");
        entries[..read].iter().filter(|entry| entry.is_exclusive()).count()
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        // The child reads the end of the pipe and exits; the parent follows it.
        drop(self.parent.stdin.take());
        let _ = self.parent.wait();
    }
}

#[test]
fn reading_through_proc_mem_leaves_pages_shared_and_pinning_them_copies_each() {
    let Some(family) = Family::start() else {
        println!("skipped: python3 is not installed");
        return;
    };
    if Pagemap::open(family.pid()).is_err() || pages_are_not_4_kib() {
        println!("skipped: the page table of a child cannot be read in pages of 4 KiB");
        return;
    }
    assert_eq!(family.own_pages(), 0);
    let mut out = vec![0; 1 << 20];
    let memory = File::open(format!("/proc/{}/mem", family.parent.id())).expect("the memory");
    memory.read_exact_at(&mut out, family.shared.start().0).expect("all of it");
    assert!(out.iter().all(|&byte| byte == b'x'));
    assert_eq!(family.own_pages(), 0);
    out.fill(0);
    assert_eq!(read_memory(family.pid(), &[family.shared], &mut out), Ok(1 << 20));
    assert!(out.iter().all(|&byte| byte == b'x'));
    // Since 5.19 pinning a page makes it the process's own first, by copying it.
    assert_eq!(family.own_pages(), 256);
}

fn pages_are_not_4_kib() -> bool {
    faultless_uffd::base_page_size().bytes() != Bytes::kib(4)
}
