//! QEMUs to save and restore.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The emulator.
const QEMU: &str = "qemu-system-x86_64";
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where guests have their memory, how much of it, and how.
#[derive(Clone, Copy)]
pub(crate) struct Ram {
    pub(crate) backend: &'static str,
    pub(crate) size: &'static str,
    pub(crate) share: &'static str,
}

/// What guests have unless a test is about something else.
pub(crate) const RAM: Ram = Ram { backend: "file", size: "64M", share: "on" };

/// A folder on a tmpfs, or the reason why there is none and tests are left out.
pub(crate) fn scratch() -> Option<tempfile::TempDir> {
    if let Err(why) = guest() {
        println!("skipped: {why}");
        return None;
    }
    if let Err(error) = faultless_uffd::Uffd::open(&faultless_uffd::OpenOptions::default()) {
        println!("skipped: {error}");
        return None;
    }
    match tempfile::tempdir_in("/dev/shm") {
        Ok(folder) => Some(folder),
        Err(error) => {
            println!("skipped: no folder in /dev/shm: {error}");
            None
        }
    }
}

/// Assembles the guest, once.
fn guest() -> Result<&'static Path, String> {
    static GUEST: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    GUEST.get_or_init(assemble).as_deref().map_err(Clone::clone)
}

fn assemble() -> Result<PathBuf, String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("the guest is assembled for x86-64 by this machine's own tools".into());
    }
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    for program in [QEMU, "as", "ld"] {
        if !has(program) {
            return Err(format!("{program} is not installed"));
        }
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/targets/guest.s");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (object, guest) = (folder.join("guest.o"), folder.join("guest"));
    let run = |command: &mut Command| {
        let output = command.output().map_err(|error| error.to_string())?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {told}")) }
    };
    run(Command::new("as").arg("--32").arg(source).arg("-o").arg(&object))?;
    let mut link = Command::new("ld");
    run(link.args(["-m", "elf_i386", "-Ttext=0x100000"]).arg(object).arg("-o").arg(&guest))?;
    Ok(guest)
}

/// A QEMU, ended with this.
pub(crate) struct Qemu {
    child: Child,
    pub(crate) monitor: PathBuf,
    serial: PathBuf,
}

/// A line of a guest that has summed its memory up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) sum: String,
    pub(crate) number: u64,
}

impl Qemu {
    /// Starts a guest from its beginning.
    pub(crate) fn boot(folder: &Path, name: &str, ram: Ram) -> Qemu {
        Qemu::start(folder, name, ram, &[])
    }

    /// Starts a QEMU that waits for a guest to be restored.
    pub(crate) fn waiting(folder: &Path, name: &str, ram: Ram) -> Qemu {
        Qemu::start(folder, name, ram, &["-incoming", "defer"])
    }

    fn start(folder: &Path, name: &str, ram: Ram, more: &[&str]) -> Qemu {
        let at = |what: &str| folder.join(format!("{name}.{what}"));
        let (monitor, serial) = (at("qmp"), at("serial"));
        let Ram { backend, size, share } = ram;
        let file = match backend {
            "file" => format!(",mem-path={}", at("ram").display()),
            _ => String::new(),
        };
        let child = Command::new(QEMU)
            .args(["-machine", "q35,accel=tcg,memory-backend=ram", "-m", size])
            .arg("-object")
            .arg(format!("memory-backend-{backend},id=ram,size={size},share={share}{file}"))
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .arg("-serial")
            .arg(format!("file:{}", serial.display()))
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .arg("-kernel")
            .arg(guest().expect("assembled before"))
            .args(more)
            .stdin(Stdio::null())
            .spawn()
            .expect("QEMU starts");
        let qemu = Qemu { child, monitor, serial };
        wait("a monitor", || qemu.monitor.exists().then_some(()));
        qemu
    }

    /// Returns its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns all its guest has summed up so far.
    pub(crate) fn rounds(&self) -> Vec<Round> {
        let text = fs::read_to_string(&self.serial).unwrap_or_default();
        // A line under way is none.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(parse).collect()
    }

    /// Waits until its guest has summed up so many times.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Round> {
        wait(&format!("{count} rounds"), || {
            Some(self.rounds()).filter(|rounds| rounds.len() >= count)
        })
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_end(&mut self) {
        wait("end of QEMU", || self.child.try_wait().unwrap());
    }

    /// Has it carry out a command of its monitor that takes no arguments.
    pub(crate) fn command(&self, command: &str) {
        let mut stream = UnixStream::connect(&self.monitor).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
        for command in ["", "qmp_capabilities", command] {
            if !command.is_empty() {
                writeln!(stream, r#"{{"execute": "{command}"}}"#).unwrap();
            }
            let answer = answers.by_ref().map(Result::unwrap).find(|it| !it.contains("\"event\""));
            assert!(!answer.unwrap().contains("\"error\""), "{command}");
        }
    }

    /// Says whether its memory belongs to a userfaultfd.
    pub(crate) fn is_paged(&self) -> bool {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.pid())).unwrap();
        smaps.lines().any(|line| line.starts_with("VmFlags:") && line.contains(" um"))
    }

    /// Says whether it holds a userfaultfd.
    pub(crate) fn holds_userfaultfd(&self) -> bool {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|link| link.to_string_lossy().contains("userfaultfd"))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `sum 0123abcd round 0000000f`.
fn parse(line: &str) -> Option<Round> {
    let (sum, number) = line.trim_end().strip_prefix("sum ")?.split_once(" round ")?;
    Some(Round { sum: sum.to_owned(), number: u64::from_str_radix(number, 16).ok()? })
}

/// Waits until something is there.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "no {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}
