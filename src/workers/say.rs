//! Lines of the master and its workers for the operator: to the script's logger, or to standard error.
//!
//! The code that supervises runs no PHP code. Its lines gather here until `dispatch` takes them. A
//! process in which no script can run, such as the hub or a fork that failed to start, writes to
//! standard error.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Write;

use sprocket_core::notices::{Level, Line};

use super::slot::Worker;

/// Lines that may wait for the logger; what exceeds it goes to standard error.
const MOST: usize = 256;

thread_local! {
    /// The process whose lines gather; 0: none does.
    static GATHERS: Cell<u32> = const { Cell::new(0) };
    static LINES: RefCell<VecDeque<Line>> = const { RefCell::new(VecDeque::new()) };
}

/// From now on, lines of this process wait for [`next_line`] if there is a logger to write them.
/// Otherwise, and in each fork, they go to standard error, as do those that wait already.
pub(crate) fn gather_lines(logger: bool) {
    let waiting = LINES.take();
    // In a fork they are copies.
    if gathers() {
        waiting.iter().for_each(print);
    }
    GATHERS.set(if logger { std::process::id() } else { 0 });
}

/// The next line for the logger.
pub(crate) fn next_line() -> Option<Line> {
    // In this order: to ask for the process is a system call.
    if LINES.with_borrow(VecDeque::is_empty) || !gathers() {
        return None;
    }
    let mut line = LINES.with_borrow_mut(VecDeque::pop_front)?;
    // On standard error the name of the program comes first.
    if let Some(first) = line.message.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Some(line)
}

/// Has a line with this message written.
pub(super) fn report(level: Level, event: &'static str, message: impl AsRef<str>) {
    say(line(level, event, message));
}

/// Has a line written.
pub(super) fn say(line: Line) {
    if let Some(line) = gather(line) {
        print(&line);
    }
}

/// Nothing can be done if nobody reads standard error.
fn print(line: &Line) {
    let _ = std::io::stderr().write_all(format!("sprocket: {}\n", line.message).as_bytes());
}

fn gathers() -> bool {
    GATHERS.get() == std::process::id()
}

/// The same for a line that is of interest to a log alone.
pub(super) fn note(line: impl FnOnce() -> Line) {
    if gathers() {
        drop(gather(line()));
    }
}

/// Gives the line back if it cannot wait.
fn gather(line: Line) -> Option<Line> {
    if !gathers() {
        return Some(line);
    }
    LINES.with_borrow_mut(|lines| {
        if lines.len() >= MOST {
            return Some(line);
        }
        lines.push_back(line);
        None
    })
}

/// A line of the master or of a worker.
pub(super) fn line(level: Level, event: &'static str, message: impl AsRef<str>) -> Line {
    Line::new(message).about(level, event)
}

/// A line about a worker; `what` follows its name.
pub(super) fn of_worker(
    level: Level,
    event: &'static str,
    worker: &Worker,
    what: impl std::fmt::Display,
) -> Line {
    let (number, process) = (worker.slot + 1, worker.process.number());
    line(level, event, format!("worker {number} (process {process}) {what}"))
        .with("worker", u64::from(number))
        .with("process", u64::try_from(process).unwrap_or_default())
}
