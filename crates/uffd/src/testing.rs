//! What tests borrow from the machine and give back.

use std::fmt;
use std::fs;
use std::io::Write;
use std::sync::{Mutex, MutexGuard};

use faultless_pages::PageSize;

/// Free huge pages in a pool, taken back on drop.
pub(crate) struct HugePages {
    path: String,
    before: u64,
    _alone: MutexGuard<'static, ()>,
}

/// Two tests at once would each count the other's pages.
static POOL: Mutex<()> = Mutex::new(());

impl HugePages {
    /// Adds `count` pages of `size` to the pool; `None` if the system does not let it.
    pub(crate) fn reserve(size: PageSize, count: u64) -> Option<HugePages> {
        let alone = POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let folder = format!("hugepages-{}kB", size.bytes().0 >> 10);
        let path = format!("/sys/kernel/mm/hugepages/{folder}/nr_hugepages");
        let before = read(&path)?;
        let pool = HugePages { path, before, _alone: alone };
        fs::write(&pool.path, (before + count).to_string()).ok()?;
        (read(&pool.path)? >= before + count).then_some(pool)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, self.before.to_string()) {
            say(format_args!("{} stays changed: {error}", self.path));
        }
    }
}

fn read(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Says that a test was left out, and why.
pub(crate) fn skip(test: &str, why: impl fmt::Display) {
    say(format_args!("SKIPPED {test}: {why}"));
}

/// Writes a line that the test harness does not swallow, as it does what macros print.
fn say(line: fmt::Arguments<'_>) {
    writeln!(std::io::stderr(), "{line}").expect("a standard error to write to");
}
