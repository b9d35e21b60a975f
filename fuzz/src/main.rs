//! The driver: fuzzes without more than a stable compiler.
//!
//! `drive [--seconds N] [--seed S] [--keep] [--canary] [TARGET …]`. Inputs that go a way no other
//! went are changed further, and with `--keep` written to the corpus. A panic ends the run with
//! the input in `artifacts/`; so does an input that takes [`PATIENCE`]. Memory is limited, so that
//! an allocation of a length an input merely claims ends the run as well. Exit code 1 means a find.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faultless_fuzz::mutate::{Rng, mutate};
use faultless_fuzz::{CANARY, TARGETS, Target};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// An input that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room for the driver and the honest needs of decoders.
const ADDRESS_SPACE: u64 = 2 << 30;
/// Most inputs kept for changing.
const POOL_MAX: usize = 4096;

struct Options {
    seconds: u64,
    seed: u64,
    keep: bool,
    canary: bool,
    names: Vec<String>,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("drive: {problem}");
            return ExitCode::from(2);
        }
    };
    let maximum = getrlimit(Resource::As).maximum;
    let limit = Rlimit { current: Some(ADDRESS_SPACE), maximum };
    setrlimit(Resource::As, limit).expect("a lower limit is always allowed");
    // One line a find is enough; the input is kept.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    if options.canary {
        return if fuzz(&CANARY, &options) { ExitCode::SUCCESS } else { ExitCode::from(1) };
    }
    let chosen = |target: &&Target| {
        options.names.is_empty() || options.names.iter().any(|name| name == target.name)
    };
    let mut found = false;
    for target in TARGETS.iter().filter(chosen) {
        found |= fuzz(target, &options);
    }
    ExitCode::from(u8::from(found))
}

fn options() -> Result<Options, String> {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut options = Options {
        seconds: 20,
        seed: clock.map_or(0, |since| since.as_secs()),
        keep: false,
        canary: false,
        names: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().and_then(|value| value.parse().ok());
            value.ok_or_else(|| format!("{arg} needs a number"))
        };
        match arg.as_str() {
            "--seconds" => options.seconds = number()?,
            "--seed" => options.seed = number()?,
            "--keep" => options.keep = true,
            "--canary" => options.canary = true,
            name if TARGETS.iter().any(|target| target.name == name) => options.names.push(arg),
            other => return Err(format!("there is no target or option {other}")),
        }
    }
    Ok(options)
}

/// Inputs, and the ways they went.
struct Pool {
    inputs: Vec<Vec<u8>>,
    ways: BTreeSet<u64>,
}

/// Fuzzes one target; says whether something was found.
fn fuzz(target: &Target, options: &Options) -> bool {
    let mut pool = Pool { inputs: Vec::new(), ways: BTreeSet::new() };
    let watched = watch(target.name);
    let mut rng = Rng(options.seed);
    let start = Instant::now();
    let mut runs = 0u64;
    for input in (target.seeds)().into_iter().chain(corpus(target.name)) {
        if try_one(target, &input, &watched, &mut pool).is_none() {
            return true;
        }
        pool.inputs.push(input);
    }
    while start.elapsed() < Duration::from_secs(options.seconds) {
        for _ in 0..256 {
            let mut input = pool.inputs[rng.below(pool.inputs.len())].clone();
            let other = rng.below(pool.inputs.len());
            mutate(&mut input, &pool.inputs[other], &mut rng);
            runs += 1;
            match try_one(target, &input, &watched, &mut pool) {
                None => return true,
                Some(true) if pool.inputs.len() < POOL_MAX => {
                    if options.keep {
                        save("corpus", target.name, &input);
                    }
                    pool.inputs.push(input);
                }
                Some(_) => {}
            }
        }
    }
    *watched.lock().expect("the watchdog does not panic") = None;
    let (ways, seed) = (pool.ways.len(), options.seed);
    println!("{}: {runs} inputs, {ways} ways, nothing found (seed {seed})", target.name);
    false
}

type Watched = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

/// Runs one input; `None` if it found something, else whether it went a new way.
fn try_one(target: &Target, input: &[u8], watched: &Watched, pool: &mut Pool) -> Option<bool> {
    *watched.lock().expect("the watchdog does not panic") = Some((Instant::now(), input.to_vec()));
    // Targets keep nothing from one input to the next.
    match catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        Ok(way) => Some(pool.ways.insert(way)),
        Err(_) => {
            let path = save("artifacts", target.name, input);
            println!("{}: found; the input is {}", target.name, path.display());
            None
        }
    }
}

/// Ends the process when an input hangs.
fn watch(name: &'static str) -> Watched {
    let watched = Watched::default();
    let of_thread = Arc::downgrade(&watched);
    std::thread::spawn(move || {
        while let Some(watched) = of_thread.upgrade() {
            let stuck = watched.lock().expect("the driver does not panic").clone();
            if let Some((_, input)) = stuck.filter(|(since, _)| since.elapsed() > PATIENCE) {
                let path = save("artifacts", name, &input);
                println!("{name}: an input takes too long; it is {}", path.display());
                std::process::exit(1);
            }
            drop(watched);
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    watched
}

fn folder(kind: &str, name: &str) -> PathBuf {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    root.join(kind).join(name)
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder("corpus", name)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// Writes an input under the name of its content.
fn save(kind: &str, name: &str, input: &[u8]) -> PathBuf {
    let path = folder(kind, name).join(format!("{:08x}", crc32c::crc32c(input)));
    let _ = std::fs::create_dir_all(folder(kind, name));
    if let Err(error) = std::fs::write(&path, input) {
        eprintln!("drive: cannot write {}: {error}", path.display());
    }
    path
}
