//! What the driver sees of a puppet in `/proc`, without the puppet doing anything.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::calls::bound;
use super::{KernelWorld, State, broken};
use crate::conform::errno::ENOENT;
use crate::conform::verdict::Verdict;
use crate::conform::world::{Done, Fd, Stop, Thread};

/// Entries of the pagemap, eight bytes each.
pub(super) fn pagemap(world: &mut KernelWorld, who: Thread, at: u64, pages: u64) -> Verdict<State> {
    let page_size = world.profile.page_size;
    let pid = world.actor(who)?.hand.pid();
    let file = File::open(format!("/proc/{pid}/pagemap")).map_err(|e| broken(&e))?;
    let mut bytes = vec![0; bound(pages * 8)];
    file.read_exact_at(&mut bytes, at / page_size * 8).map_err(|e| broken(&e))?;
    Ok(State::Over(Done { result: Ok(0), bytes }))
}

/// Bytes that transparent huge pages map of the mapping at an address.
pub(super) fn huge_bytes(world: &mut KernelWorld, who: Thread, at: u64) -> Verdict<State> {
    let pid = world.actor(who)?.hand.pid();
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).map_err(|e| broken(&e))?;
    let mut inside = false;
    let mut bytes = 0;
    for line in smaps.lines() {
        if let Some(range) = mapping_of(line) {
            inside = range.contains(&at);
        } else if let (true, Some(kib)) = (inside, line.strip_prefix("AnonHugePages:")) {
            let kib: u64 = kib.trim().trim_end_matches(" kB").parse().map_err(|e| broken(&e))?;
            bytes += kib << 10;
        }
    }
    Ok(State::Over(Done { result: Ok(bytes), bytes: Vec::new() }))
}

/// The range of a mapping, if this line of `maps` or `smaps` begins one.
fn mapping_of(line: &str) -> Option<std::ops::Range<u64>> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

/// What the kernel tells of a descriptor.
pub(super) fn fdinfo(world: &mut KernelWorld, who: Thread, fd: Fd) -> Verdict<State> {
    let pid = world.actor(who)?.hand.pid();
    let bytes = fs::read(format!("/proc/{pid}/fdinfo/{}", fd.0)).map_err(|e| broken(&e))?;
    Ok(State::Over(Done { result: Ok(0), bytes }))
}

/// The page of clock data that every process has.
pub(super) fn special_memory(world: &mut KernelWorld, who: Thread) -> Verdict<State> {
    let pid = world.actor(who)?.hand.pid();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(|e| broken(&e))?;
    let line = maps.lines().find(|line| line.ends_with("[vvar]"));
    let result = line.and_then(mapping_of).map(|range| range.start);
    let result = result.ok_or(Stop::Refused(ENOENT));
    Ok(State::Over(Done { result, bytes: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_begin_a_mapping_give_its_range() {
        let line = "7f0000001000-7f0000003000 rw-p 00000000 00:00 0 [heap]";
        assert_eq!(mapping_of(line), Some(0x7f00_0000_1000..0x7f00_0000_3000));
        assert_eq!(mapping_of("AnonHugePages:      2048 kB"), None);
        assert_eq!(mapping_of("VmFlags: rd wr mr mw me ac sd"), None);
    }
}
