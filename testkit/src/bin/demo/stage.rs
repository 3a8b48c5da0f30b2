//! What every scene uses: the servers, two workers, the producer, and a way to say what goes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use chrono::{NaiveDate, Utc};
use indicatif::MultiProgress;
use testkit::oracle::Oracle;
use testkit::world::LANGFUSE_URL;
use testkit::{Clock, Servers, Worker, World, program, wait};

/// How long all scenes may take together, once servers and programs are there.
const DEADLINE: Duration = Duration::from_mins(3);
/// The default is two minutes; here somebody may want to kill a worker and watch.
const LEASE: &str = "5s";
/// When the demo plays.
const MORNING: &str = "10:35";
/// Lines are no longer than this, apart from what the producer prints.
const COLUMNS: usize = 100;
/// As wide as the time at the beginning of a line.
const INDENT: &str = "         ";

/// The servers, the programs and the clock of the demo.
pub(crate) struct Stage {
    pub(crate) world: World,
    /// The time that both programs go by
    pub(crate) clock: Clock,
    /// The day on which the demo plays
    pub(crate) today: NaiveDate,
    pub(crate) workers: Vec<Worker>,
    pub(crate) bars: MultiProgress,
    began: Instant,
    deadline: Instant,
    /// The process ids of the workers whose end was told
    mourned: Mutex<Vec<u32>>,
}

impl Stage {
    /// Builds the programs and starts the servers, which `started` gets as soon as they run.
    pub(crate) async fn set(
        began: Instant,
        started: impl FnOnce(Arc<Servers>),
    ) -> anyhow::Result<Self> {
        say(began, "building the worker and the producer");
        tokio::task::spawn_blocking(|| program("worker")).await?;
        say(
            began,
            "starting a private PostgreSQL, a private RabbitMQ and a fake PostHog \
             (what is missing is installed first)",
        );
        let servers = Arc::new(Servers::start().await);
        started(servers.clone());
        let world = World::on(servers).await;
        let today = Utc::now().date_naive();
        let clock = world.clock(format!("{today} {MORNING}")).await;
        say(
            began,
            &format!(
                "the programs take the time from the database, where it is {MORNING} today: \
                 so the demo shows the same at any time"
            ),
        );
        for (name, value) in [
            ("LEASE", LEASE),
            ("PAGE_ROWS", "500"),
            ("BATCH_MAX_EVENTS", "250"),
            ("RETRY_RUNGS", "1s×5,5s×20"),
        ] {
            world.set(name, value);
        }
        Ok(Self {
            world,
            clock,
            today,
            workers: Vec::new(),
            bars: MultiProgress::new(),
            began,
            deadline: Instant::now() + DEADLINE,
            mourned: Mutex::default(),
        })
    }

    /// Plays the scenes. The waits know the deadline and say what they waited for; the limit here
    /// is for what hangs elsewhere.
    pub(crate) async fn within_the_deadline(
        &mut self,
        play: impl AsyncFnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let limit = DEADLINE + Duration::from_secs(5);
        let played = tokio::time::timeout(limit, play(self)).await;
        played.unwrap_or_else(|_| bail!("the demo hangs"))
    }

    /// One line about what goes on.
    pub(crate) fn say(&self, text: &str) {
        self.bars.suspend(|| say(self.began, text));
    }

    /// What a program was asked for, and what it answered.
    pub(crate) fn quote(&self, text: &str, output: &str) {
        self.bars.suspend(|| {
            say(self.began, text);
            for line in output.trim_end().lines() {
                eprintln!("{}", format!("{INDENT}{line}").trim_end());
            }
        });
    }

    /// Runs the producer; its standard output, or an error with what it said.
    pub(crate) async fn producer(
        &self,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let output = self.world.producer_with_env(arguments, env).await;
        ensure!(
            output.code == 0,
            "producer {arguments:?} ended with {}:\n{}{}",
            output.code,
            output.stdout,
            output.stderr
        );
        Ok(output.stdout)
    }

    /// Waits for a fact, no longer than the deadline, and only as long as a worker lives.
    pub(crate) async fn wait<Fut>(&self, what: &str, look: impl Fn() -> Fut) -> anyhow::Result<()>
    where
        Fut: Future<Output = anyhow::Result<bool>>,
    {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let look = &look;
        let reached = wait::until(left, || async move {
            match self.check_workers().and(look().await) {
                Ok(false) => None,
                Ok(true) => Some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        });
        reached.await.unwrap_or_else(|| {
            bail!("the demo took longer than {DEADLINE:?}; it waited until {what}")
        })
    }

    fn check_workers(&self) -> anyhow::Result<()> {
        let mut mourned = self.mourned.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in &self.workers {
            if let Some(status) = worker.exit_status()
                && !mourned.contains(&worker.pid())
            {
                mourned.push(worker.pid());
                self.say(&format!(
                    "worker {} is gone ({status}); the other one takes over its days \
                     when the lease of {LEASE} is over",
                    worker.pid()
                ));
            }
        }
        ensure!(mourned.len() < self.workers.len(), "no worker is left");
        Ok(())
    }

    /// How many runs of a project are in this state.
    pub(crate) async fn runs(&self, project: &str, state: &str) -> anyhow::Result<u64> {
        let count = "SELECT count(*) FROM posthog_export.runs \
            WHERE project_id = $1 AND state::text = $2";
        let count: i64 = sqlx::query_scalar(count)
            .bind(project)
            .bind(state)
            .fetch_one(&self.world.pool())
            .await?;
        Ok(count.unsigned_abs())
    }

    /// Whether all runs of a project are completed; an error if one of them never will be.
    pub(crate) async fn completed(&self, project: &str) -> anyhow::Result<bool> {
        let states = "SELECT state::text, error FROM posthog_export.runs \
            WHERE project_id = $1 AND state <> 'completed'";
        let open: Vec<(String, Option<String>)> = sqlx::query_as(states)
            .bind(project)
            .fetch_all(&self.world.pool())
            .await?;
        for (state, error) in &open {
            ensure!(state != "dead", "a day of {project} is dead: {error:?}");
        }
        Ok(open.is_empty())
    }

    /// Knows from the database alone which events must arrive.
    pub(crate) fn oracle(&self) -> Oracle {
        Oracle::new(self.world.pool(), Some(LANGFUSE_URL))
    }

    /// Where everything is, for somebody who looks around.
    pub(crate) async fn print_urls(&self) {
        let world = &self.world;
        let console = world
            .spawn_producer(&["console", "--listen", "127.0.0.1:0"], &[])
            .await;
        let address = wait::until(Duration::from_mins(1), async || {
            let log = console.stderr();
            let (_, rest) = log.split_once("\"url\":\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        });
        let address = address
            .await
            .unwrap_or_else(|| "(it does not start)".to_owned());
        eprintln!("\nconsole        {address}");
        eprintln!("database       {}", world.database_url);
        eprintln!("broker         {}", world.amqp_url);
        eprintln!(
            "management UI  {} (user and password are in it), virtual host {}",
            world.management_url, world.vhost
        );
        eprintln!("fake PostHog   {}", world.posthog.url());
        for worker in &self.workers {
            eprintln!("worker {:<7} {}/metrics", worker.pid(), worker.url());
        }
        eprintln!("everything runs until Ctrl-C");
    }
}

/// A line with the time since the beginning. A long one goes on below, under its first word.
fn say(began: Instant, text: &str) {
    let mut lines = vec![format!("[{:5.1}s]", began.elapsed().as_secs_f64())];
    for word in text.split(' ') {
        let width = lines.last().map_or(0, String::len) + 1 + word.len();
        if width > COLUMNS {
            lines.push(INDENT[1..].to_owned());
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    eprintln!("{}", lines.join("\n"));
}
