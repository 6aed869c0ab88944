//! Starts a server, runs a load against it, and ends it.

use crate::servers::{self, Server};
use anyhow::{Context, Result, bail};
use bench_common::report::Report;
use bench_common::sys;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const READY: Duration = Duration::from_secs(30);
/// Three times as long as the longest row takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(5);

/// A running server. The destructor ends it.
pub(crate) struct Running {
    child: Child,
    scheme: &'static str,
    port: u16,
}

impl Running {
    /// Starts a server and waits until it is ready. Its output goes to a file in `logs`.
    pub(crate) fn start(server: &Server, mode: &str, logs: &Path) -> Result<Self> {
        let log_path = logs.join(format!("{}-{mode}.log", server.name));
        let log = File::create(&log_path).with_context(|| log_path.display().to_string())?;
        let mut command = server.command(mode).context("missing")?;
        let mut child =
            command.stdout(Stdio::piped()).stderr(log).spawn().with_context(|| format!("{command:?}"))?;
        let stdout = child.stdout.take().context("no pipe")?;
        let scheme = if mode == "tls" { "wss" } else { "ws" };
        let mut running = Self { child, scheme, port: 0 };
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            // Reads to the end, so that a server never blocks on its output.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let port = line.strip_prefix("ready ").and_then(|port| port.trim().parse().ok());
                if let Some(port) = port {
                    // The receiver is dropped once the port is known.
                    let _ = sender.send(port);
                }
            }
        });
        running.port = receiver.recv_timeout(READY).map_err(|_| {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            anyhow::anyhow!("{} did not get ready: {}", server.name, last_line(&log))
        })?;
        Ok(running)
    }

    /// Runs the load generator against this server.
    pub(crate) fn load(&self, args: &[String]) -> Result<Report> {
        let mut command = Command::new(servers::own_program("wsload"));
        command.args(args).arg("--json");
        command.arg("--url").arg(format!("{}://127.0.0.1:{}/", self.scheme, self.port));
        command.arg("--pid").arg(self.child.id().to_string());
        let load = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("wsload")?;
        let output = await_end(load)?;
        // Status 3 means that messages were lost or out of order, as the report says.
        if !matches!(output.status.code(), Some(0 | 3)) {
            bail!("{}", last_line(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// A client that floods a server: the one of the tests, for which see `bench/floods`.
pub(crate) struct Flooder {
    /// `None` once it has ended.
    child: Option<Child>,
    /// Bytes that it must have sent at the end, or the server was not flooded.
    least: u64,
}

/// A thousandth of what a server takes that does nothing else.
const FLOOD_PER_SECOND: f64 = 20_000.0;

impl Flooder {
    /// Starts the flood of this name in `tests/php/lib/Floods.php` for `seconds`.
    pub(crate) fn start(server: &Running, flood: &str, seconds: f64) -> Result<Self> {
        let script = servers::bench_dir().join("../tests/php/clients/flood.php");
        // Real flooders run on other machines. With the lowest priority, this one does not take the
        // processor from the server and from its other clients.
        let mut command = Command::new("nice");
        command.args(["-n", "19", &servers::php()]).arg(script);
        command.arg(format!("ws://127.0.0.1:{}", server.port)).args(["", flood, &seconds.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("the flooder")?;
        Ok(Self { child: Some(child), least: (seconds * FLOOD_PER_SECOND) as u64 })
    }

    /// Waits for the end of the flood. An error if it was none.
    pub(crate) fn finish(mut self) -> Result<()> {
        let output = await_end(self.child.take().context("the flooder has ended before")?)?;
        let report: FloodReport = serde_json::from_slice(&output.stdout).context("report of the flooder")?;
        if report.sent < self.least {
            bail!("the flooder sent only {} bytes", report.sent);
        }
        Ok(())
    }
}

impl Drop for Flooder {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only for a process that has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[derive(Deserialize)]
struct FloodReport {
    /// Number of bytes.
    sent: u64,
}

/// The output of a load generator, if it ends in time. Its reports fit into a pipe.
fn await_end(mut load: Child) -> Result<Output> {
    let deadline = Instant::now() + PATIENCE;
    while load.try_wait()?.is_none() {
        if Instant::now() > deadline {
            load.kill()?;
            load.wait()?;
            bail!("not done after {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(load.wait_with_output()?)
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or("no output")
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            sys::terminate(self.child.id());
        }
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        eprintln!("bench: server {} ignored SIGTERM and is killed", self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
