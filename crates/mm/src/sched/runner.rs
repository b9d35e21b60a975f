//! Futures under way, and the loop that polls them.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::id::{TaskId, ThreadId};
use crate::kernel::Kernel;
use crate::sched::choice::Choice;
use crate::sched::task::{Point, Status};
use crate::sched::trace::{Step, Trace};

/// Runs operations of a kernel's threads.
pub struct Runner {
    kernel: Kernel,
    choice: Choice,
    futures: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    last: Option<TaskId>,
    /// Who can go on; kept for its room.
    ready: Vec<TaskId>,
    trace: Option<Trace>,
}

/// An operation that was started; its result once it is over.
#[derive(Debug)]
pub struct Call<T>(Rc<RefCell<Option<T>>>);

impl<T> Call<T> {
    /// Takes the result, if the operation is over and it was not taken yet.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.0.borrow_mut().take()
    }
}

impl Runner {
    /// Makes a runner of a kernel. A kernel has one runner at a time.
    #[must_use]
    pub fn new(kernel: Kernel, choice: Choice) -> Runner {
        kernel.set_stepping(choice.steps());
        let (futures, ready) = (Vec::new(), Vec::new());
        Runner { kernel, choice, futures, last: None, ready, trace: None }
    }

    /// Records the interleaving from now on.
    pub fn record(&mut self) {
        self.trace = Some(Trace::default());
    }

    /// The interleaving so far, if it is recorded.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Stops recording and returns the interleaving so far.
    pub fn take_trace(&mut self) -> Trace {
        self.trace.take().unwrap_or_default()
    }

    /// Chooses in another way from now on; returns the way before.
    pub fn choose(&mut self, choice: Choice) -> Choice {
        self.kernel.set_stepping(choice.steps());
        self.last = None;
        core::mem::replace(&mut self.choice, choice)
    }

    /// Begins an operation of a thread; nothing of it is done before [`Runner::run`].
    pub fn start<T: 'static>(
        &mut self,
        thread: ThreadId,
        operation: impl Future<Output = T> + 'static,
    ) -> Call<T> {
        let id = self.kernel.tasks().add(thread);
        let result = Rc::new(RefCell::new(None));
        let place = Rc::clone(&result);
        let future = Box::pin(async move {
            let value = operation.await;
            *place.borrow_mut() = Some(value);
        });
        if self.futures.len() <= id.0 {
            self.futures.resize_with(id.0 + 1, || None);
        }
        self.futures[id.0] = Some(future);
        Call(result)
    }

    /// Lets tasks go on until none can.
    pub fn run(&mut self) {
        while self.advance() {}
    }

    /// Lets the task that is chosen go on until its next point; false when none can.
    ///
    /// For whoever counts steps, or does something in between.
    pub fn advance(&mut self) -> bool {
        self.ready.clear();
        self.ready.extend(self.kernel.tasks().ready());
        if self.ready.is_empty() {
            return false;
        }
        let id = self.choice.choose(&self.ready, self.last);
        self.last = Some(id);
        self.step(id);
        true
    }

    /// Lets one task go on until its next point.
    fn step(&mut self, id: TaskId) {
        {
            let mut tasks = self.kernel.tasks();
            tasks.current = Some(id);
            let task = tasks.task(id);
            if let Some(trace) = &mut self.trace {
                trace.steps.push(Step { task: id, thread: task.thread, point: task.point });
            }
            task.point = Point::Start;
        }
        let future = self.futures[id.0].as_mut().expect("a task that is not over");
        let mut context = Context::from_waker(Waker::noop());
        let over = matches!(future.as_mut().poll(&mut context), Poll::Ready(()));
        if over {
            self.futures[id.0] = None;
        }
        let mut tasks = self.kernel.tasks();
        if over {
            tasks.end(id);
            let kept = tasks.locks.held_by(id).next();
            assert!(kept.is_none(), "an operation ended with {kept:?} taken");
        }
        tasks.current = None;
    }

    /// Runs one operation that never has to wait, without storing it.
    ///
    /// # Errors
    /// `None` when it had to wait; what it did until then is done, and its locks are given back.
    pub fn now<T>(&mut self, thread: ThreadId, operation: impl Future<Output = T>) -> Option<T> {
        let id = self.kernel.tasks().add(thread);
        let mut operation = core::pin::pin!(operation);
        let mut context = Context::from_waker(Waker::noop());
        let result = loop {
            self.kernel.tasks().current = Some(id);
            match operation.as_mut().poll(&mut context) {
                Poll::Ready(value) => break Some(value),
                Poll::Pending => {
                    if self.kernel.tasks().task(id).status != Status::Ready {
                        break None;
                    }
                }
            }
        };
        let mut tasks = self.kernel.tasks();
        tasks.end(id);
        tasks.current = None;
        result
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("choice", &self.choice).finish_non_exhaustive()
    }
}
