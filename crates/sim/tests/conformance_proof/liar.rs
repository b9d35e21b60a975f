//! A world that lies in one respect: it changes calls on their way in, or outcomes on their way
//! out.

use std::collections::BTreeMap;

use faultless_sim::conform::errno::{EAGAIN, EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, ESRCH};
use faultless_sim::conform::kernel::KernelWorld;
use faultless_sim::conform::linux::advice;
use faultless_sim::conform::verdict::Verdict;
use faultless_sim::conform::{Call, Done, Errno, Fd, Process, Profile, Stop, Thread, World};
use faultless_uapi::event::{PAGEFAULT, UNMAP};
use faultless_uapi::feature::{FEATURE_MOVE, FEATURE_WP_ASYNC};
use faultless_uapi::ioctl::{
    UFFDIO_API, UFFDIO_CONTINUE, UFFDIO_COPY, UFFDIO_MOVE, UFFDIO_REGISTER, UFFDIO_RWPROTECT,
    UFFDIO_UNREGISTER, UFFDIO_WAKE, UFFDIO_WRITEPROTECT, UFFDIO_ZEROPAGE,
};
use faultless_uapi::mode;
use faultless_uapi::scan::pagemap;
use faultless_uapi::{UffdMsg, UffdioCopy, UffdioRange};

/// One way to be wrong.
pub(crate) struct Lie {
    /// What is claimed.
    pub(crate) name: &'static str,
    /// Topics whose bodies must notice.
    pub(crate) topics: &'static [&'static str],
    /// Features without which nobody can notice.
    pub(crate) needs: u64,
    before: fn(Call) -> Call,
    after: fn(&Call, Done) -> Done,
}

/// Everything that is lied about.
pub(crate) const LIES: &[Lie] = &[
    after("bad_flags_are_fine", &["creation"], |call, done| match call {
        Call::Userfaultfd { .. } if done.result.is_err() => Done { result: Ok(99), ..done },
        _ => done,
    }),
    after("any_handshake_succeeds", &["handshake"], |call, done| {
        forgive(call, done, UFFDIO_API, EINVAL)
    }),
    after("memory_of_another_is_free", &["register"], |call, done| {
        forgive(call, done, UFFDIO_REGISTER, EBUSY)
    }),
    after("any_memory_can_be_registered", &["register", "register_memory"], |call, done| {
        forgive(call, done, UFFDIO_REGISTER, EINVAL)
    }),
    after("anything_can_be_unregistered", &["unregister"], |call, done| {
        forgive(call, done, UFFDIO_UNREGISTER, EINVAL)
    }),
    before("closing_does_not_close", &["lifetime"], |call| match call {
        Call::Close { fd } => Call::Duplicate { fd },
        other => other,
    }),
    before("advice_is_ignored", &["fork_exec", "events"], |call| match call {
        Call::Advise { at, len, .. } => Call::Advise { at, len, advice: 0 },
        other => other,
    }),
    after("existing_pages_are_no_error", &["copy", "filling", "swap", "thp", "hugetlb"], |c, d| {
        forgive(c, d, UFFDIO_COPY, EEXIST)
    }),
    after("zero_pages_go_anywhere", &["zeropage"], |call, done| {
        forgive(call, done, UFFDIO_ZEROPAGE, EEXIST)
    }),
    after("objects_hold_everything", &["continue_", "hugetlb"], |call, done| {
        forgive(call, done, UFFDIO_CONTINUE, EFAULT)
    }),
    before("waking_wakes_nobody", &["wake"], |call| {
        change(call, UFFDIO_WAKE, |bytes| {
            put(bytes, &UffdioRange { start: 1 << 20, len: 1 << 16 }.to_bytes());
        })
    }),
    before("dontwake_is_ignored", &["wake"], |call| {
        change(call, UFFDIO_COPY, |bytes| change_mode(bytes, |mode| mode & !mode::copy::DONTWAKE))
    }),
    before("copy_forgets_to_protect", &["copy", "missing", "hugetlb_wp"], |call| {
        change(call, UFFDIO_COPY, |bytes| change_mode(bytes, |mode| mode & !mode::copy::WP))
    }),
    before("nothing_is_ever_protected", &["write_protect", "wp_memory", "hugetlb_wp"], |call| {
        change(call, UFFDIO_WRITEPROTECT, |bytes| bytes[16] &= !1)
    }),
    before("holes_always_move", &["move_pages"], |call| {
        change(call, UFFDIO_MOVE, |bytes| {
            change_mode(bytes, |mode| mode | mode::move_::ALLOW_SRC_HOLES);
        })
    }),
    before(
        "move_is_a_copy",
        &["move_pages", "move_huge", "move_exclusive", "swap", "thp"],
        |call| match call {
            Call::Ioctl { fd, request: UFFDIO_MOVE, argument } => {
                Call::Ioctl { fd, request: UFFDIO_COPY, argument }
            }
            other => other,
        },
    )
    .needing(FEATURE_MOVE),
    after("shared_pages_are_retried", &["move_exclusive", "thp"], |call, done| {
        change_error(call, done, UFFDIO_MOVE, EBUSY, EAGAIN)
    })
    .needing(FEATURE_MOVE),
    after("markers_are_holes", &["move_markers"], |call, done| {
        change_error(call, done, UFFDIO_MOVE, EFAULT, ENOENT)
    }),
    after("the_dead_are_invalid", &["foreign"], |call, done| {
        change_error(call, done, UFFDIO_COPY, ESRCH, EINVAL)
    }),
    after("out_field_is_forgotten", &["copy", "mmap_changing"], |call, mut done| {
        if is_request(call, UFFDIO_COPY) && done.result == refused(EAGAIN) {
            put(&mut done.bytes[32..], &[0; 8]);
        }
        done
    }),
    after("stores_look_like_loads", &["missing", "write_protect"], |call, done| {
        change_messages(call, done, |messages| {
            for message in messages {
                if message.event == PAGEFAULT {
                    message.arg0 &= !1;
                }
            }
        })
    }),
    after("events_come_first", &["read_order"], |call, done| {
        change_messages(call, done, |messages| messages.sort_by_key(|m| m.event == PAGEFAULT))
    }),
    after("the_last_message_is_lost", &["read_order"], |call, mut done| {
        if let (Call::Read { .. }, Ok(33..)) = (call, done.result) {
            done.bytes.truncate(done.bytes.len() - size_of::<UffdMsg>());
            done.result = Ok(done.bytes.len() as u64);
        }
        done
    }),
    after("unmapping_is_told_clipped", &["events"], |call, done| {
        change_messages(call, done, |messages| {
            for message in messages {
                if message.event == UNMAP {
                    message.arg1 -= 4096;
                }
            }
        })
    }),
    before("the_heap_stays", &["heap"], |call| match call {
        Call::Brk { .. } => Call::Brk { end: 0 },
        other => other,
    }),
    after("polling_sees_nothing", &["poll"], |call, done| match call {
        Call::Poll { .. } => Done { result: Ok(0), ..done },
        _ => done,
    }),
    after("protection_does_not_show", &["wp_memory", "wp_async"], |call, done| {
        change_entries(call, done, |entry| entry & !pagemap::UFFD_WP)
    }),
    after("everything_is_shared", &["pagemap_entry"], |call, done| {
        change_entries(call, done, |entry| entry | pagemap::FILE_OR_SHARED)
    }),
    after("poison_reads_as_zeros", &["poison", "sigbus"], |call, done| match (call, done.result) {
        (Call::Load { len: 1, .. }, Err(Stop::Sigbus { .. })) => {
            Done { result: Ok(0), bytes: vec![0] }
        }
        _ => done,
    }),
    after("system_calls_read_anything", &["user_mode_only", "sigbus"], |call, done| match call {
        Call::KernelLoad { .. } => Done { result: Ok(1), bytes: vec![0] },
        _ => done,
    }),
    after(
        "a_scan_misses_a_region",
        &["pagemap_scan", "scan_protect", "hugetlb_scan"],
        |call, done| match (call, done.result) {
            (Call::Scan { .. }, Ok(count @ 1..)) => Done { result: Ok(count - 1), ..done },
            _ => done,
        },
    )
    .needing(FEATURE_WP_ASYNC),
    before("guards_let_through", &["guard"], |call| match call {
        Call::Advise { at, len, advice: advice::GUARD_INSTALL } => {
            Call::Advise { at, len, advice: advice::DONTNEED }
        }
        other => other,
    }),
    after("loads_need_no_permission", &["read_protect"], |call, done| match call {
        Call::Ioctl { request: UFFDIO_RWPROTECT, .. } => Done { result: Ok(0), ..done },
        _ => done,
    }),
];

const fn before(
    name: &'static str,
    topics: &'static [&'static str],
    before: fn(Call) -> Call,
) -> Lie {
    Lie { name, topics, needs: 0, before, after: |_, done| done }
}

const fn after(
    name: &'static str,
    topics: &'static [&'static str],
    after: fn(&Call, Done) -> Done,
) -> Lie {
    Lie { name, topics, needs: 0, before: |call| call, after }
}

impl Lie {
    /// Names features without which nobody can notice.
    const fn needing(self, needs: u64) -> Lie {
        Lie { needs, ..self }
    }
}

fn refused(errno: Errno) -> Result<u64, Stop> {
    Err(Stop::Refused(errno))
}

/// Turns this error of a request into success.
fn forgive(call: &Call, done: Done, number: u32, errno: Errno) -> Done {
    if is_request(call, number) && done.result == refused(errno) {
        return Done { result: Ok(0), ..done };
    }
    done
}

/// Turns one error of a request into another, in its out field too.
fn change_error(call: &Call, mut done: Done, number: u32, from: Errno, to: Errno) -> Done {
    if is_request(call, number) && done.result == refused(from) {
        done.result = refused(to);
        put(&mut done.bytes[32..], &i64::from(-to.0).to_ne_bytes());
    }
    done
}

/// Changes what the pagemap says of each page.
fn change_entries(call: &Call, mut done: Done, act: fn(u64) -> u64) -> Done {
    if let Call::Pagemap { .. } = call {
        for entry in done.bytes.as_chunks_mut::<8>().0 {
            *entry = act(u64::from_ne_bytes(*entry)).to_ne_bytes();
        }
    }
    done
}

fn is_request(call: &Call, number: u32) -> bool {
    matches!(call, Call::Ioctl { request, .. } if *request == number)
}

fn put(bytes: &mut [u8], value: &[u8]) {
    bytes[..value.len()].copy_from_slice(value);
}

/// Changes the argument of one kind of request.
fn change(call: Call, number: u32, act: fn(&mut [u8])) -> Call {
    match call {
        Call::Ioctl { fd, request, mut argument } if request == number => {
            act(&mut argument);
            Call::Ioctl { fd, request, argument }
        }
        other => other,
    }
}

/// Changes the mode word of a COPY or MOVE.
fn change_mode(bytes: &mut [u8], act: fn(u64) -> u64) {
    let Some(raw) = bytes.first_chunk::<40>() else { return };
    let argument = UffdioCopy::from_bytes(*raw);
    put(bytes, &UffdioCopy { mode: act(argument.mode), ..argument }.to_bytes());
}

/// Changes the messages a read brought.
fn change_messages(call: &Call, mut done: Done, act: fn(&mut Vec<UffdMsg>)) -> Done {
    if let (Call::Read { .. }, Ok(1..)) = (call, done.result) {
        let raw = done.bytes.as_chunks::<32>().0;
        let mut messages = raw.iter().map(|raw| UffdMsg::from_bytes(*raw)).collect();
        act(&mut messages);
        done.bytes = messages.iter().flat_map(UffdMsg::to_bytes).collect();
    }
    done
}

/// The kernel's world, with one lie told.
pub(crate) struct Liar {
    world: KernelWorld,
    lie: &'static Lie,
    calls: BTreeMap<Thread, Call>,
}

impl Liar {
    pub(crate) fn new(world: KernelWorld, lie: &'static Lie) -> Liar {
        Liar { world, lie, calls: BTreeMap::new() }
    }
}

impl World for Liar {
    fn start(&mut self, who: Thread, call: Call) -> Verdict {
        let call = (self.lie.before)(call);
        self.calls.insert(who, call.clone());
        self.world.start(who, call)
    }

    fn settle(&mut self, who: Thread) -> Verdict<Option<Done>> {
        let done = self.world.settle(who)?;
        let call = self.calls.get(&who);
        Ok(done.map(|done| call.map_or(done.clone(), |call| (self.lie.after)(call, done))))
    }

    fn profile(&self) -> &Profile {
        self.world.profile()
    }

    fn spawn(&mut self) -> Verdict<Thread> {
        self.world.spawn()
    }

    fn spawn_thread(&mut self, beside: Thread) -> Verdict<Thread> {
        self.world.spawn_thread(beside)
    }

    fn describe(&self, who: Thread) -> String {
        self.world.describe(who)
    }

    fn interrupt(&mut self, who: Thread) -> Verdict {
        self.world.interrupt(who)
    }

    fn kill(&mut self, process: Process) -> Verdict {
        self.world.kill(process)
    }

    fn pass(&mut self, from: Thread, fd: Fd, to: Thread) -> Verdict<Fd> {
        self.world.pass(from, fd, to)
    }

    fn thread_id(&self, who: Thread) -> u32 {
        self.world.thread_id(who)
    }
}
