//! Durations and rates as people read them.

use faultless_pages::Bytes;

/// Prints nanoseconds with three digits in the unit that suits: `950 ns`, `1.25 ms`, `12.0 s`.
pub(crate) fn duration(ns: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    let Some((one, unit)) = UNITS.into_iter().find(|(one, _)| ns >= *one) else {
        return format!("{ns} ns");
    };
    let (whole, hundredths) = (ns / one, ns % one * 100 / one);
    match whole {
        0..10 => format!("{whole}.{hundredths:02} {unit}"),
        10..100 => format!("{whole}.{} {unit}", hundredths / 10),
        _ => format!("{whole} {unit}"),
    }
}

/// Prints how much was done a second.
pub(crate) fn rate(done: Bytes, ns: u64) -> String {
    let per_second = u128::from(done.0) * 1_000_000_000 / u128::from(ns.max(1));
    format!("{}/s", Bytes(u64::try_from(per_second).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_250, "1.25 µs"),
            (45_678, "45.6 µs"),
            (999_999, "999 µs"),
            (1_005_000, "1.00 ms"),
            (12_000_000_000, "12.0 s"),
            (3_600_000_000_000, "3600 s"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn a_rate_survives_no_time_at_all() {
        assert_eq!(rate(Bytes::mib(512), 2_000_000_000), "256 MiB/s");
        assert!(rate(Bytes(1), 0).ends_with("/s"));
    }
}
