//! Processes that are started, watched and ended here, and the product's own programs to start.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::directory::Directory;
use crate::wait;

/// A running program and its output. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    child: Mutex<Child>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`, with both outputs in one file `NAME.log` of the directory; a second start
    /// appends to it.
    pub fn spawn(directory: &Directory, name: &str, command: Command) -> Self {
        let log = directory.path().join(format!("{name}.log"));
        Self::spawn_into(name, command, log.clone(), log)
    }

    /// Starts `command` with standard output and standard error in files of their own.
    pub fn spawn_apart(directory: &Directory, name: &str, command: Command) -> Self {
        let path = |kind| directory.path().join(format!("{name}.{kind}"));
        Self::spawn_into(name, command, path("stdout"), path("stderr"))
    }

    fn spawn_into(name: &str, mut command: Command, stdout: PathBuf, stderr: PathBuf) -> Self {
        command.stdout(append(&stdout)).stderr(append(&stderr));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {name} ({command:?}): {error}"));
        Self {
            name: name.to_owned(),
            pid: child.id(),
            child: Mutex::new(child),
            stdout,
            stderr,
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it was called when it was started.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("ask for the exit status")
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&self, signal: i32) {
        // The lock is held, so nobody reaps the child between the question and the signal. Its id
        // cannot belong to another process.
        let mut child = self.child();
        if child.try_wait().expect("ask for the exit status").is_none() {
            send_signal(self.pid, signal);
        }
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Sends a signal to everything that descends from it, but not to itself.
    pub fn signal_children(&self, signal: i32) {
        for pid in family(self.pid).into_iter().skip(1) {
            send_signal(pid, signal);
        }
    }

    /// Ends it and everything it started (SIGKILL), and returns when it is gone.
    pub fn kill(&self) {
        let mut child = self.child();
        if child.try_wait().expect("ask for the exit status").is_none() {
            for pid in family(self.pid) {
                send_signal(pid, libc::SIGKILL);
            }
            let _ = child.wait();
        }
    }

    /// Pauses it and everything it started (SIGSTOP).
    pub fn pause(&self) {
        let mut paused = Vec::new();
        // Look again until no new process is found: one of them may have been starting another.
        loop {
            let found: Vec<u32> = family(self.pid)
                .into_iter()
                .filter(|pid| !paused.contains(pid))
                .collect();
            if found.is_empty() {
                return;
            }
            for pid in found {
                send_signal(pid, libc::SIGSTOP);
                paused.push(pid);
            }
        }
    }

    /// Lets everything that [`pause`](Self::pause) stopped go on (SIGCONT).
    pub fn resume(&self) {
        for pid in family(self.pid) {
            send_signal(pid, libc::SIGCONT);
        }
    }

    /// Waits until it has ended; `None` when it has not in time.
    pub async fn exited_within(&self, timeout: Duration) -> Option<ExitStatus> {
        wait::until(timeout, async || self.exit_status()).await
    }

    /// What it wrote to standard output (and standard error, when they share a file) so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        if self.stdout == self.stderr {
            self.stdout()
        } else {
            format!("{}{}", self.stdout(), self.stderr())
        }
    }

    /// The last lines of its log under a heading, for a failure's message.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(40);
        let state = self
            .exit_status()
            .map_or("running".to_owned(), |status| status.to_string());
        format!(
            "---- {} (pid {}, {state}), last of {} lines ----\n{}\n",
            self.name,
            self.pid,
            lines.len(),
            lines[from..].join("\n")
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn append(path: &Path) -> Stdio {
    let file = File::options().create(true).append(true).open(path);
    file.unwrap_or_else(|error| panic!("open {}: {error}", path.display()))
        .into()
}

fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// Sends a signal; a process that is already gone is fine.
pub(crate) fn send_signal(pid: u32, signal: i32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    assert!(pid > 1, "refusing to signal process {pid}");
    // SAFETY: `kill` touches no memory of this process.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// A process and all that descend from it, parents first. PostgreSQL puts every child into a
/// session of its own, so a process group would not reach them.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut children = std::collections::HashMap::<u32, Vec<u32>>::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // `pid (name) state parent …`, where the name may hold spaces and brackets.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(child);
    }
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        found.extend(children.remove(&found[next]).unwrap_or_default());
        next += 1;
    }
    found
}

/// Where the product's program of that name is, freshly built: the first call in a process runs
/// `cargo build`, with the profile that this process itself was built with.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();
    match BUILT.get_or_init(build) {
        Ok(programs) => programs
            .iter()
            .find(|path| path.file_stem().is_some_and(|stem| stem == name))
            .unwrap_or_else(|| panic!("the workspace builds no program `{name}`, only {programs:?}"))
            .clone(),
        Err(output) => panic!("the workspace's programs do not build:\n{output}"),
    }
}

fn build() -> Result<Vec<PathBuf>, String> {
    let current = std::env::current_exe().map_err(|error| error.to_string())?;
    // `target/debug/deps/test-123` or `target/debug/demo`
    let mut profile = current.parent().unwrap_or(Path::new("/"));
    if profile.file_name().is_some_and(|name| name == "deps") {
        profile = profile.parent().unwrap_or(profile);
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "build",
        "--quiet",
        "--workspace",
        // Only these two. No test starts the demo or the soak, and their optimised builds take
        // minutes to link.
        "--bin",
        "worker",
        "--bin",
        "producer",
        "--message-format=json-render-diagnostics",
    ]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")));
    if profile.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    if let Some(target) = profile.parent() {
        command.arg("--target-dir").arg(target);
    }
    // Cargo tells a test about its package by environment variables. Build scripts that see them
    // believe that their input has changed.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let about_us = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
        ];
        if text == "OUT_DIR" || about_us.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("start {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let messages = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| {
        let message: serde_json::Value = serde_json::from_slice(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    Ok(messages.collect())
}
