//! What happens while serving, told: to people, to machines, to the service manager, to metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faultless_services::serve::Figures;
use faultless_services::serve::front::{Story, Tale};
use faultless_services::serve::notify::notify;

/// The numbers that metrics show.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Shown>);

#[derive(Clone, Debug, Default)]
struct Shown {
    figures: Figures,
    clients: usize,
    workers: u64,
    attached: u64,
    rejected: BTreeMap<&'static str, u64>,
}

impl Board {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the text Prometheus reads.
    pub(super) fn text(&self) -> String {
        let shown = self.shown().clone();
        let mut out = String::new();
        let mut add = |name: &str, help: &str, value: u64| {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = writeln!(out, "# HELP faultless_{name} {help}");
            let _ = writeln!(out, "# TYPE faultless_{name} {kind}");
            let _ = writeln!(out, "faultless_{name} {value}");
        };
        for (name, help, value) in shown.figures.named() {
            add(name, help, value);
        }
        add("clients", "clients served", shown.clients as u64);
        add("clients_attached_total", "clients that handed memory over", shown.attached);
        add("workers_total", "workers started", shown.workers);
        let _ = writeln!(out, "# HELP faultless_rejected_total peers refused, by reason");
        let _ = writeln!(out, "# TYPE faultless_rejected_total counter");
        for (label, count) in &shown.rejected {
            let _ = writeln!(out, "faultless_rejected_total{{reason=\"{label}\"}} {count}");
        }
        out
    }
}

/// Tells.
pub(super) struct Told {
    json: bool,
    manager: Option<String>,
    board: Arc<Board>,
}

impl Told {
    pub(super) fn new(json: bool, manager: Option<String>) -> Told {
        Told { json, manager, board: Arc::default() }
    }

    pub(super) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Tells what was done, at the end.
    pub(super) fn summary(&self, figures: &Figures) {
        if self.json {
            let Ok(figures) = serde_json::to_value(figures) else { return };
            return self.line(&serde_json::json!({"event": "ended", "figures": figures}));
        }
        let Figures { faults, installed, zeroed, removed, poisoned, .. } = figures;
        say(&format!(
            "{faults} faults; pages: {installed} filled, {removed} discarded, {zeroed} of them \
             touched again, {poisoned} lost"
        ));
    }

    /// Prints an event. Whoever reads no more has no use for the rest.
    fn line(&self, object: &serde_json::Value) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{object}").and_then(|()| out.flush());
    }
}

impl Story for Told {
    fn tell(&mut self, tale: &Tale) {
        match tale {
            Tale::Attached { .. } => self.board.shown().attached += 1,
            Tale::Rejected { why, .. } => {
                *self.board.shown().rejected.entry(why.label()).or_default() += 1;
            }
            Tale::Worker { number, .. } => self.board.shown().workers = *number,
            Tale::Listening { .. } => {
                // A service that cannot tell is a service all the same.
                let _ = notify(self.manager.as_deref(), "READY=1");
            }
            _ => {}
        }
        if self.json {
            if let Ok(object) = serde_json::to_value(tale.fields()) {
                self.line(&object);
            }
        } else if let Some(text) = words(tale) {
            say(&text);
        }
    }

    fn figures(&mut self, figures: &Figures, clients: usize, workers: u64) {
        let mut shown = self.board.shown();
        shown.figures = *figures;
        shown.clients = clients;
        shown.workers = workers;
    }
}

fn say(text: &str) {
    // Where stderr is gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "faultless: {text}");
}

/// Puts what happened into words; `None` for what only machines want to know.
fn words(tale: &Tale) -> Option<String> {
    Some(match tale {
        Tale::Listening { image } => format!("serving {image} of memory"),
        Tale::Attached { pid, dialect, memory, .. } => {
            format!("process {pid} attached ({dialect}, {memory})")
        }
        Tale::Rejected { pid: Some(pid), why } => format!("process {pid} refused: {why}"),
        Tale::Rejected { pid: None, why } => format!("a peer was refused: {why}"),
        Tale::Lost { pid, start, len, why, .. } => {
            format!("{len} bytes at {start:#x} of process {pid} are lost: {why}")
        }
        Tale::Left { pid, .. } => format!("process {pid} left"),
        Tale::Killed { pid, why, .. } => {
            format!("process {pid} was ended, because it cannot be served any more: {why}")
        }
        Tale::WorkerEnded { pid, status } => format!("worker {pid} ended ({status}); replaced"),
        Tale::Unrecorded { why } => format!("what a client touched is not recorded: {why}"),
        Tale::Finishing { clients } => format!("ending; {clients} clients get all their memory"),
        Tale::Worker { .. } => return None,
    })
}
