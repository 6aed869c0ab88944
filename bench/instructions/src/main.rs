//! Counts the instructions per message of the core with callgrind, and compares them with expected.json.
//!
//! The cost of the work is the difference between a run with five times the work and a run with the
//! work once, which excludes start, handshakes and end. Instructions in the kernel are not counted.
//! Arguments: DRIVER [--update] [NAME …]
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use bench_common::{frame, sys};
use instructions::{Step, WORK, Work};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The last accepted counts.
#[derive(Default, Serialize, Deserialize)]
struct Expected {
    /// The compiler of the counted code.
    rustc: String,
    /// Allowed deviation of a count, in percent.
    tolerance_percent: f64,
    /// Instructions by the name of the workload.
    instructions: BTreeMap<String, f64>,
}

impl Expected {
    fn covers(&self, work: &Work, count: f64) -> bool {
        self.percent_off(work, count).is_some_and(|percent| percent.abs() <= self.tolerance_percent)
    }

    fn percent_off(&self, work: &Work, count: f64) -> Option<f64> {
        self.instructions.get(work.name).map(|wanted| (count / wanted - 1.0) * 100.0)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("not ok - instruction counts: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    sys::raise_descriptor_limit();
    let mut names = std::env::args().skip(1);
    let driver = PathBuf::from(names.next().context("argument: the driver, which bench/check builds")?);
    let names: Vec<String> = names.collect();
    let update = names.iter().any(|name| name == "--update");
    let wanted = |work: &&Work| {
        let mut plain = names.iter().filter(|name| !name.starts_with("--")).peekable();
        plain.peek().is_none() || plain.any(|name| name == work.name)
    };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../expected.json");
    let mut expected: Expected = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) if update => Expected { tolerance_percent: 5.0, ..Expected::default() },
        Err(error) => return Err(error).context("expected.json"),
    };
    let rustc = rustc_version()?;
    if expected.rustc != rustc && !update {
        println!("# expected with {}, built with {rustc}", expected.rustc);
    }
    let per_second = count_per_second(&driver)?;
    println!("# {per_second:.0} instructions a second go by the clock, and are left out");
    let mut ok = true;
    for work in WORK.iter().filter(wanted) {
        let mut count = count(&driver, work, per_second).with_context(|| work.name.to_owned())?;
        if update {
            println!("{count:.0} instructions: {}", work.title);
            expected.instructions.insert(work.name.into(), count.round());
        } else {
            if !expected.covers(work, count) {
                // On a busy machine a single count may be off, so the median decides.
                let mut counts =
                    [count, self::count(&driver, work, per_second)?, self::count(&driver, work, per_second)?];
                counts.sort_by(f64::total_cmp);
                count = counts[1];
            }
            ok &= compare(work, count, &expected);
        }
    }
    if update {
        expected.rustc = rustc;
        fs::write(&path, serde_json::to_string_pretty(&expected)? + "\n")?;
    }
    Ok(ok)
}

fn compare(work: &Work, count: f64, expected: &Expected) -> bool {
    let Some(percent) = expected.percent_off(work, count) else {
        println!("not ok - {}: {count:.0} instructions, nothing expected", work.title);
        return false;
    };
    let ok = expected.covers(work, count);
    let verdict = if ok { "ok" } else { "not ok" };
    let wanted = expected.instructions[work.name];
    println!("{verdict} - {}: {count:.0} instructions, expected {wanted:.0} ({percent:+.1} %)", work.title);
    if !ok && percent < 0.0 {
        println!("# less than expected: accept it with `bench/check --update`");
    }
    ok
}

fn rustc_version() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Instructions per answer.
fn count(driver: &Path, work: &Work, per_second: f64) -> Result<f64> {
    let once = run_driver(driver, work, work.steps, Duration::ZERO)?;
    let more = run_driver(driver, work, work.steps * 5, Duration::ZERO)?;
    let answers = (work.steps * 4 * work.answers()) as f64;
    Ok((more.instructions - once.instructions - per_second * (more.seconds - once.seconds)) / answers)
}

/// Instructions per second that depend on the clock and not on the work, such as timers that run
/// during traffic. They are subtracted, so that a slow machine does not count more for the same work.
fn count_per_second(driver: &Path) -> Result<f64> {
    let work = &WORK[0];
    let mut estimates = Vec::new();
    // On a busy machine one estimate may be far off, so the median decides.
    for _ in 0..3 {
        let quick = run_driver(driver, work, 100, Duration::ZERO)?;
        let slow = run_driver(driver, work, 100, Duration::from_millis(20))?;
        estimates.push((slow.instructions - quick.instructions) / (slow.seconds - quick.seconds));
    }
    estimates.sort_by(f64::total_cmp);
    Ok(estimates[1].max(0.0))
}

/// The cost of one run of the driver.
struct Run {
    instructions: f64,
    seconds: f64,
}

/// A server under callgrind. The destructor kills it unless it has ended.
struct Server(Child);

/// Ten times as long as any step here takes. A hanging server must fail the check, not block it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs `work` in another thread and waits for it; after the deadline that thread is abandoned.
fn within_deadline<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(DEADLINE).with_context(|| format!("{what}: nothing after {DEADLINE:?}"))?
}

impl Server {
    fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("the driver did not end after its last connection was closed")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Runs the driver with `steps` steps, and a pause after each.
fn run_driver(driver: &Path, work: &Work, steps: usize, pause: Duration) -> Result<Run> {
    let profile = std::env::temp_dir().join(format!("sprocket-callgrind-{}", std::process::id()));
    let mut child = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(driver)
        .arg(work.mode)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("valgrind")?;
    let tokens = child.stdin.take().context("no pipe")?;
    let stdout = child.stdout.take().context("no pipe")?;
    let mut server = Server(child);
    let line = within_deadline("start of the driver", move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(line)
    })?;
    let port = line.strip_prefix("ready ").context("the driver did not get ready")?.trim();
    let threads = Threads { process: server.0.id() };
    let referee = thread::spawn(move || threads.referee(tokens));
    let driven = drive(work, steps, pause, port.parse()?, &threads);
    if driven.is_err() {
        // This also ends the referee thread.
        let _ = server.0.kill();
    }
    let seconds = driven?;
    let status = server.wait()?;
    if !status.success() {
        bail!("the driver ended with {status}");
    }
    // A panic of the referee would already have stopped the driver.
    let _ = referee.join();
    let total = read_total(&profile);
    let _ = fs::remove_file(&profile);
    Ok(Run { instructions: total? as f64, seconds })
}

/// The driver's threads, observed through /proc. The cost of the work is constant only if it starts in
/// the same state: all threads asleep when a message arrives, the I/O thread asleep when the host answers.
#[derive(Clone, Copy)]
struct Threads {
    process: u32,
}

/// The activity of a thread of the driver.
#[derive(PartialEq, Eq)]
enum Doing {
    /// Waiting for sockets.
    Polling,
    /// Sleeping until the I/O thread wakes it.
    Sleeping,
    /// Reading standard input.
    Asking,
    /// Anything else; threads under valgrind also wait for each other.
    Other,
}

impl Threads {
    /// The activity by the current system call: proc_pid_syscall(5), for x86-64 and AArch64.
    fn doing(self, thread: u32) -> Result<Doing> {
        let path = format!("/proc/{}/task/{thread}/syscall", self.process);
        let text = fs::read_to_string(&path).context(path)?;
        let mut fields = text.split_ascii_whitespace();
        let (call, first) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let (poll, futex, read): (&[&str], _, _) = match std::env::consts::ARCH {
            "x86_64" => (&["232", "281"], "202", "0"),
            "aarch64" => (&["22"], "98", "63"),
            other => bail!("system calls of {other} are not known here"),
        };
        Ok(match call {
            _ if poll.contains(&call) => Doing::Polling,
            _ if call == futex => Doing::Sleeping,
            _ if call == read && first == "0x0" => Doing::Asking,
            _ => Doing::Other,
        })
    }

    /// Whether the I/O thread polls and the host, which is the main thread, does `what`.
    fn host_is(self, what: &Doing) -> Result<bool> {
        let mut polling = 0;
        for entry in fs::read_dir(format!("/proc/{}/task", self.process))? {
            let thread = entry?.file_name().to_string_lossy().parse()?;
            if thread != self.process {
                polling += i32::from(self.doing(thread)? == Doing::Polling);
            }
        }
        Ok(polling == 1 && self.doing(self.process)? == *what)
    }

    fn await_rest(self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !self.host_is(&Doing::Sleeping)? {
            if Instant::now() > deadline {
                bail!("the driver did not come to rest");
            }
            thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    /// Lets the host continue each time it asks and the I/O thread has parked. Ends with the process.
    fn referee(self, mut tokens: impl Write) {
        while let Ok(asks) = self.host_is(&Doing::Asking) {
            if asks && tokens.write_all(b".").is_err() {
                return;
            }
            thread::sleep(Duration::from_micros(50));
        }
    }
}

fn read_total(profile: &Path) -> Result<u64> {
    let text = fs::read_to_string(profile).with_context(|| profile.display().to_string())?;
    let line = text.lines().find_map(|l| l.strip_prefix("totals:").or(l.strip_prefix("summary:")));
    Ok(line.context("no total in the profile")?.trim().parse()?)
}

/// Runs the clients: connects, takes the steps in lock step, and ends the driver. Returns the duration in
/// seconds.
fn drive(work: &Work, steps: usize, pause: Duration, port: u16, threads: &Threads) -> Result<f64> {
    let began = Instant::now();
    let mut clients = (0..work.connections).map(|_| connect(port)).collect::<Result<Vec<_>>>()?;
    let payload = vec![b'x'; work.size];
    let request = frame::masked(frame::TEXT, &payload, [1, 2, 3, 4]).repeat(work.burst);
    let mut answer = Vec::new();
    frame::append(&mut answer, frame::TEXT, &payload);
    let answer = answer.repeat(work.burst);
    if work.mode == "topic" {
        await_subscribers(&mut clients)?;
    }
    let mut got = vec![0; answer.len()];
    for step in 0..steps {
        threads.await_rest()?;
        match work.step {
            Step::Burst | Step::InTurn => {
                let sender = if work.step == Step::InTurn { step % clients.len() } else { 0 };
                clients[sender].write_all(&request)?;
                for client in &mut clients[sender..sender + work.receivers()] {
                    client.read_exact(&mut got)?;
                    if got != answer {
                        bail!("an answer differs from its message");
                    }
                }
            }
            Step::Open => clients.push(connect(port)?),
            Step::Visit => sys::reset_on_close(&connect(port)?)?,
        }
        thread::sleep(pause);
    }
    threads.await_rest()?;
    end(work, &mut clients)?;
    Ok(began.elapsed().as_secs_f64())
}

/// Ends the driver: by a message in the mode `open`, by closing all connections in the others.
fn end(work: &Work, clients: &mut [TcpStream]) -> Result<()> {
    let mut rest = Vec::new();
    if work.mode == "open" {
        // The end of the process closes the connections.
        clients[0].write_all(&frame::masked(frame::TEXT, b"end", [1, 2, 3, 4]))?;
        clients[0].read_to_end(&mut rest)?;
        return Ok(());
    }
    for client in &mut *clients {
        client.write_all(&frame::masked(frame::CLOSE, &1000_u16.to_be_bytes(), [1, 2, 3, 4]))?;
    }
    for client in clients {
        client.read_to_end(&mut rest)?;
    }
    Ok(())
}

fn connect(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(
        format!(
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        )
        .as_bytes(),
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        bail!("handshake refused: {}", String::from_utf8_lossy(&head));
    }
    Ok(stream)
}

/// Waits until all clients are subscribed. The server subscribes connections in the order of their open
/// events, which all precede this message of the last connection, so its delivery to all shows that.
fn await_subscribers(clients: &mut [TcpStream]) -> Result<()> {
    let last = clients.last_mut().context("no connection")?;
    last.write_all(&frame::masked(frame::TEXT, b"?", [1, 2, 3, 4]))?;
    for client in clients {
        client.read_exact(&mut [0; 3])?;
    }
    Ok(())
}
