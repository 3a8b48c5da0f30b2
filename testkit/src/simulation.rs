//! A simulation: a seeded random sequence of everything that operators, machines and networks do to
//! the exporter, against real workers and servers, judged by the oracle when all has settled.

mod ambush;
mod bites;
mod letters;
mod shrink;
mod step;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use sqlx::PgPool;

use crate::messages::job;
use crate::oracle::{Oracle, Report};
use crate::posthog::{Behavior, Cut, Rule};
use crate::proxy::TcpProxy;
use crate::servers::Servers;
use crate::worker::Worker;
use crate::world::{LANGFUSE_URL, Output, World};
use crate::{langfuse, seed, wait};

pub use bites::Bites;
pub use letters::Letters;
pub use shrink::shrink;
pub use step::{Mood, Step, describe, generate, parse};

/// Workers at once.
pub const WORKERS: usize = 3;
/// Project and its key.
const PROJECTS: [(&str, &str); 2] = [("project one", "phc_one"), ("project two", "phc_two")];
const DAYS: [&str; 3] = ["2024-06-01", "2024-06-02", "2024-06-03"];
const TRACES_PER_DAY: usize = 80;

/// How long everything may take to settle after the last step. The limit is above five minutes
/// because the sweep of late rows waits so long: a row that was created shortly before a run began
/// may or may not have been read by that run.
const SETTLING: Duration = Duration::from_mins(7);
/// How long the jobs that are published by then may take.
const SETTLED_JOBS: Duration = Duration::from_mins(2);

/// What became of a simulation.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the oracle found
    pub report: Report,
    /// How often each fault really bit
    pub bites: Bites,
    /// Dead letters that were found, and requeued
    pub letters: Letters,
    /// Why it failed, in words; `None` when all is well
    pub failure: Option<String>,
    /// The ends of all logs, when it failed or a fault of some kind did not bite
    pub logs: String,
}

/// Runs these steps in a world of their own on `servers`, and waits until all has settled.
pub async fn run(servers: &Arc<Servers>, steps: &[Step]) -> Outcome {
    let mut stage = Stage::set(servers).await;
    for step in steps {
        stage.play(*step).await;
    }
    let (report, failure) = stage.settle().await;
    let bites = Bites::read(&stage.world, &PROJECTS.map(|(_, key)| key));
    let letters = stage.letters.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let unexplained = letters.unexplained();
    let failure = failure
        .or_else(|| (!report.is_clean()).then(|| format!("{report}\n{}", report.findings.join("\n"))))
        .or_else(|| (!unexplained.is_empty()).then(|| format!("dead letters that nothing explains: {unexplained:?}")));
    let is_telling = failure.is_some() || !bites.bit();
    Outcome {
        logs: if is_telling { stage.world.tails() } else { String::new() },
        letters,
        report,
        bites,
        failure,
    }
}

/// A world, its workers and what lies between them and the servers.
struct Stage {
    world: World,
    database: TcpProxy,
    broker: TcpProxy,
    workers: Vec<Option<Worker>>,
    asleep: Vec<(Instant, usize)>,
    /// How often late rows were added; it keeps their ids apart.
    late: usize,
    letters: Mutex<Letters>,
}

impl Stage {
    async fn set(servers: &Arc<Servers>) -> Self {
        let world = World::on(servers.clone()).await;
        let amqp_url = format!("{}?heartbeat=2", world.amqp_url);
        for (name, value) in [
            ("AMQP_URL", amqp_url.as_str()),
            ("PAGE_ROWS", "40"),
            ("BATCH_MAX_EVENTS", "10"),
            ("SENDS_IN_FLIGHT", "2"),
            ("LEASE", "3s"),
            ("SEND_TIMEOUT", "800ms"),
            ("RETRY_BUDGET", "1500ms"),
            ("JOB_SLICE", "2s"),
            // No outage here lasts a minute.
            ("RETRY_RUNGS", "1s×90"),
            ("EXPORT_LAG", "0s"),
        ] {
            world.set(name, value);
        }
        for command in ["migrate", "declare"] {
            let output = world.producer(&[command]).await;
            assert_eq!(output.code, 0, "producer {command}\n{}", output.stderr);
        }
        servers.rabbitmq.keep_names().await;
        let days = DAYS.map(day);
        for (number, (project, key)) in PROJECTS.into_iter().enumerate() {
            langfuse::add_project(&world.pool(), project, project).await;
            langfuse::add_integration(&world.pool(), project, &world.posthog.url(), key, true).await;
            world.posthog.known_key(key);
            seed::realistic(&world.pool(), project, &days, TRACES_PER_DAY, number as u64).await;
        }
        let (database, broker) = tokio::join!(world.database_proxy(), world.amqp_proxy());
        let mut stage = Self {
            world,
            database,
            broker,
            workers: Vec::new(),
            asleep: Vec::new(),
            late: 0,
            letters: Mutex::default(),
        };
        for _ in 0..WORKERS {
            let worker = stage.worker().await;
            stage.workers.push(Some(worker));
        }
        stage
    }

    /// A worker whose connections can be cut.
    async fn worker(&self) -> Worker {
        let database = self.world.database_url_via(&self.database);
        let broker = format!("{}?heartbeat=2", self.world.amqp_url_via(&self.broker));
        self.world
            .worker(&[("DATABASE_URL", &database), ("AMQP_URL", &broker)])
            .await
    }

    fn pool(&self) -> PgPool {
        self.world.pool()
    }

    async fn play(&mut self, step: Step) {
        self.wake(Instant::now());
        let servers = self.world.servers();
        match step {
            Step::Enqueue => drop(self.producer(&["enqueue"]).await),
            Step::Replay { project, day } => {
                let arguments = ["replay", "--project", PROJECTS[project].0, "--day", DAYS[day]];
                drop(self.producer(&arguments).await);
            }
            Step::Duplicate { project, day } => {
                let (project, day) = (PROJECTS[project].0, DAYS[day]);
                let body = job(project, day, Some("daily"));
                self.world.publish("posthog-export", "job", &body).await;
            }
            Step::Kill(slot) => {
                if let Some(worker) = self.workers[slot].take() {
                    worker.kill();
                }
            }
            Step::Ambush => {
                let ledger = self.world.pool();
                ambush::ambush(&self.world.posthog, &ledger, &mut self.workers).await;
            }
            Step::Stop(slot) => {
                if let Some(worker) = self.workers[slot].take() {
                    worker.resume();
                    worker.terminate();
                    let status = worker.wait_exit().await;
                    // A worker that was started a moment ago may not handle signals yet.
                    let had_begun = !worker.log().is_empty();
                    assert!(
                        status.success() || !had_begun,
                        "a worker that was asked to stop: {status}\n{}",
                        worker.log()
                    );
                }
            }
            Step::Pause(slot, milliseconds) => {
                if let Some(worker) = &self.workers[slot] {
                    worker.pause();
                    self.asleep
                        .push((Instant::now() + Duration::from_millis(milliseconds), slot));
                }
            }
            Step::Start(slot) => {
                if self.workers[slot].is_none() {
                    self.workers[slot] = Some(self.worker().await);
                }
            }
            Step::KillPostgres => {
                servers.postgres.kill();
                servers.postgres.start_again().await;
            }
            Step::StopPostgres => servers.postgres.restart().await,
            Step::KillRabbitmq => {
                servers.rabbitmq.kill();
                servers.rabbitmq.start_again().await;
            }
            Step::StopRabbitmq => servers.rabbitmq.restart().await,
            Step::CutDatabase => self.database.cut(),
            Step::CutBroker => self.broker.cut(),
            Step::StallDatabase(milliseconds) => stall(&self.database, milliseconds).await,
            Step::StallBroker(milliseconds) => stall(&self.broker, milliseconds).await,
            Step::Posthog(mood) => self.mood(mood),
            Step::Late { project, day: number } => {
                self.late += 1;
                let label = self.late.to_string();
                seed::late(&self.pool(), PROJECTS[project].0, day(DAYS[number]), 3, &label).await;
            }
            Step::LateObservations { project, day: number } => {
                self.late += 1;
                let label = self.late.to_string();
                seed::late_observations(&self.pool(), PROJECTS[project].0, day(DAYS[number]), 3, &label).await;
            }
            Step::Wait(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
        }
    }

    fn mood(&self, mood: Mood) {
        let posthog = &self.world.posthog;
        posthog.behave();
        let rule = match mood {
            Mood::Well => return,
            Mood::Slow => Rule::always(Behavior::Delay(Duration::from_millis(60))),
            Mood::Failing => Rule::every(3, Behavior::status(500)),
            Mood::Down => Rule::always(Behavior::status(503)),
            Mood::Limiting => Rule::every(4, Behavior::retry_after(429, 1)),
            Mood::Lossy => Rule::every(3, Behavior::StoreThenCut(Cut::Rst)),
            Mood::Forgetful => Rule::every(4, Behavior::StoreThenStatus(500)),
            Mood::Silent => Rule::every(5, Behavior::HangAfterAccept),
        };
        posthog.script(rule);
    }

    /// Resumes the paused workers whose time is over.
    fn wake(&mut self, now: Instant) {
        let workers = &self.workers;
        self.asleep.retain(|(until, slot)| {
            let due = *until <= now;
            if due && let Some(worker) = &workers[*slot] {
                worker.resume();
            }
            !due
        });
    }

    /// Runs the producer, and ends it when it takes too long: its servers may be gone.
    async fn producer(&self, arguments: &[&str]) -> Option<Output> {
        let process = self.world.spawn_producer(arguments, &[]).await;
        let status = process.exited_within(Duration::from_secs(30)).await;
        process.kill();
        Some(Output {
            code: status?.code()?,
            stdout: process.stdout(),
            stderr: process.stderr(),
        })
    }

    /// The steps are over. All workers run, and the producer enqueues until it plans nothing more.
    async fn settle(&mut self) -> (Report, Option<String>) {
        self.database.pass();
        self.broker.pass();
        self.mood(Mood::Well);
        for worker in self.workers.iter().flatten() {
            worker.resume();
        }
        self.asleep.clear();
        for slot in 0..WORKERS {
            self.play(Step::Start(slot)).await;
        }
        let deadline = Instant::now() + SETTLING;
        loop {
            if let Some(failure) = self.finish_jobs().await {
                return (self.check().await, Some(failure));
            }
            let planned = self.plan().await;
            if planned == Some(0) {
                let report = self.check().await;
                if report.missing == 0 || Instant::now() > deadline {
                    return (report, None);
                }
                tokio::time::sleep(Duration::from_secs(10)).await;
            } else if Instant::now() > deadline {
                return (
                    self.check().await,
                    Some(format!("enqueue still plans {planned:?} jobs")),
                );
            }
        }
    }

    /// How many jobs `enqueue` published; `None` when it failed.
    async fn plan(&self) -> Option<u64> {
        let output = self.producer(&["enqueue", "--json"]).await?;
        let answer: serde_json::Value = serde_json::from_str(&output.stdout).ok()?;
        let planned = answer["planned"].as_object()?.values();
        (output.code == 0).then(|| planned.filter_map(serde_json::Value::as_u64).sum())
    }

    /// Waits until every run is completed and every queue empty. Dead letters are requeued, as a
    /// human would.
    async fn finish_jobs(&self) -> Option<String> {
        let finished = wait::until(SETTLED_JOBS, async || {
            let open = "select count(*) from posthog_export.runs where state not in ('completed', 'dead')";
            let open = sqlx::query_scalar::<_, i64>(open).fetch_one(&self.pool()).await;
            if !matches!(open, Ok(0)) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                return false;
            }
            for queue in ["jobs", "backfill", "retry.1s"] {
                if self.world.queue_messages(&format!("posthog-export.{queue}")).await != Some(0) {
                    return false;
                }
            }
            if self.world.queue_messages("posthog-export.dead-letters").await != Some(0) {
                self.count_dead_letters().await;
                drop(self.producer(&["dead-letters", "requeue", "--all", "--yes"]).await);
                return false;
            }
            true
        });
        if finished.await.is_some() {
            return None;
        }
        let runs = "select coalesce(string_agg(to_jsonb(r)::text, E'\\n'), '') from posthog_export.runs r where state <> 'completed'";
        let runs = sqlx::query_scalar::<_, String>(runs).fetch_one(&self.pool()).await;
        Some(format!("not all jobs came to an end in {SETTLED_JOBS:?}: {runs:?}"))
    }

    async fn count_dead_letters(&self) {
        let output = self.producer(&["dead-letters", "list", "--group", "--json"]).await;
        if let Some(answer) = output.and_then(|output| serde_json::from_str(&output.stdout).ok()) {
            *self.letters.lock().unwrap_or_else(PoisonError::into_inner) += Letters::read(&answer);
        }
    }

    async fn check(&self) -> Report {
        let oracle = Oracle::new(self.pool(), Some(LANGFUSE_URL));
        // Late observations are on the day after their trace.
        let days: Vec<NaiveDate> = DAYS.iter().chain(["2024-06-04"].iter()).map(|text| day(text)).collect();
        let mut reports = Vec::new();
        for (project, key) in PROJECTS {
            reports.push(oracle.check(&self.world.posthog, key, project, &days).await);
        }
        reports.into_iter().sum()
    }
}

async fn stall(proxy: &TcpProxy, milliseconds: u64) {
    proxy.stall();
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    proxy.pass();
}

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}

/// Projects and days that steps may name.
pub(crate) const CHOICES: (usize, usize) = (PROJECTS.len(), DAYS.len());
