//! Where the parts of the extended registers lie in their note.
//!
//! Processors differ: without this table gdb takes the layout of Intel's, and reads the wide
//! registers of others wrongly. The kernel writes the table into its cores since 6.12, behind all
//! threads; so it is appended to the last one's register sets.

use faultless_image::core::{Regset, ThreadNotes, note};

/// Where the state-component bitmap of the kernel lies in the `XSAVE` area (`sw_reserved`).
const FEATURES_AT: usize = 464;
/// The first component that is not at a fixed place: 0 and 1 are the x87 and SSE registers.
const FIRST: u32 = 2;

/// Appends the table for the extended registers the threads have, if they have any.
pub(super) fn append_layout(threads: &mut [ThreadNotes]) {
    let Some(last) = threads.last_mut() else { return };
    let xstate = last.regsets.iter().find(|set| set.kind == note::X86_XSTATE);
    let features = xstate.and_then(|set| set.bytes.get(FEATURES_AT..)?.first_chunk::<8>());
    if let Some(features) = features {
        let bytes = table(u64::from_le_bytes(*features), component);
        last.regsets.push(Regset { kind: note::X86_XSAVE_LAYOUT, bytes });
    }
}

/// Writes one entry a component: number, size, offset, flags.
fn table(features: u64, component: impl Fn(u32) -> (u32, u32)) -> Vec<u8> {
    (FIRST..63)
        .filter(|number| features & (1 << number) != 0)
        .map(|number| (number, component(number)))
        .flat_map(|(number, (size, offset))| [number, size, offset, 0])
        .flat_map(u32::to_le_bytes)
        .collect()
}

/// Asks the processor for size and offset of a component.
#[cfg(target_arch = "x86_64")]
fn component(number: u32) -> (u32, u32) {
    // Leaf 0xd describes the XSAVE area, one component a subleaf.
    let answer = std::arch::x86_64::__cpuid_count(0xd, number);
    (answer.eax, answer.ebx)
}

/// No other processor has these registers.
#[cfg(not(target_arch = "x86_64"))]
fn component(_: u32) -> (u32, u32) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_kernels_form() {
        let bytes = table(0b10_0111, |number| (number * 0x100, number * 0x1000));
        let words: Vec<u32> =
            bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        assert_eq!(words, [2, 0x200, 0x2000, 0, 5, 0x500, 0x5000, 0]);
    }

    #[test]
    fn threads_without_extended_registers_get_no_table() {
        let mut threads = [ThreadNotes::default()];
        append_layout(&mut threads);
        assert_eq!(threads[0].regsets, []);
        append_layout(&mut []);
    }

    #[test]
    fn the_last_thread_carries_the_table() {
        let mut xstate = vec![0; 1000];
        xstate[FEATURES_AT] = 7;
        let set = Regset { kind: note::X86_XSTATE, bytes: xstate };
        let thread = ThreadNotes { regsets: vec![set], ..ThreadNotes::default() };
        let mut threads = [thread.clone(), thread];
        append_layout(&mut threads);
        assert_eq!(threads[0].regsets.len(), 1);
        let table = &threads[1].regsets[1];
        assert_eq!((table.kind, table.bytes.len()), (note::X86_XSAVE_LAYOUT, 16));
    }
}
