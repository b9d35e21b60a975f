//! `cargo xtask vm`: the kernel-facing tests on another kernel or architecture, in QEMU.
//!
//! [`run`] fetches Debian's kernel ([`kernel`]) and some programs ([`userland`]), builds static
//! programs of ours ([`programs`]), packs them with a plan into an initramfs ([`initramfs`]), boots
//! it ([`boot`]) and counts what the console says ([`serial`]). Inside, [`guest`] is process 1.
//! [`plan`] is what both sides agree on.

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
pub(crate) mod showcase;
mod userland;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::target_dir;
use crate::debian::{self, Need};
use crate::soak::artifacts::{self, STAMPER};
use crate::test_program::Program;
use apt::Apt;
use arch::Arch;
use plan::{Job, Plan};

/// Emulation is some 20 times slower than the processor: tests that wait wait that much longer.
const PATIENCE: u64 = 20;

/// Where test programs lie in the guest.
const TESTS_DIR: &str = "/tests";

/// Where `faultless`, the targets and we ourselves lie in the guest.
const TOOLS_DIR: &str = "/usr/local/bin";

/// The test program that runs only when it is asked for: it goes on as long as it is told to.
const DIFFERENTIAL: &str = "differential";

/// Longest a job may take.
const JOB_TIMEOUT_S: u64 = 900;

/// Says what this kernel has and what each missing thing costs; fails if snapshots do not work.
const DOCTOR: &[&str] = &["faultless", "doctor"];

/// Ten snapshots of a stamping target, each checked to be one instant of it. Smaller than on the
/// processor itself: what matters here is another kernel and instruction set, not the amount.
const CUT: &[&str] = &[
    "xtask",
    "soak",
    "cut",
    "--snapshots",
    "10",
    "--size",
    "64",
    "--threads",
    "3",
    "--dir",
    "/var/tmp",
];

/// Size of the guest's disk, a sparse file: room for cores of the target and a swap file.
const DISK_BYTES: u64 = 2 << 30;

/// Longest a kernel may take until the first job begins.
const BOOT_TIMEOUT_S: u64 = 300;

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Architecture of the guest
    #[arg(long, value_enum, default_value_t = Arch::NATIVE)]
    arch: Arch,
    /// Debian kernel: 6.1 (bookworm), 6.12 (trixie), newest (sid), or a suite's name
    /// [default: 6.1 on x86_64, 6.12 on aarch64, where write-protection came with 6.10]
    #[arg(long)]
    kernel: Option<String>,
    /// Also run random programs for so long and compare the kernel with the model of its release
    #[arg(long, value_name = "N")]
    differential_seconds: Option<u64>,
    /// Run this instead of the tests, which are on the path like `faultless` and Debian's programs
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs the tests in a guest; `Ok(false)` if any failed.
pub(crate) fn run(args: &Args) -> Result<bool> {
    provide_tools(args.arch)?;
    let apt = Apt::new(&target_dir()?.join("vm"), suite_of(args), args.arch);
    let kernel = kernel::fetch(&apt)?;
    let content = Content::build(args.arch, userland::fetch(&apt)?, apt.dir())?;
    let plan = plan_of(&content, args);
    let initramfs = pack(&apt.dir().join("initramfs.cpio"), &content, &plan)?;
    let disk = apt.dir().join("disk.img");
    File::create(&disk)?.set_len(DISK_BYTES)?;
    println!("booting Linux {} ({}) in emulation", kernel.release, args.arch.debian());
    let mut console = serial::Console::default();
    let machine = boot::Machine {
        arch: args.arch,
        kernel: &kernel.image,
        initramfs: &initramfs,
        disk: &disk,
        timeout_s: plan.jobs.iter().map(|job| job.timeout_s).sum::<u64>() + BOOT_TIMEOUT_S,
    };
    let log_path = apt.dir().join("console.log");
    let mut log = BufWriter::new(File::create(&log_path)?);
    let clean = boot::boot(&machine, |line| {
        // The log is a convenience; the test is not to fail for want of it.
        let _ = writeln!(log, "{line}");
        if console.line(line) {
            println!("{line}");
        }
    })?;
    println!("the whole console is in {}", log_path.display());
    let mut tally = console.finish(clean);
    if tally.is_empty() {
        tally.fail("no test ran".to_owned());
    }
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
    provide_tools_of(&[arch.emulator_package(), arch.compiler_package()])
}

/// Installs programs with the packages that bring them, or says which are missing.
fn provide_tools_of(tools: &[(&'static str, &'static str)]) -> Result<()> {
    let need = |(program, packages)| Need { program, packages, used_for: "the guest" };
    let needs: Vec<Need> = tools.iter().copied().map(need).collect();
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
    /// Builds everything; programs that cargo does not build are left in `dir`.
    fn build(arch: Arch, userland: PathBuf, dir: &Path) -> Result<Content> {
        let tests = programs::tests(arch)?;
        let mut tools = programs::binaries(arch, &["xtask", "faultless-cli"])?;
        let ourselves = tools.iter().find(|program| program.name == "xtask");
        let init = ourselves.context("cargo built no xtask for the guest")?.path.clone();
        let stamper = artifacts::static_c_target(arch.c_compiler(), &STAMPER, dir)?;
        tools.push(Program { name: "stamper".to_owned(), path: stamper });
        Ok(Content { tests, tools, init, userland })
    }
}

fn plan_of(content: &Content, args: &Args) -> Plan {
    let timeout_s = JOB_TIMEOUT_S;
    let job = |name: &str, argv: &[&str]| {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        Job { name: name.to_owned(), argv, timeout_s }
    };
    let jobs = if args.command.is_empty() {
        let tests = content.tests.iter().filter(|test| test.name != DIFFERENTIAL);
        let tests = tests.map(|test| test_job(test, timeout_s));
        let all = [job("doctor", DOCTOR)].into_iter().chain(tests).chain([job("cut", CUT)]);
        all.chain(args.differential_seconds.map(differential_job)).collect()
    } else {
        let words: Vec<&str> = args.command.iter().map(String::as_str).collect();
        vec![job("command", &words)]
    };
    let env = [
        ("PATH", format!("{TOOLS_DIR}:{TESTS_DIR}:/usr/bin:/usr/sbin")),
        ("HOME", "/tmp".to_owned()),
        ("RUST_BACKTRACE", "1".to_owned()),
        ("FAULTLESS_BIN", format!("{TOOLS_DIR}/faultless")),
        ("FAULTLESS_TARGETS", TOOLS_DIR.to_owned()),
        ("CONFORM_PATIENCE", PATIENCE.to_string()),
    ];
    Plan { jobs, env: env.map(|(name, value)| (name.to_owned(), value)).into() }
}

fn test_job(test: &Program, timeout_s: u64) -> Job {
    let argv = vec![format!("{TESTS_DIR}/{}", test.name), "--show-output".to_owned()];
    Job { name: test.name.clone(), argv, timeout_s }
}

/// Random programs for so long. What one takes after the time is up is little beside the rest.
fn differential_job(seconds: u64) -> Job {
    let argv = [format!("{TESTS_DIR}/{DIFFERENTIAL}"), "--seconds".to_owned(), seconds.to_string()];
    Job { name: DIFFERENTIAL.to_owned(), argv: argv.into(), timeout_s: seconds + JOB_TIMEOUT_S }
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
