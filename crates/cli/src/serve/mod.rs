//! `faultless serve`: restores programs lazily from an image.
//!
//! The command is the front; it starts this program again, as `__serve-worker`, for the worker,
//! whose standard input is the socket to the front.

mod metrics;
mod tell;
mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use faultless_pages::Bytes;
use faultless_services::serve::front::{Front, FrontError, Listener, Options, Wishes};
use faultless_services::serve::notify::notify;

use crate::exit::{Exit, Failure};
use crate::signals::Interrupts;
use crate::size;
pub(crate) use worker::{WorkerArgs, run as run_worker, spawner};

/// Restore VMs, containers and programs lazily from an image
///
/// Listens on a socket. A program that connects hands its userfaultfd over, in the protocol of
/// Firecracker's Uffd backend, of nydus, of Cloud Hypervisor's hand-off, or of the
/// faultless-client crate: which one is told by what it says. From then on its memory is filled
/// from IMAGE as it touches it.
///
/// A worker process serves the faults. When it dies, another takes over and no client notices
/// more than a pause. SIGTERM fills the memory of all clients, lets it go, and ends; SIGHUP starts
/// a new worker, as after an upgrade.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to serve: an image, a raw memory file (a Firecracker snapshot's is one), or an ELF core
    image: PathBuf,
    /// Where to listen; the socket of a server that died is replaced
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Permissions of the socket, octal
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = octal)]
    mode: u32,
    /// Users that may connect, by number; repeat for more [default: this user, and root]
    #[arg(long = "allow-user", value_name = "UID", help_heading = "Clients")]
    users: Vec<u32>,
    /// Most clients at a time
    #[arg(long, value_name = "N", default_value_t = 1024, help_heading = "Clients")]
    max_clients: usize,
    /// How long a client has to hand its memory over, in seconds
    #[arg(long, value_name = "S", default_value_t = 5, help_heading = "Clients")]
    patience: u64,
    /// Fill all memory in the background, besides what is touched
    #[arg(long, help_heading = "Serving")]
    prefault: bool,
    /// Record what each client touches, and when first; what is there of FILE is added to. Nothing
    /// is fetched ahead meanwhile, so clients are slower
    #[arg(long, value_name = "FILE", conflicts_with = "prefault", help_heading = "Serving")]
    record: Option<PathBuf>,
    /// Fetch ahead what at least half of the clients recorded in FILE touched, in their order
    #[arg(long, value_name = "FILE", conflicts_with = "record", help_heading = "Serving")]
    replay: Option<PathBuf>,
    /// How much of the image is kept decompressed for all clients
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = size::parse,
        help_heading = "Serving")]
    cache: Bytes,
    /// Threads that read the image
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Serving")]
    threads: usize,
    /// Serve metrics for Prometheus at this address, as http://ADDR/metrics
    #[arg(long, value_name = "ADDR", help_heading = "Output")]
    metrics: Option<SocketAddr>,
    /// Print what happens as JSON, one object a line
    #[arg(long, help_heading = "Output")]
    json: bool,
}

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "give permissions in octal, like 660".to_owned())
}

/// Serves until it is asked to end.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let interrupts = Interrupts::catch_all_but_hangup()
        .map_err(|error| Failure::new(Exit::Host, format_args!("signals: {error}")))?;
    let wishes = Wishes { stop: Arc::clone(&interrupts.cancel), ..Wishes::default() };
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&wishes.renew))
        .map_err(|error| Failure::new(Exit::Host, format_args!("signals: {error}")))?;
    raise_limit();
    let listener =
        Listener::bind(&args.socket, args.mode).map_err(|error| Failure::new(Exit::Host, error))?;
    let mut told = tell::Told::new(args.json, std::env::var("NOTIFY_SOCKET").ok());
    if let Some(address) = args.metrics {
        metrics::serve(address, told.board()).map_err(|error| {
            Failure::new(Exit::Host, format_args!("{address}: {error}"))
                .next("choose a free address for --metrics")
        })?;
    }
    let options = Options {
        clients_max: args.max_clients,
        patience: Duration::from_secs(args.patience),
        users: Some(users(args)),
        prefault: args.prefault,
    };
    let spawn = spawner(&WorkerArgs {
        image: args.image.clone(),
        cache: args.cache,
        threads: args.threads,
        record: args.record.clone(),
        replay: args.replay.clone(),
        finish_alone: false,
    });
    let ended = Front::new(listener, spawn, options, wishes, &mut told).and_then(Front::run);
    let _ = notify(std::env::var("NOTIFY_SOCKET").ok().as_deref(), "STOPPING=1");
    match ended {
        Ok(figures) => {
            told.summary(&figures);
            Ok(Exit::Done)
        }
        // The worker has said why, on the same standard error.
        Err(FrontError::NeverReady(status)) => Err(Failure::new(
            status.code().map_or(Exit::Bug, |code| if code == 4 { Exit::Peer } else { Exit::Host }),
            "",
        )),
        Err(error) => Err(Failure::new(Exit::Host, error)),
    }
}

fn users(args: &Args) -> Vec<u32> {
    if args.users.is_empty() {
        return vec![rustix::process::geteuid().as_raw(), 0];
    }
    args.users.clone()
}

/// Lets this process have as many descriptors as the system allows it: a client takes three.
pub(super) fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Refused, it stays as it was; too many clients are then turned away one by one.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
