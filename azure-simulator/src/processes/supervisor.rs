//! The supervisor: one Python process that is the parent of all processes of jobs.
//!
//! It is a process of its own, because only then do jobs end when the simulator is killed; and it
//! is Python, because becoming a subreaper needs a system call that safe Rust does not have.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};
use std::sync::Mutex;
use std::sync::mpsc as blocking;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use crate::lock;

const SOURCE: &str = include_str!("supervisor.py");

/// A run's processes, ready to be started. Has no `Debug`: variables of a job may be secrets.
#[derive(Serialize)]
pub(crate) struct Start {
    #[serde(rename = "start")]
    pub(crate) run: String,
    /// What it may not write to, where the machine can see to that.
    pub(crate) read_only: Vec<PathBuf>,
    /// What it may write to all the same, its own folder first.
    pub(crate) writable: Vec<PathBuf>,
    /// By rank.
    pub(crate) processes: Vec<Command>,
}

/// One process of a run. Has no `Debug`: variables of a job may be secrets.
#[derive(Serialize)]
pub(crate) struct Command {
    pub(crate) command: String,
    pub(crate) directory: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
}

/// What the supervisor tells.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Report {
    Started {
        #[serde(rename = "started")]
        run: String,
        keeper: u32,
    },
    Exited {
        #[serde(rename = "exited")]
        run: String,
        code: i64,
    },
    /// The first process that failed, before the run ends because of it.
    Failed {
        #[serde(rename = "failed")]
        run: String,
        process: usize,
    },
}

#[derive(Debug)]
pub(crate) struct Supervisor {
    commands: Mutex<Option<blocking::Sender<String>>>,
    process: Mutex<Child>,
}

impl Supervisor {
    /// Starts it; its program is written into `directory`.
    pub(crate) fn start_in(
        directory: &Path,
    ) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Report>)> {
        use std::os::unix::process::CommandExt as _;

        let program = directory.join("supervisor.py");
        std::fs::write(&program, SOURCE)?;
        let mut process = process::Command::new("python3")
            .args(["-I", "-S"])
            .arg(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the simulator; the supervisor ends with it.
            .process_group(0)
            .spawn()?;
        let absent = || std::io::Error::other("the supervisor has no pipe");
        let mut stdin = process.stdin.take().ok_or_else(absent)?;
        let stdout = process.stdout.take().ok_or_else(absent)?;
        let (commands, lines) = blocking::channel::<String>();
        std::thread::spawn(move || {
            for line in lines {
                if writeln!(stdin, "{line}").is_err() {
                    return;
                }
            }
        });
        let (sender, reports) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(report) => {
                        if sender.send(report).is_err() {
                            return;
                        }
                    }
                    Err(_) => tracing::error!(line, "the supervisor's report is not understood"),
                }
            }
        });
        let supervisor = Self {
            commands: Mutex::new(Some(commands)),
            process: Mutex::new(process),
        };
        Ok((supervisor, reports))
    }

    pub(crate) fn start(&self, start: &Start) {
        self.send(json!(start).to_string());
    }

    pub(crate) fn terminate(&self, run: &str) {
        self.send(json!({"terminate": run}).to_string());
    }

    pub(crate) fn kill(&self, run: &str) {
        self.send(json!({"kill": run}).to_string());
    }

    fn send(&self, line: String) {
        if let Some(commands) = lock(&self.commands).as_ref() {
            // A supervisor that is gone is told of by the end of its reports.
            let _ = commands.send(line);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        lock(&self.process).id()
    }

    /// Ends every process of every job, and waits until they are gone.
    pub(crate) fn end(&self) {
        lock(&self.commands).take();
        if let Err(problem) = lock(&self.process).wait() {
            tracing::warn!(%problem, "the supervisor cannot be waited for");
        }
    }
}
