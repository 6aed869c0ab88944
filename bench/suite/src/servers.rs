//! The participants, and the commands that start them.
//!
//! Every server takes `PORT MODE`, listens on that port of 127.0.0.1 (0: any), prints
//! `ready PORT`, and ends on SIGTERM. In the mode `tls` it reads the names of its certificate and key from
//! `SPROCKET_BENCH_CERTIFICATE` and `SPROCKET_BENCH_KEY`.

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
    /// The modes in which it takes part.
    modes: &'static [&'static str],
    /// Maximum number of connections.
    most: usize,
}

/// The modes without TLS, and all of them.
const PLAIN: &[&str] = &["echo", "fan", "chat"];
const ALL: &[&str] = &["echo", "fan", "chat", "tls"];

/// Connections possible with stream_select, which can handle 1,024 descriptors.
const SELECT: usize = 1_000;

impl Server {
    /// The reason why this server cannot take part.
    pub(crate) fn missing(&self) -> Option<&str> {
        self.command.as_ref().err().map(String::as_str)
    }

    /// Whether this server takes part in this mode with this number of connections.
    pub(crate) fn plays(&self, mode: &str, connections: usize) -> bool {
        connections <= self.most && self.modes.contains(&mode)
    }

    /// The command that starts this server; `None` if it is missing.
    pub(crate) fn command(&self, mode: &str) -> Option<Command> {
        let (program, args) = self.command.as_ref().ok()?.split_first()?;
        let mut command = Command::new(program);
        command.args(args).args(["0", mode]).args(self.extra).stdin(Stdio::null());
        let [certificate, key] = certificate_files();
        command.env("SPROCKET_BENCH_CERTIFICATE", certificate).env("SPROCKET_BENCH_KEY", key);
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

/// The files with the certificate and the key for the mode `tls`, in PEM.
pub(crate) fn certificate_files() -> [PathBuf; 2] {
    ["certificate.pem", "key.pem"].map(own_program)
}

/// The PHP program for Sprocket and the other PHP servers.
pub(crate) fn php() -> String {
    env::var("SPROCKET_BENCH_PHP").unwrap_or_else(|_| "php".into())
}

/// All servers, missing or not, in the order of the table.
pub(crate) fn all() -> Vec<Server> {
    let server =
        |name, title, command| Server { name, title, command, extra: &[], modes: PLAIN, most: usize::MAX };
    let secure = |server: Server| Server { modes: ALL, ..server };
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
        secure(server("tt", "tokio-tungstenite (Rust)", rust("tt"))),
        secure(server("sprocket", "Sprocket, topics", sprocket())),
        Server {
            name: "sprocket-loop",
            title: "Sprocket, a PHP loop over the members",
            command: sprocket(),
            extra: &["loop"],
            modes: &["fan", "chat"],
            most: usize::MAX,
        },
        Server {
            modes: if uwebsockets_has_tls() { ALL } else { PLAIN },
            ..server("uwebsockets", "µWebSockets (C++)", uwebsockets())
        },
        Server {
            modes: if swoole_has_tls() { ALL } else { PLAIN },
            ..server("swoole", "Swoole, base mode (PHP)", swoole())
        },
        secure(looping(server("workerman", "Workerman (PHP)", composer("WORKERMAN", "workerman.php")))),
        looping(server("ratchet", "Ratchet (PHP)", composer("RATCHET", "ratchet.php"))),
        looping(server("amphp", "amphp/websocket-server (PHP)", composer("AMPHP", "amphp.php"))),
        secure(server("node", "ws (Node)", node())),
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

/// Whether the extension was built with OpenSSL.
fn swoole_has_tls() -> bool {
    let Ok(command) = swoole() else {
        return false;
    };
    let code = "exit((int) !defined('SWOOLE_SSL'));";
    // The last argument is the script of the server.
    let mut php = Command::new(&command[0]);
    php.args(&command[1..command.len() - 1]).args(["-r", code]).status().is_ok_and(|status| status.success())
}

/// The variable names a checkout, from which `bench/run` builds the program, or a built program.
fn uwebsockets() -> Found {
    let named = variable("UWEBSOCKETS")?;
    let program = if named.is_file() { named } else { bench_dir().join("target/uwebsockets") };
    existing(program, "program").map(|program| vec![program])
}

/// The program that `bench/run` builds has no TLS.
fn uwebsockets_has_tls() -> bool {
    variable("UWEBSOCKETS").is_ok_and(|named| named.is_file())
}
