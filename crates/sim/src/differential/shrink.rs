//! Makes a program that shows something smaller, as long as it still shows it.
//!
//! Steps are dropped, in halves first and one by one at last; then arguments are made plain. Both
//! are tried again until neither helps.

use super::program::{Asked, Op, Origin, Program, Span, Step, Verb};
use crate::conform::stage::USUAL;
use crate::conform::{Process, Thread};

/// Shrinks a program while `shows` holds; at most `budget` programs are tried.
pub fn shrink(
    program: &Program,
    budget: usize,
    mut shows: impl FnMut(&Program) -> bool,
) -> Program {
    let mut best = program.clone();
    let mut left = budget;
    let mut try_it = |candidate: Program, best: &mut Program| {
        if left == 0 || candidate == *best {
            return false;
        }
        left -= 1;
        let better = shows(&candidate);
        if better {
            *best = candidate;
        }
        better
    };
    loop {
        let mut smaller = drop_steps(&mut best, &mut try_it);
        smaller |= simplify(&mut best, &mut try_it);
        if !smaller {
            return best;
        }
    }
}

fn drop_steps(best: &mut Program, try_it: &mut impl FnMut(Program, &mut Program) -> bool) -> bool {
    let mut smaller = false;
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 {
        let mut start = best.steps.len();
        while start > 0 {
            // From the end: later steps hang on earlier ones.
            let begin = start.saturating_sub(size);
            let end = start.min(best.steps.len());
            let mut candidate = best.clone();
            candidate.steps.drain(begin.min(end)..end);
            smaller |= try_it(candidate, best);
            start = begin;
        }
        size /= 2;
    }
    smaller
}

fn simplify(best: &mut Program, try_it: &mut impl FnMut(Program, &mut Program) -> bool) -> bool {
    let mut smaller = false;
    for index in 0..best.steps.len() {
        while simplify_step(best, index, try_it) {
            smaller = true;
        }
    }
    smaller
}

/// Puts the first simpler step that still shows it in the place of a step.
fn simplify_step(
    best: &mut Program,
    index: usize,
    try_it: &mut impl FnMut(Program, &mut Program) -> bool,
) -> bool {
    simpler(&best.steps[index]).into_iter().any(|step| {
        let mut candidate = best.clone();
        candidate.steps[index] = step;
        try_it(candidate, best)
    })
}

/// Simpler ways to say nearly the same.
fn simpler(step: &Step) -> Vec<Step> {
    let mut ops = Vec::new();
    let span_of = |op: &Op| match op {
        Op::Map(span, ..)
        | Op::Unmap(span)
        | Op::Protect(span, _)
        | Op::Advise(span, _)
        | Op::Lock(span)
        | Op::Unlock(span)
        | Op::Pin(span)
        | Op::Scan(span, ..) => Some(*span),
        Op::Request(_, asked) => Some(asked.span),
        _ => None,
    };
    if let Some(span) = span_of(&step.op) {
        for smaller in smaller_spans(span) {
            ops.push(with_span(&step.op, smaller));
        }
    }
    ops.extend(plainer(&step.op));
    let mut steps: Vec<Step> =
        ops.into_iter().map(|op| Step { op, who: step.who }).filter(|s| s != step).collect();
    let first = Thread { index: 0, ..step.who };
    for who in [first, Thread::first_of(Process(0))] {
        if who != step.who {
            steps.insert(0, Step { who, op: step.op.clone() });
        }
    }
    steps
}

fn smaller_spans(span: Span) -> Vec<Span> {
    let mut spans = Vec::new();
    if span.skew != 0 {
        spans.push(Span { skew: 0, ..span });
    }
    if span.pages > 1 {
        spans.push(Span { pages: 1, ..span });
        spans.push(Span { pages: span.pages - 1, ..span });
        spans.push(Span { page: span.page + 1, pages: span.pages - 1, ..span });
    }
    spans
}

fn with_span(op: &Op, span: Span) -> Op {
    match *op {
        Op::Map(_, backing, prot) => Op::Map(span, backing, prot),
        Op::Unmap(_) => Op::Unmap(span),
        Op::Protect(_, prot) => Op::Protect(span, prot),
        Op::Advise(_, advice) => Op::Advise(span, advice),
        Op::Lock(_) => Op::Lock(span),
        Op::Unlock(_) => Op::Unlock(span),
        Op::Pin(_) => Op::Pin(span),
        Op::Scan(_, flags, mask) => Op::Scan(span, flags, mask),
        Op::Request(uffd, asked) => Op::Request(uffd, Asked { span, ..asked }),
        ref other => other.clone(),
    }
}

/// Fewer flags, the first source, no feature that is not needed.
fn plainer(op: &Op) -> Vec<Op> {
    let without_bits = |bits: u64| (0..64).map(|bit| 1 << bit).filter(move |bit| bits & bit != 0);
    match *op {
        Op::Open(flags, features) => {
            let fewer = without_bits(features).map(|bit| Op::Open(flags, features & !bit));
            fewer.chain([Op::Open(USUAL, features)]).collect()
        }
        Op::Request(uffd, asked) => {
            let mode = asked.mode;
            let fewer = without_bits(mode).map(|bit| Asked { mode: mode & !bit, ..asked });
            let mut all: Vec<Asked> = fewer.collect();
            if matches!(asked.verb, Verb::Copy(_)) {
                all.push(Asked { verb: Verb::Copy(Origin::Source(0)), ..asked });
            }
            all.into_iter().map(|asked| Op::Request(uffd, asked)).collect()
        }
        Op::KernelLoad(page) => vec![Op::Load(page)],
        Op::KernelStore(page, byte) => vec![Op::Store(page, byte)],
        Op::Store(page, byte) if byte != 1 => vec![Op::Load(page), Op::Store(page, 1)],
        Op::Store(page, _) => vec![Op::Load(page)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differential::program::Arena;

    fn step(op: Op) -> Step {
        Step { who: Thread::first_of(Process(0)), op }
    }

    #[test]
    fn only_what_is_needed_remains() {
        let mut steps: Vec<Step> = (0..40).map(|page| step(Op::Load(page % 12))).collect();
        steps[7] = step(Op::Store(3, 99));
        steps[30] = step(Op::Unmap(Span::new(2, 5)));
        let program = Program { arena: Arena::Small, steps };
        let shrunk = shrink(&program, 10_000, |candidate| {
            let stores = |s: &Step| matches!(s.op, Op::Store(3, _));
            let unmaps = |s: &Step| matches!(s.op, Op::Unmap(span) if span.pages > 0);
            let store = candidate.steps.iter().position(stores);
            let unmap = candidate.steps.iter().position(unmaps);
            matches!((store, unmap), (Some(store), Some(unmap)) if store < unmap)
        });
        let left: Vec<Op> = shrunk.steps.into_iter().map(|step| step.op).collect();
        assert_eq!(left, [Op::Store(3, 1), Op::Unmap(Span::new(2, 1))]);
    }
}
