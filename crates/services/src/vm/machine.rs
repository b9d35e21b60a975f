//! What QEMU says of its machine: which it is, whether it runs, which backends its RAM has.
//!
//! # Supported
//! RAM of `memory-backend-file` (any number of them), of `memory-backend-memfd` up to QEMU 8.0:
//! what else the capability `x-ignore-shared` leaves in the stream, RAM included, differs between
//! versions, and from 8.1 on it passes over files with a name alone.

use std::path::PathBuf;

use faultless_pages::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::VmError;
use super::qmp::{Qmp, Version};

/// The first QEMU that sends RAM of memfds in spite of `x-ignore-shared`.
const MEMFD_SENT: (u32, u32) = (8, 1);

/// The capability that leaves RAM out of the stream.
pub(super) const IGNORE_SHARED: &str = "x-ignore-shared";

/// A machine as QEMU describes it.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) version: Version,
    /// What it emulates, such as `x86_64`.
    pub(super) target: String,
    /// Its type with the version of it, such as `pc-q35-7.2-machine`.
    pub(super) kind: String,
    pub(super) backends: Vec<Backend>,
}

/// RAM of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Backend {
    pub(super) id: String,
    pub(super) size: Bytes,
    pub(super) place: Place,
}

/// Where a backend has its memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In a file of this name, or in one without a name in this directory.
    File(PathBuf),
    /// In a memfd.
    Memfd,
}

#[derive(Deserialize)]
struct Status {
    status: String,
    running: bool,
}

#[derive(Deserialize)]
struct Target {
    arch: String,
}

#[derive(Deserialize)]
struct Memdev {
    id: Option<String>,
    size: u64,
    #[serde(default)]
    share: bool,
}

#[derive(Deserialize)]
struct Capability {
    capability: String,
    state: bool,
}

/// How far a migration is.
#[derive(Deserialize)]
pub(super) struct Migration {
    pub(super) status: Option<String>,
    #[serde(rename = "error-desc")]
    pub(super) error: Option<String>,
}

impl Machine {
    /// Asks QEMU; RAM that cannot be shared is refused.
    pub(super) fn ask(qmp: &mut Qmp) -> Result<Machine, VmError> {
        let target: Target = qmp.execute("query-target", &json!({}))?;
        let kind = property(qmp, "/machine", "type")?;
        let version = qmp.version().clone();
        let listed: Vec<Memdev> = qmp.execute("query-memdev", &json!({}))?;
        let mut backends = Vec::new();
        for memdev in listed {
            let id = memdev.id.clone().unwrap_or_else(|| "(unnamed)".to_owned());
            if !memdev.share {
                return Err(VmError::NotShared { backend: id });
            }
            let place = place(qmp, &id, &version)?;
            backends.push(Backend { id, size: Bytes(memdev.size), place });
        }
        if backends.is_empty() {
            return Err(VmError::NoBackend);
        }
        // QEMU lists them in an order of its own.
        backends.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Machine { version, target: target.arch, kind, backends })
    }
}

/// Finds out where a backend has its memory.
fn place(qmp: &mut Qmp, id: &str, version: &Version) -> Result<Place, VmError> {
    let object = format!("/objects/{id}");
    let kind = property(qmp, &object, "type")?;
    match kind.as_str() {
        "memory-backend-file" => Ok(Place::File(property(qmp, &object, "mem-path")?.into())),
        "memory-backend-memfd" if (version.major, version.minor) < MEMFD_SENT => Ok(Place::Memfd),
        "memory-backend-memfd" => {
            Err(VmError::MemfdSent { backend: id.to_owned(), version: version.clone() })
        }
        _ => Err(VmError::NoFile { backend: id.to_owned(), kind }),
    }
}

fn property(qmp: &mut Qmp, path: &str, property: &str) -> Result<String, VmError> {
    Ok(qmp.execute("qom-get", &json!({ "path": path, "property": property }))?)
}

/// Returns the state of the machine, and whether it runs.
pub(super) fn status(qmp: &mut Qmp) -> Result<(String, bool), VmError> {
    let Status { status, running } = qmp.execute("query-status", &json!({}))?;
    Ok((status, running))
}

/// Has QEMU leave shared RAM out of its stream, or not. Returns how it was.
pub(super) fn ignore_shared(qmp: &mut Qmp, wanted: bool) -> Result<bool, VmError> {
    let all: Vec<Capability> = qmp.execute("query-migrate-capabilities", &json!({}))?;
    let Some(found) = all.into_iter().find(|it| it.capability == IGNORE_SHARED) else {
        return Err(VmError::NoIgnoreShared { version: qmp.version().clone() });
    };
    if found.state != wanted {
        let capability = json!({ "capability": IGNORE_SHARED, "state": wanted });
        let arguments = json!({ "capabilities": [capability] });
        qmp.execute::<Value>("migrate-set-capabilities", &arguments)?;
    }
    Ok(found.state)
}

/// Says how far a migration is: whether it is done, or that it failed.
pub(super) fn is_migrated(qmp: &mut Qmp) -> Result<bool, VmError> {
    let Migration { status, error } = qmp.execute("query-migrate", &json!({}))?;
    match status.as_deref() {
        Some("completed") => Ok(true),
        Some(status @ ("failed" | "cancelled" | "cancelling")) => {
            let why = error.unwrap_or_else(|| "it does not say why".to_owned());
            Err(VmError::State { status: status.to_owned(), why })
        }
        _ => Ok(false),
    }
}
