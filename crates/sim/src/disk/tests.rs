//! What survives what.

use super::*;
use crate::random::Odds;

const ROOM: usize = 64 << 10;

fn calm() -> Disk {
    Disk::new(1, Swarm::default(), ROOM)
}

fn disk(seed: u64, fault: Fault, odds: Odds) -> Disk {
    Disk::new(seed, Swarm::default().with(fault, odds), ROOM)
}

/// A synced file of zeros that is then overwritten with ones.
fn overwritten(disk: &mut Disk, len: usize) -> FileId {
    let file = disk.create("a");
    disk.write(file, 0, &vec![0; len]).unwrap();
    disk.sync(file).unwrap();
    disk.sync_folder();
    disk.write(file, 0, &vec![1; len]).unwrap();
    file
}

#[test]
fn what_was_written_is_read() {
    let mut disk = calm();
    let file = disk.create("a");
    assert_eq!(disk.write(file, 3, b"xyz"), Ok(3));
    assert_eq!(disk.read(file, 0, 100), Ok(&b"\0\0\0xyz"[..]));
    assert_eq!(disk.open("a"), Ok(file));
    assert_eq!(disk.open("b"), Err(DiskError::Absent));
}

#[test]
fn only_what_was_synced_survives_a_crash() {
    let mut disk = calm();
    let file = overwritten(&mut disk, 1000);
    let lost = disk.create("b");
    disk.sync(lost).unwrap();
    disk.crash();
    assert_eq!(disk.read(file, 0, 1000), Ok(&[0; 1000][..]));
    assert_eq!(disk.names().collect::<Vec<_>>(), ["a"], "the name of b was not synced");
    assert_eq!(disk.read(lost, 0, 1), Err(DiskError::Absent));
}

#[test]
fn a_synced_name_does_not_sync_the_bytes() {
    let mut disk = calm();
    let file = disk.create("a");
    disk.write(file, 0, b"gone").unwrap();
    disk.sync_folder();
    disk.crash();
    assert_eq!(disk.read(file, 0, 4), Ok(&b""[..]));
}

#[test]
fn a_rename_is_whole_or_not_at_all() {
    for seed in 0..100 {
        let mut disk = disk(seed, Fault::TornWrite, Odds::one_in(2));
        overwritten(&mut disk, 10);
        let fresh = disk.create("a.new");
        disk.sync(fresh).unwrap();
        disk.rename("a.new", "a").unwrap();
        disk.crash();
        assert!(disk.open("a").is_ok(), "seed {seed}: {:?}", disk.names().collect::<Vec<_>>());
    }
}

#[test]
fn torn_sectors_hold_old_and_new_bytes_only() {
    let mut mixed = 0;
    for seed in 0..100 {
        let mut disk = disk(seed, Fault::TornWrite, Odds::one_in(2));
        let file = overwritten(&mut disk, 4 * SECTOR);
        disk.crash();
        let bytes = disk.read(file, 0, 4 * SECTOR).unwrap();
        assert_eq!(bytes.len(), 4 * SECTOR);
        for sector in bytes.chunks(SECTOR) {
            let ones = sector.iter().filter(|byte| **byte == 1).count();
            assert!(sector[..ones].iter().all(|byte| *byte == 1), "torn at one place");
            mixed += usize::from(ones > 0 && ones < SECTOR);
        }
        let after = bytes.to_vec();
        disk.crash();
        assert_eq!(
            disk.read(file, 0, 4 * SECTOR),
            Ok(&after[..]),
            "a second crash changes nothing"
        );
    }
    assert!(mixed > 0, "no sector was torn");
}

#[test]
fn a_full_disk_takes_what_fits() {
    let mut disk = calm();
    let file = disk.create("a");
    assert_eq!(disk.write(file, ROOM - 2, b"xyz"), Ok(2));
    assert_eq!(disk.write(file, ROOM, b"z"), Err(DiskError::Full));
    assert_eq!(disk.write(file, 0, b"overwriting needs no room"), Ok(25));
    let mut full = self::disk(1, Fault::DiskFull, Odds::ALWAYS);
    let file = full.create("a");
    assert_eq!(full.write(file, 0, b"x"), Err(DiskError::Full));
}

#[test]
fn short_writes_say_how_short() {
    let mut disk = disk(1, Fault::ShortWrite, Odds::ALWAYS);
    let file = disk.create("a");
    let written = disk.write(file, 0, &[7; 100]).unwrap();
    assert!((1..100).contains(&written), "{written}");
    assert_eq!(disk.read(file, 0, 100).unwrap().len(), written);
}

#[test]
fn a_slow_disk_takes_longer() {
    let slow: Vec<Span> = {
        let mut disk = disk(1, Fault::SlowDisk, Odds::ALWAYS);
        (0..10).map(|_| disk.delay()).collect()
    };
    let mut usual = calm();
    let usual: Vec<Span> = (0..10).map(|_| usual.delay()).collect();
    assert!(slow.iter().min() > usual.iter().max(), "{slow:?} {usual:?}");
}
