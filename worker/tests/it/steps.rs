//! A day in steps, its `daily` run and its `settled` one, while rows arrive and change: each run
//! sends what was touched in between, once, and nothing else.

use std::sync::Arc;

use chrono::{NaiveTime, TimeDelta};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::oracle::{Kind, Oracle, Sent, Sequence};
use testkit::posthog::{Behavior, Rule};
use testkit::seed::{self, Touch, Touched};
use testkit::world::LANGFUSE_URL;
use testkit::{Clock, Project, Worker, World};

use crate::{DAY, KEY, PROJECT, day, world};

/// A part of the day, as the message has it; `None` is the whole day.
type Window = Option<(NaiveTime, NaiveTime)>;

/// A day of which nothing was sent yet, the clock in its database, a worker, and the oracle that
/// counts along.
struct Stage {
    world: Arc<World>,
    project: Project,
    clock: Clock,
    sequence: Sequence,
    _worker: Worker,
    touches: u64,
}

impl Stage {
    async fn set(traces: usize, seed: u64) -> Self {
        let (world, project) = world().await;
        let clock = world.clock(DAY).await;
        project.seed(&[day()], traces, seed).await;
        let oracle = Oracle::new(world.pool(), Some(LANGFUSE_URL)).of(&Kind::ALL);
        let sequence = Sequence::new(oracle, &world.posthog, KEY, PROJECT, day());
        let worker = world
            .ready_worker(&[("PAGE_ROWS", "7"), ("BATCH_MAX_EVENTS", "5"), ("SENDS_IN_FLIGHT", "2")])
            .await;
        Self {
            world,
            project,
            clock,
            sequence,
            _worker: worker,
            touches: seed * 1_000,
        }
    }

    async fn touch(&mut self, touch: Touch, count: usize) {
        self.touches += 1;
        let rows = Touched {
            project: PROJECT,
            day: day(),
            count,
            seed: self.touches,
            ago: TimeDelta::zero(),
        };
        seed::touch(&self.world.pool(), touch, rows).await;
    }

    /// A step, or a run with `changed`; rows are touched while it waits for PostHog, if it sends anything.
    async fn run(&mut self, run: &str, window: Window, meanwhile: Option<Touch>) -> Sent {
        let called_for = self.sequence.begins(window).await;
        let is_held = called_for > 0 && meanwhile.is_some();
        if is_held {
            self.world.posthog.script(Rule::always(Behavior::Hold));
        }
        // As the producer asks for it: nobody has sent anything of a step's part of the day.
        let what = window.map_or_else(
            || r#","changed":true"#.to_owned(),
            |(from, until)| format!(r#","from":"{DAY}T{from}Z","until":"{DAY}T{until}Z""#),
        );
        let message = format!(
            r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"{run}"{what},
                "events":["trace","generation","score","observation"]}}"#
        );
        self.world.publish_job(message.as_bytes()).await;
        if let Some(touch) = meanwhile {
            if is_held {
                self.world.posthog.held().await;
            }
            self.touch(touch, 3).await;
            self.world.posthog.behave();
        }
        self.project.wait_state(DAY, run, "completed").await;
        let sent = self.sequence.completed().await;
        sent.assert_exact(run);
        sent
    }

    /// A run that the producer asks for.
    async fn asked_by(&mut self, arguments: &[&str], run: &str, window: Window) -> Sent {
        self.sequence.begins(window).await;
        self.world.succeeds(arguments).await;
        self.project.wait_state(DAY, run, "completed").await;
        let sent = self.sequence.completed().await;
        sent.assert_exact(run);
        sent
    }

    /// The step of an hour, half an hour after the hour.
    async fn step(&mut self, hour: u32, meanwhile: Option<Touch>) -> Sent {
        self.clock.set(format!("{DAY} {:02}:30", hour + 1)).await;
        self.run(&format!("step-{hour:02}00"), Some(hour_from(hour)), meanwhile)
            .await
    }
}

fn hour_from(hour: u32) -> (NaiveTime, NaiveTime) {
    let time = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    (time(hour), time(hour + 1))
}

#[tokio::test]
async fn an_undisturbed_day_in_steps_is_sent_once() {
    let mut stage = Stage::set(60, 4).await;
    for (name, value) in [("EXPORT_EVERY", "1h"), ("EVENTS", "trace,generation,score,observation")] {
        stage.world.set(name, value);
    }
    let mut steps = 0;
    // The last hour is over when its day is: the daily run sends it.
    for hour in 0..23 {
        stage.clock.set(format!("{DAY} {:02}:30", hour + 1)).await;
        let run = format!("step-{hour:02}00");
        let sent = stage
            .asked_by(&["enqueue", "--steps"], &run, Some(hour_from(hour)))
            .await;
        assert_eq!(sent.called_for, sent.sent);
        steps += sent.sent;
    }
    stage.clock.set("2024-06-02 01:00").await;
    let daily = stage.asked_by(&["enqueue"], "daily", None).await;
    stage.clock.forward(TimeDelta::hours(24)).await;
    let settled = stage.asked_by(&["enqueue"], "settled", None).await;
    assert!(steps > 200 && daily.sent > 0);
    assert_eq!(settled.sent, 0);
    let counts = stage.world.posthog.counts(KEY);
    assert_eq!(
        (counts.received, counts.resent),
        (steps + daily.sent, 0),
        "each event was sent once"
    );
    let report = stage
        .sequence
        .oracle()
        .check(&stage.world.posthog, KEY, PROJECT, &[day()])
        .await;
    report.assert_delivered();
    assert_eq!((report.expected, report.former_copies), (counts.received, 0));
}

#[tokio::test]
async fn what_was_touched_between_the_runs_of_a_day_is_sent_again_once() {
    for seed in [1, 2] {
        let mut random = StdRng::seed_from_u64(seed);
        let mut stage = Stage::set(40, seed).await;
        let draw = |random: &mut StdRng, of: f64| {
            let touch = Touch::ALL[random.random_range(0..Touch::ALL.len())];
            random.random_bool(of).then_some(touch)
        };
        let mut again = 0;
        for hour in 0..23 {
            // A step that never ran costs freshness only.
            if random.random_bool(0.9) {
                let meanwhile = draw(&mut random, 0.3);
                again += stage.step(hour, meanwhile).await.again;
            }
            stage.clock.set(format!("{DAY} {:02}:55", hour + 1)).await;
            for _ in 0..random.random_range(0..3) {
                if let Some(touch) = draw(&mut random, 0.7) {
                    stage.touch(touch, 3).await;
                }
            }
        }
        for (moment, run) in [("2024-06-02 01:00", "daily"), ("2024-06-03 00:30", "settled")] {
            stage.clock.set(moment).await;
            let meanwhile = draw(&mut random, 0.5);
            again += stage.run(run, None, meanwhile).await.again;
            stage.clock.forward(TimeDelta::hours(1)).await;
            for touch in Touch::ALL {
                stage.touch(touch, 2).await;
            }
        }
        // Whatever changed after the settled run is for a run that a human asks for.
        stage.clock.forward(TimeDelta::hours(1)).await;
        again += stage.run("by-hand", None, None).await.again;
        assert!(again > 0);
        let posthog = &stage.world.posthog;
        let report = stage.sequence.oracle().check(posthog, KEY, PROJECT, &[day()]).await;
        report.assert_delivered();
        assert!(
            report.former_copies > 0,
            "no trace got another user after it was sent: {report}"
        );
        assert_eq!(
            posthog.counts(KEY).received,
            posthog.counts(KEY).stored + posthog.counts(KEY).resent
        );
    }
}
