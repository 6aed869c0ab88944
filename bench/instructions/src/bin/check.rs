//! Counts what the core spends on a message with callgrind, and compares it with expected.json.
//!
//! The count of a run with five times the work, less that of a run with once the work, is what
//! the work costs, without start, handshakes and end. Instructions in the kernel don't count.
//! Arguments: [--update] [NAME …]
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use bench_common::frame;
use instructions::{WORK, Work};
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

/// What was counted when the figures were last accepted.
#[derive(Default, Serialize, Deserialize)]
struct Expected {
    /// The compiler that made the counted code.
    rustc: String,
    /// How far a count may be off, in percent.
    tolerance_percent: f64,
    /// Instructions by the name of the work.
    instructions: BTreeMap<String, f64>,
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
    let names: Vec<String> = std::env::args().skip(1).collect();
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
    let mut ok = true;
    for work in WORK.iter().filter(wanted) {
        let count = count(work).with_context(|| work.name.to_owned())?;
        if update {
            println!("{count:.0} instructions: {}", work.title);
            expected.instructions.insert(work.name.into(), count.round());
        } else {
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
    let Some(wanted) = expected.instructions.get(work.name) else {
        println!("not ok - {}: {count:.0} instructions, nothing expected", work.title);
        return false;
    };
    let percent = (count / wanted - 1.0) * 100.0;
    let ok = percent.abs() <= expected.tolerance_percent;
    let verdict = if ok { "ok" } else { "not ok" };
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

/// Instructions for each answer.
fn count(work: &Work) -> Result<f64> {
    let once = total(work, work.bursts)?;
    let more = total(work, work.bursts * 5)?;
    let answers = (work.bursts * 4 * work.answers()) as f64;
    Ok((more as f64 - once as f64) / answers)
}

/// A server under callgrind. Killed when dropped, unless it has ended.
struct Server(Child);

/// Nothing here takes a tenth of that. A server that hangs must fail the check, not stop it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for the end of `work` in another thread; past the deadline that thread is left behind.
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

/// Instructions of a whole run with so many bursts.
fn total(work: &Work, bursts: usize) -> Result<u64> {
    let driver = std::env::current_exe()?.with_file_name("driver");
    let profile = std::env::temp_dir().join(format!("sprocket-callgrind-{}", std::process::id()));
    let mut child = Command::new("valgrind")
        // Threads that take turns by the clock's whim wake each other more or less often.
        .args(["--tool=callgrind", "--quiet", "--fair-sched=yes"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(driver)
        .arg(work.mode)
        .stdout(Stdio::piped())
        .spawn()
        .context("valgrind")?;
    let stdout = child.stdout.take().context("no pipe")?;
    let mut server = Server(child);
    let line = within_deadline("start of the driver", move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(line)
    })?;
    let port = line.strip_prefix("ready ").context("the driver did not get ready")?.trim();
    drive(work, bursts, port.parse()?)?;
    let status = server.wait()?;
    if !status.success() {
        bail!("the driver ended with {status}");
    }
    let total = read_total(&profile);
    let _ = fs::remove_file(&profile);
    total
}

fn read_total(profile: &Path) -> Result<u64> {
    let text = fs::read_to_string(profile).with_context(|| profile.display().to_string())?;
    let line = text.lines().find_map(|l| l.strip_prefix("totals:").or(l.strip_prefix("summary:")));
    Ok(line.context("no total in the profile")?.trim().parse()?)
}

/// The clients' part: connect, do the bursts in lock step, close.
fn drive(work: &Work, bursts: usize, port: u16) -> Result<()> {
    let connect = |_| connect(port);
    let mut clients = (0..work.connections).map(connect).collect::<Result<Vec<_>>>()?;
    let payload = vec![b'x'; work.size];
    let request = frame::masked(frame::TEXT, &payload, [1, 2, 3, 4]).repeat(work.burst);
    let mut answer = Vec::new();
    frame::append(&mut answer, frame::TEXT, &payload);
    let answer = answer.repeat(work.burst);
    if work.mode == "topic" {
        await_subscribers(&mut clients)?;
    }
    let mut got = vec![0; answer.len()];
    for _ in 0..bursts {
        clients[0].write_all(&request)?;
        let receivers = if work.mode == "echo" { 1 } else { clients.len() };
        for client in &mut clients[..receivers] {
            client.read_exact(&mut got)?;
            if got != answer {
                bail!("an answer differs from what was sent");
            }
        }
    }
    for client in &mut clients {
        client.write_all(&frame::masked(frame::CLOSE, &1000_u16.to_be_bytes(), [1, 2, 3, 4]))?;
    }
    for client in &mut clients {
        client.read_to_end(&mut got)?;
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

/// The server subscribes in the order of its open events, all of which precede this message of the
/// last connection: when that has come back to everyone, everyone is subscribed.
fn await_subscribers(clients: &mut [TcpStream]) -> Result<()> {
    let last = clients.last_mut().context("no connection")?;
    last.write_all(&frame::masked(frame::TEXT, b"?", [1, 2, 3, 4]))?;
    for client in clients {
        client.read_exact(&mut [0; 3])?;
    }
    Ok(())
}
