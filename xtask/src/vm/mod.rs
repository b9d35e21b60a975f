//! `cargo xtask vm`: the kernel-facing tests on another kernel or architecture, in QEMU.
//!
//! [`run`] fetches Debian's kernel ([`kernel`]) and some programs ([`userland`]), builds static programs ([`programs`]), packs them
//! with a plan into an initramfs ([`initramfs`]), boots it ([`boot`]) and counts what the console
//! says ([`serial`]). Inside, [`guest`] is process 1. [`plan`] is what both sides agree on.

mod apt;
mod arch;
mod boot;
pub(crate) mod cross_check;
pub(crate) mod guest;
mod initramfs;
mod kernel;
mod plan;
mod programs;
mod serial;
mod userland;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::command::target_dir;
use crate::debian::{self, Need};
use apt::Apt;
use arch::Arch;
use plan::{Job, Plan};
use programs::Program;

/// Emulation is some 20 times slower than the processor: tests that wait wait that much longer.
const PATIENCE: u64 = 20;

/// Where test programs lie in the guest.
const TESTS_DIR: &str = "/tests";

/// Where `faultless`, the targets and we ourselves lie in the guest.
const TOOLS_DIR: &str = "/usr/local/bin";

/// Longest a job may take.
const JOB_TIMEOUT_S: u64 = 900;

/// Longest a kernel may take until the first job begins.
const BOOT_TIMEOUT_S: u64 = 300;

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Architecture of the guest
    #[arg(long, value_enum)]
    arch: Arch,
    /// Debian kernel: 6.1 (bookworm), 6.12 (trixie), newest (sid), or a suite's name
    /// [default: 6.1 on x86_64, 6.12 on aarch64, where write-protection came with 6.10]
    #[arg(long)]
    kernel: Option<String>,
    /// Run this instead of the tests; tests are in /tests, ours and Debian's programs on the path
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs the tests in a guest; `Ok(false)` if any failed.
pub(crate) fn run(args: &Args) -> Result<bool> {
    provide_tools(args.arch)?;
    let dir = target_dir()?.join("vm");
    let apt = Apt::new(&dir, suite_of(args), args.arch);
    let kernel = kernel::fetch(&apt)?;
    let content = Content::build(args.arch, userland::fetch(&apt)?)?;
    let plan = plan_of(&content, &args.command);
    let initramfs = pack(&dir.join(format!("{}.cpio", args.arch.target())), &content, &plan)?;
    println!("booting Linux {} ({}) in emulation", kernel.release, args.arch.debian());
    let mut console = serial::Console::default();
    let machine = boot::Machine {
        arch: args.arch,
        kernel: &kernel.image,
        initramfs: &initramfs,
        timeout_s: plan.jobs.iter().map(|job| job.timeout_s).sum::<u64>() + BOOT_TIMEOUT_S,
    };
    let clean = boot::boot(&machine, |line| {
        println!("{line}");
        console.line(line);
    })?;
    let tally = console.finish(clean);
    tally.print();
    Ok(tally.failed() == 0)
}

/// The suite of the kernel asked for.
fn suite_of(args: &Args) -> &str {
    match (args.kernel.as_deref(), args.arch) {
        (Some("6.1"), _) | (None, Arch::X86_64) => "bookworm",
        // Debian's 6.1 has userfaultfd on arm64, but neither write-protection nor PAGEMAP_SCAN,
        // so there is nothing to attach with and nothing to snapshot.
        (Some("6.12"), _) | (None, Arch::Aarch64) => "trixie",
        (Some("newest"), _) => "sid",
        (Some(suite), _) => suite,
    }
}

fn provide_tools(arch: Arch) -> Result<()> {
    let needs = [arch.emulator_package(), arch.compiler_package()]
        .map(|(program, packages)| Need { program, packages, used_for: "the guest" });
    if let Some(need) = debian::provide(&needs)?.first() {
        bail!("{}", debian::advice(need));
    }
    Ok(())
}

/// Everything that goes into the guest.
struct Content {
    tests: Vec<Program>,
    tools: Vec<Program>,
    /// This program, built for the guest.
    init: PathBuf,
    /// Debian's programs, an unpacked tree.
    userland: PathBuf,
}

impl Content {
    fn build(arch: Arch, userland: PathBuf) -> Result<Content> {
        let tests = programs::tests(arch)?;
        let tools = programs::binaries(arch, "xtask")?;
        let Some(init) = tools.first().map(|program| program.path.clone()) else {
            bail!("cargo built no xtask for the guest");
        };
        Ok(Content { tests, tools, init, userland })
    }
}

fn plan_of(content: &Content, command: &[String]) -> Plan {
    let timeout_s = JOB_TIMEOUT_S;
    let jobs = if command.is_empty() {
        content.tests.iter().map(|test| test_job(test, timeout_s)).collect()
    } else {
        vec![Job { name: "command".to_owned(), argv: command.to_vec(), timeout_s }]
    };
    let env = [
        ("PATH", format!("{TOOLS_DIR}:/usr/bin:/usr/sbin")),
        ("HOME", "/tmp".to_owned()),
        ("RUST_BACKTRACE", "1".to_owned()),
        ("CONFORM_PATIENCE", PATIENCE.to_string()),
    ];
    Plan { jobs, env: env.map(|(name, value)| (name.to_owned(), value)).into() }
}

fn test_job(test: &Program, timeout_s: u64) -> Job {
    let argv = vec![format!("{TESTS_DIR}/{}", test.name), "--show-output".to_owned()];
    Job { name: test.name.clone(), argv, timeout_s }
}

/// Writes the initramfs and returns its path.
fn pack(path: &Path, content: &Content, plan: &Plan) -> Result<PathBuf> {
    let mut archive = initramfs::Archive::new(BufWriter::new(File::create(path)?))?;
    archive.file("/init", 0o755, &fs::read(&content.init)?)?;
    archive.file(plan::PLAN_PATH, 0o644, &serde_json::to_vec_pretty(plan)?)?;
    userland::pack(&content.userland, &mut archive)?;
    for (dir, programs) in [(TESTS_DIR, &content.tests), (TOOLS_DIR, &content.tools)] {
        for program in programs {
            let inside = format!("{dir}/{}", program.name);
            archive.file(&inside, 0o755, &fs::read(&program.path)?)?;
            // Tests find sibling programs by the path cargo compiled into them.
            if let Some(outside) = program.path.to_str() {
                archive.symlink(outside, &inside)?;
            }
        }
    }
    archive.finish()?;
    Ok(path.to_owned())
}
