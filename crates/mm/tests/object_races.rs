//! Calls at an object beside its end: who is at it keeps it.

#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;

use faultless_mm::{
    Advice, Behind, Choice, Kernel, MapRequest, NewObject, Profile, Runner, ThreadId, Usage,
    explore,
};
use faultless_pages::{Bytes, Va};

const PAGE: u64 = 4096;
const AT: Va = Va(0x6000_0000_0000);

/// A call under way. Whether it is refused in the end is not asked here.
type Ended = Pin<Box<dyn Future<Output = ()>>>;
/// A call, by a thread, at the object of a descriptor, which is mapped at [`AT`].
type Act = fn(Kernel, ThreadId, u32) -> Ended;

/// Races two calls in every interleaving with two preemptions; nothing may be left.
#[track_caller]
fn race(mapped: bool, first: Act, second: Act) {
    let searched = explore(Some(2), |trial| {
        let kernel = Kernel::new(Profile::linux_6_18());
        let mut runner = Runner::new(kernel.clone(), Choice::Straight);
        let who = kernel.spawn();
        let fd = kernel.make_object(who, NewObject::Shmem, 2 * PAGE).expect("a descriptor");
        let written = runner.now(who, kernel.write_object(who, fd, 0, &[7; 8192]));
        assert_eq!(written, Some(Ok(2 * PAGE)));
        if mapped {
            let behind = Behind::Descriptor { fd, offset: 0 };
            let plain = MapRequest::anonymous(Bytes(2 * PAGE));
            let request = MapRequest { at: AT, fixed: true, shared: true, behind, ..plain };
            assert_eq!(runner.now(who, kernel.map(who, request)), Some(Ok(AT)));
            assert_eq!(runner.now(who, kernel.close(who, fd)), Some(Ok(())));
            assert_eq!(runner.now(who, kernel.store(who, AT, &[8])), Some(Ok(())));
        }
        let [one, two] = [(); 2].map(|()| kernel.spawn_thread(who));
        let ends = [
            runner.start(one, first(kernel.clone(), one, fd)),
            runner.start(two, second(kernel.clone(), two, fd)),
        ];
        trial.race(&mut runner);
        if ends.iter().any(|end| end.take().is_none()) {
            return Err("never ends".into());
        }
        kernel.audit()?;
        runner.now(who, kernel.exit(kernel.process_of(who)));
        let left = kernel.usage();
        if left == Usage::default() { Ok(()) } else { Err(format!("{left:?} are left")) }
    });
    if let Err(counterexample) = searched {
        panic!("{counterexample}");
    }
}

fn close(kernel: Kernel, who: ThreadId, fd: u32) -> Ended {
    Box::pin(async move { kernel.close(who, fd).await.expect("it is open") })
}

fn unmap(kernel: Kernel, who: ThreadId, _: u32) -> Ended {
    Box::pin(async move { kernel.unmap(who, AT, Bytes(2 * PAGE)).await.expect("a range") })
}

#[test]
fn an_object_is_read_written_and_cut_beside_its_closing() {
    let calls: [Act; 4] = [
        |kernel, who, fd| {
            Box::pin(async move {
                let _ = kernel.read_object(who, fd, 0, 2 * PAGE).await;
            })
        },
        |kernel, who, fd| {
            Box::pin(async move {
                let _ = kernel.write_object(who, fd, 10, &[1; 5000]).await;
            })
        },
        |kernel, who, fd| {
            Box::pin(async move {
                let _ = kernel.resize(who, fd, 10).await;
            })
        },
        |kernel, who, fd| {
            Box::pin(async move {
                let _ = kernel.punch(who, fd, 10, 5000).await;
            })
        },
    ];
    for call in calls {
        race(false, call, close);
    }
}

#[test]
fn pages_are_removed_and_reclaimed_beside_their_unmapping() {
    let calls: [Act; 2] = [
        |kernel, who, _| {
            Box::pin(async move {
                let _ = kernel.advise(who, AT, Bytes(2 * PAGE), Advice::Remove).await;
            })
        },
        |kernel, who, _| {
            Box::pin(async move {
                let _ = kernel.swap_out(who, AT).await;
            })
        },
    ];
    for call in calls {
        race(true, call, unmap);
    }
}
