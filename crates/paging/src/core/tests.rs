//! The engine, step by step, against a table of what it should ask for.

use faultless_pages::{Bytes, Va};

use super::*;
use crate::port::{
    Again, Content, Fault, FaultKind, FetchError, Fetched, Message, Order, Outcome, Quiet, Request,
    Span, Stop, Supply, Urgency,
};

const BASE: u64 = 0x10_0000;
const PAGE: u64 = 4096;

/// A core with one region, and what it asked for.
struct Bench {
    core: Core,
    now: Time,
    asked: Vec<Action>,
}

fn at(page: u64) -> Va {
    Va(BASE + page * PAGE)
}

fn range(first: u64, count: u64) -> VaRange {
    VaRange::of(at(first), Bytes(count * PAGE))
}

fn missing(page: u64) -> Message {
    Message::Fault(Fault { at: at(page), kind: FaultKind::Missing, thread: None })
}

impl Bench {
    fn new(policy: Policy, change: impl FnOnce(&mut RegionSpec)) -> Bench {
        let mut core = Core::new(policy, Box::new(Quiet));
        let mut spec = RegionSpec::new(Va(BASE), 16);
        change(&mut spec);
        core.add(spec);
        Bench { core, now: Time(0), asked: Vec::new() }
    }

    fn plain() -> Bench {
        Bench::new(Policy::default(), |_| {})
    }

    fn step(&mut self, event: Event<'_>) -> &mut Bench {
        self.asked.clear();
        self.core.step(self.now, event, &mut self.asked);
        self
    }

    /// Reads these messages.
    fn hear(&mut self, messages: &[Message]) -> &mut Bench {
        self.step(Event::Readable);
        assert!(matches!(self.asked[..], [Action::Read]), "{:?}", self.asked);
        self.step(Event::Messages(messages))
    }

    /// What was asked of the source in the last step.
    fn orders(&self) -> Vec<Order> {
        let order = |action: &Action| match action {
            Action::Fetch { order, .. } => Some(*order),
            _ => None,
        };
        self.asked.iter().filter_map(order).collect()
    }

    /// What was asked of the kernel in the last step.
    fn requests(&self) -> Vec<Request> {
        self.jobs().into_iter().map(|(_, request)| request).collect()
    }

    fn jobs(&self) -> Vec<(JobId, Request)> {
        let job = |action: &Action| match action {
            Action::Perform { job, request } => Some((*job, *request)),
            _ => None,
        };
        self.asked.iter().filter_map(job).collect()
    }

    fn order(&self) -> Order {
        let orders = self.orders();
        assert_eq!(orders.len(), 1, "{:?}", self.asked);
        orders[0]
    }

    fn brought(&mut self, order: Order) -> &mut Bench {
        let result = Ok(Fetched::bytes(order.pages.count));
        self.step(Event::Fetched { fetch: order.fetch, result })
    }

    fn failed(&mut self, order: Order, error: FetchError) -> &mut Bench {
        self.step(Event::Fetched { fetch: order.fetch, result: Err(error) })
    }

    /// Tells of the only request of the last step what came of it.
    fn done(&mut self, outcome: impl Fn(VaRange) -> Outcome) -> &mut Bench {
        let jobs = self.jobs();
        assert_eq!(jobs.len(), 1, "{:?}", self.asked);
        let (job, request) = jobs[0];
        self.step(Event::Done { job, outcome: outcome(request.range()) })
    }

    fn word(&self, page: u64) -> crate::page::PageWord {
        self.core.table(RegionId(0)).get(PageIndex(page))
    }

    fn state(&self, page: u64) -> State {
        self.word(page).state()
    }
}

fn passing() -> FetchError {
    FetchError::Passing("the connection broke".to_owned())
}

#[test]
fn a_fault_becomes_a_fetch_an_install_with_a_wake_and_a_release() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    assert_eq!((order.pages, order.urgency), (PageRun::new(3, 1), Urgency::Demand));
    let requests = bench.brought(order).requests();
    let [Request::Copy { range: to, wake: true, protect: false, .. }] = requests[..] else {
        panic!("{requests:?}");
    };
    assert_eq!(to, range(3, 1));
    bench.done(Outcome::complete);
    assert!(matches!(bench.asked[..], [Action::Release(fetch)] if fetch == order.fetch));
    assert_eq!(bench.state(3), State::Present);
}

#[test]
fn neighbouring_faults_of_a_batch_are_one_fetch_and_threads_of_a_page_one_fault() {
    let mut bench = Bench::plain();
    bench.hear(&[missing(5), missing(4), missing(5), missing(9)]);
    let pages: Vec<_> = bench.orders().iter().map(|order| order.pages).collect();
    assert_eq!(pages, [PageRun::new(4, 2), PageRun::new(9, 1)]);
}

#[test]
fn a_page_that_was_removed_in_the_same_batch_is_zeros_though_its_fault_was_read_first() {
    let mut bench = Bench::plain();
    bench.hear(&[missing(3), Message::Remove(range(3, 1))]);
    let requests = bench.requests();
    let zero = Request::Zero { range: range(3, 1), wake: true };
    assert_eq!(requests, [Request::Wake { range: range(3, 1) }, zero]);
    assert!(bench.orders().is_empty());
}

#[test]
fn what_comes_for_a_page_that_was_removed_meanwhile_is_not_used() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    bench.hear(&[Message::Remove(range(3, 1))]);
    bench.brought(order);
    assert!(matches!(bench.asked[..], [Action::Release(_)]), "{:?}", bench.asked);
    assert_eq!(bench.state(3), State::Removed);
}

#[test]
fn nothing_is_read_while_something_is_being_installed_and_the_other_way_round() {
    let mut bench = Bench::plain();
    let first = bench.hear(&[missing(1)]).order();
    let second = bench.hear(&[missing(2)]).order();
    let install = bench.brought(first).jobs()[0];
    assert!(bench.step(Event::Readable).asked.is_empty());
    // What comes now waits for the messages, lest these wait for ever.
    assert!(bench.brought(second).asked.is_empty());
    let outcome = Outcome::complete(install.1.range());
    bench.step(Event::Done { job: install.0, outcome });
    assert!(bench.asked.iter().any(|action| matches!(action, Action::Read)));
    assert!(bench.requests().is_empty());
    assert_eq!(bench.step(Event::Messages(&[])).requests().len(), 1);
}

#[test]
fn without_events_reading_waits_for_nothing() {
    let mut bench = Bench::new(Policy { events: false, ..Policy::default() }, |_| {});
    let order = bench.hear(&[missing(1)]).order();
    bench.brought(order);
    assert!(matches!(bench.step(Event::Readable).asked[..], [Action::Read]));
}

#[test]
fn a_page_that_is_there_already_is_woken() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    bench.brought(order).done(|_| Outcome::stopped(Stop::Present));
    assert!(bench.requests().contains(&Request::Wake { range: range(3, 1) }));
    assert_eq!(bench.state(3), State::Present);
}

#[test]
fn after_part_of_a_run_the_rest_is_asked_for_and_nothing_else_counts_as_done() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3), missing(4), missing(5)]).order();
    let part = |_| Outcome { done: Bytes(PAGE), stopped: Some(Stop::Again(Again::Partial)) };
    let requests = bench.brought(order).done(part).requests();
    assert_eq!(requests.iter().map(Request::range).collect::<Vec<_>>(), [range(4, 2)]);
    assert_eq!((bench.state(3), bench.state(4)), (State::Present, State::Installing));
    // The middle of what is left is there already: woken, and the last goes on.
    let found = |_| Outcome { done: Bytes(0), stopped: Some(Stop::Present) };
    let requests = bench.done(found).requests();
    assert_eq!(requests[0], Request::Wake { range: range(4, 1) });
    assert_eq!(requests[1].range(), range(5, 1));
}

#[test]
fn what_a_pending_event_turned_away_is_tried_again_by_the_clock() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    let pending = |_| Outcome::stopped(Stop::Again(Again::Pending));
    bench.brought(order).done(pending);
    assert!(matches!(bench.asked[..], [Action::Read]), "the event may be unread");
    let due = bench.core.due().expect("a time to try again");
    bench.step(Event::Messages(&[]));
    assert!(bench.requests().is_empty());
    bench.now = due;
    assert_eq!(bench.step(Event::Tick).requests().len(), 1);
    // Ever more patiently, as long as it is turned away.
    bench.done(pending).step(Event::Messages(&[]));
    let next = bench.core.due().expect("a time to try again");
    assert_eq!(next.since(bench.now), Span::micros(100));
}

#[test]
fn a_parked_install_of_a_page_that_is_removed_is_not_made_again() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    bench.brought(order).done(|_| Outcome::stopped(Stop::Again(Again::Pending)));
    bench.step(Event::Messages(&[Message::Remove(range(3, 1))]));
    bench.now = bench.core.due().expect("a time to try again");
    bench.step(Event::Tick);
    assert!(bench.requests().is_empty(), "{:?}", bench.asked);
    assert!(matches!(bench.asked[..], [Action::Release(_)]));
}

#[test]
fn a_failed_fetch_is_made_again_and_a_lost_page_is_poisoned_and_told() {
    let mut bench = Bench::plain();
    let mut order = bench.hear(&[missing(3)]).order();
    for attempt in 1..4 {
        bench.failed(order, passing());
        bench.now = bench.core.due().expect("a time to try again");
        order = bench.step(Event::Tick).order();
        assert_eq!(order.attempt, attempt);
    }
    bench.failed(order, passing());
    assert_eq!(bench.requests(), [Request::Poison { range: range(3, 1), wake: true }]);
    let lost = |action: &Action| matches!(action, Action::Tell(Tell::Lost { .. }));
    assert!(bench.asked.iter().any(lost));
    bench.done(Outcome::complete);
    assert_eq!(bench.state(3), State::Poisoned);
}

#[test]
fn of_a_run_that_is_lost_each_page_is_asked_for_alone_before_it_is_given_up() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3), missing(4)]).order();
    bench.failed(order, FetchError::Final("gone".to_owned()));
    let pages: Vec<_> = bench.orders().iter().map(|order| order.pages).collect();
    assert_eq!(pages, [PageRun::new(3, 1), PageRun::new(4, 1)]);
    assert!(bench.requests().is_empty());
}

#[test]
fn an_answer_that_is_too_short_is_a_failure() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3), missing(4)]).order();
    bench.step(Event::Fetched { fetch: order.fetch, result: Ok(Fetched::bytes(1)) });
    assert!(bench.requests().is_empty());
    assert!(bench.core.due().is_some());
}

#[test]
fn who_waits_is_served_first_and_what_lies_around_comes_by_itself() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.around = 4);
    let orders = bench.hear(&[missing(6)]).orders();
    let expected = [
        (PageRun::new(6, 1), Urgency::Demand),
        (PageRun::new(4, 2), Urgency::Prefetch),
        (PageRun::new(7, 1), Urgency::Prefetch),
    ];
    assert_eq!(
        orders.iter().map(|order| (order.pages, order.urgency)).collect::<Vec<_>>(),
        expected
    );
    // Whoever waits is not held up by what lies around.
    assert_eq!(bench.brought(orders[0]).requests().len(), 1);
}

#[test]
fn a_page_on_its_way_for_later_is_fetched_for_who_waits_now() {
    let mut bench = Bench::plain();
    let (region, pages) = (RegionId(0), PageRun::new(0, 8));
    let ahead = bench.step(Event::Wish { region, pages }).order();
    assert_eq!(ahead.urgency, Urgency::Prefetch);
    let demand = bench.hear(&[missing(2)]).order();
    assert_eq!((demand.pages, demand.urgency), (PageRun::new(2, 1), Urgency::Demand));
    // What was fetched for later goes around the page that was taken from it.
    let ranges: Vec<_> = bench.brought(ahead).requests().iter().map(Request::range).collect();
    assert_eq!(ranges, [range(0, 2), range(3, 5)]);
}

#[test]
fn nobody_is_woken_for_what_nobody_waits_for_unless_somebody_came_meanwhile() {
    let mut bench = Bench::new(Policy { events: false, ..Policy::default() }, |_| {});
    let (region, pages) = (RegionId(0), PageRun::new(0, 1));
    let ahead = bench.step(Event::Wish { region, pages }).order();
    let (job, request) = bench.brought(ahead).jobs()[0];
    assert!(matches!(request, Request::Copy { wake: false, .. }));
    bench.hear(&[missing(0)]);
    assert!(bench.asked.is_empty(), "it is just being put there");
    bench.step(Event::Done { job, outcome: Outcome::complete(range(0, 1)) });
    assert!(bench.requests().contains(&Request::Wake { range: range(0, 1) }));
}

#[test]
fn a_fault_of_a_page_that_was_served_puts_zeros_there_or_finds_it() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    bench.brought(order).done(Outcome::complete);
    let requests = bench.hear(&[missing(3)]).requests();
    assert_eq!(requests, [Request::Zero { range: range(3, 1), wake: true }]);
    bench.done(|_| Outcome::stopped(Stop::Present));
    assert_eq!(bench.requests(), [Request::Wake { range: range(3, 1) }]);
    assert!(!bench.word(3).is_discarded());
}

#[test]
fn tracked_pages_come_protected_zeros_too_and_what_is_written_is_known() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.tracked = true);
    let order = bench.hear(&[missing(3)]).order();
    let result = Ok(Fetched::zeros(1));
    bench.step(Event::Fetched { fetch: order.fetch, result });
    assert!(matches!(bench.requests()[..], [Request::Copy { protect: true, .. }]));
    bench.done(Outcome::complete);
    assert!(!bench.word(3).is_dirty());
    let fault = Fault { at: at(3), kind: FaultKind::Protected, thread: None };
    let requests = bench.hear(&[Message::Fault(fault)]).requests();
    assert_eq!(requests, [Request::Unprotect { range: range(3, 1) }]);
    assert!(bench.word(3).is_dirty());
}

#[test]
fn pages_are_never_protected_where_writes_are_not_tracked() {
    // COPY with protection on memory that is not registered for it is EINVAL.
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    assert!(matches!(bench.brought(order).requests()[..], [Request::Copy { protect: false, .. }]));
}

#[test]
fn a_writer_whose_page_is_removed_before_it_may_write_is_woken() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.tracked = true);
    let fault = Fault { at: at(3), kind: FaultKind::Protected, thread: None };
    bench.hear(&[Message::Fault(fault)]).done(|_| Outcome::stopped(Stop::Again(Again::Pending)));
    bench.step(Event::Messages(&[Message::Remove(range(3, 1))]));
    assert!(bench.requests().contains(&Request::Wake { range: range(3, 1) }));
    bench.now = bench.core.due().expect("a time to try again");
    // Leave to write is not given to a page that is another by now.
    assert_eq!(bench.step(Event::Tick).requests(), [Request::Wake { range: range(3, 1) }]);
}

#[test]
fn pages_move_with_their_memory_and_who_waits_at_the_old_place_is_woken() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    let (from, to, len) = (at(2), at(100), Bytes(4 * PAGE));
    bench.hear(&[Message::Remap { from, to, len }, Message::Unmap(range(2, 4))]);
    assert!(bench.requests().contains(&Request::Wake { range: range(2, 4) }));
    assert_eq!(bench.brought(order).requests()[0].range(), range(101, 1));
}

#[test]
fn a_child_has_what_its_parent_has_and_goes_on_by_itself() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3), Message::Remove(range(5, 1))]).order();
    bench.hear(&[Message::Fork { child: 7 }]);
    let Some(Action::Tell(Tell::Forked { child: 7, core })) = bench.asked.pop() else {
        panic!("{:?}", bench.asked);
    };
    let mut child = Bench { core: *core, now: bench.now, asked: Vec::new() };
    assert_eq!((child.state(3), child.state(5)), (State::Absent, State::Removed));
    bench.brought(order).done(Outcome::complete);
    assert_eq!(child.hear(&[missing(3)]).orders().len(), 1);
    assert_eq!(child.hear(&[missing(5)]).requests().len(), 1);
}

#[test]
fn a_run_across_a_border_that_appeared_is_halved_down_to_the_page() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3), missing(4)]).order();
    let requests = bench.brought(order).done(|_| Outcome::stopped(Stop::NotMapped)).requests();
    let ranges: Vec<_> = requests.iter().map(Request::range).collect();
    assert_eq!(ranges, [range(3, 1), range(4, 1)]);
}

#[test]
fn an_area_that_is_gone_is_no_failure_and_its_waiters_are_let_go() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    bench.brought(order).done(|_| Outcome::stopped(Stop::NotMapped));
    assert!(bench.requests().contains(&Request::Wake { range: range(3, 1) }));
    assert_eq!(bench.hear(&[missing(3)]).orders().len(), 1, "it may be there again");
}

#[test]
fn the_end_of_the_process_is_an_ordinary_end() {
    let mut bench = Bench::plain();
    let orders = bench.hear(&[missing(3), missing(9)]).orders();
    bench.brought(orders[0]).done(|_| Outcome::stopped(Stop::Gone));
    assert!(bench.asked.iter().any(|action| matches!(action, Action::Tell(Tell::Gone))));
    // What was under way is let go when it comes.
    assert!(matches!(bench.brought(orders[1]).asked[..], [Action::Release(_)]));
    assert!(bench.core.is_over());
    assert!(bench.step(Event::Readable).asked.is_empty());
}

#[test]
fn runs_of_own_memory_are_moved_single_pages_and_shared_ones_copied() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.ways = Ways::OWN);
    let single = bench.hear(&[missing(0)]).order();
    assert!(matches!(bench.brought(single).requests()[..], [Request::Copy { .. }]));
    bench.done(Outcome::complete);
    let (region, pages) = (RegionId(0), PageRun::new(4, 8));
    let many = bench.step(Event::Wish { region, pages }).order();
    assert!(matches!(bench.brought(many).requests()[..], [Request::Move { .. }]));
    // A page shared with a forked child cannot be moved.
    let requests = bench.done(|_| Outcome::stopped(Stop::Busy)).requests();
    assert!(matches!(requests[..], [Request::Copy { .. }]));
}

#[test]
fn shared_memory_is_filled_through_its_second_mapping_and_never_seen_half_filled() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.ways = Ways::FILLED);
    // Its neighbour's huge page may have put it into the page cache, as zeros: fetched anyway.
    let fault = Fault { at: at(3), kind: FaultKind::Minor, thread: None };
    let order = bench.hear(&[Message::Fault(fault)]).order();
    let requests = bench.brought(order).requests();
    assert!(matches!(requests[..], [Request::Continue { fill: Some(_), wake: true, .. }]));
    bench.done(Outcome::complete);
    let requests = bench.hear(&[Message::Fault(fault)]).requests();
    assert!(matches!(requests[..], [Request::Continue { fill: None, .. }]));
}

#[test]
fn what_the_page_cache_holds_is_mapped() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    let result = Ok(Fetched { runs: vec![(1, Content::Cached)] });
    bench.step(Event::Fetched { fetch: order.fetch, result });
    assert!(matches!(bench.requests()[..], [Request::Continue { fill: None, .. }]));
}

#[test]
fn huge_pages_are_counted_as_such_and_zeros_are_copied() {
    let mut bench = Bench::new(Policy::default(), |spec| {
        (spec.start, spec.page_size, spec.ways) = (Va(1 << 30), PageSize::MIB2, Ways::HUGETLB);
    });
    let place = Va((1 << 30) + (2 << 21));
    let fault = Fault { at: place, kind: FaultKind::Missing, thread: None };
    let order = bench.hear(&[Message::Fault(fault)]).order();
    assert_eq!(order.pages, PageRun::new(2, 1));
    let result = Ok(Fetched::zeros(1));
    bench.step(Event::Fetched { fetch: order.fetch, result });
    let requests = bench.requests();
    assert!(matches!(requests[..], [Request::Copy { .. }]));
    assert_eq!(requests[0].range(), VaRange::of(place, Bytes::mib(2)));
}

#[test]
fn the_background_fills_everything_but_begins_nothing_while_somebody_waits() {
    let background = Some(Background { pages: 8, fetches: 1, pace: Span::ZERO });
    let mut bench = Bench::new(Policy { background, ..Policy::default() }, |_| {});
    let first = bench.step(Event::Tick).order();
    assert_eq!((first.pages, first.urgency), (PageRun::new(0, 8), Urgency::Background));
    let demand = bench.hear(&[missing(12)]).order();
    assert_eq!(demand.urgency, Urgency::Demand);
    bench.brought(first).done(Outcome::complete);
    assert!(bench.orders().is_empty());
    bench.brought(demand).done(Outcome::complete);
    assert_eq!(bench.order().pages, PageRun::new(8, 4));
}

#[test]
fn the_background_keeps_its_pace() {
    let background = Some(Background { pages: 4, fetches: 1, pace: Span::millis(3) });
    let mut bench = Bench::new(Policy { background, ..Policy::default() }, |_| {});
    let order = bench.step(Event::Tick).order();
    bench.brought(order).done(Outcome::complete);
    assert!(bench.orders().is_empty());
    assert_eq!(bench.core.due(), Some(Time(3_000_000)));
    bench.now = Time(3_000_000);
    assert_eq!(bench.step(Event::Tick).order().pages, PageRun::new(4, 4));
}

#[test]
fn memory_is_let_go_when_it_is_complete_and_not_before() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.pages = 2);
    bench.step(Event::End(Ending::Complete));
    let order = bench.order();
    assert!(bench.requests().is_empty());
    bench.brought(order).done(Outcome::complete);
    assert_eq!(bench.requests(), [Request::Unregister { range: range(0, 2) }]);
    assert!(!bench.core.is_over());
    bench.done(Outcome::complete);
    // A thread whose event is unread would wait for ever.
    assert!(matches!(bench.requests()[..], [Request::Continue { .. }]));
    bench.done(|_| Outcome::stopped(Stop::Again(Again::Pending)));
    assert!(matches!(bench.asked[..], [Action::Read]));
    bench.step(Event::Messages(&[]));
    bench.now = bench.core.due().expect("a time to ask again");
    bench.step(Event::Tick).done(|_| Outcome::stopped(Stop::NotMapped));
    assert_eq!(bench.requests(), [Request::Wake { range: range(0, 2) }]);
    assert!(matches!(bench.asked.last(), Some(Action::Tell(Tell::Ended(Ending::Complete)))));
    // The descriptor is still in use.
    assert!(!bench.core.is_over());
    let (job, request) = bench.jobs()[0];
    bench.step(Event::Done { job, outcome: Outcome::complete(request.range()) });
    assert!(bench.core.is_over());
}

#[test]
fn an_end_that_poisons_leaves_no_page_to_become_zeros() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.pages = 4);
    let order = bench.hear(&[missing(1)]).order();
    bench.brought(order).done(Outcome::complete);
    let requests = bench.step(Event::End(Ending::Poison)).requests();
    let ranges: Vec<_> = requests.iter().map(Request::range).collect();
    assert_eq!(ranges, [range(0, 1), range(2, 2)]);
    for (job, request) in bench.jobs() {
        bench.step(Event::Done { job, outcome: Outcome::complete(request.range()) });
    }
    assert_eq!(bench.requests(), [Request::Unregister { range: range(0, 4) }]);
}

#[test]
fn a_successor_goes_on_from_the_words_of_its_predecessor() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.pages = 4);
    let order = bench.hear(&[missing(1), Message::Remove(range(2, 1))]).order();
    bench.done(Outcome::complete).step(Event::End(Ending::HandOver));
    assert!(matches!(bench.asked[..], [Action::Tell(Tell::Ended(Ending::HandOver))]));
    assert!(matches!(bench.brought(order).asked[..], [Action::Release(_)]));
    let table = Arc::clone(bench.core.table(RegionId(0)));
    let mut core = Core::new(Policy::default(), Box::new(Quiet));
    core.add_with(RegionSpec::new(Va(BASE), 4), table);
    let mut next = Bench { core, now: bench.now, asked: Vec::new() };
    next.core.wake_all(&mut next.asked);
    assert_eq!(next.requests(), [Request::Wake { range: range(0, 4) }]);
    assert_eq!(next.hear(&[missing(1)]).orders().len(), 1);
    assert!(matches!(next.hear(&[missing(2)]).requests()[..], [Request::Zero { .. }]));
}

#[test]
fn only_unwritten_pages_are_dropped_and_ones_own_discard_is_not_the_programs() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.tracked = true);
    let order = bench.hear(&[missing(3), missing(4)]).order();
    bench.brought(order).done(Outcome::complete);
    let fault = Fault { at: at(4), kind: FaultKind::Protected, thread: None };
    bench.hear(&[Message::Fault(fault)]).done(Outcome::complete);
    let (region, pages) = (RegionId(0), PageRun::new(0, 16));
    bench.step(Event::Evict { region, pages });
    assert_eq!(bench.requests(), [Request::Evict { range: range(3, 1) }]);
    let (job, _) = bench.jobs()[0];
    // A thread that writes to it now must not get through to a page that is about to go.
    let fault = Fault { at: at(3), kind: FaultKind::Protected, thread: None };
    bench.hear(&[Message::Remove(range(3, 1)), Message::Fault(fault)]);
    assert!(bench.asked.is_empty(), "{:?}", bench.asked);
    bench.step(Event::Done { job, outcome: Outcome::complete(range(3, 1)) });
    assert_eq!(bench.requests(), [Request::Wake { range: range(3, 1) }]);
    assert_eq!(bench.hear(&[missing(3)]).orders().len(), 1, "it comes from its source again");
}

#[test]
fn a_page_that_became_zeros_stays_so_when_it_is_dropped() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.tracked = true);
    bench.hear(&[Message::Remove(range(3, 1)), missing(3)]);
    let (job, _) = *bench.jobs().last().expect("zeros are put there");
    bench.step(Event::Done { job, outcome: Outcome::complete(range(3, 1)) });
    let (region, pages) = (RegionId(0), PageRun::new(3, 1));
    bench.step(Event::Evict { region, pages }).done(Outcome::complete);
    assert_eq!(bench.state(3), State::Removed);
}

#[test]
fn memory_that_is_no_part_of_a_region_becomes_a_bus_error_unless_it_just_moved() {
    let mut bench = Bench::plain();
    let stray = missing(50);
    assert_eq!(
        bench.hear(&[stray]).requests(),
        [Request::Poison { range: range(50, 1), wake: true }]
    );
    bench.done(|_| Outcome::stopped(Stop::Again(Again::Pending)));
    let moved = Message::Remap { from: at(0), to: at(50), len: Bytes(PAGE) };
    bench.step(Event::Messages(&[moved]));
    bench.now = bench.core.due().expect("a time to try again");
    assert_eq!(bench.step(Event::Tick).requests(), [Request::Wake { range: range(50, 1) }]);
}

#[test]
fn where_a_way_is_refused_another_is_taken() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    bench.step(Event::Fetched { fetch: order.fetch, result: Ok(Fetched::zeros(1)) });
    assert!(matches!(bench.requests()[..], [Request::Zero { .. }]));
    bench.done(|_| Outcome::stopped(Stop::Refused));
    assert!(matches!(bench.requests()[..], [Request::Copy { from: Supply::Zeros, .. }]));
}

#[test]
fn where_even_poison_is_refused_the_user_is_told_and_nobody_gets_zeros() {
    let mut bench = Bench::plain();
    let order = bench.hear(&[missing(3)]).order();
    bench.failed(order, FetchError::Final("gone".to_owned()));
    bench.done(|_| Outcome::stopped(Stop::Refused));
    assert!(bench.requests().is_empty());
    assert!(matches!(bench.asked[..], [Action::Tell(Tell::Stuck { .. })]));
}

#[test]
fn a_fetch_that_waited_to_be_made_again_is_let_go_with_a_hand_over_that_is_taken_back() {
    let mut bench = Bench::new(Policy::default(), |spec| spec.pages = 1);
    let order = bench.hear(&[missing(0)]).order();
    bench.failed(order, passing());
    bench.core.gate.reading = true;
    bench.step(Event::End(Ending::HandOver));
    assert!(bench.asked.is_empty(), "messages are being read");
    // Fetched anew, and not waited for by a fetch nobody makes.
    assert_eq!(bench.step(Event::End(Ending::Complete)).order().pages, PageRun::new(0, 1));
}
