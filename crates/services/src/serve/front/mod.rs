//! The front: one loop that listens, understands and keeps.
//!
//! It sleeps in one `epoll` on the listening socket, on each connection, and on the worker. It
//! never waits for anybody: a peer that says nothing is refused when its time is over, and what
//! the worker has no room for is kept until it has.

mod connection;
mod link;
mod listener;
mod record;
mod story;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use faultless_pages::Bytes;
use faultless_wire::{Attach, Layout, Request, native};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use self::connection::{Connection, ConnectionId, Heard};
pub(super) use self::link::{Link, Outgoing};
use self::record::Record;
use super::Figures;
use super::control::{self, ClientId, Order, Received, Word};

pub use listener::{ListenError, Listener};
pub use story::{Rejection, Story, Tale};

/// Events taken from `epoll` at a time.
const EVENTS: usize = 256;
/// How often the worker is asked what it did.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long to wait before a worker is started again that did not come to work.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How the front works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most clients at a time.
    pub clients_max: usize,
    /// How long a peer has to hand its memory over.
    pub patience: Duration,
    /// Users that may connect; `None` for all who can reach the socket.
    pub users: Option<Vec<u32>>,
    /// Fill the memory of all clients without waiting for faults.
    pub prefault: bool,
}

/// What is asked of the front from outside, by signals.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// End: fill the memory of all clients, let it go, and return.
    pub stop: Arc<AtomicBool>,
    /// Start another worker in the place of this one, as after an upgrade.
    pub renew: Arc<AtomicBool>,
}

/// Starts a worker on its end of a socket.
pub type Spawn = Box<dyn FnMut(OwnedFd) -> io::Result<Child> + Send>;

/// Why the front ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontError {
    /// Its own descriptors fail.
    #[error("the page server cannot go on: {0}")]
    System(#[from] io::Error),
    /// The first worker ended before it could serve, and has said why.
    #[error("the worker cannot serve the image ({0})")]
    NeverReady(ExitStatus),
}

impl From<Errno> for FrontError {
    fn from(errno: Errno) -> FrontError {
        FrontError::System(errno.into())
    }
}

#[derive(Clone, Copy, Debug)]
enum Token {
    Listener,
    Worker,
    Connection(ConnectionId),
}

impl Token {
    fn data(self) -> EventData {
        EventData::new_u64(match self {
            Token::Listener => 0,
            Token::Worker => 1,
            Token::Connection(ConnectionId(number)) => number + 2,
        })
    }

    fn of(data: EventData) -> Token {
        match data.u64() {
            0 => Token::Listener,
            1 => Token::Worker,
            number => Token::Connection(ConnectionId(number - 2)),
        }
    }
}

/// The front.
pub struct Front<'a> {
    options: Options,
    wishes: Wishes,
    spawn: Spawn,
    story: &'a mut dyn Story,
    epoll: OwnedFd,
    listener: Option<Listener>,
    link: Option<Link>,
    /// When the next worker is started, while there is none.
    next_worker: Option<Instant>,
    image: Option<Bytes>,
    connections: BTreeMap<ConnectionId, Connection>,
    clients: BTreeMap<ClientId, Record>,
    number: u64,
    workers: u64,
    /// What workers did that are no more.
    past: Figures,
    now: Figures,
    reported: Instant,
    finishing: bool,
}

impl<'a> Front<'a> {
    /// Starts the first worker.
    ///
    /// # Errors
    /// [`FrontError::System`].
    pub fn new(
        listener: Listener,
        spawn: Spawn,
        options: Options,
        wishes: Wishes,
        story: &'a mut dyn Story,
    ) -> Result<Front<'a>, FrontError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut front = Front {
            options,
            wishes,
            spawn,
            story,
            epoll,
            listener: Some(listener),
            link: None,
            next_worker: None,
            image: None,
            connections: BTreeMap::new(),
            clients: BTreeMap::new(),
            number: 0,
            workers: 0,
            past: Figures::default(),
            now: Figures::default(),
            reported: Instant::now(),
            finishing: false,
        };
        front.start_worker()?;
        Ok(front)
    }

    /// Serves until it is asked to end and the last client's memory is whole.
    ///
    /// # Errors
    /// [`FrontError`].
    pub fn run(mut self) -> Result<Figures, FrontError> {
        while !(self.finishing && self.clients.is_empty()) {
            self.turn()?;
        }
        // It may still have to write down what clients touched.
        if let Some(link) = self.link.take() {
            link.part()?;
        }
        self.past.add(&self.now);
        Ok(self.past)
    }

    /// Sleeps until something happens, and sees to it.
    fn turn(&mut self) -> Result<(), FrontError> {
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let timeout = self.timeout();
        match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in ready {
            match Token::of(event.data) {
                Token::Listener => self.accept()?,
                Token::Worker => self.hear_worker()?,
                Token::Connection(id) => self.hear(id),
            }
        }
        self.keep_time()?;
        self.heed_wishes();
        self.flush()
    }

    /// Until when nothing has to be done without being asked: signals come as interruptions, but
    /// one that comes just before the sleep is seen only after it.
    fn timeout(&self) -> Timespec {
        let deadline = self.connections.values().filter_map(Connection::deadline).min();
        let next = deadline.into_iter().chain(self.next_worker).min();
        let left = next.map_or(REPORT_EVERY, |at| at.saturating_duration_since(Instant::now()));
        let left = left.min(REPORT_EVERY);
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(1),
            tv_nsec: left.subsec_nanos().into(),
        }
    }

    fn watch(&self, fd: impl AsFd, token: Token) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, token.data(), EventFlags::IN)
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Lets in who connects.
    fn accept(&mut self) -> Result<(), FrontError> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let Some(stream) = listener.accept()? else { return Ok(()) };
        let deadline = Instant::now() + self.options.patience;
        let connection = match Connection::of(stream, deadline, self.options.users.as_deref()) {
            Ok(connection) => connection,
            Err(rejection) => {
                self.story.tell(&Tale::Rejected { pid: None, why: rejection });
                return Ok(());
            }
        };
        if self.clients.len().max(self.connections.len()) >= self.options.clients_max {
            let why = Rejection::Full(self.options.clients_max);
            self.story.tell(&Tale::Rejected { pid: Some(connection.pid()), why });
            return Ok(());
        }
        let id = ConnectionId(self.next_number());
        self.watch(&connection, Token::Connection(id))?;
        self.connections.insert(id, connection);
        Ok(())
    }

    /// Takes what a peer says.
    fn hear(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut requests = Vec::new();
        let heard = connection.hear(&mut requests);
        for request in requests {
            if let Err(why) = self.obey(id, request) {
                return self.refuse(id, why);
            }
        }
        match heard {
            Ok(Heard::Open) => {}
            Ok(Heard::Closed) => self.hang_up(id),
            Err(refusal) => self.refuse(id, Rejection::Refused(refusal)),
        }
    }

    fn obey(&mut self, id: ConnectionId, request: Request<OwnedFd>) -> Result<(), Rejection> {
        match request {
            Request::Hello(_) => {
                let image = self.image.unwrap_or_default();
                self.answer(id, &native::Reply::welcome(image, false).encode());
            }
            Request::Attach(attach) => self.attach(id, attach)?,
            Request::AddRegions(layout) => self.add(id, &layout)?,
            Request::Prefetch(range) => {
                if let Some(client) = self.client_of(id) {
                    let (start, len) = (range.start().0, range.len().0);
                    self.order(&Order::Prefetch { client, start, len }, None);
                }
            }
            Request::Bye => {
                if let Some(client) = self.client_of(id) {
                    self.order(&Order::Leave { client }, None);
                    self.forget(client);
                }
            }
        }
        Ok(())
    }

    /// Takes a client's memory over.
    fn attach(&mut self, id: ConnectionId, attach: Attach<OwnedFd>) -> Result<(), Rejection> {
        self.check(&attach.layout)?;
        let client = ClientId(self.next_number());
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let prefault = attach.prefault || self.options.prefault;
        let record = Record::new(id, connection, attach, prefault)
            .map_err(|error| Rejection::Descriptors(error.to_string()))?;
        connection.attached(client);
        let order = record.serve(client, false);
        self.clients.insert(client, record);
        self.order(&order, Some(client));
        Ok(())
    }

    fn add(&mut self, id: ConnectionId, layout: &Layout) -> Result<(), Rejection> {
        self.check(layout)?;
        let Some(client) = self.client_of(id) else { return Ok(()) };
        let Some(record) = self.clients.get_mut(&client) else { return Ok(()) };
        record.add(layout).map_err(Rejection::Refused)?;
        self.order(&Order::Add { client, regions: control::pieces(layout) }, None);
        Ok(())
    }

    /// Before the image is known nobody is let in, so there is one to compare with.
    fn check(&self, layout: &Layout) -> Result<(), Rejection> {
        layout.check_within(self.image.unwrap_or_default()).map_err(Rejection::Refused)
    }

    fn client_of(&self, id: ConnectionId) -> Option<ClientId> {
        self.connections.get(&id).and_then(Connection::client)
    }

    fn answer(&mut self, id: ConnectionId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get(&id) {
            connection.answer(bytes);
        }
    }

    /// Refuses a peer. Memory it has handed over before stays served.
    fn refuse(&mut self, id: ConnectionId, why: Rejection) {
        if let Some(connection) = self.connections.remove(&id) {
            connection.refuse(&why);
            let _ = epoll::delete(&self.epoll, &connection);
            self.story.tell(&Tale::Rejected { pid: Some(connection.pid()), why });
        }
    }

    /// A peer has closed its socket, which is how some end the handshake. What it handed over is
    /// served for as long as its process lives.
    fn hang_up(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(&id) {
            let _ = epoll::delete(&self.epoll, &connection);
        }
    }

    /// Lets go of a client that needs nothing any more.
    fn forget(&mut self, client: ClientId) {
        if let Some(record) = self.clients.remove(&client) {
            self.story.tell(&Tale::Left { client, pid: record.pid() });
        }
    }

    /// Refuses peers whose time is over, starts a worker whose time has come.
    fn keep_time(&mut self) -> Result<(), FrontError> {
        let now = Instant::now();
        let late = |connection: &Connection| connection.deadline().is_some_and(|at| at <= now);
        let late: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, it)| late(it)).map(|(id, _)| *id).collect();
        for id in late {
            let why = self.connections[&id].why_late();
            self.refuse(id, Rejection::Refused(why));
        }
        if self.next_worker.is_some_and(|at| at <= now) {
            self.start_worker()?;
        }
        if now.duration_since(self.reported) >= REPORT_EVERY {
            self.reported = now;
            self.order(&Order::Report, None);
        }
        Ok(())
    }

    fn heed_wishes(&mut self) {
        if self.wishes.renew.swap(false, Ordering::Relaxed)
            && let Some(link) = &mut self.link
        {
            link.kill();
        }
        if self.wishes.stop.load(Ordering::Relaxed) && !self.finishing {
            self.finishing = true;
            self.listener = None;
            self.story.tell(&Tale::Finishing { clients: self.clients.len() });
            self.order(&Order::Finish, None);
        }
    }

    /// Starts a worker and gives it every client.
    fn start_worker(&mut self) -> Result<(), FrontError> {
        self.next_worker = None;
        let mut link = Link::start(&mut self.spawn)?;
        self.watch(&link, Token::Worker)?;
        for (client, record) in &self.clients {
            link.push(Outgoing::new(&record.serve(*client, true), Some(*client)));
        }
        if self.finishing {
            link.push(Outgoing::new(&Order::Finish, None));
        }
        self.workers += 1;
        self.story.tell(&Tale::Worker { pid: link.pid(), number: self.workers });
        self.link = Some(link);
        Ok(())
    }

    /// Tells the worker something, with a client's descriptors.
    fn order(&mut self, order: &Order, fds_of: Option<ClientId>) {
        if let Some(link) = &mut self.link {
            link.push(Outgoing::new(order, fds_of));
        }
    }

    /// Sends what waits for the worker, as far as it has room.
    fn flush(&mut self) -> Result<(), FrontError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let clients = &self.clients;
        let fds = |client: ClientId| -> Option<[BorrowedFd<'_>; 2]> {
            clients.get(&client).map(Record::fds)
        };
        if link.flush(fds) {
            // Whether there is more than fits is all that changes.
            let interest =
                if link.is_behind() { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            return Ok(epoll::modify(&self.epoll, &*link, Token::Worker.data(), interest)?);
        }
        self.worker_ended()
    }

    /// Takes what the worker says.
    fn hear_worker(&mut self) -> Result<(), FrontError> {
        while let Some(link) = &self.link {
            match control::receive::<Word>(link) {
                Ok(Received::Message(word, _)) => self.heed(word)?,
                Ok(Received::Nothing) => return Ok(()),
                Ok(Received::Ended) | Err(_) => return self.worker_ended(),
            }
        }
        Ok(())
    }

    fn heed(&mut self, word: Word) -> Result<(), FrontError> {
        match word {
            Word::Ready { image } => self.ready(Bytes(image))?,
            Word::Serving { client } => self.serving(client),
            Word::Failed { client, why } => self.failed(client, why),
            Word::Removed { client, start, len } => {
                if let (Some(record), Some(range)) =
                    (self.clients.get_mut(&client), control::range(start, len))
                {
                    record.removed(range);
                }
            }
            Word::Lost { client, start, len, why } => {
                if let Some(record) = self.clients.get(&client) {
                    if let (Some(connection), Some(range)) =
                        (self.connections.get(&record.connection()), control::range(start, len))
                    {
                        connection.lost(range);
                    }
                    let pid = record.pid();
                    self.story.tell(&Tale::Lost { client, pid, start, len, why });
                }
            }
            Word::Gone { client } => self.forget(client),
            Word::Unrecorded { why } => self.story.tell(&Tale::Unrecorded { why }),
            Word::Figures(figures) => {
                self.now = figures;
                let mut all = self.past;
                all.add(&figures);
                self.story.figures(&all, self.clients.len(), self.workers);
            }
        }
        Ok(())
    }

    /// The worker has the image open. Only now anybody is let in.
    fn ready(&mut self, image: Bytes) -> Result<(), FrontError> {
        if self.image.replace(image).is_none()
            && let Some(listener) = &self.listener
        {
            self.watch(listener, Token::Listener)?;
            self.story.tell(&Tale::Listening { image });
        }
        if let Some(link) = &mut self.link {
            link.ready = true;
        }
        Ok(())
    }

    fn serving(&mut self, client: ClientId) {
        let Some(record) = self.clients.get_mut(&client) else { return };
        // Told once, whichever worker it was.
        if record.served() {
            return;
        }
        let (pid, memory, dialect) = (record.pid(), record.memory(), record.dialect());
        let id = record.connection();
        self.answer(id, &dialect.accepted());
        self.story.tell(&Tale::Attached { client, pid, dialect: dialect.name(), memory });
    }

    /// A worker cannot serve a client. One that was served before must not go on: what it has not
    /// touched yet would wait for ever, or be zeros.
    fn failed(&mut self, client: ClientId, why: String) {
        let Some(record) = self.clients.remove(&client) else { return };
        let pid = record.pid();
        if record.was_served() {
            record.kill();
            return self.story.tell(&Tale::Killed { client, pid, why });
        }
        let (id, why) = (record.connection(), Rejection::Unservable(why));
        if self.connections.contains_key(&id) {
            return self.refuse(id, why);
        }
        self.story.tell(&Tale::Rejected { pid: Some(pid), why });
    }

    /// The worker is no more: another one takes over.
    fn worker_ended(&mut self) -> Result<(), FrontError> {
        let Some(link) = self.link.take() else { return Ok(()) };
        let _ = epoll::delete(&self.epoll, &link);
        let (pid, ready) = (link.pid(), link.ready);
        let status = link.reap()?;
        if self.image.is_none() {
            return Err(FrontError::NeverReady(status));
        }
        self.past.add(&std::mem::take(&mut self.now));
        self.story.tell(&Tale::WorkerEnded { pid, status: status.to_string() });
        // One that came to work is replaced at once; one that did not would only fail again.
        let pause = if ready { Duration::ZERO } else { AGAIN_AFTER };
        self.next_worker = Some(Instant::now() + pause);
        if ready { self.start_worker() } else { Ok(()) }
    }
}
