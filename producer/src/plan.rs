//! Decides which jobs to publish, from facts and a clock. PURE.
//!
//! Once the jobs are published and recorded, planning again finds nothing to publish.

mod heal;
mod history;
mod late;
mod missing;
mod settled;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use shared::job::{DAILY, Day, Job, RunKey};
use shared::langfuse::Days;
use shared::ledger::{RunRow, State};
use shared::topology::Lane;

use crate::config::Horizon;

pub use heal::{STUCK, heal};
pub use history::{FirstExport, first_exports, long_ones};
pub use late::{Arrived, MARGIN, sweep_from, swept_until};
pub use missing::{missing_days, union, without};
pub use steps::plan_steps;

/// Why a job is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The day holds data and is not in the ledger
    New,
    /// It was skipped while the integration was disabled or the project paused
    Resumed,
    /// Rows arrived after the day was exported
    Late,
    /// A part of today is over
    Step,
    /// Rows may have changed after the day was exported
    Settled,
    /// Its message seems to be lost
    Healed,
}

impl Reason {
    /// All, in the order in which they are shown.
    pub const ALL: [Reason; 6] = [
        Reason::New,
        Reason::Resumed,
        Reason::Late,
        Reason::Step,
        Reason::Settled,
        Reason::Healed,
    ];

    /// The word in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::New => "new",
            Reason::Resumed => "resumed",
            Reason::Late => "late",
            Reason::Step => "step",
            Reason::Settled => "settled",
            Reason::Healed => "healed",
        }
    }
}

/// A job to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The job
    pub job: Job,
    /// Its queue
    pub lane: Lane,
    /// Why
    pub reason: Reason,
}

impl Planned {
    /// The key of its row in the ledger.
    pub fn key(&self) -> RunKey {
        self.job.key.clone()
    }
}

/// The time, and which days are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// By the database's clock
    pub now: DateTime<Utc>,
    /// `EXPORT_LAG`, `SETTLE_AFTER`, `BACKFILL_DAYS`
    pub horizon: Horizon,
    /// First day a person asked for. `BACKFILL_DAYS` does not limit it
    pub from: Option<Day>,
    /// Last day a person asked for
    pub to: Option<Day>,
    /// `EVENTS`: whether observations that are no generations are exported, too
    pub observations: bool,
}

impl Rules {
    /// The newest day that is over: it ended at least `EXPORT_LAG` ago.
    pub fn newest_over(&self) -> Day {
        newest_over(self.now, self.horizon.lag)
    }

    /// The days that are wanted, if they hold data.
    pub fn window(&self) -> Days {
        let last = self.newest_over().min(self.to.unwrap_or_else(|| self.newest_over()));
        let oldest = self
            .horizon
            .backfill_days
            .and_then(|days| yesterday(self.now).0.checked_sub_days(chrono::Days::new(days.into())))
            .map(Day);
        let first = self.from.or(oldest).unwrap_or(Day::FIRST);
        first.max(Day::FIRST)..=last
    }

    /// Whether the day lies within the dates that a person asked for, if any.
    pub fn asked(&self, day: Day) -> bool {
        self.from.is_none_or(|from| day >= from) && self.to.is_none_or(|to| day <= to)
    }
}

/// What is known of a project whose integration is enabled.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Langfuse's `projects.id`
    pub id: String,
    /// All its runs in the ledger
    pub runs: Vec<RunRow>,
    /// Its missing days ([`missing_days`]) that hold data
    pub days_with_data: BTreeSet<Day>,
}

/// The newest day that ended at least this long ago.
pub fn newest_over(now: DateTime<Utc>, lag: Duration) -> Day {
    Day::of(before(now, lag)).previous()
}

/// Yesterday by this clock.
pub fn yesterday(now: DateTime<Utc>) -> Day {
    Day::of(now).previous()
}

/// Yesterday goes to the jobs queue, older days go to the backfill queue. So a long history does
/// not delay the newest day.
pub fn lane(day: Day, now: DateTime<Utc>) -> Lane {
    if day >= yesterday(now) {
        Lane::Jobs
    } else {
        Lane::Backfill
    }
}

/// Whether a day needs no job because of this run: the run has exported it, will export it, or
/// waits for a person.
fn settles(run: &RunRow) -> bool {
    match run.state {
        State::Completed | State::Queued | State::Running | State::Waiting | State::Dead => run.full,
        // `plan` publishes a skipped daily run as a new job; `resumed` publishes the others.
        State::Skipped => run.full && run.run != DAILY,
        // Discarding the daily run gives the day up. Discarding a replay does not.
        State::Discarded => run.run == DAILY,
    }
}

/// Everything to publish, newest day first. `arrived` says for which days rows arrived since they
/// were last looked for. `stuck` comes from [`heal`].
pub fn plan(rules: &Rules, projects: &[Project], arrived: &Arrived, stuck: Vec<Planned>) -> Vec<Planned> {
    let mut jobs = stuck;
    for project in projects {
        let by_day = by_day(&project.runs);
        for day in &project.days_with_data {
            let runs = by_day.get(day).map_or(&[][..], Vec::as_slice);
            if !runs.iter().any(|run| settles(run)) {
                let was_skipped = runs.iter().any(|run| run.run == DAILY && run.state == State::Skipped);
                let mut job = Job::daily(&project.id, *day, rules.observations);
                // What the day's steps have sent need not be sent again.
                job.scope.changed = runs.iter().any(|run| run.is_step());
                jobs.push(Planned {
                    job,
                    lane: lane(*day, rules.now),
                    reason: if was_skipped { Reason::Resumed } else { Reason::New },
                });
            }
        }
        for (_, runs) in by_day.iter().filter(|(day, _)| rules.asked(**day)) {
            jobs.extend(resumed(rules.now, runs));
            jobs.extend(settled::job(rules, runs, late::with_observations(rules, runs)));
            jobs.extend(late::job(rules, runs, arrived));
        }
    }
    let order = |planned: &Planned| {
        let RunKey { project_id, day, run } = planned.job.key.clone();
        (std::cmp::Reverse(day), project_id, run)
    };
    jobs.sort_by_cached_key(order);
    jobs
}

fn by_day(runs: &[RunRow]) -> BTreeMap<Day, Vec<&RunRow>> {
    let mut by_day: BTreeMap<Day, Vec<&RunRow>> = BTreeMap::new();
    for run in runs {
        by_day.entry(run.day).or_default().push(run);
    }
    by_day
}

/// Replays and late runs that were skipped. Each comes back under its own name.
fn resumed(now: DateTime<Utc>, runs: &[&RunRow]) -> impl Iterator<Item = Planned> {
    runs.iter()
        .filter(|run| run.state == State::Skipped && run.run != DAILY && !run.is_step())
        .map(move |run| again(run, now, Reason::Resumed))
}

fn again(run: &RunRow, now: DateTime<Utc>, reason: Reason) -> Planned {
    Planned {
        job: run.job(),
        lane: lane(run.day, now),
        reason,
    }
}

/// The moment this long before another.
fn before(moment: DateTime<Utc>, length: Duration) -> DateTime<Utc> {
    let length = TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX);
    moment.checked_sub_signed(length).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

#[cfg(test)]
pub(crate) mod tests;
