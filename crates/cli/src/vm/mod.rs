//! `faultless vm`: a QEMU saved, and restored lazily.
//!
//! The service does the work; here stands what is typed, who watches, and what is said.

mod restore;
mod save;
mod text;

use std::io::Write as _;
use std::path::PathBuf;

use faultless_pages::Bytes;
use faultless_services::Class;
use faultless_services::vm::{News, Step, VmError};

use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::units::duration;

/// Save a QEMU virtual machine, and restore it lazily.
#[derive(clap::Args)]
#[command(long_about = "\
Save a QEMU virtual machine, and restore it lazily.

QEMU is unmodified. Its RAM must be shared memory (memory-backend-file,share=on with a mem-path \
in /dev/shm), and it must have a QMP monitor on a socket (-qmp unix:PATH,server=on,wait=off). \
The faults must be emulation's: with KVM they come from the kernel, which needs the same rights \
(see faultless doctor).")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Save(save::Args),
    Restore(restore::Args),
}

/// Which QEMU.
#[derive(clap::Args)]
struct Qemu {
    /// The socket of QEMU's QMP monitor
    #[arg(long = "qmp", value_name = "SOCKET", help_heading = "QEMU")]
    monitor: PathBuf,

    /// QEMU's process, if another one made the socket for it
    #[arg(long, value_name = "PID", help_heading = "QEMU",
        value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
}

/// Runs the command below `vm` that was asked for.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Save(args) => save::run(args),
        Command::Restore(args) => restore::run(args),
    }
}

/// Takes an error over, with its next step; `interrupted` is the exit of the signal that came.
fn failure(error: &VmError, interrupted: Option<Exit>) -> Failure {
    let exit = match error.class() {
        Class::Usage => Exit::Usage,
        Class::Host => Exit::Host,
        Class::Peer => Exit::Peer,
        Class::Interrupted => interrupted.unwrap_or(Exit::Bug),
        Class::Bug => Exit::Bug,
    };
    let failure = Failure::new(exit, error);
    match error.next_step() {
        step if step.is_empty() => failure,
        step => failure.next(step),
    }
}

/// Tells on standard error what happens.
struct Teller {
    phase: &'static str,
    progress: Option<Progress>,
}

impl Teller {
    fn new(phase: &'static str) -> Teller {
        Teller { phase, progress: None }
    }

    fn tell(&mut self, step: Step) {
        match step {
            Step::Passed(done, total) => {
                let phase = self.phase;
                let progress = self.progress.get_or_insert_with(Progress::start);
                progress.phase(phase);
                progress.advance(done, total);
            }
            Step::GoesOn { after_ns, there } => {
                let after = duration(after_ns);
                self.say(&format!("the guest goes on after {after}, with {there} of its memory"));
            }
            Step::Filling(left) => self.filling(left),
            Step::Server(News::Replaced { pid, status }) => {
                self.say(&format!("worker {pid} ended ({status}); replaced"));
            }
            Step::Server(News::Lost { start, len, why }) => {
                self.say(&format!("{} at {start:#x} are lost: {why}", Bytes(len)));
            }
            Step::Server(News::Unrecorded(why)) => {
                self.say(&format!("what the guest touches is not recorded: {why}"));
            }
        }
    }

    fn filling(&mut self, left: Bytes) {
        self.say(&format!(
            "the guest needs {left} more, which come first; interrupt again to leave that to a \
             process in the background"
        ));
    }

    /// Prints a line, with no bar in its way.
    fn say(&mut self, text: &str) {
        self.progress = None;
        // Where stderr is gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "faultless: {text}");
    }
}
