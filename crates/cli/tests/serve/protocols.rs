//! Every protocol, every kind of file.

use std::io::Read as _;

use faultless_pages::{Bytes, VaRange};
use faultless_uffd::{Advice, Mapping};

use crate::client::Guest;
use crate::image::{self, PAGE, compare};
use crate::server::Server;
use crate::skips;

const PAGES: usize = 512;

#[test]
fn firecracker_of_every_version_is_restored() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&image::raw(directory.path(), PAGES), directory.path(), &[]);
    let spellings =
        ["", ",\"page_size_kib\":4096", ",\"page_size\":4096,\"page_size_kib\":4096,\"new\":[]"];
    for (number, extra) in spellings.iter().enumerate() {
        let guest = Guest::new(PAGES);
        let socket = guest.hand_over(&server.socket, &guest.firecracker(0, extra));
        // Up to 1.11 it closes at once, from 1.12 on never.
        let kept = (number == 2).then_some(socket);
        compare(&guest.memory, 0, 0..PAGES);
        drop(kept);
    }
    assert_eq!(server.wait_for("attached", 3)["dialect"], "firecracker");
}

#[test]
fn several_regions_show_their_parts_of_the_file() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&image::raw(directory.path(), PAGES), directory.path(), &[]);
    let guest = Guest::new(PAGES);
    let (half, len) = (guest.len() / 2, guest.len() / 2);
    let region = |address: u64, offset: u64| {
        format!("{{\"base_host_virt_addr\":{address},\"size\":{len},\"offset\":{offset}}}")
    };
    // The upper half of the memory shows the lower half of the file.
    let (lower, upper) = (region(guest.address(), half), region(guest.address() + half, 0));
    let _socket = guest.hand_over(&server.socket, format!("[{upper},{lower}]").as_bytes());
    compare(&guest.memory, PAGES / 2, 0..PAGES / 2);
    let mut found = vec![0; PAGE];
    guest.memory.read(Bytes(half), &mut found);
    assert_eq!(found, image::page(0));
}

#[test]
fn nydus_and_cloud_hypervisor_are_restored() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&image::raw(directory.path(), PAGES), directory.path(), &[]);
    let guest = Guest::new(PAGES);
    let array = String::from_utf8(guest.firecracker(0, ",\"prot\":1,\"flags\":2")).unwrap();
    let nydus = format!("{{\"type\":0,\"regions\":{array},\"policy\":1,\"enable_prefault\":true}}");
    let _socket = guest.hand_over(&server.socket, nydus.as_bytes());
    compare(&guest.memory, 0, 0..PAGES);

    let guest = Guest::new(PAGES);
    let (address, len) = (guest.address(), guest.len());
    let region = format!(
        "{{\"guest_phys_addr\":0,\"host_virt_addr\":{address},\"size\":{len},\
         \"backing_file_offset\":0}}"
    );
    let handoff = format!(
        "{{\"type\":\"handoff\",\"version\":0,\"vmm_pid\":1,\"mode\":\"MISSING\",\
         \"regions\":[{region}]}}"
    );
    let length = u32::try_from(handoff.len()).unwrap().to_le_bytes();
    let message = [&length[..], handoff.as_bytes()].concat();
    let mut socket = guest.hand_over(&server.socket, &message);
    let mut acknowledged = [0];
    socket.read_exact(&mut acknowledged).unwrap();
    compare(&guest.memory, 0, 0..PAGES);
}

#[test]
fn the_client_crate_is_restored_from_an_image() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = image::image(&image::raw(directory.path(), PAGES));
    let server = Server::start(&image, directory.path(), &["--cache", "128K"]);
    let mapping = Mapping::anonymous(Bytes::from(PAGES / 2 * PAGE)).unwrap();
    let offset = Bytes::from(100 * PAGE);
    let mut memory = faultless_client::connect(&server.socket, mapping, offset).unwrap();
    memory.prefetch(Bytes(0), Bytes::from(64 * PAGE)).unwrap();
    compare(memory.memory(), 100, 0..PAGES / 2);
    assert_eq!(memory.lost().unwrap(), []);
    drop(memory);
    server.wait_for("left", 1);
    // More than there is.
    let mapping = Mapping::anonymous(Bytes::from(PAGES * PAGE)).unwrap();
    let refused = faultless_client::connect(&server.socket, mapping, offset).unwrap_err();
    assert!(refused.to_string().contains("after the image"), "{refused}");
}

#[test]
fn discarded_memory_is_zeros_and_never_the_image() {
    if skips() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&image::raw(directory.path(), PAGES), directory.path(), &[]);
    let guest = Guest::new(PAGES);
    let _socket = guest.hand_over(&server.socket, &guest.firecracker(0, ""));
    compare(&guest.memory, 0, 0..8);
    let discard = |pages: std::ops::Range<usize>| {
        let len = Bytes::from(pages.len() * PAGE);
        guest.memory.advise(range(&guest, pages.start, len), Advice::DontNeed).unwrap();
    };
    // Some were touched, some were not.
    discard(4..100);
    let zeros = vec![0; PAGE];
    let mut found = vec![0xff; PAGE];
    for number in 4..100 {
        guest.memory.read(Bytes::from(number * PAGE), &mut found);
        assert!(found == zeros, "page {number}");
    }
    // Another worker knows it as well.
    discard(200..300);
    // The message was read; what is told of it is on its way.
    std::thread::sleep(std::time::Duration::from_millis(100));
    rustix::process::kill_process(server.worker(), rustix::process::Signal::KILL).unwrap();
    for number in 200..300 {
        guest.memory.read(Bytes::from(number * PAGE), &mut found);
        assert!(found == zeros, "page {number}");
    }
    compare(&guest.memory, 0, 100..200);
    compare(&guest.memory, 0, 300..PAGES);
}

fn range(guest: &Guest, first: usize, len: Bytes) -> VaRange {
    guest.memory.range_of(Bytes::from(first * PAGE), len)
}
