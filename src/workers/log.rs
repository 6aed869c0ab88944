//! Log lines of the master and its workers, written to the script's logger or to standard error.
//!
//! The supervisor runs no PHP code, so its lines wait in a queue until `dispatch` passes them to the
//! logger. A process that runs no script, such as the hub or a fork that failed to start, writes to
//! standard error.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Write;

use sprocket_server::notices::{Level, Line};

use super::slot::Worker;

/// Maximum number of lines that wait for the logger; further lines go to standard error.
const MOST: usize = 256;

thread_local! {
    /// Id of the process whose lines are queued; 0 if lines are not queued.
    static GATHERS: Cell<u32> = const { Cell::new(0) };
    static LINES: RefCell<VecDeque<Line>> = const { RefCell::new(VecDeque::new()) };
}

/// Starts to queue the lines of this process for [`next_line`] if there is a logger. Otherwise, and in
/// each fork, lines go to standard error, including those already queued.
pub(crate) fn gather_lines(logger: bool) {
    let waiting = LINES.take();
    // In a fork these lines are copies of the parent's, which are not printed.
    if gathers() {
        waiting.iter().for_each(print);
    }
    GATHERS.set(if logger { std::process::id() } else { 0 });
}

/// Removes and returns the next line for the logger.
pub(crate) fn next_line() -> Option<Line> {
    // `gathers` makes a system call, so it comes second.
    if LINES.with_borrow(VecDeque::is_empty) || !gathers() {
        return None;
    }
    let mut line = LINES.with_borrow_mut(VecDeque::pop_front)?;
    // Messages begin in lower case, for standard error, where "sprocket: " precedes them.
    if let Some(first) = line.message.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Some(line)
}

/// Number of lines that wait for the logger.
pub(crate) fn waiting_lines() -> usize {
    LINES.with_borrow(VecDeque::len)
}

/// Logs a message.
pub(super) fn report(level: Level, event: &'static str, message: impl AsRef<str>) {
    log(line(level, event, message));
}

/// Logs a line.
pub(super) fn log(line: Line) {
    if let Some(line) = gather(line) {
        print(&line);
    }
}

/// Writes a line to standard error. An error there cannot be reported anywhere.
fn print(line: &Line) {
    let _ = std::io::stderr().write_all(format!("sprocket: {}\n", line.message).as_bytes());
}

/// Whether the lines of this process are queued. False in a fork of the process that called
/// [`gather_lines`].
fn gathers() -> bool {
    GATHERS.get() == std::process::id()
}

/// Logs a line only if there is a logger; otherwise `line` is not called.
pub(super) fn note(line: impl FnOnce() -> Line) {
    if gathers() {
        drop(gather(line()));
    }
}

/// Queues the line, or returns it if it cannot be queued.
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

/// Creates a line with this message, without logging it.
pub(super) fn line(level: Level, event: &'static str, message: impl AsRef<str>) -> Line {
    Line::new(message).about(level, event)
}

/// Creates a line about a worker: the worker's name, then `what`.
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
