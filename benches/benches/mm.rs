//! How many single-page operations a second does the model do, and does the size of the address
//! space matter?
//!
//! The same number of pages, spread evenly over ever more mapped memory, is filled, touched and
//! dropped again and again, without byte contents, on one core. Prints a table; one argument, a
//! number, is how many milliseconds each figure is measured for.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use faultless_mm::{
    Advice, Argument, Choice, Kernel, MapRequest, OpenFlags, Profile, Runner, ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::ioctl::{
    UFFDIO_API, UFFDIO_COPY, UFFDIO_MOVE, UFFDIO_REGISTER, UFFDIO_ZEROPAGE,
};
use faultless_uapi::mode::register;
use faultless_uapi::{
    UFFD_API, UffdioApi, UffdioCopy, UffdioMove, UffdioRange, UffdioRegister, UffdioZeropage,
};

const PAGE: u64 = 4096;
/// Pages in use at a time; the smallest memory has no more.
const PAGES: u64 = 256;
const SIZES: [Bytes; 6] = [
    Bytes::mib(1),
    Bytes::mib(64),
    Bytes::gib(1),
    Bytes::gib(32),
    Bytes::gib(256),
    Bytes::gib(1024),
];

fn main() {
    let millis = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(200);
    let limit = Duration::from_millis(millis);
    println!("single-page operations of the model a second of one core, no byte contents;");
    println!(
        "{PAGES} pages spread over the mapped memory, each figure from {millis} ms of the core or \
         more\n"
    );
    println!(
        "{:>10} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "mapped", "COPY", "ZEROPAGE", "MOVE", "store", "first store", "load", "DONTNEED"
    );
    for size in SIZES {
        let mut bench = Bench::new(size);
        let figures = bench.measure(limit);
        let cells: Vec<String> = figures.iter().map(|rate| format!("{rate:>12}")).collect();
        println!("{:>10} {}", size.to_string(), cells.join(" "));
    }
}

/// How long this thread has had a processor.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A process with memory of a size: half registered, half plain.
struct Bench {
    kernel: Kernel,
    runner: Runner,
    who: ThreadId,
    fd: u32,
    registered: Va,
    plain: Va,
    source: Va,
    stride: u64,
}

/// One kind of operation: how often and how long.
#[derive(Clone, Copy, Default)]
struct Figure {
    count: u64,
    took: Duration,
}

impl Figure {
    fn rate(self) -> u64 {
        let nanos = u64::try_from(self.took.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.count * 1_000_000_000 / nanos
    }
}

impl Bench {
    fn new(size: Bytes) -> Bench {
        let profile = Profile { identities: true, ..Profile::linux_6_18() };
        let kernel = Kernel::new(profile);
        let mut runner = Runner::new(kernel.clone(), Choice::Straight);
        let who = kernel.spawn();
        let mut map = |len| {
            let request = MapRequest::anonymous(len);
            runner.now(who, kernel.map(who, request)).expect("no waiting").expect("room")
        };
        let (registered, plain, source) = (map(size), map(size), map(Bytes(PAGE)));
        let fd = kernel.userfaultfd(who, OpenFlags::NONBLOCK).expect("a descriptor");
        let stride = size.0 / PAGES;
        let mut bench = Bench { kernel, runner, who, fd, registered, plain, source, stride };
        bench.store(source, 7);
        let api = UffdioApi { api: UFFD_API, ..UffdioApi::default() };
        bench.request(UFFDIO_API, &mut api.to_bytes());
        let range = UffdioRange { start: registered.0, len: size.0 };
        let register = UffdioRegister { range, mode: register::MISSING, ioctls: 0 };
        bench.request(UFFDIO_REGISTER, &mut register.to_bytes());
        bench
    }

    fn request(&mut self, request: u32, argument: &mut [u8]) {
        let argument = Argument::Bytes(argument);
        let operation = self.kernel.ioctl(self.who, self.fd, request, argument);
        let result = self.runner.now(self.who, operation).expect("no waiting");
        result.expect("what is asked can be done");
    }

    fn store(&mut self, at: Va, word: u64) {
        let bytes = word.to_ne_bytes();
        let store = self.kernel.store(self.who, at, &bytes);
        self.runner.now(self.who, store).expect("no waiting").expect("a page");
    }

    fn load(&mut self, at: Va) {
        let mut out = [0; 8];
        let load = self.kernel.load(self.who, at, &mut out);
        self.runner.now(self.who, load).expect("no waiting").expect("a page");
    }

    fn drop_page(&mut self, at: Va) {
        let drop = self.kernel.advise(self.who, at, Bytes(PAGE), Advice::DontNeed);
        self.runner.now(self.who, drop).expect("no waiting").expect("mapped memory");
    }

    fn copy(&mut self, at: Va) {
        let copy = UffdioCopy { dst: at.0, src: self.source.0, len: PAGE, mode: 0, copy: 0 };
        self.request(UFFDIO_COPY, &mut copy.to_bytes());
    }

    fn move_page(&mut self, src: Va) {
        let dst = self.registered.add(src.since(self.plain));
        let request = UffdioMove { dst: dst.0, src: src.0, len: PAGE, mode: 0, move_: 0 };
        self.request(UFFDIO_MOVE, &mut request.to_bytes());
    }

    fn zero(&mut self, at: Va) {
        let range = UffdioRange { start: at.0, len: PAGE };
        let zero = UffdioZeropage { range, mode: 0, zeropage: 0 };
        self.request(UFFDIO_ZEROPAGE, &mut zero.to_bytes());
    }

    /// Does one thing to every page in use.
    fn each(&mut self, base: Va, figure: &mut Figure, act: impl Fn(&mut Bench, Va)) {
        let begun = processor_time();
        for index in 0..PAGES {
            act(self, base.add(Bytes(index * self.stride)));
        }
        figure.took += processor_time() - begun;
        figure.count += PAGES;
    }

    /// COPY, ZEROPAGE, MOVE, a store to a page there is, the first store to plain memory, a load,
    /// DONTNEED.
    fn measure(&mut self, limit: Duration) -> [u64; 7] {
        let mut figures = [Figure::default(); 7];
        let [copy, zero, moved, store, first, load, drop] = &mut figures;
        let (registered, plain) = (self.registered, self.plain);
        let begun = processor_time();
        while processor_time() - begun < limit * 7 {
            self.each(registered, copy, Bench::copy);
            self.each(registered, store, |bench, at| bench.store(at, 9));
            self.each(registered, load, Bench::load);
            self.each(registered, drop, Bench::drop_page);
            self.each(registered, zero, Bench::zero);
            self.each(registered, drop, Bench::drop_page);
            self.each(plain, first, |bench, at| bench.store(at, 9));
            self.each(plain, moved, Bench::move_page);
            self.each(registered, drop, Bench::drop_page);
        }
        figures.map(Figure::rate)
    }
}
