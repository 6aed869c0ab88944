//! The participants, and the commands that start them.
//!
//! Every server takes `PORT MODE`, listens on that port of 127.0.0.1 (0: any), prints
//! `ready PORT`, and ends on SIGTERM.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A participant.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// Its description in the table.
    pub(crate) title: &'static str,
    /// Program and arguments before PORT and MODE, or the reason why it cannot take part.
    command: Result<Vec<String>, String>,
    /// Arguments after MODE.
    extra: &'static [&'static str],
    /// The modes in which it takes part; empty for all.
    modes: &'static [&'static str],
    /// Maximum number of connections.
    most: usize,
}

/// Connections possible with stream_select, which can handle 1,024 descriptors.
const SELECT: usize = 1_000;

impl Server {
    /// The reason why this server cannot take part.
    pub(crate) fn missing(&self) -> Option<&str> {
        self.command.as_ref().err().map(String::as_str)
    }

    /// Whether this server takes part in this mode with this number of connections.
    pub(crate) fn plays(&self, mode: &str, connections: usize) -> bool {
        connections <= self.most && (self.modes.is_empty() || self.modes.contains(&mode))
    }

    /// The command that starts this server; `None` if it is missing.
    pub(crate) fn command(&self, mode: &str) -> Option<Command> {
        let (program, args) = self.command.as_ref().ok()?.split_first()?;
        let mut command = Command::new(program);
        command.args(args).args(["0", mode]).args(self.extra).stdin(Stdio::null());
        Some(command)
    }
}

/// The directory `bench/`.
pub(crate) fn bench_dir() -> PathBuf {
    // The path at build time is that of the measured checkout.
    let suite = Path::new(env!("CARGO_MANIFEST_DIR"));
    suite.parent().unwrap_or(suite).to_owned()
}

/// A program of this workspace, built in the same way as the suite itself.
pub(crate) fn own_program(name: &str) -> PathBuf {
    let here = env::current_exe().unwrap_or_default();
    here.with_file_name(name)
}

/// The PHP program for Sprocket and the other PHP servers.
pub(crate) fn php() -> String {
    env::var("SPROCKET_BENCH_PHP").unwrap_or_else(|_| "php".into())
}

/// All servers, missing or not, in the order of the table.
pub(crate) fn all() -> Vec<Server> {
    let all_modes: &[&str] = &[];
    let server = |name, title, command| Server {
        name,
        title,
        command,
        extra: &[],
        modes: all_modes,
        most: usize::MAX,
    };
    let sprocket = || {
        sprocket().map(|mut command| {
            command.push(text(&bench_dir().join("servers/sprocket.php")));
            command
        })
    };
    let most = if has_event_loop() { usize::MAX } else { SELECT };
    let looping = |server: Server| Server { most, ..server };
    vec![
        server("raw", "raw system calls (Rust, epoll, no library)", rust("raw")),
        server("tt", "tokio-tungstenite (Rust)", rust("tt")),
        server("sprocket", "Sprocket, topics", sprocket()),
        Server {
            name: "sprocket-loop",
            title: "Sprocket, a PHP loop over the members",
            command: sprocket(),
            extra: &["loop"],
            modes: &["fan", "chat"],
            most: usize::MAX,
        },
        server("uwebsockets", "µWebSockets (C++)", uwebsockets()),
        server("swoole", "Swoole, base mode (PHP)", swoole()),
        looping(server("workerman", "Workerman (PHP)", composer("WORKERMAN", "workerman.php"))),
        looping(server("ratchet", "Ratchet (PHP)", composer("RATCHET", "ratchet.php"))),
        looping(server("amphp", "amphp/websocket-server (PHP)", composer("AMPHP", "amphp.php"))),
        server("node", "ws (Node)", node()),
    ]
}

/// Whether PHP has an extension that the event loops of PHP libraries use instead of stream_select.
fn has_event_loop() -> bool {
    let code = "exit((int) !array_filter(['event', 'ev', 'uv'], 'extension_loaded'));";
    Command::new(php()).args(["-r", code]).status().is_ok_and(|status| status.success())
}

type Found = Result<Vec<String>, String>;

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn existing(path: PathBuf, what: &str) -> Result<String, String> {
    if path.exists() { Ok(text(&path)) } else { Err(format!("no {what} at {}", path.display())) }
}

fn variable(name: &str) -> Result<PathBuf, String> {
    let name = format!("SPROCKET_BENCH_{name}");
    env::var_os(&name).map(PathBuf::from).ok_or(format!("{name} is not set"))
}

fn rust(name: &str) -> Found {
    existing(own_program(name), "program").map(|program| vec![program])
}

fn sprocket() -> Found {
    let built = bench_dir().join("../target/release/libsprocket.so");
    let extension = existing(variable("EXTENSION").unwrap_or(built), "extension")?;
    Ok(vec![php(), "-d".into(), format!("extension={extension}")])
}

fn node() -> Found {
    let dir = bench_dir().join("peers/node");
    existing(dir.join("node_modules/ws"), "npm package")?;
    Ok(vec!["node".into(), text(&dir.join("server.js"))])
}

fn swoole() -> Found {
    let extension = existing(variable("SWOOLE")?, "extension")?;
    let script = text(&bench_dir().join("peers/php/swoole.php"));
    Ok(vec![php(), "-d".into(), format!("extension={extension}"), script])
}

fn composer(name: &str, script: &str) -> Found {
    let autoload = existing(variable(name)?.join("vendor/autoload.php"), "Composer autoloader")?;
    let script = text(&bench_dir().join("peers/php").join(script));
    Ok(vec![php(), script, autoload])
}

fn uwebsockets() -> Found {
    variable("UWEBSOCKETS")?;
    let program = bench_dir().join("target/uwebsockets");
    existing(program, "program").map(|program| vec![program])
}
