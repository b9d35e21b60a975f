//! Cloud Hypervisor's migration protocol, spoken as the sender of a VM whose memory stays behind.
//!
//! The page server connects to a Cloud Hypervisor that waits for a migration with
//! `memory_mode=postcopy`, gives it empty memory as memfds, its configuration and its state, and
//! then answers requests for pages on a second connection. All numbers are little-endian:
//!
//! ```text
//! request   command u16 | 0 u8[6] | length u64 | length bytes
//! response  status u16 (1 Ok, 2 Error) | 0 u8[6] | length u64 | length bytes
//! ```
//!
//! [`Sender`] is the order of requests on the first connection, each answered before the next.
//! [`FaultLine`] is the second connection, which begins with the role [`ROLE_FAULT`]. Requests
//! for pages carry no number, so they are answered one after the other.

use faultless_pages::Bytes;
use serde::Deserialize;

use crate::Refusal;

/// Bytes of a request and of a response, without what follows.
pub const HEADER_LEN: usize = 16;
/// What the second connection begins with.
pub const ROLE_FAULT: [u8; 2] = 2u16.to_le_bytes();
/// Bytes of a range: guest physical address and length.
const RANGE_LEN: usize = 16;
/// Most memory of one request; the receiver asks for a page of its own.
const FAULT_LEN_MAX: u64 = 1 << 30;
/// Most words of an error that are read.
pub const ERROR_TEXT_MAX: u64 = 4096;
/// Most mappings of guest memory; the receiver has a few.
const MAPPINGS_MAX: usize = 1024;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names of the protocol")]
pub enum Command {
    Start = 1,
    Config = 2,
    State = 3,
    Memory = 4,
    Complete = 5,
    Abandon = 6,
    MemoryFd = 7,
    CompletePaused = 8,
    PageFault = 9,
}

impl Command {
    const ALL: [Command; 9] = [
        Command::Start,
        Command::Config,
        Command::State,
        Command::Memory,
        Command::Complete,
        Command::Abandon,
        Command::MemoryFd,
        Command::CompletePaused,
        Command::PageFault,
    ];

    fn number(self) -> u16 {
        self as u16
    }

    fn from_number(number: u16) -> Option<Command> {
        Command::ALL.into_iter().find(|command| command.number() == number)
    }

    /// Makes the header of a request with `len` bytes after it.
    #[must_use]
    pub fn header(self, len: u64) -> [u8; HEADER_LEN] {
        header(self.number(), len)
    }
}

/// The answer to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response {
    /// Whether the request was carried out.
    pub ok: bool,
    /// Bytes that follow.
    pub len: u64,
}

impl Response {
    /// Makes its bytes.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_LEN] {
        header(if self.ok { 1 } else { 2 }, self.len)
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`Refusal::Unsupported`] for a status there is not.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Response, Refusal> {
        let (status, len) = numbers(bytes);
        match status {
            1 | 2 => Ok(Response { ok: status == 1, len }),
            _ => Err(Refusal::Unsupported("a migration answer that is neither Ok nor Error")),
        }
    }
}

fn header(number: u16, len: u64) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    out[..2].copy_from_slice(&number.to_le_bytes());
    out[8..].copy_from_slice(&len.to_le_bytes());
    out
}

fn numbers(bytes: &[u8; HEADER_LEN]) -> (u16, u64) {
    let [a, b, _, _, _, _, _, _, len @ ..] = *bytes;
    (u16::from_le_bytes([a, b]), u64::from_le_bytes(len))
}

/// A piece of guest memory, as the configuration of a VM names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Mapping {
    /// The number of the memory slot, and of its memfd.
    pub slot: u32,
    /// Its guest physical address.
    pub gpa: u64,
    /// Its length.
    pub size: u64,
    /// Where it begins in its memfd.
    #[serde(default)]
    pub file_offset: u64,
}

impl Mapping {
    /// Returns how long the memfd must be.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.file_offset + self.size
    }
}

/// Finds the mappings of guest memory in a VM's configuration, wherever in it they stand.
///
/// # Errors
/// [`Refusal::Unsupported`] where there are none, or none that hold together.
pub fn mappings(config: &[u8]) -> Result<Vec<Mapping>, Refusal> {
    let none = Refusal::Unsupported("a configuration without guest_ram_mappings");
    let value: serde_json::Value = serde_json::from_slice(config).map_err(|_| none.clone())?;
    let found = find(&value, "guest_ram_mappings").ok_or(none.clone())?;
    let mappings: Vec<Mapping> = serde_json::from_value(found.clone()).map_err(|_| none)?;
    let sound = |mapping: &Mapping| {
        let file_end = mapping.file_offset.checked_add(mapping.size);
        mapping.size > 0 && file_end.is_some() && mapping.gpa.checked_add(mapping.size).is_some()
    };
    if mappings.is_empty() || mappings.len() > MAPPINGS_MAX || !mappings.iter().all(sound) {
        return Err(Refusal::Unsupported("guest_ram_mappings that do not hold together"));
    }
    Ok(mappings)
}

/// Looks for a key at any depth; the parser bounds the depth.
fn find<'a>(value: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => {
            map.get(key).or_else(|| map.values().find_map(|inner| find(inner, key)))
        }
        serde_json::Value::Array(items) => items.iter().find_map(|inner| find(inner, key)),
        _ => None,
    }
}

/// What the sender does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Send the header of this command, without more, and read the answer.
    Start,
    /// Send a memfd of this slot, the slot's number as the payload, and read the answer.
    MemoryFd(u32),
    /// Send the configuration and read the answer.
    Config,
    /// Make the second connection; it has no answer.
    OpenFaultLine,
    /// Send the state of devices and processors and read the answer.
    State,
    /// Say that the VM may run, and read the answer.
    Complete,
    /// Everything is handed over; only pages remain.
    Done,
}

/// The order in which a VM is handed over.
#[derive(Clone, Debug)]
pub struct Sender {
    slots: Vec<u32>,
    step: Step,
    sent: usize,
}

impl Sender {
    /// Begins to hand over a VM with these memory slots.
    #[must_use]
    pub fn new(slots: Vec<u32>) -> Sender {
        Sender { slots, step: Step::Start, sent: 0 }
    }

    /// Returns what to do next.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// Takes note that the second connection is there.
    ///
    /// # Errors
    /// [`Refusal::OutOfOrder`] if it was not its turn.
    pub fn opened(&mut self) -> Result<(), Refusal> {
        if self.step != Step::OpenFaultLine {
            return Err(Refusal::OutOfOrder { what: "a connection for faults" });
        }
        self.step = Step::State;
        Ok(())
    }

    /// Takes note of an answer.
    ///
    /// # Errors
    /// [`Refusal::OutOfOrder`] where none is awaited, [`Refusal::Unsupported`] if the receiver
    /// says no.
    pub fn answered(&mut self, response: Response) -> Result<(), Refusal> {
        if matches!(self.step, Step::OpenFaultLine | Step::Done) {
            return Err(Refusal::OutOfOrder { what: "an answer" });
        }
        if !response.ok {
            return Err(Refusal::Unsupported("a migration its receiver said no to"));
        }
        self.step = match self.step {
            Step::Start | Step::MemoryFd(_) => self.next_slot(),
            Step::Config => Step::OpenFaultLine,
            Step::State => Step::Complete,
            Step::Complete | Step::OpenFaultLine | Step::Done => Step::Done,
        };
        Ok(())
    }

    fn next_slot(&mut self) -> Step {
        let slot = self.slots.get(self.sent).copied();
        self.sent += 1;
        slot.map_or(Step::Config, Step::MemoryFd)
    }
}

/// A request for a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageFault {
    /// The mapping it lies in, as an index.
    pub mapping: usize,
    /// Where in the memfd of the mapping's slot.
    pub file_offset: u64,
    /// The guest physical address.
    pub gpa: u64,
    /// How much of it.
    pub len: Bytes,
}

/// The connection on which pages are asked for.
#[derive(Clone, Debug)]
pub struct FaultLine {
    mappings: Vec<Mapping>,
    bytes: Vec<u8>,
}

impl FaultLine {
    /// Begins with the guest memory there is.
    #[must_use]
    pub fn new(mappings: Vec<Mapping>) -> FaultLine {
        FaultLine { mappings, bytes: Vec::new() }
    }

    /// Takes bytes that came.
    ///
    /// # Errors
    /// [`Refusal::TooLong`] for more than one request at a time: the protocol has none waiting.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let len = self.bytes.len() + bytes.len();
        if len > HEADER_LEN + RANGE_LEN {
            return Err(Refusal::TooLong { len: len as u64 });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes the request out once it is whole.
    ///
    /// # Errors
    /// [`Refusal`] for anything but a request for memory the guest has.
    pub fn next_fault(&mut self) -> Result<Option<PageFault>, Refusal> {
        let Some((header, rest)) = self.bytes.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let (number, len) = numbers(header);
        if Command::from_number(number) != Some(Command::PageFault) {
            return Err(Refusal::OutOfOrder { what: "a migration request other than PageFault" });
        }
        if len != RANGE_LEN as u64 {
            return Err(Refusal::TooLong { len });
        }
        let Some(range) = rest.first_chunk::<RANGE_LEN>() else {
            return Ok(None);
        };
        let [gpa, len] =
            [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|byte| range[at + byte])));
        let fault = self.locate(gpa, len)?;
        self.bytes.clear();
        Ok(Some(fault))
    }

    fn locate(&self, gpa: u64, len: u64) -> Result<PageFault, Refusal> {
        let outside = Refusal::Unsupported("a fault outside of guest memory");
        if len == 0 || len > FAULT_LEN_MAX {
            return Err(Refusal::TooLong { len });
        }
        let end = gpa.checked_add(len).ok_or(outside.clone())?;
        let inside = |mapping: &Mapping| {
            mapping.gpa <= gpa && end <= mapping.gpa.saturating_add(mapping.size)
        };
        let mapping = self.mappings.iter().position(inside).ok_or(outside)?;
        let found = &self.mappings[mapping];
        let file_offset = found.file_offset + (gpa - found.gpa);
        Ok(PageFault { mapping, file_offset, gpa, len: Bytes(len) })
    }
}

#[cfg(test)]
mod tests;
