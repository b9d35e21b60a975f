//! The measurement kernel: all variants side by side, round after round.
//!
//! [`interleave`] is the only loop that measures. Called by every bench.
//!
//! *Invariant*: each variant is measured exactly once a round, and from round to round the order
//! rotates, so that each takes every place: what the one before leaves behind (warm caches, a
//! drained free list, a clock raised or throttled) falls on all alike.

/// Measures every variant once per round; returns the samples of each variant in round order.
///
/// `warm_ups` rounds come first and are thrown away: they pay for first touches, lazily built page
/// tables and the free lists of the kernel's page allocator.
///
/// # Errors
/// The first failure of `measure` ends the run: a bench with a hole in it cannot be paired.
pub(crate) fn interleave<V, S, E>(
    variants: &mut [V],
    warm_ups: usize,
    rounds: usize,
    mut measure: impl FnMut(&mut V) -> Result<S, E>,
) -> Result<Vec<Vec<S>>, E> {
    let mut samples: Vec<Vec<S>> = variants.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..warm_ups + rounds {
        for place in 0..variants.len() {
            let chosen = (place + round) % variants.len();
            let sample = measure(&mut variants[chosen])?;
            if round >= warm_ups {
                samples[chosen].push(sample);
            }
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn every_variant_takes_every_place() {
        let mut order = Vec::new();
        let samples = interleave(&mut ['a', 'b', 'c'], 0, 3, |name| {
            order.push(*name);
            Ok::<_, Infallible>(*name)
        })
        .expect("nothing fails");
        assert_eq!(order.iter().collect::<String>(), "abcbcacab");
        assert_eq!(samples, [vec!['a'; 3], vec!['b'; 3], vec!['c'; 3]]);
    }

    #[test]
    fn warm_up_rounds_are_measured_and_thrown_away() {
        let mut calls = 0;
        let samples = interleave(&mut [()], 2, 3, |()| {
            calls += 1;
            Ok::<_, Infallible>(calls)
        })
        .expect("nothing fails");
        assert_eq!(samples, [vec![3, 4, 5]]);
    }

    #[test]
    fn the_first_failure_ends_the_run() {
        let mut calls = 0;
        let result = interleave(&mut [1, 2, 3], 0, 9, |variant| {
            calls += 1;
            if *variant == 2 { Err("variant 2 cannot run") } else { Ok(()) }
        });
        assert_eq!(result, Err("variant 2 cannot run"));
        assert_eq!(calls, 2);
    }
}
