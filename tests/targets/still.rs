//! A Rust program that holds still, for comparing cores. Prints "ready"; ends when killed.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

static NUMBER: AtomicU64 = AtomicU64::new(42);
static TABLE: [u32; 4] = [2, 3, 5, 7];

struct Point {
    x: i32,
    name: String,
}

#[inline(never)]
fn descend(depth: u32, point: &Point) {
    let here = Point { x: point.x + 1, name: format!("{} {depth}", point.name) };
    if depth > 0 {
        descend(depth - 1, &here);
    }
    loop {
        std::thread::park();
        black_box(&here.name);
    }
}

fn main() {
    let map: BTreeMap<u64, String> = (0..5_000).map(|n| (n, format!("value {n}"))).collect();
    NUMBER.store(black_box(&map).len() as u64 + u64::from(black_box(&TABLE)[3]), Ordering::SeqCst);
    let all_there = Arc::new(Barrier::new(4));
    for number in 1..=3 {
        let barrier = Arc::clone(&all_there);
        std::thread::spawn(move || {
            let point = Point { x: number, name: "thread".to_owned() };
            barrier.wait();
            descend(number.unsigned_abs(), &point);
        });
    }
    all_there.wait();
    println!("ready");
    descend(2, &Point { x: 0, name: "main".to_owned() });
}
