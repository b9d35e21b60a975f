//! scratch
#![forbid(unsafe_code)]
use std::time::Instant;
use faultless_sim::conform::kernel::{KernelWorlds, KernelWorld, Machine};
use faultless_sim::conform::model::{ModelWorlds, ModelWorld};
use faultless_sim::conform::{Worlds, World};
use faultless_sim::differential::generate::{Palette, generate};
use faultless_sim::differential::duel::{duel, Outcome};
use faultless_sim::differential::shrink::shrink;
use faultless_sim::differential::print::as_test;
fn main() {
    faultless_uffd::puppet::serve_if_asked();
    let arg: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (first, count) = (arg.first().copied().unwrap_or(0), arg.get(1).copied().unwrap_or(50));
    rustix::thread::sched_setaffinity(None, &{ let mut c = rustix::thread::CpuSet::new(); c.set(1); c }).unwrap();
    let _machine = Machine::borrow();
    let kernel = KernelWorlds::probe(1).unwrap();
    let model = ModelWorlds::probe(faultless_mm::Profile::linux_6_18()).unwrap();
    let palette = Palette::of(kernel.profile(), model.profile());
    let run = |p: &faultless_sim::differential::program::Program| {
        let mut k = kernel.fresh(kernel.profile());
        let mut m = model.fresh(model.profile());
        duel(p, k.as_mut(), m.as_mut())
    };
    let begun = Instant::now();
    let (mut steps, mut different) = (0, 0);
    for seed in first..first + count {
        let p = generate(seed, &palette);
        match run(&p) {
            Ok(Outcome::Equal(n)) => steps += n,
            Ok(Outcome::Different(d)) => {
                different += 1;
                if different > 5 { continue; }
                let want: Vec<String> = d.left.differences(&d.right, ["kernel", "model"]);
                let key = |l: &[String]| l[0].split([':']).next().unwrap().to_owned();
                let k = key(&want);
                let small = shrink(&p, 300, |c| matches!(run(c), Ok(Outcome::Different(d)) if key(&d.left.differences(&d.right, ["kernel", "model"])) == k));
                let d = match run(&small) { Ok(Outcome::Different(d)) => d, _ => d };
                let story = d.left.differences(&d.right, ["kernel", "model"]);
                println!("{}", as_test(&small, &format!("seed_{seed}"), &story));
            }
            Err(e) => println!("seed {seed}: {e}"),
        }
    }
    println!("{steps} steps, {different} different, {:?}", begun.elapsed());
}
