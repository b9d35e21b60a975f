//! The worker: serves the clients the front gives it.
//!
//! The engine's crew of threads does the work; this thread takes orders. When the front ends, the
//! worker goes on until its last client has ended: it has the only descriptors left.

mod client;
mod count;
mod mouth;
mod rebuild;
mod source;
mod tape;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use faultless_pages::{Bytes, RangeSet};
use faultless_paging::linux::MonotonicClock;
use faultless_paging::shell::{Crew, CrewOptions};
use faultless_uffd::Pid;

use self::client::{Client, House};
use self::mouth::Mouth;
use self::tape::Tape;
use super::control::{self, ClientId, Order, Received, Word};
use super::{Figures, Memory};

/// How often a worker without a front looks whether its last client has ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How a worker works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that read the image.
    pub threads: usize,
    /// Where what clients touch is recorded.
    pub record: Option<PathBuf>,
    /// What earlier clients touched, to be fetched ahead.
    pub replay: Option<PathBuf>,
    /// Fill the memory of all clients if the front ends, and let it go: nobody else will ask.
    pub finish_alone: bool,
}

struct Worker {
    house: House,
    clients: BTreeMap<ClientId, Client>,
}

/// Serves `memory` to the clients that come over `front`, until the front has ended and the last
/// client with it.
///
/// # Errors
/// What the system says of the worker's own descriptors and threads; nothing a client does.
pub fn run(front: OwnedFd, memory: Memory, options: &Options) -> io::Result<()> {
    let tape = Tape::open(options.record.as_deref(), options.replay.as_deref())?;
    let crew = CrewOptions { resolvers: options.threads, ..CrewOptions::default() };
    let crew = Crew::start(crew, Arc::new(MonotonicClock::new())).map_err(io::Error::other)?;
    let mouth = Mouth(Arc::new(front));
    let memory = Arc::new(memory);
    let Bytes(image) = memory.len();
    let house = House { crew, memory, counters: Arc::default(), mouth: mouth.clone(), tape };
    let mut worker = Worker { house, clients: BTreeMap::new() };
    mouth.say(&Word::Ready { image });
    loop {
        match control::receive(&*mouth.0)? {
            Received::Message(order, fds) => worker.obey(order, fds),
            Received::Nothing => {}
            Received::Ended => break,
        }
        worker.sweep();
    }
    if options.finish_alone {
        worker.clients.values().for_each(Client::finish);
    }
    while worker.house.crew.served() > 0 {
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

impl Worker {
    fn obey(&mut self, order: Order, fds: Vec<OwnedFd>) {
        match order {
            Order::Serve { client, .. } => {
                let served = self.serve(order, fds);
                self.house.mouth.say(&match served {
                    Ok(()) => Word::Serving { client },
                    Err(why) => Word::Failed { client, why },
                });
            }
            Order::Add { client, regions } => {
                // The front has checked it: there is nobody else to tell.
                let Ok(layout) = control::layout(&regions) else { return };
                let Some(found) = self.clients.remove(&client) else { return };
                match found.add(&self.house, &layout) {
                    Ok(found) => drop(self.clients.insert(client, found)),
                    Err(error) => {
                        self.house.mouth.say(&Word::Failed { client, why: error.to_string() });
                    }
                }
            }
            Order::Prefetch { client, start, len } => {
                if let (Some(found), Some(range)) =
                    (self.clients.get(&client), control::range(start, len))
                {
                    found.prefetch(range);
                }
            }
            Order::Leave { client } => {
                if let Some(found) = self.clients.remove(&client) {
                    self.keep(&found);
                    found.leave();
                }
            }
            Order::Finish => self.clients.values().for_each(Client::finish),
            Order::Report => {
                let cached_bytes = self.house.memory.cached().0;
                let figures = Figures { cached_bytes, ..self.house.counters.figures() };
                self.house.mouth.say(&Word::Figures(figures));
            }
        }
    }

    /// Lets go of clients that have ended.
    fn sweep(&mut self) {
        let over: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| client.is_over()).map(|(id, _)| *id).collect();
        for id in over {
            if let Some(client) = self.clients.remove(&id) {
                self.keep(&client);
            }
        }
    }

    /// Keeps what a client touched, if that is wanted.
    fn keep(&mut self, client: &Client) {
        if let Err(error) = self.house.tape.add(&client.recording()) {
            self.house.mouth.say(&Word::Unrecorded { why: error.to_string() });
        }
    }

    /// Takes a client on, as it is or as another worker left it.
    fn serve(&mut self, order: Order, fds: Vec<OwnedFd>) -> Result<(), String> {
        let Order::Serve { client: id, pid, regions, removed, prefault, again } = order else {
            return Ok(());
        };
        let fds = <[OwnedFd; 2]>::try_from(fds)
            .map_err(|fds| format!("{} descriptors came with a client, not 2", fds.len()))?;
        let layout = control::layout(&regions).map_err(|refusal| refusal.to_string())?;
        let removed: RangeSet =
            removed.iter().filter_map(|(start, len)| control::range(*start, *len)).collect();
        let again = Pid::from_raw(pid).filter(|_| again);
        let known = (&removed, again);
        let client = Client::serve(&self.house, id, fds, prefault, &layout, known);
        self.clients.insert(id, client.map_err(|error| error.to_string())?);
        Ok(())
    }
}
