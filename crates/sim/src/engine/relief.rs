//! Workers go and others take over: after a hand-over, or because they were killed.

use std::rc::Rc;

use faultless_mm::PageKind;
use faultless_pages::Va;
use faultless_paging::core::Event;
use faultless_paging::page::PageRun;

use super::scene::Scene;
use super::served::{REGION, Served};
use super::worker::Pool;

impl Scene {
    /// Lets workers stop whatever they are at.
    pub(super) fn dismiss(&mut self) {
        self.pool.stopped.set(true);
        for who in &self.pager_threads {
            self.kernel.interrupt(*who);
        }
        self.environment.ring(self.pool.bell);
    }

    /// Dismisses workers that have laid everything down.
    pub(super) fn let_lay_down(&mut self) {
        let all = self.pool.all();
        let down = |served: &Rc<Served>| served.laid_down.get() || served.closed.get();
        if !self.pool.stopped.get()
            && all.iter().all(down)
            && all.iter().any(|served| served.laid_down.get())
        {
            self.dismiss();
        }
    }

    /// Lets others take over from workers that are gone.
    pub(super) fn replace(&mut self) {
        let old = Rc::clone(&self.pool);
        if !self.cast.own {
            let process = self.kernel.process_of(self.pager);
            let kernel = self.kernel.clone();
            self.now(async move { kernel.exit(process).await });
        }
        let source = old.source.borrow().clone();
        self.pool = Rc::new(Pool::new(self.kernel.clone(), self.environment.clone(), source));
        if self.cast.own {
            // Its process goes on, and so does what it mapped.
            self.pool.zeros.set(old.zeros.get());
            self.pool.second.set(old.second.get());
        }
        self.raise_pager().expect("a fresh process refuses nothing");
        for before in old.all().into_iter().filter(|served| !served.closed.get()) {
            let served = self.serve(&before.memory, &before.table, before.kept);
            let served = served.expect("a descriptor is left");
            if self.cast.own {
                let (kernel, who, fd) = (self.kernel.clone(), self.pager, before.fd.get());
                let closed = self.now(async move { kernel.close(who, fd).await });
                closed.expect("the predecessor's descriptor is open");
            }
            if self.cast.filled {
                self.look_what_is_there(&served);
            }
            let unheard = before.unheard.take();
            let mut actions = Vec::new();
            served.core.borrow_mut().wake_all(&mut actions);
            served.keep(&self.pool, actions);
            if !unheard.is_empty() {
                served.step(&self.pool, Event::Messages(&unheard));
            }
        }
    }

    /// Has the engine know which pages are there.
    fn look_what_is_there(&self, served: &Served) {
        let there = |page: &u64| {
            let at = Va(served.memory.at(*page));
            let kind = self.kernel.page_kind(self.client, at);
            matches!(kind, PageKind::Object | PageKind::ObjectProtected)
        };
        for page in (0..served.memory.pages).filter(there) {
            served.core.borrow_mut().found(REGION, PageRun::new(page, 1));
        }
    }
}
