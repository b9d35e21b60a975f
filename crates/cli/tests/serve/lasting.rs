//! What outlives a worker, a client, the server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faultless_pages::Bytes;
use faultless_uffd::Mapping;
use rustix::process::{Signal, kill_process};

use crate::client::Guest;
use crate::image::{self, compare};
use crate::server::Server;
use crate::skips;

const PAGES: usize = 2048;
const CLIENTS: usize = 4;
/// How often the worker is killed; `KILLS` asks for more.
const KILLS: usize = 10;

#[test]
fn no_client_is_lost_when_the_worker_is_killed() {
    if skips() {
        return;
    }
    let kills = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let directory = tempfile::tempdir().unwrap();
    let image = image::image(&image::raw(directory.path(), PAGES));
    let server = Server::start(&image, directory.path(), &[]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                // Restored again and again until the last worker was killed.
                while !over.load(Ordering::Relaxed) {
                    let guest = Guest::new(PAGES);
                    let message = guest.firecracker(0, "");
                    let _socket = guest.hand_over(&server.socket, &message);
                    compare(&guest.memory, 0, client..PAGES);
                    compare(&guest.memory, 0, 0..client);
                }
            });
        }
        server.wait_for("attached", 1);
        for killed in 1..=kills {
            std::thread::sleep(Duration::from_millis(u64::try_from(killed % 7).unwrap() * 10));
            kill_process(server.worker(), Signal::KILL).unwrap();
            server.wait_for("worker", killed + 1);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.count("killed"), 0);
    assert_eq!(server.count("lost"), 0);
}

#[test]
fn another_worker_is_started_on_request() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&image::raw(directory.path(), 64), directory.path(), &[]);
    let guest = Guest::new(64);
    let _socket = guest.hand_over(&server.socket, &guest.firecracker(0, ""));
    compare(&guest.memory, 0, 0..10);
    server.signal(Signal::HUP);
    server.wait_for("worker", 2);
    compare(&guest.memory, 0, 0..64);
}

#[test]
fn memory_is_whole_when_the_server_was_asked_to_end() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&image::raw(directory.path(), PAGES), directory.path(), &[]);
    let guest = Guest::new(PAGES);
    let _socket = guest.hand_over(&server.socket, &guest.firecracker(0, ""));
    server.wait_for("attached", 1);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    compare(&guest.memory, 0, 0..PAGES);
}

/// Run as a process of its own by the test below.
#[test]
fn a_client_that_waits_to_be_killed() {
    let Some(socket) = std::env::var_os("FAULTLESS_TEST_SOCKET") else { return };
    let guest = Guest::new(64);
    let _socket = guest.hand_over(socket.as_ref(), &guest.firecracker(0, ""));
    compare(&guest.memory, 0, 0..8);
    println!("served");
    std::thread::sleep(Duration::from_secs(100));
}

#[test]
fn the_death_of_a_client_is_noticed() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&image::raw(directory.path(), 64), directory.path(), &[]);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lasting::a_client_that_waits_to_be_killed", "--nocapture"])
        .env("FAULTLESS_TEST_SOCKET", &server.socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = server.wait_for("attached", 1)["pid"].clone();
    assert_eq!(pid, u64::from(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(server.wait_for("left", 1)["pid"], pid);
}

#[test]
fn metrics_count_what_was_done() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let image = image::raw(directory.path(), 64);
    let metrics = address.to_string();
    let server = Server::start(&image, directory.path(), &["--metrics", &metrics]);
    let guest = Guest::new(64);
    let _socket = guest.hand_over(&server.socket, &guest.firecracker(0, ""));
    compare(&guest.memory, 0, 0..64);
    let seen = installed(address, 1);
    assert!(seen.is_some_and(|count| count <= 64), "{seen:?} of 64 pages");
}

#[test]
fn what_one_client_touched_is_fetched_ahead_for_the_next() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = image::raw(directory.path(), 512);
    let tape = directory.path().join("tape");
    let name = tape.to_str().unwrap();
    let recorded = Server::start(&image, directory.path(), &["--record", name]);
    let mapping = Mapping::anonymous(Bytes::from(512 * image::PAGE)).unwrap();
    let memory = faultless_client::connect(&recorded.socket, mapping, Bytes(0)).unwrap();
    compare(memory.memory(), 0, 100..200);
    drop(memory);
    recorded.wait_for("left", 1);
    recorded.signal(Signal::TERM);
    assert!(recorded.wait().success());

    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let metrics = address.to_string();
    let arguments = ["--replay", name, "--metrics", &metrics];
    let server = Server::start(&image, directory.path(), &arguments);
    let guest = Guest::new(512);
    let _socket = guest.hand_over(&server.socket, &guest.firecracker(0, ""));
    // Nothing is touched.
    assert_eq!(installed(address, 100), Some(100));
}

/// Reads metrics until so many pages were put there; they come about once a second.
fn installed(address: SocketAddr, least: u64) -> Option<u64> {
    (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("faultless_pages_installed_total "));
        line?.parse().ok().filter(|count| *count >= least)
    })
}
