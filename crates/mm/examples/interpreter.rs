//! A small interpreter whose loads and stores go through the model, paged on demand.
//!
//! The program it interprets adds up an array that lies nowhere yet. Its memory is registered with
//! a userfaultfd; a handler reads the faults and fills pages from an "image", through the bytes of
//! the same requests a program on Linux makes. Run it with
//! `cargo run -p faultless-mm --example interpreter`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is there to be watched")]

use faultless_mm::{Argument, Choice, Kernel, MapRequest, Profile, Runner, ThreadId};
use faultless_pages::{Bytes, Va};
use faultless_uapi::ioctl::{UFFDIO_API, UFFDIO_COPY, UFFDIO_REGISTER};
use faultless_uapi::mode::register;
use faultless_uapi::{
    UFFD_API, UffdMsg, UffdioApi, UffdioCopy, UffdioRange, UffdioRegister, event,
};

const PAGE: usize = 4096;
const ARRAY_PAGES: usize = 8;
const WORDS: u64 = (ARRAY_PAGES * PAGE / 8) as u64;

/// One instruction of a machine with four registers.
#[derive(Clone, Copy)]
enum Instruction {
    /// `r[to] = value`
    Set { to: usize, value: u64 },
    /// `r[to] = memory[r[at]]`
    Load { to: usize, at: usize },
    /// `memory[r[at]] = r[from]`
    Store { at: usize, from: usize },
    /// `r[to] += r[from]`
    Add { to: usize, from: usize },
    /// Goes to an instruction if `r[left] < r[right]`.
    JumpIfLess { left: usize, right: usize, target: usize },
}

/// A signal that hit the program, or a request that was refused.
type Trouble = Box<dyn std::error::Error>;

fn main() -> Result<(), Trouble> {
    let kernel = Kernel::new(Profile::linux_6_18());
    let mut runner = Runner::new(kernel.clone(), Choice::Straight);
    let guest = kernel.spawn();

    // What a program on Linux does first: memory, a userfaultfd, the handshake, REGISTER.
    let set_up = runner.start(guest, set_up(kernel.clone(), guest));
    runner.run();
    let (array, fd) = set_up.take().expect("setting up never waits")?;

    // The handler is a thread like any other. It waits in `read` until somebody faults.
    let handler = kernel.spawn_thread(guest);
    let handling = runner.start(handler, handle(kernel.clone(), handler, fd, array));
    let sum = runner.start(guest, interpret(kernel, guest, sum_of(array), array));
    runner.run();

    if let Some(Err(trouble)) = handling.take() {
        return Err(trouble);
    }
    let sum = sum.take().expect("every fault was answered")?;
    println!("the sum of {WORDS} words, {ARRAY_PAGES} pages fetched on demand: {sum}");
    assert_eq!(sum, WORDS * (WORDS - 1) / 2);
    Ok(())
}

async fn set_up(kernel: Kernel, guest: ThreadId) -> Result<(Va, u32), Trouble> {
    let array = kernel
        .map(guest, MapRequest::anonymous(Bytes((ARRAY_PAGES + 1) as u64 * PAGE as u64)))
        .await?;
    let fd = kernel.userfaultfd(guest, 0)?;
    let mut api = UffdioApi { api: UFFD_API, ..UffdioApi::default() }.to_bytes();
    kernel.ioctl(guest, fd, UFFDIO_API, Argument::Bytes(&mut api)).await?;
    let range = UffdioRange { start: array.0, len: (ARRAY_PAGES * PAGE) as u64 };
    let mut request =
        UffdioRegister { range, mode: register::MISSING, ..UffdioRegister::default() }.to_bytes();
    kernel.ioctl(guest, fd, UFFDIO_REGISTER, Argument::Bytes(&mut request)).await?;
    Ok((array, fd))
}

/// The program: adds the words of the array up and stores the sum behind it.
fn sum_of(array: Va) -> Vec<Instruction> {
    let end = array.0 + WORDS * 8;
    vec![
        Instruction::Set { to: 0, value: 0 },
        Instruction::Set { to: 1, value: array.0 },
        Instruction::Set { to: 3, value: 8 },
        Instruction::Load { to: 2, at: 1 },
        Instruction::Add { to: 0, from: 2 },
        Instruction::Add { to: 1, from: 3 },
        Instruction::Set { to: 2, value: end },
        Instruction::JumpIfLess { left: 1, right: 2, target: 3 },
        Instruction::Store { at: 1, from: 0 },
    ]
}

/// Interprets a program to its end. An access that faults waits here until the page is there; the
/// interpreter need not know.
async fn interpret(
    kernel: Kernel,
    guest: ThreadId,
    program: Vec<Instruction>,
    array: Va,
) -> Result<u64, Trouble> {
    let mut registers = [0u64; 4];
    let mut next = 0;
    while let Some(instruction) = program.get(next) {
        next += 1;
        match *instruction {
            Instruction::Set { to, value } => registers[to] = value,
            Instruction::Add { to, from } => {
                registers[to] = registers[to].wrapping_add(registers[from]);
            }
            Instruction::Load { to, at } => {
                let mut word = [0; 8];
                kernel.load(guest, Va(registers[at]), &mut word).await?;
                registers[to] = u64::from_ne_bytes(word);
            }
            Instruction::Store { at, from } => {
                let word = registers[from].to_ne_bytes();
                kernel.store(guest, Va(registers[at]), &word).await?;
            }
            Instruction::JumpIfLess { left, right, target } => {
                if registers[left] < registers[right] {
                    next = target;
                }
            }
        }
    }
    let mut sum = [0; 8];
    let behind = array.add(Bytes((ARRAY_PAGES * PAGE) as u64));
    kernel.load(guest, behind, &mut sum).await?;
    Ok(u64::from_ne_bytes(sum))
}

/// Answers faults: reads messages, fetches each page from the image, fills it with COPY.
async fn handle(kernel: Kernel, who: ThreadId, fd: u32, array: Va) -> Result<(), Trouble> {
    // A page of the handler's own, to copy from.
    let buffer = kernel.map(who, MapRequest::anonymous(Bytes(PAGE as u64))).await?;
    loop {
        let messages = kernel.read(who, fd, 16 * size_of::<UffdMsg>()).await?;
        for raw in messages.as_chunks().0 {
            let message = UffdMsg::from_bytes(*raw);
            if message.event != event::PAGEFAULT {
                continue;
            }
            let page = message.pagefault().address;
            println!("fault at page {} of the array", (page - array.0) / PAGE as u64);
            kernel.store(who, buffer, &image_page(page - array.0)).await?;
            let copy =
                UffdioCopy { dst: page, src: buffer.0, len: PAGE as u64, ..UffdioCopy::default() };
            let mut request = copy.to_bytes();
            kernel.ioctl(who, fd, UFFDIO_COPY, Argument::Bytes(&mut request)).await?;
        }
    }
}

/// A page of the image: its words count on from the page before.
fn image_page(offset: u64) -> Vec<u8> {
    let first = offset / 8;
    (first..first + PAGE as u64 / 8).flat_map(u64::to_ne_bytes).collect()
}
