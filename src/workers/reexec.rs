//! Runs the command line of this process again, so that a worker of a later generation loads the
//! current code on disk, and passes to it what a worker needs from its master.
//!
//! The master forks, and the child executes the command line that the master was started with, from the
//! same directory and in the same environment, plus the variables below. The new process removes these
//! variables when the module starts, so that processes started by the script do not inherit them.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use once_cell::sync::OnceCell;

use crate::zend::{self, Child, Program, Startup};

/// Variable with the version of the format, followed by the fields of [`Passed`] that are numbers or
/// descriptors.
const NUMBERS: &str = "SPROCKET_WORKER";
/// Variable with the path of the hub's socket.
const HUB: &str = "SPROCKET_WORKER_HUB";
/// Variable with the addresses as the master's script gave them, one per line.
const LISTEN: &str = "SPROCKET_WORKER_LISTEN";
const VERSION: &str = "1";

/// How this process was started.
pub(super) struct Launch {
    program: PathBuf,
    arguments: Vec<CString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    /// Descriptors that were open at the start: inherited ones, and those of PHP itself.
    descriptors: Vec<RawFd>,
}

/// The data that a worker of a later generation receives from its master.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) master: i32,
    pub(super) slot: u16,
    pub(super) workers: u16,
    pub(super) control: OwnedFd,
    pub(super) publish: Option<OwnedFd>,
    pub(super) hub: PathBuf,
    /// Sockets, grouped by address.
    pub(super) sockets: Vec<Vec<OwnedFd>>,
    pub(super) addresses: Vec<String>,
}

/// The same data in the master, which passes it on.
pub(super) struct Pass<'a> {
    pub(super) slot: u16,
    pub(super) workers: u16,
    pub(super) control: RawFd,
    pub(super) publish: Option<RawFd>,
    pub(super) hub: &'a Path,
    pub(super) sockets: Vec<Vec<RawFd>>,
    pub(super) addresses: &'a [String],
}

static LAUNCH: OnceCell<Launch> = OnceCell::new();
static PASSED: Mutex<Option<Result<Passed, String>>> = Mutex::new(None);

/// Records the command line, directory and environment of the process. Called when the module starts,
/// with the command line interface only.
pub(crate) fn remember(startup: &Startup) {
    let passed = std::env::var(NUMBERS).ok().map(|numbers| {
        let hub = std::env::var_os(HUB).unwrap_or_default();
        let listen = std::env::var(LISTEN).unwrap_or_default();
        for name in [NUMBERS, HUB, LISTEN] {
            zend::remove_variable(startup, name);
        }
        receive(startup, &numbers, hub.into(), &listen)
    });
    // The variables belong to another master if its id is not that of the parent process.
    let passed = passed.filter(|p| p.as_ref().map_or(true, |p| p.master == parent()));
    *PASSED.lock().unwrap_or_else(PoisonError::into_inner) = passed;
    // If this fails, `obstacle` refuses reloads.
    let _ = LAUNCH.get_or_try_init(Launch::read);
}

impl Launch {
    fn read() -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: arguments(),
            environment: std::env::vars_os().collect(),
            directory: logical(std::env::current_dir()?),
            descriptors: zend::open_descriptors(),
        })
    }
}

/// Returns the data that a master has passed to this process; `None` after the first call.
pub(super) fn take_passed() -> Option<Result<Passed, String>> {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Returns the id of the parent process; 0 if it has none.
pub(super) fn parent() -> i32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid())
}

/// Returns the command line. It is read early, because `cli_set_process_title()` overwrites it in the
/// kernel.
fn arguments() -> Vec<CString> {
    match std::fs::read("/proc/self/cmdline") {
        Ok(bytes) => bytes
            .split_inclusive(|b| *b == 0)
            .filter_map(|a| CString::new(a.strip_suffix(b"\0").unwrap_or(a)).ok())
            .collect(),
        Err(_) => std::env::args_os().filter_map(|a| CString::new(a.into_vec()).ok()).collect(),
    }
}

/// Returns the path by which the shell or systemd entered the directory (`PWD`). It may contain a
/// symbolic link to the current release, which leads to another directory at the time of a reload.
fn logical(directory: PathBuf) -> PathBuf {
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    match std::env::var_os("PWD").map(PathBuf::from) {
        Some(pwd) if pwd.is_absolute() && identity(&pwd) == identity(&directory) => pwd,
        _ => directory,
    }
}

/// Parses the variables and takes over the descriptors that they name.
fn receive(startup: &Startup, numbers: &str, hub: PathBuf, listen: &str) -> Result<Passed, String> {
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
        zend::take_inherited(startup, number).map_err(|error| format!("descriptor {number}: {error}"))
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

/// The arguments of `execve`, allocated in the master before it forks.
pub(super) struct Command {
    program: CString,
    arguments: &'static [CString],
    environment: Vec<CString>,
    /// Descriptors for the worker, in addition to those that were open at the start.
    passed: Vec<RawFd>,
    kept: &'static [RawFd],
    directory: &'static Path,
}

/// Returns the reason for which this process cannot be started again, as a clause after "because";
/// `None` if it can.
pub(super) fn obstacle(script: Option<&str>) -> Option<String> {
    let Some(launch) = LAUNCH.get() else { return Some("its command line is unknown".to_owned()) };
    match script {
        Some(script) => {
            let path = launch.directory.join(script);
            (!path.is_file())
                .then(|| format!("the script {} is not a file that can be read again", path.display()))
        }
        None => {
            let code = launch.arguments.iter().take_while(|a| a.as_bytes() != b"--");
            let inline = code.skip(1).any(|a| a.as_bytes().starts_with(b"-r") || a.as_bytes() == b"--run");
            (!inline).then(|| "the script was read from the standard input".to_owned())
        }
    }
}

impl Command {
    /// Prepares the command of a worker; `None` if the command line of this process is unknown.
    pub(super) fn new(pass: &Pass<'_>) -> Option<Self> {
        let launch = LAUNCH.get()?;
        let variables = pass.variables();
        let plain = launch.environment.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let own = variables.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let environment =
            plain.chain(own).filter_map(|(name, value)| CString::new([name, b"=", value].concat()).ok());
        Some(Self {
            program: CString::new(launch.program.as_os_str().as_bytes()).ok()?,
            arguments: &launch.arguments,
            environment: environment.collect(),
            passed: pass.descriptors().collect(),
            kept: &launch.descriptors,
            directory: &launch.directory,
        })
    }

    /// Replaces the child of a fork by the command. On failure it calls `failed` and ends the process.
    pub(super) fn run(&self, child: Child, failed: impl FnOnce(io::Error)) -> ! {
        if let Err(error) = std::env::set_current_dir(self.directory) {
            failed(error);
            child.exit(127)
        }
        let program = Program {
            path: &self.program,
            arguments: self.arguments,
            environment: &self.environment,
            passed: &self.passed,
            kept: self.kept,
        };
        child.exec(&program, failed)
    }
}
