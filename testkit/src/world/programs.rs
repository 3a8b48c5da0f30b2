//! The real worker and the real producer, run in a world.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::directory::{Directory, MARKER};
use crate::process::{Process, program};
use crate::server::free_port;
use crate::wait::PATIENCE;
use crate::worker::Worker;

use super::World;

impl World {
    /// Starts a real worker, with `overrides` over [`env`](Self::env). An empty value removes a
    /// variable.
    pub async fn worker(&self, overrides: &[(&str, &str)]) -> Worker {
        self.start_worker(&[], overrides).await
    }

    /// The same, and waits until it is ready.
    pub async fn ready_worker(&self, overrides: &[(&str, &str)]) -> Worker {
        let worker = self.worker(overrides).await;
        worker.wait_ready().await;
        worker
    }

    /// A worker as the first process of a PID namespace of its own, as in a container: signals
    /// without a handler do nothing to it. Needs root.
    pub async fn worker_as_pid_1(&self, overrides: &[(&str, &str)]) -> Worker {
        let wrapper = ["unshare", "--pid", "--fork", "--kill-child"];
        self.start_worker(&wrapper, overrides).await.wrapped()
    }

    /// A worker that was built elsewhere, such as another commit's, in place of this one's.
    pub async fn worker_from(&self, program: &Path, overrides: &[(&str, &str)]) -> Worker {
        // The shell gives its place to that program, and never reads its last argument.
        let program = program.to_str().expect("a path of letters");
        self.start_worker(&["sh", "-c", r#"exec "$0""#, program], overrides)
            .await
    }

    async fn start_worker(&self, wrapper: &[&str], overrides: &[(&str, &str)]) -> Worker {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let address_text = address.to_string();
        let mut all = vec![("HTTP_ADDR", address_text.as_str())];
        all.extend(overrides);
        let process = self.spawn(wrapper, "worker", &[], &all, Process::spawn).await;
        Worker::new(process, address)
    }

    /// Runs the real producer to its end.
    pub async fn producer(&self, arguments: &[&str]) -> Output {
        self.producer_with_env(arguments, &[]).await
    }

    /// Runs the real producer to its end, which must be a success.
    pub async fn succeeds(&self, arguments: &[&str]) -> Output {
        let output = self.producer(arguments).await;
        let said = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.code, 0, "producer {arguments:?}\n{said}");
        output
    }

    /// Runs the real producer to its end, with `overrides` over [`env`](Self::env).
    pub async fn producer_with_env(&self, arguments: &[&str], overrides: &[(&str, &str)]) -> Output {
        let process = self.spawn_producer(arguments, overrides).await;
        self.output_of(&process, arguments).await
    }

    /// Runs `worker health`, which asks the worker at that address.
    pub async fn worker_health(&self, address: &str) -> Output {
        let (arguments, overrides) = (["health"], [("HTTP_ADDR", address)]);
        let process = self
            .spawn(&[], "worker", &arguments, &overrides, Process::spawn_apart)
            .await;
        self.output_of(&process, &arguments).await
    }

    async fn output_of(&self, process: &Process, arguments: &[&str]) -> Output {
        let ended = process.exited_within(PATIENCE).await;
        let status = ended.unwrap_or_else(|| panic!("{arguments:?} does not end\n{}", self.tails()));
        Output {
            code: status.code().unwrap_or(-1),
            stdout: process.stdout(),
            stderr: process.stderr(),
        }
    }

    /// Starts the real producer and does not wait for its end.
    pub async fn spawn_producer(&self, arguments: &[&str], overrides: &[(&str, &str)]) -> Arc<Process> {
        self.spawn(&[], "producer", arguments, overrides, Process::spawn_apart)
            .await
    }

    /// Starts the real producer at a terminal of its own, where it may ask: everything that it
    /// writes is standard output, and what is typed comes from that file once it exists. `None`
    /// where no `script` of util-linux is installed.
    pub async fn spawn_producer_at_terminal(&self, arguments: &[&str], typed: &Path) -> Option<Arc<Process>> {
        let version = Command::new("script").arg("--version").output().ok()?;
        if !String::from_utf8_lossy(&version.stdout).contains("util-linux") {
            return None;
        }
        let at_terminal = format!(
            "(until [ -e {typed} ]; do sleep 0.1; done; cat {typed}) | script --quiet --return --command \"$0 $*\" /dev/null",
            typed = typed.display()
        );
        let wrapper = ["sh", "-c", &at_terminal];
        let process = self.spawn(&wrapper, "producer", arguments, &[], Process::spawn_apart);
        Some(process.await)
    }

    async fn spawn(
        &self,
        wrapper: &[&str],
        kind: &'static str,
        arguments: &[&str],
        overrides: &[(&str, &str)],
        start: fn(&Directory, &str, Command) -> Process,
    ) -> Arc<Process> {
        let path = tokio::task::spawn_blocking(move || program(kind))
            .await
            .expect("build the programs");
        let directory = self.servers.directory();
        let mut command = match wrapper {
            [] => directory.command(path),
            [program, arguments @ ..] => {
                let mut command = directory.command(program);
                command.args(arguments).arg(path);
                command
            }
        };
        // The developer's own settings must not reach a program under test.
        command.env_clear().env(MARKER, directory.path());
        for name in [
            "PATH",
            "HOME",
            "TMPDIR",
            "RUST_BACKTRACE",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "LLVM_PROFILE_FILE",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.env()).args(arguments);
        for (name, value) in overrides {
            if value.is_empty() {
                command.env_remove(name);
            } else {
                command.env(name, value);
            }
        }
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let process = Arc::new(start(directory, &format!("{}-{number}-{kind}", self.name), command));
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(process.clone());
        process
    }
}

/// What a program that ran to its end left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}
