//! How this process was started, so that it can be started again with the code that is on disk
//! then; and what a worker that was started so is told by its master.
//!
//! The master forks and runs the same command line again, from the same directory and with the same
//! environment, but for the variables below. They are taken out of the environment when the module
//! starts: no process that the script starts takes them for its own.

use std::ffi::{CString, OsString};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::zend;

/// Version of the format, and numbers.
const NUMBERS: &str = "SPROCKET_WORKER";
/// Where the hub listens.
const HUB: &str = "SPROCKET_WORKER_HUB";
/// The addresses as the master's script gave them, one a line.
const LISTEN: &str = "SPROCKET_WORKER_LISTEN";
const VERSION: &str = "1";

/// The command.
pub(super) struct Origin {
    program: PathBuf,
    arguments: Vec<CString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    /// Descriptors that were open at the start: the caller's, or PHP's own.
    descriptors: Vec<RawFd>,
}

/// What a worker of a later generation is told.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) master: i32,
    pub(super) slot: u16,
    pub(super) workers: u16,
    pub(super) control: OwnedFd,
    pub(super) publish: Option<OwnedFd>,
    pub(super) hub: PathBuf,
    /// The sockets of each address.
    pub(super) sockets: Vec<Vec<OwnedFd>>,
    pub(super) addresses: Vec<String>,
}

/// The same, still in the master.
pub(super) struct Pass<'a> {
    pub(super) slot: u16,
    pub(super) workers: u16,
    pub(super) control: RawFd,
    pub(super) publish: Option<RawFd>,
    pub(super) hub: &'a Path,
    pub(super) sockets: Vec<Vec<RawFd>>,
    pub(super) addresses: &'a [String],
}

static ORIGIN: OnceLock<Origin> = OnceLock::new();
static PASSED: Mutex<Option<Result<Passed, String>>> = Mutex::new(None);

/// To be called when the module starts, on the command line.
pub(crate) fn remember() {
    let passed = std::env::var(NUMBERS).ok().map(|numbers| {
        let hub = std::env::var_os(HUB).unwrap_or_default();
        let listen = std::env::var(LISTEN).unwrap_or_default();
        for name in [NUMBERS, HUB, LISTEN] {
            zend::remove_variable(name);
        }
        receive(&numbers, hub.into(), &listen)
    });
    // Somebody else's, inherited by accident.
    let passed = passed.filter(|p| p.as_ref().map_or(true, |p| p.master == parent()));
    *PASSED.lock().unwrap_or_else(PoisonError::into_inner) = passed;
    let Ok(program) = std::env::current_exe() else { return };
    let Ok(directory) = std::env::current_dir() else { return };
    let _ = ORIGIN.set(Origin {
        program,
        arguments: arguments(),
        environment: std::env::vars_os().collect(),
        directory: logical(directory),
        descriptors: zend::open_descriptors(),
    });
}

/// What this process was told by a master, once.
pub(super) fn take_passed() -> Option<Result<Passed, String>> {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner).take()
}

pub(super) fn parent() -> i32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid())
}

/// The command line. PHP may overwrite what the kernel shows of it later (`cli_set_process_title`).
fn arguments() -> Vec<CString> {
    match std::fs::read("/proc/self/cmdline") {
        Ok(bytes) => bytes
            .split_inclusive(|b| *b == 0)
            .filter_map(|a| CString::new(a.strip_suffix(b"\0").unwrap_or(a)).ok())
            .collect(),
        Err(_) => std::env::args_os().filter_map(|a| CString::new(a.into_vec()).ok()).collect(),
    }
}

/// The way by which the shell, or systemd, says it has come to the directory: behind a link that
/// names the release of the day there may be another one by the time of a reload.
fn logical(directory: PathBuf) -> PathBuf {
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    match std::env::var_os("PWD").map(PathBuf::from) {
        Some(pwd) if pwd.is_absolute() && identity(&pwd) == identity(&directory) => pwd,
        _ => directory,
    }
}

fn receive(numbers: &str, hub: PathBuf, listen: &str) -> Result<Passed, String> {
    let mut words = numbers.split(' ');
    let version = words.next().unwrap_or_default();
    if version != VERSION {
        return Err(format!("the master is of another version ({version} instead of {VERSION}): restart it"));
    }
    let malformed = || format!("{NUMBERS} is malformed");
    let mut next = || words.next().ok_or_else(malformed);
    let (master, slot, workers) = (next()?, next()?, next()?);
    let (control, publish, sockets) = (next()?, next()?, next()?);
    let take = |number: &str| {
        let number = number.parse().map_err(|_| malformed())?;
        zend::take_inherited(number).map_err(|error| format!("descriptor {number}: {error}"))
    };
    let sockets = sockets.split(',').map(|address| address.split('+').map(take).collect());
    Ok(Passed {
        master: master.parse().map_err(|_| malformed())?,
        slot: slot.parse().map_err(|_| malformed())?,
        workers: workers.parse().map_err(|_| malformed())?,
        control: take(control)?,
        publish: if publish == "-" { None } else { Some(take(publish)?) },
        hub,
        sockets: sockets.collect::<Result<_, _>>()?,
        addresses: listen.split('\n').map(str::to_owned).collect(),
    })
}

impl Pass<'_> {
    fn variables(&self) -> [(&'static str, Vec<u8>); 3] {
        let sockets: Vec<String> = self
            .sockets
            .iter()
            .map(|fds| fds.iter().map(ToString::to_string).collect::<Vec<_>>().join("+"))
            .collect();
        let numbers = format!(
            "{VERSION} {} {} {} {} {} {}",
            std::process::id(),
            self.slot,
            self.workers,
            self.control,
            self.publish.map_or_else(|| "-".to_owned(), |fd| fd.to_string()),
            sockets.join(",")
        );
        [
            (NUMBERS, numbers.into_bytes()),
            (HUB, self.hub.as_os_str().as_bytes().to_vec()),
            (LISTEN, self.addresses.join("\n").into_bytes()),
        ]
    }

    fn descriptors(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.sockets.iter().flatten().copied().chain([self.control]).chain(self.publish)
    }
}

/// All that `execve` needs, put together in the master.
pub(super) struct Command {
    program: CString,
    arguments: &'static [CString],
    environment: Vec<CString>,
    /// Handed over, beside those that were there at the start.
    passed: Vec<RawFd>,
    kept: &'static [RawFd],
    directory: &'static Path,
}

/// Why this process can't be started again, in words that follow "because".
pub(super) fn obstacle(script: Option<&str>) -> Option<String> {
    let Some(origin) = ORIGIN.get() else { return Some("its command line is not known".to_owned()) };
    match script {
        Some(script) => {
            let path = origin.directory.join(script);
            (!path.is_file())
                .then(|| format!("the script {} is no file that can be read again", path.display()))
        }
        None => {
            let code = origin.arguments.iter().take_while(|a| a.as_bytes() != b"--");
            let inline = code.skip(1).any(|a| a.as_bytes().starts_with(b"-r") || a.as_bytes() == b"--run");
            (!inline).then(|| "the script was read from the standard input".to_owned())
        }
    }
}

impl Command {
    /// `None` if the way of the start is not known.
    pub(super) fn new(pass: &Pass<'_>) -> Option<Self> {
        let origin = ORIGIN.get()?;
        let variables = pass.variables();
        let plain = origin.environment.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let own = variables.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let environment =
            plain.chain(own).filter_map(|(name, value)| CString::new([name, b"=", value].concat()).ok());
        Some(Self {
            program: CString::new(origin.program.as_os_str().as_bytes()).ok()?,
            arguments: &origin.arguments,
            environment: environment.collect(),
            passed: pass.descriptors().collect(),
            kept: &origin.descriptors,
            directory: &origin.directory,
        })
    }

    /// In a child, which it replaces; returns only if that fails.
    pub(super) fn run(&self, blocked: zend::SignalsBlocked) -> std::io::Error {
        if let Err(error) = std::env::set_current_dir(self.directory) {
            return error;
        }
        zend::exec(&self.program, self.arguments, &self.environment, &self.passed, self.kept, blocked)
    }
}
