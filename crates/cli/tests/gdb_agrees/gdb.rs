//! What gdb shows of a core, thread by thread.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What gdb shows of each thread, by thread id: gdb's own numbers follow the order of notes.
pub(crate) type View = BTreeMap<u32, String>;

/// Asks gdb for registers, backtrace and the answers to `questions` in every thread.
pub(crate) fn threads(program: &Path, core: &Path, questions: &[&str]) -> View {
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx", "-ex", "set pagination off", "-ex", "set style enabled off"]);
    for command in ["bt", "info all-registers"].iter().chain(questions) {
        gdb.args(["-ex", &format!("thread apply all -c {command}")]);
    }
    let shown = crate::run(gdb.arg(program).arg(core));
    split_by_thread(&shown)
}

/// Gathers the paragraphs below each "Thread 3 (Thread 0x7f… (LWP 123)):".
fn split_by_thread(shown: &str) -> View {
    let mut view = View::new();
    let mut current = None;
    for line in shown.lines() {
        if line.starts_with("Thread ") && line.ends_with(':') {
            current = line.split("LWP ").nth(1).and_then(|rest| {
                rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()
            });
        } else if let Some(tid) = current
            && !is_about_avx512(line)
        {
            let text = view.entry(tid).or_default();
            text.push_str(without_number(line));
            text.push('\n');
        }
    }
    view
}

/// gdb numbers its answers in the order of threads.
fn without_number(line: &str) -> &str {
    match line.split_once(" = ") {
        Some((_, answer)) if line.starts_with('$') => answer,
        _ => line,
    }
}

/// gdb before version 14 says this where it expects AVX-512 state and the processor keeps none
/// there; see [`is_misplaced_avx512`](crate::is_misplaced_avx512).
fn is_about_avx512(line: &str) -> bool {
    line.starts_with("warning: Section `.reg-xstate/") && line.ends_with("too small.")
}
