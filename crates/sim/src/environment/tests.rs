//! Sleeping, sending, and disks, as tasks meet them.

use faultless_mm::{Choice, Profile};

use super::*;
use crate::swarm::Fault;

const A: Node = Node(0);
const B: Node = Node(1);

/// A kernel with two threads, and what surrounds them.
fn stage(swarm: &Swarm) -> (Environment, Play, [ThreadId; 2]) {
    let kernel = Kernel::new(Profile::linux_6_18());
    let threads = [kernel.spawn(), kernel.spawn()];
    let runner = Runner::new(kernel.clone(), Choice::seed(1));
    (Environment::new(1, swarm, kernel), Play::new(1, runner), threads)
}

fn run(play: &mut Play, environment: &Environment) {
    while play.advance(environment) {}
}

#[test]
fn sleepers_wake_in_the_order_of_their_times() {
    let (environment, mut play, threads) = stage(&Swarm::default());
    let woken = Rc::new(RefCell::new(Vec::new()));
    for (who, span) in threads.into_iter().zip([Span::millis(9), Span::millis(3)]) {
        let (environment, woken) = (environment.clone(), Rc::clone(&woken));
        let _ = play.runner.start(who, async move {
            environment.sleep(who, span).await;
            woken.borrow_mut().push(environment.now());
        });
    }
    run(&mut play, &environment);
    assert_eq!(*woken.borrow(), [Time(0) + Span::millis(3), Time(0) + Span::millis(9)]);
}

#[test]
fn a_packet_wakes_its_receiver_and_time_its_patience() {
    let (environment, mut play, [who, _]) = stage(&Swarm::default());
    let packet = Packet { from: A, to: B, bytes: vec![7] };
    environment.send(packet.clone());
    let receiving = environment.clone();
    let received = play.runner.start(who, async move {
        let first = receiving.receive(who, B, Span::millis(1)).await;
        (first, receiving.receive(who, B, Span::millis(1)).await, receiving.now())
    });
    run(&mut play, &environment);
    let (first, second, end) = received.take().unwrap();
    assert_eq!((first, second), (Some(packet), None));
    assert!(end > Time(0) + Span::millis(1), "{end}");
}

#[test]
fn a_signal_ends_a_sleep() {
    let (environment, mut play, [who, _]) = stage(&Swarm::default());
    let sleeping = environment.clone();
    let slept = play.runner.start(who, async move {
        sleeping.sleep(who, Span::millis(1_000)).await;
        sleeping.now()
    });
    assert!(play.runner.advance());
    environment.0.kernel.interrupt(who);
    assert!(play.runner.advance());
    assert!(slept.take().is_some_and(|end| end < Time(0) + Span::millis(1_000)));
}

#[test]
fn a_crash_takes_what_was_not_synced_and_what_was_under_way() {
    let (environment, mut play, [who, _]) = stage(&Swarm::default());
    let writing = environment.clone();
    let written = play.runner.start(who, async move {
        let file = writing.disk(who, A, |disk| disk.create("a")).await;
        writing.disk(who, A, |disk| disk.write(file, 0, b"x")).await
    });
    run(&mut play, &environment);
    assert_eq!(written.take(), Some(Ok(1)));
    assert!(environment.now() > Time(0), "disks take time");
    environment.send(Packet { from: B, to: A, bytes: Vec::new() });
    environment.crash(A);
    assert!(environment.with_disk(A, |disk| disk.open("a")).is_err());
    assert!(!environment.pass_time(), "nothing is under way");
}

#[test]
fn nodes_have_disks_of_their_own() {
    let (environment, ..) = stage(&Swarm::default().with(Fault::SlowDisk, Odds::one_in(2)));
    environment.with_disk(A, |disk| disk.create("a"));
    assert!(environment.with_disk(B, |disk| disk.open("a")).is_err());
}
