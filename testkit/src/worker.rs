//! A real worker process, as a test sees it.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use crate::ending::{Cause, Ending, Outcome, endings};
use crate::process::Process;
use crate::tls::install_crypto;
use crate::wait::{self, PATIENCE};

/// A real worker process. Dropped, it is killed.
#[derive(Debug)]
pub struct Worker {
    process: Arc<Process>,
    url: String,
    /// The process is a wrapper that waits for the worker and ends as the worker does.
    is_wrapped: bool,
}

impl Worker {
    pub(crate) fn new(process: Arc<Process>, address: SocketAddr) -> Self {
        Self {
            process,
            url: format!("http://{address}"),
            is_wrapped: false,
        }
    }

    pub(crate) fn wrapped(mut self) -> Self {
        self.is_wrapped = true;
        self
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it answers `/livez`, `/readyz` and `/metrics`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until it says that it is ready.
    pub async fn wait_ready(&self) {
        let client = client();
        let ready = wait::until(PATIENCE, async || {
            if let Some(status) = self.process.exit_status() {
                panic!(
                    "the worker ended ({status}) before it was ready\n{}",
                    self.process.tail()
                );
            }
            client
                .get(format!("{}/readyz", self.url))
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
        });
        assert!(
            ready.await.is_some(),
            "the worker does not get ready\n{}",
            self.process.tail()
        );
    }

    /// Waits until it says that it is not ready.
    pub async fn wait_unready(&self) {
        let client = client();
        let unready = wait::until(PATIENCE, async || {
            let answer = client.get(format!("{}/readyz", self.url)).send().await;
            answer.is_ok_and(|answer| answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE)
        });
        assert!(
            unready.await.is_some(),
            "the worker goes on saying that it is ready\n{}",
            self.process.tail()
        );
    }

    /// The body of `/metrics`.
    pub async fn metrics(&self) -> String {
        let answer = client().get(format!("{}/metrics", self.url)).send().await;
        answer
            .expect("ask for the metrics")
            .text()
            .await
            .expect("read the metrics")
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) {
        if self.is_wrapped {
            self.process.signal_children(libc::SIGTERM);
        } else {
            self.process.terminate();
        }
    }

    /// Asks it to stop as Ctrl-C does (SIGINT).
    pub fn interrupt(&self) {
        self.process.signal(libc::SIGINT);
    }

    /// Ends it at once (SIGKILL), and returns when it is gone.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Pauses it (SIGSTOP).
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.process.resume();
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.process.exit_status()
    }

    /// Waits until it has ended.
    pub async fn wait_exit(&self) -> ExitStatus {
        let ended = self.process.exited_within(PATIENCE).await;
        ended.unwrap_or_else(|| panic!("the worker does not end\n{}", self.process.tail()))
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// How the deliveries that it had ended, in order.
    pub fn endings(&self) -> Vec<Ending> {
        endings(&self.log())
    }

    /// How many of its deliveries ended so. A `cause` of `None` is any, or none.
    pub fn count(&self, outcome: Outcome, cause: impl Into<Option<Cause>>) -> usize {
        let cause = cause.into();
        self.endings().iter().filter(|ending| ending.is(outcome, cause)).count()
    }

    /// Waits until one of its deliveries has ended so, and answers the first of them. A `cause` of
    /// `None` is any, or none.
    pub async fn wait_outcome(&self, outcome: Outcome, cause: impl Into<Option<Cause>>) -> Ending {
        let cause = cause.into();
        let what = format!("{outcome:?}, {cause:?}");
        self.wait_ending(&what, |ending| ending.is(outcome, cause)).await
    }

    /// Waits until one of its deliveries has ended as `wanted` says, and answers the first of them.
    pub async fn wait_ending(&self, what: &str, wanted: impl Fn(&Ending) -> bool) -> Ending {
        let found = wait::until(PATIENCE, async || {
            self.endings().into_iter().find(|ending| wanted(ending))
        })
        .await;
        found.unwrap_or_else(|| panic!("the worker logs no end of a job: {what}\n{}", self.process.tail()))
    }

    /// Waits until its log holds `text`. For the end of a job, see
    /// [`wait_outcome`](Self::wait_outcome).
    pub async fn wait_log(&self, text: &str) {
        let found = wait::until(PATIENCE, async || self.log().contains(text)).await;
        assert!(
            found.is_some(),
            "the worker does not log {text:?}\n{}",
            self.process.tail()
        );
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.process.kill();
    }
}

fn client() -> reqwest::Client {
    install_crypto();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()
        .expect("an HTTP client")
}
