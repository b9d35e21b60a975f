//! Peers that mean harm, or do not know better: each is refused by name, and others never notice.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::client::{Guest, say};
use crate::image::{self, compare};
use crate::server::Server;
use crate::skips;

const PAGES: usize = 64;

#[test]
fn whatever_is_wrong_is_refused_and_the_next_client_is_served() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = image::raw(directory.path(), PAGES);
    let server = Server::start(&image, directory.path(), &["--patience", "1"]);
    let guest = Guest::new(PAGES);
    let uffd = guest.uffd.as_fd();
    let file = File::open(&image).unwrap();
    let good = guest.firecracker(0, "");
    let unaligned = guest.firecracker(1, "");
    let beyond = guest.firecracker(4096, "");
    let kibibytes = guest.firecracker(0, ",\"page_size_kib\":4");
    let twice = [b"[", &good[1..good.len() - 1], b",", &good[1..]].concat();
    let cases: [(&[u8], &[_], &str); 11] = [
        (b"", &[], "silent"),
        (b"GET / HTTP/1.1\r\n\r\n", &[], "unknown-dialect"),
        (&good[..40], &[uffd], "truncated"),
        (&good, &[], "no-descriptor"),
        (&good, &[file.as_fd()], "unservable"),
        (&good, &[uffd, uffd, uffd, uffd], "too-many-descriptors"),
        (&unaligned, &[uffd], "region"),
        (&beyond, &[uffd], "region"),
        (&kibibytes, &[uffd], "region"),
        (&twice, &[uffd], "region"),
        (b"[{\"base_host_virt_addr\":true}]", &[uffd], "malformed"),
    ];
    for (number, (message, fds, label)) in cases.iter().enumerate() {
        let socket = say(&server.socket, message, fds);
        // Some are refused when they close, some when their time is over.
        let _kept = (number % 2 == 1).then_some(socket);
        assert_eq!(server.wait_for("rejected", number + 1)["label"], *label, "case {number}");
    }
    let _socket = guest.hand_over(&server.socket, &good);
    compare(&guest.memory, 0, 0..PAGES);
    assert_eq!(server.count("worker"), 1, "the worker lives");
}

#[test]
fn no_more_clients_come_in_than_may() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = image::raw(directory.path(), PAGES);
    let server = Server::start(&image, directory.path(), &["--max-clients", "2"]);
    let guests = [Guest::new(PAGES), Guest::new(PAGES)];
    let hand_over = |guest: &Guest| guest.hand_over(&server.socket, &guest.firecracker(0, ""));
    let _first = hand_over(&guests[0]);
    let _second = hand_over(&guests[1]);
    server.wait_for("attached", 2);
    // It is refused as it comes, before it has said a word.
    let _third = std::os::unix::net::UnixStream::connect(&server.socket).unwrap();
    assert_eq!(server.wait_for("rejected", 1)["label"], "full");
    compare(&guests[0].memory, 0, 0..PAGES);
    compare(&guests[1].memory, 0, 0..PAGES);
}

/// Run as another user by the test below.
#[test]
fn a_stranger_that_connects() {
    if let Some(socket) = std::env::var_os("FAULTLESS_TEST_SOCKET") {
        drop(std::os::unix::net::UnixStream::connect(socket).unwrap());
    }
}

#[test]
fn strangers_are_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can act for another user");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let image = image::raw(directory.path(), PAGES);
    let server = Server::start(&image, directory.path(), &["--mode", "666"]);
    // A copy where the other user can reach it.
    let program = directory.path().join("stranger");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let status = Command::new(&program)
        .args(["--exact", "hostile::a_stranger_that_connects"])
        .env("FAULTLESS_TEST_SOCKET", &server.socket)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
    assert_eq!(server.wait_for("rejected", 1)["label"], "user");
}
