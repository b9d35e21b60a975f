//! A thousand clients of one server, and its worker killed a hundred times under them.
//!
//! Long, so it runs only when asked for: `cargo test --release -p faultless-cli --test serve --
//! --ignored --nocapture crowd`. Prints what it measured.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Guest;
use crate::image::{self, PAGE, compare};
use crate::server::Server;
use crate::skips;

/// The image: 64 MiB.
const PAGES: usize = 16384;
/// What a client touches: 4 MiB.
const TOUCHED: usize = 1024;
const PROCESSES: usize = 20;
const CLIENTS_EACH: usize = 50;
const KILLS: usize = 100;

/// Run as a process of its own by the test below: some of the clients, each on a thread.
#[test]
fn some_of_the_crowd() {
    let Some(socket) = std::env::var_os("FAULTLESS_TEST_CROWD") else { return };
    let first: usize = std::env::var("FAULTLESS_TEST_FIRST").unwrap().parse().unwrap();
    std::thread::scope(|scope| {
        for client in first..first + CLIENTS_EACH {
            let socket = &socket;
            scope.spawn(move || {
                let guest = Guest::new(PAGES);
                let _socket = guest.hand_over(socket.as_ref(), &guest.firecracker(0, ""));
                let start = client * TOUCHED % PAGES;
                compare(&guest.memory, 0, start..start + TOUCHED);
            });
        }
    });
}

#[test]
#[ignore = "takes minutes; see the head of the file"]
fn a_thousand_clients_outlive_a_hundred_workers() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = image::image(&image::raw(directory.path(), PAGES));
    let server = Server::start(&image, directory.path(), &["--max-clients", "2000"]);
    let began = Instant::now();
    let spawn = |number: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crowd::some_of_the_crowd", "--nocapture"])
            .env("FAULTLESS_TEST_CROWD", &server.socket)
            .env("FAULTLESS_TEST_FIRST", (number * CLIENTS_EACH).to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut crowd: Vec<Child> = (0..PROCESSES).map(spawn).collect();
    let (mut kills, mut most) = (0, 0);
    while crowd.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        std::thread::sleep(Duration::from_millis(50));
        most = most.max(private_kib(server.worker()) + private_kib(server.pid()));
        if kills < KILLS {
            kills += 1;
            kill_process(server.worker(), Signal::KILL).unwrap();
            server.wait_for("worker", kills + 1);
        }
    }
    let all_right = crowd.iter_mut().all(|child| child.wait().unwrap().success());
    println!(
        "{} clients, {} MiB each, in {:.1} s; {kills} workers killed; the server held {} KiB at \
         most beyond what it shares",
        PROCESSES * CLIENTS_EACH,
        (TOUCHED * PAGE) >> 20,
        began.elapsed().as_secs_f64(),
        most,
    );
    assert!(all_right, "a client failed; its words are above");
    assert_eq!(server.wait_for("attached", PROCESSES * CLIENTS_EACH)["event"], "attached");
    assert_eq!(server.count("killed") + server.count("lost") + server.count("rejected"), 0);
}

/// What a process has in memory for itself alone.
fn private_kib(pid: Pid) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let field = |line: &str| -> Option<u64> {
        let rest = line.strip_prefix("Private_Dirty:").or(line.strip_prefix("Private_Clean:"))?;
        rest.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    text.lines().filter_map(field).sum()
}
