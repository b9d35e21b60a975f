//! A program as a Rust test to paste: a conformance body that takes the steps one by one.

use std::fmt::Write;

use super::program::{Asked, Op, Origin, PAGE, Program, SOURCE, SOURCES, Span, Step, Verb};
use super::translate::{FIRST_OBJECT, FIRST_UFFD, call_of, request_of};
use crate::conform::Thread;

/// Writes a program as a test; `title` names it, `story` says what to look for in the end.
#[must_use]
pub fn as_test(program: &Program, title: &str, story: &[String]) -> String {
    let mut text = format!("fn {title}(w: &mut dyn World) -> Verdict {{\n");
    text += "    let mut stage = Stage::bare(w)?;\n    let me = stage.me;\n";
    prelude(program, &mut text);
    let mut names = Names::default();
    for step in &program.steps {
        names.step(step, &mut text);
    }
    for line in story {
        let _ = writeln!(text, "    // {line}");
    }
    text += "    Ok(())\n}\n";
    text
}

/// Threads beside the first, and sources, where they are needed.
fn prelude(program: &Program, text: &mut String) {
    let mut threads: Vec<Thread> = program.steps.iter().map(|step| step.who).collect();
    threads.sort_unstable();
    threads.dedup();
    for who in threads.iter().filter(|who| who.process.0 == 0 && who.index > 0) {
        let _ = writeln!(text, "    let {} = stage.thread()?;", thread_name(*who));
    }
    let copies = |step: &Step| matches!(step.op, Op::Request(_, asked) if takes_source(asked.verb));
    if program.steps.iter().any(copies) {
        let len = SOURCES * PAGE;
        let _ = writeln!(
            text,
            "    stage.value(Call::Map {{ at: {SOURCE:#x}, len: {len:#x}, prot: 3, flags: 0x32, \
             fd: None, offset: 0 }})?;\n    for page in 0..{SOURCES}u8 {{\n        let at = \
             {SOURCE:#x} + u64::from(page) * {PAGE:#x};\n        stage.value(Call::Store {{ at, \
             bytes: vec![0xa0 + page; {PAGE}] }})?;\n    }}"
        );
    }
}

/// How many descriptors there are already.
#[derive(Default)]
struct Names {
    uffds: usize,
    objects: usize,
    children: u32,
}

impl Names {
    fn step(&mut self, step: &Step, text: &mut String) {
        let who = thread_name(step.who);
        let line = match step.op {
            Op::Open(flags, features) => {
                self.uffds += 1;
                let name = format!("uffd{}", self.uffds - 1);
                format!("let {name} = stage.open_another({flags:#x}, {features:#x})?;")
            }
            Op::MakeObject(..) => {
                self.objects += 1;
                let call = call_text(step);
                format!("let object{} = stage.open_fd({call})?;", self.objects - 1)
            }
            Op::Fork => {
                self.children += 1;
                let child = thread_name(Thread::first_of(crate::conform::Process(self.children)));
                format!("let {child} = child_thread(stage.value_in({who}, Call::Fork)?)?;")
            }
            Op::Drain(uffd) => format!("stage.read_from(uffd{uffd}, 64)?;"),
            Op::Scan(span, flags, mask) => scan_text(span, flags, mask),
            Op::Kill(process) => format!("stage.world.kill(Process({process}))?;"),
            Op::Interrupt => format!("stage.world.interrupt({who})?;"),
            _ => format!(
                "stage.world.start({who}, {})?;\n    \
                 println!(\"{{:?}}\", stage.world.settle({who})?);",
                call_text(step)
            ),
        };
        let _ = writeln!(text, "    {line}");
    }
}

fn thread_name(who: Thread) -> String {
    match (who.process.0, who.index) {
        (0, 0) => "me".into(),
        (0, index) => format!("thread{index}"),
        (process, 0) => format!("child{process}"),
        (process, index) => format!("child{process}_thread{index}"),
    }
}

fn call_text(step: &Step) -> String {
    if let Op::Request(uffd, asked) = step.op {
        return format!("{}.to(uffd{uffd})", request_text(asked));
    }
    let Some(call) = call_of(&step.op, step.who) else { return String::new() };
    let mut text = format!("Call::{call:#x?}").replace(['\n'], " ");
    while text.contains("  ") {
        text = text.replace("  ", " ");
    }
    for index in 0..8 {
        let names = [(FIRST_UFFD, "uffd"), (FIRST_OBJECT, "object")];
        for (first, name) in names {
            text = text.replace(&format!("Fd( {:#x}, )", first + index), &format!("{name}{index}"));
        }
    }
    text.replace("bytes: [", "bytes: vec![").replace("argument: [", "argument: vec![")
}

fn scan_text(span: Span, flags: u64, mask: u64) -> String {
    let (start, end) = (span.start(), span.start() + span.bytes());
    format!(
        "println!(\"{{:?}}\", stage.scan(PmScanArg {{ size: 96, flags: {flags:#x}, \
         start: {start:#x}, end: {end:#x}, vec: SCAN_ROOM, vec_len: 64, \
         category_mask: {mask:#x}, return_mask: 0x7f, \
         ..PmScanArg::default() }})?);"
    )
}

fn takes_source(verb: Verb) -> bool {
    matches!(verb, Verb::Copy(Origin::Source(_)))
}

fn request_text(asked: Asked) -> String {
    let range = range_text(asked.span);
    let (name, mode) = (request_of(asked).name.to_lowercase(), asked.mode);
    match asked.verb {
        Verb::Unregister | Verb::Wake => format!("request::{name}({range})"),
        Verb::Copy(origin) => {
            format!("request::copy({range}, {:#x}, {mode:#x})", origin.address())
        }
        Verb::Move(from) => {
            format!("request::move_({range}, {:#x}, {mode:#x})", Span::new(from, 1).start())
        }
        Verb::Continue => format!("request::continue_({range}, {mode:#x})"),
        Verb::SetMode(disable) => format!("request::set_mode({mode:#x}, {disable:#x})"),
        _ => format!("request::{name}({range}, {mode:#x})"),
    }
}

fn range_text(span: Span) -> String {
    format!("Range {{ start: {:#x}, len: {:#x} }}", span.start(), span.bytes())
}
