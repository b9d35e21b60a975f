//! The engine on the memory of another process.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use faultless_pages::VaRange;
use faultless_paging::core::Ending;
use faultless_paging::linux::ForeignMemory;
use faultless_paging::shell::Crew;
use faultless_uffd::{ForeignUffd, UnboundUffd, recv_fds};

use crate::bench::this_program;
use crate::exit::Failure;

use super::crowd::Touches;
use super::engine::{crew, serve};
use super::faulter::{PLACE_LEN, peer, range_of};
use super::scene::{Scene, host};
use super::{Contender, Made, Task};

struct Foreign<'a> {
    scene: &'a Scene,
    crew: Crew,
    faulter: Faulter,
}

/// Makes the engine for another process, which it starts.
pub(super) fn foreign(scene: &Scene) -> Made<'_> {
    let faulter = Faulter::start()?;
    Ok(Ok(Box::new(Foreign { scene, crew: crew()?, faulter })))
}

impl Contender for Foreign<'_> {
    fn touch(&mut self, task: Task) -> Result<Touches, Failure> {
        let text = serde_json::to_string(&task).map_err(|error| peer(&error))?;
        self.faulter.say(&text)?;
        let (uffd, range) = self.faulter.memory()?;
        let memory = Arc::new(ForeignMemory::new(uffd));
        let pager = serve(&self.crew, memory, range, self.scene, task)?;
        self.faulter.say("go")?;
        let touches = self.faulter.touches();
        drop(pager.end(Ending::Complete));
        self.faulter.say("done")?;
        touches
    }

    fn looks_around(&self) -> bool {
        true
    }
}

/// The other process; it ends with this handle.
struct Faulter {
    child: Child,
    socket: UnixStream,
}

impl Faulter {
    fn start() -> Result<Faulter, Failure> {
        let (socket, other) = UnixStream::pair().map_err(|error| host(&error))?;
        let mut command = Command::new(this_program()?);
        command.args(["bench", "__faulter"]).stdin(Stdio::from(OwnedFd::from(other)));
        let child = command.spawn().map_err(|error| peer(&error))?;
        Ok(Faulter { child, socket })
    }

    fn say(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.socket, "{line}").map_err(|error| peer(&error))
    }

    /// Takes the userfaultfd over that it made, and where its memory lies.
    fn memory(&self) -> Result<(ForeignUffd, VaRange), Failure> {
        let mut place = [0; PLACE_LEN];
        let received = recv_fds(&self.socket, &mut place).map_err(|error| peer(&error))?;
        let complete = received.filter(|received| received.len == PLACE_LEN);
        let fd = complete.and_then(|received| received.fds.into_iter().next());
        let fd = fd.ok_or_else(|| peer(&"it hands no userfaultfd over"))?;
        let uffd = UnboundUffd::from_fd(fd).adopt().map_err(|error| peer(&error))?;
        let foreign = ForeignUffd::check(uffd).map_err(|(error, _)| peer(&error))?;
        Ok((foreign, range_of(place)))
    }

    /// Waits for what the touches took.
    fn touches(&self) -> Result<Touches, Failure> {
        let mut line = String::new();
        // Nothing follows the line before the next word from here: none of it is lost here.
        BufReader::new(&self.socket).read_line(&mut line).map_err(|error| peer(&error))?;
        serde_json::from_str(&line).map_err(|error| peer(&error))
    }
}

impl Drop for Faulter {
    fn drop(&mut self) {
        // Both fail only for a process that has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
