//! The machine and the software versions of a run.

use serde::{Deserialize, Serialize};
use std::fs;
use std::process::Command;

/// Properties that influence the figures.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) php: String,
    pub(crate) node: String,
    pub(crate) rustc: String,
}

impl Machine {
    pub(crate) fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
        Self {
            date: first_line("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            cpu: model.map_or("unknown", |(_, name)| name).into(),
            cores: std::thread::available_parallelism().map_or(0, |n| n.get()),
            kernel: first_line("uname", &["-sr"]),
            php: first_line(
                &crate::servers::php(),
                &["-r", "echo PHP_VERSION, PHP_ZTS ? ' ZTS' : ' NTS', PHP_DEBUG ? ' debug' : '';"],
            ),
            node: first_line("node", &["--version"]),
            rustc: first_line("rustc", &["--version"]),
        }
    }
}

/// The first line of a command's output, or a dash if the command does not exist.
fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("-").to_owned()
}
