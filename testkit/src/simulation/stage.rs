//! The stage of a simulation: where each step is carried out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use crate::clock::Clock;
use crate::messages::job;
use crate::oracle::Oracle;
use crate::posthog::{Behavior, Cut, Rule};
use crate::proxy::TcpProxy;
use crate::seed::{Touch, Touched};
use crate::servers::Servers;
use crate::worker::Worker;
use crate::world::{LANGFUSE_URL, Output, World};
use crate::{langfuse, seed};

use super::ambush;
use super::cast::{BEGINNING, DAYS, LATEST, PROJECTS, TODAY, TRACES_PER_DAY, WORKERS, day};
use super::letters::Letters;
use super::step::{Mood, Step};

/// A world, its workers and what lies between them and the servers.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) clock: Clock,
    /// Has seen all forms of the rows
    pub(super) oracle: Oracle,
    database: TcpProxy,
    broker: TcpProxy,
    workers: Vec<Option<Worker>>,
    /// Paused workers, and until when
    asleep: Vec<(Instant, usize)>,
    /// How often rows were added or changed; it keeps their ids apart.
    late: usize,
    letters: Mutex<Letters>,
}

impl Stage {
    pub(super) async fn set(servers: &Arc<Servers>) -> Self {
        let world = World::on(servers.clone()).await;
        let clock = world.clock(BEGINNING).await;
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
            ("EXPORT_EVERY", "1h"),
            ("STEP_LAG", "10m"),
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
            oracle: Oracle::new(world.pool(), Some(LANGFUSE_URL)),
            world,
            clock,
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

    pub(super) fn pool(&self) -> PgPool {
        self.world.pool()
    }

    /// The dead letters that were found so far.
    pub(super) fn letters(&self) -> Letters {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts dead letters that were found.
    pub(super) fn add_letters(&self, found: Letters) {
        *self.letters.lock().unwrap_or_else(PoisonError::into_inner) += found;
    }

    /// Ends everything that hinders the workers, and starts those that are missing.
    pub(super) async fn let_all_work(&mut self) {
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
    }

    pub(super) async fn play(&mut self, step: Step) {
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
            Step::Touch { project, touch, ago } => self.touch(PROJECTS[project].0, touch, ago).await,
            Step::EnqueueSteps => drop(self.producer(&["enqueue", "--steps"]).await),
            Step::Forward(minutes) => {
                let by = TimeDelta::minutes(minutes as i64);
                let latest: DateTime<Utc> = LATEST.parse().expect("a moment");
                if self.clock.now().await + by < latest {
                    self.clock.forward(by).await;
                }
            }
            Step::Wait(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
        }
    }

    /// Changes some rows of today, and the oracle remembers how they were.
    pub(super) async fn touch(&mut self, project: &str, touch: Touch, seconds_ago: u64) {
        self.late += 1;
        self.oracle.remember(project, day(TODAY)).await;
        let rows = Touched {
            project,
            day: day(TODAY),
            count: 4,
            seed: self.late as u64,
            ago: TimeDelta::seconds(seconds_ago as i64),
        };
        seed::touch(&self.pool(), touch, rows).await;
    }

    pub(super) fn mood(&self, mood: Mood) {
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
    pub(super) async fn producer(&self, arguments: &[&str]) -> Option<Output> {
        let process = self.world.spawn_producer(arguments, &[]).await;
        let status = process.exited_within(Duration::from_secs(30)).await;
        process.kill();
        Some(Output {
            code: status?.code()?,
            stdout: process.stdout(),
            stderr: process.stderr(),
        })
    }
}

async fn stall(proxy: &TcpProxy, milliseconds: u64) {
    proxy.stall();
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    proxy.pass();
}
