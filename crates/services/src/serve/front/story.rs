//! What happens, told to whoever runs the page server.

use std::fmt;

use faultless_pages::Bytes;
use faultless_wire::Refusal;
use serde::Serialize;

use crate::serve::Figures;
use crate::serve::control::ClientId;

/// Something that happened.
#[derive(Debug)]
pub enum Tale {
    /// A worker was started.
    Worker {
        /// Its process.
        pid: u32,
        /// The how-manieth it is.
        number: u64,
    },
    /// Clients may come.
    Listening {
        /// How much memory the image holds.
        image: Bytes,
    },
    /// A client's faults are served.
    Attached {
        /// Which.
        client: ClientId,
        /// Its process.
        pid: i32,
        /// Its protocol.
        dialect: &'static str,
        /// How much memory it handed over.
        memory: Bytes,
    },
    /// Somebody was refused.
    Rejected {
        /// The process, if it is known.
        pid: Option<i32>,
        /// Why.
        why: Rejection,
    },
    /// Memory of a client cannot be had.
    Lost {
        /// Which client.
        client: ClientId,
        /// Its process.
        pid: i32,
        /// From where on.
        start: u64,
        /// How much.
        len: u64,
        /// Why.
        why: String,
    },
    /// A client has ended, or needs nothing any more.
    Left {
        /// Which.
        client: ClientId,
        /// Its process.
        pid: i32,
    },
    /// A client was ended, because it cannot be served any more.
    Killed {
        /// Which.
        client: ClientId,
        /// Its process.
        pid: i32,
        /// Why.
        why: String,
    },
    /// A worker is no more; another one takes over.
    WorkerEnded {
        /// Its process.
        pid: u32,
        /// How it ended.
        status: String,
    },
    /// What a client touched could not be recorded.
    Unrecorded {
        /// Why.
        why: String,
    },
    /// The end was asked for: clients get all their memory first.
    Finishing {
        /// How many there are.
        clients: usize,
    },
}

/// Why somebody was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// What it said.
    Refused(Refusal),
    /// It acts for a user that may not connect.
    User(u32),
    /// There are as many clients as may be.
    Full(usize),
    /// The kernel does not say who it is.
    Unknown(String),
    /// Its memory cannot be served.
    Unservable(String),
    /// Descriptors of it cannot be kept.
    Descriptors(String),
}

impl Rejection {
    /// Returns a short name for metrics and machines, which stays as it is.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Rejection::Refused(refusal) => refusal.label(),
            Rejection::User(_) => "user",
            Rejection::Full(_) => "full",
            Rejection::Unknown(_) => "unknown-peer",
            Rejection::Unservable(_) => "unservable",
            Rejection::Descriptors(_) => "descriptors",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Refused(refusal) => write!(f, "{refusal}"),
            Rejection::User(uid) => write!(f, "user {uid} may not connect"),
            Rejection::Full(most) => write!(f, "there are {most} clients, as many as may be"),
            Rejection::Unknown(why) => write!(f, "the kernel does not say who connects: {why}"),
            Rejection::Unservable(why) | Rejection::Descriptors(why) => write!(f, "{why}"),
        }
    }
}

impl Tale {
    /// Returns its name and its fields for machines.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        let none = Fields::default();
        match self {
            Tale::Worker { pid, number } => {
                Fields { event: "worker", pid: Some((*pid).into()), worker: Some(*number), ..none }
            }
            Tale::Listening { image } => {
                Fields { event: "listening", bytes: Some(image.0), ..none }
            }
            Tale::Attached { client, pid, dialect, memory } => Fields {
                event: "attached",
                pid: Some((*pid).into()),
                client: Some(client.0),
                dialect: Some(dialect),
                bytes: Some(memory.0),
                ..none
            },
            Tale::Rejected { pid, why } => Fields {
                event: "rejected",
                pid: pid.map(i64::from),
                label: Some(why.label()),
                why: Some(why.to_string()),
                ..none
            },
            Tale::Lost { client, pid, start, len, why } => Fields {
                event: "lost",
                pid: Some((*pid).into()),
                client: Some(client.0),
                address: Some(*start),
                bytes: Some(*len),
                why: Some(why.clone()),
                ..none
            },
            Tale::Left { client, pid } => {
                Fields { event: "left", pid: Some((*pid).into()), client: Some(client.0), ..none }
            }
            Tale::Killed { client, pid, why } => Fields {
                event: "killed",
                pid: Some((*pid).into()),
                client: Some(client.0),
                why: Some(why.clone()),
                ..none
            },
            Tale::WorkerEnded { pid, status } => Fields {
                event: "worker-ended",
                pid: Some((*pid).into()),
                why: Some(status.clone()),
                ..none
            },
            Tale::Unrecorded { why } => {
                Fields { event: "unrecorded", why: Some(why.clone()), ..none }
            }
            Tale::Finishing { clients } => {
                Fields { event: "finishing", clients: Some(*clients), ..none }
            }
        }
    }
}

/// A tale as one object.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fields<'a> {
    /// What happened.
    pub event: &'static str,
    /// The process it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    /// The client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<u64>,
    /// Its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<&'a str>,
    /// Where in its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
    /// How much memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<usize>,
    /// The how-manieth worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u64>,
    /// A name for the reason, which stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<&'static str>,
    /// The reason, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Who is told. Called from within the loop, so it shall be quick.
pub trait Story {
    /// Hears what happened.
    fn tell(&mut self, tale: &Tale);

    /// Hears the numbers, about once a second: of all workers together, how many clients there
    /// are, and how many workers there were.
    fn figures(&mut self, figures: &Figures, clients: usize, workers: u64);
}
