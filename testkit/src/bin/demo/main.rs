//! `cargo demo`: the whole line on private servers, with what goes wrong in real life, judged by the oracle.

#![allow(clippy::print_stdout, reason = "a command-line program")]

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use chrono::{Days, NaiveDate, Utc};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use testkit::oracle::{Oracle, Report};
use testkit::posthog::{Behavior, Rule};
use testkit::{Servers, Worker, World, langfuse, program, seed, wait};
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
cargo demo: shows the exporter at work, on servers of its own that are gone afterwards

Usage: cargo demo [--keep]

  --keep   leave everything running at the end, print the URLs, and wait for Ctrl-C
  --help   this text

What is going on goes to standard error, the result to standard output.
Exit code: 0 when every event arrived once, and the retry, the dead letter and the replay were really seen;
1 when not, with the ends of all logs; 2 for wrong arguments; 130 when it was stopped.";

const LANGFUSE_URL: &str = "https://langfuse.example.com";
/// Project, its right key, traces a day.
const PROJECTS: [(&str, &str, usize); 3] = [
    ("shop-assistant", "phc_demo_shop", 1200),
    ("support-bot", "phc_demo_support", 800),
    ("wrong-key", "phc_demo_right", 400),
];
/// The one of them whose stored key is not its right one.
const WRONG: usize = 2;
const WRONG_KEY: &str = "phc_demo_typo";
/// How long all of it may take once servers and programs are there.
const DEADLINE: Duration = Duration::from_mins(3);
/// The default is two minutes; here somebody may want to kill a worker and watch.
const LEASE: &str = "5s";

/// The servers, for whoever ends them.
type Slot = Arc<Mutex<Option<Arc<Servers>>>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keep = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--keep"] => true,
        ["--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        eprintln!("demo: signals cannot be handled here");
        return ExitCode::FAILURE;
    };
    let slot = Slot::default();
    // On a task of its own: a panic in it is a failed demo, with the logs, and not a hanging one.
    let mut demo = tokio::spawn(demo(keep, slot.clone()));
    let ended = tokio::select! {
        ended = &mut demo => Some(ended),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let code = match ended {
        Some(Ok(Ok(()))) => 0,
        Some(Ok(Err(error))) => {
            eprintln!("demo: {error:#}");
            1
        }
        Some(Err(_)) => 1,
        None => {
            eprintln!("\nstopped; ending everything that was started");
            demo.abort();
            let _ = demo.await;
            130
        }
    };
    let servers = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(servers) = servers.and_then(Arc::into_inner) {
        servers.close().await;
    }
    // Not by returning: that would wait for a build or a start that was interrupted. The guard ends what it began.
    std::process::exit(code)
}

async fn demo(keep: bool, slot: Slot) -> anyhow::Result<()> {
    let began = Instant::now();
    let say = |text: &str| eprintln!("[{:5.1}s] {text}", began.elapsed().as_secs_f64());
    say("building the worker and the producer");
    tokio::task::spawn_blocking(|| program("worker")).await?;
    say("starting a private PostgreSQL, a private RabbitMQ and a fake PostHog (what is missing is installed first)");
    let servers = Arc::new(Servers::start().await);
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(servers.clone());
    let mut world = World::on(servers).await;
    for (name, value) in [
        ("LANGFUSE_URL", LANGFUSE_URL),
        ("LEASE", LEASE),
        ("PAGE_ROWS", "500"),
        ("BATCH_MAX_EVENTS", "250"),
        ("RETRY_RUNGS", "1s×5,5s×20"),
    ] {
        world.set(name, value);
    }
    let mut demo = Demo {
        world,
        began,
        deadline: Instant::now() + DEADLINE,
        bars: MultiProgress::new(),
        workers: Vec::new(),
        mourned: Mutex::default(),
    };
    // The waits know the deadline and say what they waited for; this one is for what hangs elsewhere.
    let shown = tokio::time::timeout(DEADLINE + Duration::from_secs(5), demo.show()).await;
    if let Err(error) = shown.unwrap_or_else(|_| Err(anyhow::anyhow!("the demo hangs"))) {
        eprintln!("{}", demo.world.tails());
        return Err(error);
    }
    if keep {
        demo.print_urls();
        std::future::pending::<()>().await;
    }
    Ok(())
}

struct Demo {
    world: World,
    began: Instant,
    deadline: Instant,
    bars: MultiProgress,
    workers: Vec<Worker>,
    /// The process ids of the workers whose end was told.
    mourned: Mutex<Vec<u32>>,
}

impl Demo {
    async fn show(&mut self) -> anyhow::Result<()> {
        let yesterday = Utc::now().date_naive() - Days::new(1);
        let days: Vec<NaiveDate> = (0..4).map(|back| yesterday - Days::new(back)).collect();
        self.say("filling Langfuse's tables: three projects, four days each, every ugly row we know among them");
        self.fill(&days).await;
        for arguments in [&["migrate"][..], &["declare"], &["enqueue"]] {
            let output = self.producer(arguments, &[]).await?;
            self.quote(&format!("producer {}", arguments.join(" ")), &output);
        }
        let posthog = &self.world.posthog;
        posthog.script(Rule::every(9, Behavior::status(503)));
        posthog.script(Rule::every(14, Behavior::StoreThenStatus(503)));
        for _ in 0..2 {
            self.workers.push(self.world.worker(&[]).await);
        }
        self.say(&format!(
            "two workers, process ids {} and {}; PostHog answers every ninth batch with a 503. \
             Feel free to `kill -9` one of them",
            self.workers[0].pid(),
            self.workers[1].pid()
        ));

        let progress = Progress::new(self).await?;
        self.export(&progress).await?;
        self.check_retries()?;
        self.mend_dead_letters(&progress, days.len() as u64).await?;
        progress.finish();
        self.replay(yesterday).await?;
        self.verdict().await
    }

    fn say(&self, text: &str) {
        let line = || eprintln!("[{:5.1}s] {text}", self.began.elapsed().as_secs_f64());
        self.bars.suspend(line);
    }

    /// What a program was asked for and what it answered.
    fn quote(&self, text: &str, output: &str) {
        let lines: String = output
            .trim_end()
            .lines()
            .map(|line| format!("\n         {line}").trim_end_matches(' ').to_owned())
            .collect();
        self.say(&format!("{text}{lines}"));
    }

    async fn fill(&self, days: &[NaiveDate]) {
        let (world, pool) = (&self.world, self.world.pool());
        for (number, (project, key, traces)) in PROJECTS.into_iter().enumerate() {
            langfuse::add_project(&pool, project, project).await;
            let stored = if number == WRONG { WRONG_KEY } else { key };
            langfuse::add_integration(&pool, project, &world.posthog.url(), stored, true).await;
            seed::realistic(&pool, project, days, traces, number as u64 + 1).await;
            world.posthog.known_key(key);
        }
        seed::adversarial(&pool, PROJECTS[0].0, days[0]).await;
    }

    /// Runs the producer; its standard output, or an error with what it said.
    async fn producer(&self, arguments: &[&str], env: &[(&str, &str)]) -> anyhow::Result<String> {
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
    async fn wait<Fut>(&self, what: &str, look: impl Fn() -> Fut) -> anyhow::Result<()>
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
        reached
            .await
            .unwrap_or_else(|| bail!("the demo took longer than {DEADLINE:?}; it waited until {what}"))
    }

    fn check_workers(&self) -> anyhow::Result<()> {
        let mut mourned = self.mourned.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in &self.workers {
            if let Some(status) = worker.exit_status()
                && !mourned.contains(&worker.pid())
            {
                mourned.push(worker.pid());
                self.say(&format!(
                    "worker {} is gone ({status}); the other one takes over its days when the lease of {LEASE} is over",
                    worker.pid()
                ));
            }
        }
        ensure!(mourned.len() < self.workers.len(), "no worker is left");
        Ok(())
    }

    /// How many runs of a project are in this state.
    async fn runs(&self, project: &str, state: &str) -> anyhow::Result<u64> {
        let count = "SELECT count(*) FROM posthog_export.runs WHERE project_id = $1 AND state::text = $2";
        let count: i64 = sqlx::query_scalar(count)
            .bind(project)
            .bind(state)
            .fetch_one(&self.world.pool())
            .await?;
        Ok(count.unsigned_abs())
    }

    /// Whether all runs of a project are completed; an error if one of them never will be.
    async fn completed(&self, project: &str) -> anyhow::Result<bool> {
        let states =
            "SELECT state::text, error FROM posthog_export.runs WHERE project_id = $1 AND state <> 'completed'";
        let open: Vec<(String, Option<String>)> = sqlx::query_as(states)
            .bind(project)
            .fetch_all(&self.world.pool())
            .await?;
        for (state, error) in &open {
            ensure!(state != "dead", "a day of {project} is dead: {error:?}");
        }
        Ok(open.is_empty())
    }

    /// Until the projects whose keys are right are through.
    async fn export(&self, progress: &Progress) -> anyhow::Result<()> {
        let exported = async || {
            progress.show(self);
            Ok(self.completed(PROJECTS[0].0).await? && self.completed(PROJECTS[1].0).await?)
        };
        self.wait("the two projects whose keys are right are exported", exported)
            .await?;
        progress.show_now(self);
        self.say("the two projects whose keys are right are exported");
        Ok(())
    }

    fn check_retries(&self) -> anyhow::Result<()> {
        let batches = self.world.posthog.batches();
        let refused = batches.iter().filter(|request| request.status == Some(503)).count();
        let folded: usize = PROJECTS
            .iter()
            .map(|(_, key, _)| self.world.posthog.counts(key).resent)
            .sum();
        self.say(&format!(
            "PostHog answered {refused} of {} batches with a 503, and each was sent again; some it had kept all the same, \
             so it got {folded} events twice and keeps them once",
            batches.len()
        ));
        ensure!(refused > 0 && folded > 0, "PostHog never failed, so no retry was shown");
        Ok(())
    }

    async fn mend_dead_letters(&self, progress: &Progress, days: u64) -> anyhow::Result<()> {
        let (project, key, _) = PROJECTS[WRONG];
        // A worker that was killed at the wrong moment leaves a second letter of the same run.
        // The first failure pauses the project, so that its other days are skipped instead of dead.
        let all_stopped = async || {
            let dead = self.runs(project, "dead").await?;
            Ok(dead >= 1
                && dead + self.runs(project, "skipped").await? == days
                && self.world.queue_depth("posthog-export.dead-letters").await >= dead)
        };
        self.wait("the days of the wrong key are dead letters, or skipped", all_stopped)
            .await?;
        let list = self.producer(&["dead-letters", "list"], &[]).await?;
        self.quote(
            "one project has a wrong key, so its days wait for a human: producer dead-letters list",
            &list,
        );
        ensure!(list.contains("unauthorized"), "the dead letters do not say why");

        let set = ["integrations", "set", "--project", project];
        let output = self.producer(&set, &[("POSTHOG_API_KEY", key)]).await?;
        self.quote(&format!("the key is corrected: producer {}", set.join(" ")), &output);
        let requeue = ["dead-letters", "requeue", "--project", project, "--yes"];
        let output = self.producer(&requeue, &[]).await?;
        self.quote(&format!("producer {}", requeue.join(" ")), &output);
        let output = self.producer(&["enqueue"], &[]).await?;
        self.quote("the days that were skipped meanwhile: producer enqueue", &output);
        let exported = async || {
            progress.show(self);
            self.completed(project).await
        };
        self.wait("the project with the corrected key is exported", exported)
            .await?;
        progress.show_now(self);
        let left = self.world.queue_depth("posthog-export.dead-letters").await;
        ensure!(left == 0, "{left} dead letters are left after they were requeued");
        Ok(())
    }

    async fn replay(&self, day: NaiveDate) -> anyhow::Result<()> {
        let (project, key, _) = PROJECTS[1];
        let before = self.world.posthog.counts(key);
        let message = format!(r#"{{"project_id":"{project}","day":"{day}"}}"#);
        ensure!(
            self.world.publish("posthog-export", "job", message.as_bytes()).await,
            "no queue took the replay"
        );
        self.say(&format!(
            "a replay, published over the management API as a human would: {message}"
        ));
        let replayed = async || {
            let count = "SELECT count(*) FROM posthog_export.runs \
                WHERE project_id = $1 AND day = $2 AND run LIKE 'replay-%' AND state = 'completed'";
            let count: i64 = sqlx::query_scalar(count)
                .bind(project)
                .bind(day)
                .fetch_one(&self.world.pool())
                .await?;
            Ok(count == 1)
        };
        self.wait("the replay is completed", replayed).await?;
        let after = self.world.posthog.counts(key);
        self.say(&format!(
            "{} events were sent again; PostHog keeps {} as before, {} of them twice",
            after.resent - before.resent,
            after.stored,
            after.copies_kept
        ));
        let oracle = Oracle::new(self.world.pool(), Some(LANGFUSE_URL));
        let expected = oracle.expected(project, day).await.len();
        ensure!(
            after.resent - before.resent >= expected,
            "the replay sent fewer than the {expected} events of its day"
        );
        ensure!(after.stored == before.stored, "the replay changed what is stored");
        Ok(())
    }

    /// Everything that PostHog keeps against everything that it should; the last line is the oracle's.
    async fn verdict(&self) -> anyhow::Result<()> {
        self.say("comparing every event that PostHog keeps with the database");
        let oracle = Oracle::new(self.world.pool(), Some(LANGFUSE_URL));
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["project", "day", "expected", "delivered", "sent again", "kept twice"]);
        let mut total = Report::default();
        for (project, key, _) in PROJECTS {
            let report = oracle
                .check(&self.world.posthog, key, project, &self.days(project).await?)
                .await;
            for ((project, day), row) in &report.by_day {
                let counts = [row.expected, row.delivered].map(|count| count.to_string());
                table.add_row([&[project.clone(), day.to_string()][..], &counts].concat());
            }
            let counts = [report.expected, report.delivered, report.resent, report.copies_kept];
            let counts = counts.map(|count| count.to_string());
            table.add_row([&[project.to_owned(), "all".to_owned()][..], &counts].concat());
            total = total + report;
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let sample = self.world.posthog.events(PROJECTS[1].1);
        let sample = sample
            .iter()
            .find(|event| event["event"] == "langfuse generation")
            .context("no generation arrived")?;
        println!("\n{table}\n");
        println!(
            "one of the events, as PostHog got it:\n{}\n",
            serde_json::to_string_pretty(sample)?
        );
        for finding in &total.findings {
            eprintln!("{finding}");
        }
        println!("{total}");
        ensure!(
            total.is_clean() && total.expected > 0 && total.delivered == total.expected,
            "not every event arrived as it should"
        );
        Ok(())
    }

    /// The days of a project that were enqueued. One of the ugly rows is of a year ago, so there are more than four.
    async fn days(&self, project: &str) -> anyhow::Result<Vec<NaiveDate>> {
        let days = "SELECT DISTINCT day FROM posthog_export.runs WHERE project_id = $1 ORDER BY day";
        Ok(sqlx::query_scalar(days)
            .bind(project)
            .fetch_all(&self.world.pool())
            .await?)
    }

    fn print_urls(&self) {
        let world = &self.world;
        eprintln!("\ndatabase       {}", world.database_url);
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

/// How far each project is: bars on a terminal, a line now and then elsewhere.
struct Progress {
    bars: Vec<(&'static str, &'static str, ProgressBar)>,
    terminal: bool,
    shown: Mutex<Instant>,
}

impl Progress {
    async fn new(demo: &Demo) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("         {prefix:<16} {bar:40} {pos:>6} of {len} events kept")?;
        let mut bars = Vec::new();
        for (project, key, _) in PROJECTS {
            // For the bars only: the verdict counts event by event.
            let rows = r#"WITH days AS (SELECT day FROM posthog_export.runs WHERE project_id = $1)
                SELECT (SELECT count(*) FROM traces WHERE project_id = $1 AND "timestamp"::date IN (TABLE days))
                    + (SELECT count(*) FROM scores WHERE project_id = $1 AND "timestamp"::date IN (TABLE days))
                    + (SELECT count(*) FROM observations
                        WHERE project_id = $1 AND type = 'GENERATION' AND start_time::date IN (TABLE days))"#;
            let rows: i64 = sqlx::query_scalar(rows)
                .bind(project)
                .fetch_one(&demo.world.pool())
                .await?;
            let bar = ProgressBar::new(rows.unsigned_abs())
                .with_style(style.clone())
                .with_prefix(project);
            bars.push((project, key, demo.bars.add(bar)));
        }
        Ok(Self {
            bars,
            terminal: std::io::stderr().is_terminal(),
            shown: Mutex::new(Instant::now()),
        })
    }

    fn show(&self, demo: &Demo) {
        let pause = Duration::from_millis(if self.terminal { 100 } else { 2000 });
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.elapsed() >= pause {
            *shown = Instant::now();
            self.show_now(demo);
        }
    }

    fn show_now(&self, demo: &Demo) {
        let mut line = Vec::new();
        for (project, key, bar) in &self.bars {
            let kept = demo.world.posthog.counts(key).stored as u64;
            bar.set_position(kept);
            line.push(format!("{project} {kept} of {}", bar.length().unwrap_or(0)));
        }
        if !self.terminal {
            demo.say(&format!("events kept: {}", line.join(", ")));
        }
    }

    fn finish(&self) {
        for (_, _, bar) in &self.bars {
            bar.finish();
        }
    }
}
