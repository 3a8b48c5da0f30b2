//! What `enqueue` tells the user before and after it publishes.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use shared::job::Day;
use shared::langfuse::Undated;
use shared::ledger::State;

use super::counted::{self, Counted};
use super::first::LongFirst;
use crate::facts::counts::Count;
use crate::output::{self, agree, count, line, share};
use crate::plan::{Planned, Project, Reason, Rules};
use crate::publish::Published;
use crate::report::{Failure, say_failed, undated};

/// How many dead letters are named.
const NAMED: usize = 5;

/// What was planned and what became of it. `--json` writes it as it is.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The database's clock
    now: DateTime<Utc>,
    /// Whether this only shows what would be published
    dry_run: bool,
    /// Jobs by reason: `new`, `resumed`, `late`, `step`, `settled`, `healed`
    planned: BTreeMap<&'static str, usize>,
    /// Jobs by queue
    queues: BTreeMap<&'static str, usize>,
    /// Oldest day
    from: Option<Day>,
    /// Newest day
    to: Option<Day>,
    /// How many were confirmed by the broker
    confirmed: usize,
    /// Those that were not
    failed: Vec<Failure>,
    /// What no job is published for
    #[serde(flatten)]
    left: Left,
    /// All jobs, in the order in which they are published
    jobs: Vec<Line>,
    /// Long histories, from before the nightly export of their project began
    #[serde(serialize_with = "first_exports")]
    first_exports: LongFirst,
    /// What the jobs hold, with `--count`
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Vec<Counted>>,
    #[serde(skip)]
    not_over: Option<Day>,
}

/// What no job is published for.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Left {
    /// Projects that were left out because they are paused
    paused: Vec<String>,
    /// Rows that no job can export, because their time lies on no day
    undated: Vec<Undated>,
    /// How many projects were looked at: enabled, wanted and not paused
    looked_at: usize,
    /// Runs of these that wait for a person
    dead: Vec<String>,
    /// Whether only some days were looked at
    #[serde(skip)]
    bounded: bool,
    /// Whether the ledger has a run of these days
    #[serde(skip)]
    recorded: bool,
    /// When the next step is due, where only steps were looked for
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step_at: Option<DateTime<Utc>>,
}

impl Left {
    pub(crate) fn new(rules: &Rules, projects: &[Project], paused: Vec<String>, undated: Vec<Undated>) -> Self {
        let runs = projects.iter().flat_map(|project| &project.runs);
        let asked = runs.clone().any(|run| rules.asked(run.day));
        let dead = runs.filter(|run| run.state == State::Dead && rules.asked(run.day));
        Self {
            paused,
            undated,
            looked_at: projects.len(),
            dead: dead.map(|run| run.key().to_string()).collect(),
            recorded: asked,
            bounded: rules.from.is_some() || rules.to.is_some() || rules.horizon.backfill_days.is_some(),
            next_step_at: None,
        }
    }

    /// What no step is published for.
    pub(super) fn of_today(paused: Vec<String>, looked_at: usize, next_step_at: DateTime<Utc>) -> Self {
        Self {
            paused,
            looked_at,
            next_step_at: Some(next_step_at),
            ..Self::default()
        }
    }

    /// Why there is no job. PURE.
    fn why_nothing(&self) -> String {
        if self.looked_at == 0 {
            return if self.paused.is_empty() {
                "no project has an enabled integration (`producer integrations list`).".to_owned()
            } else {
                "each project with an enabled integration is paused (`producer projects list --paused`).".to_owned()
            };
        }
        if let Some(next) = self.next_step_at {
            return format!(
                "each step that is due is in the ledger; the next one is due at {}.",
                next.to_rfc3339_opts(SecondsFormat::Secs, true)
            );
        }
        let range = if self.bounded { " of the range" } else { "" };
        let others = if self.paused.is_empty() {
            ""
        } else {
            " of the projects that are not paused"
        };
        if self.bounded && !self.recorded {
            return format!("no day{range}{others} is over and holds data; nothing of it was sent before either.");
        }
        let all = format!("every day{range}{others} that is over and holds data is in the ledger.");
        match self.letters() {
            None => all,
            Some(letters) => format!("{all} {letters}"),
        }
    }

    /// The dead letters, named as far as a person reads. PURE.
    fn letters(&self) -> Option<String> {
        let named = self.dead.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>();
        if named.is_empty() {
            return None;
        }
        let wait = agree(self.dead.len(), "waits", "wait");
        let more = if self.dead.len() > NAMED { ", …" } else { "" };
        Some(format!(
            "{} {wait}: {}{more} (`producer dead-letters list`).",
            count(self.dead.len(), "dead letter"),
            named.join(", ")
        ))
    }
}

#[derive(Debug, Serialize)]
struct Line {
    id: String,
    project_id: String,
    day: Day,
    run: String,
    queue: &'static str,
    reason: Reason,
}

impl Report {
    pub(super) fn new(rules: &Rules, planned: &[Planned], left: Left, first: LongFirst, dry_run: bool) -> Self {
        let mut by_reason: BTreeMap<&'static str, usize> = Reason::ALL.map(|reason| (reason.as_str(), 0)).into();
        let mut queues = BTreeMap::new();
        for job in planned {
            *by_reason.entry(job.reason.as_str()).or_default() += 1;
            *queues.entry(job.lane.queue()).or_default() += 1;
        }
        Self {
            now: rules.now,
            dry_run,
            planned: by_reason,
            queues,
            from: planned.iter().map(|job| job.job.key.day).min(),
            to: planned.iter().map(|job| job.job.key.day).max(),
            confirmed: 0,
            failed: Vec::new(),
            left,
            jobs: planned.iter().map(Line::of).collect(),
            first_exports: first,
            counts: None,
            not_over: rules.to.filter(|to| *to > rules.newest_over()),
        }
    }

    /// Before the first is published: how many jobs, and of which days.
    pub(crate) fn announce(&self, json: bool) {
        if let Some(day) = self.not_over {
            tracing::warn!(%day, now = %self.now, "this day is not over yet (UTC, plus EXPORT_LAG); a later enqueue publishes it");
        }
        if !self.left.paused.is_empty() {
            let projects = self.left.paused.join(", ");
            tracing::warn!(
                projects,
                "these projects are paused and were left out; see `producer projects list --paused`"
            );
        }
        if json {
            return;
        }
        for rows in undated(&self.left.undated) {
            line(format!("Left out: {rows}."));
        }
        if let Some(sentence) = self.first_exports.sentence() {
            line(sentence);
        }
        let Some((from, to)) = self.from.zip(self.to) else {
            if self.first_exports.held_back().next().is_none() {
                line(format!("Nothing to enqueue: {}", self.left.why_nothing()));
            }
            return;
        };
        if let Some(letters) = self.left.letters() {
            line(letters);
        }
        let reasons = self.planned.iter().filter(|(_, number)| **number > 0);
        let reasons: Vec<String> = reasons.map(|(reason, number)| format!("{number} {reason}")).collect();
        let queues: Vec<String> = self
            .queues
            .iter()
            .map(|(queue, number)| format!("{number} to {queue}"))
            .collect();
        let would = if self.dry_run { "Would publish" } else { "Publishing" };
        line(format!(
            "{would} {} from {from} to {to}: {} ({}).",
            count(self.jobs.len(), "job"),
            reasons.join(", "),
            queues.join(", ")
        ));
        if self.dry_run {
            let rows = self.jobs.iter().map(Line::row);
            output::table(["PROJECT", "DAY", "RUN", "QUEUE", "WHY"], rows);
        }
        if let Some(counts) = &self.counts {
            line("");
            counted::table(counts);
        }
    }

    /// What the jobs hold.
    pub(super) fn counted(&mut self, counts: BTreeMap<String, Count>) {
        self.counts = Some(Counted::all(counts));
    }

    pub(crate) fn published(&mut self, published: Published) {
        self.confirmed = published.confirmed;
        self.failed = published.failed;
    }

    /// After the last: how many were confirmed, and which were not.
    pub(crate) fn finish(&self, json: bool) {
        if json {
            output::json(self);
        } else if !self.dry_run && !self.jobs.is_empty() {
            line(format!("{} confirmed.", share(self.confirmed, self.jobs.len(), "job")));
        }
        say_failed(&self.failed, "not confirmed by the broker, and not recorded");
        if let Some(sentence) = self.first_exports.undecided() {
            tracing::error!("{sentence}");
        }
    }

    pub(crate) fn all_confirmed(&self) -> bool {
        self.failed.is_empty()
    }
}

impl Line {
    fn of(planned: &Planned) -> Self {
        let key = planned.key();
        Self {
            id: key.to_string(),
            project_id: key.project_id,
            day: key.day,
            run: key.run,
            queue: planned.lane.queue(),
            reason: planned.reason,
        }
    }

    fn row(&self) -> [String; 5] {
        [
            self.project_id.clone(),
            self.day.to_string(),
            self.run.clone(),
            self.queue.to_owned(),
            self.reason.as_str().to_owned(),
        ]
    }
}

fn first_exports<S: Serializer>(first: &LongFirst, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(first.lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_why_there_is_nothing_to_enqueue() {
        let left = |looked_at: usize, paused: &[&str], dead: usize| Left {
            looked_at,
            paused: paused.iter().map(|id| (*id).to_owned()).collect(),
            dead: (1..=dead).map(|n| format!("p/2024-06-0{n}/daily")).collect(),
            ..Left::default()
        };
        let empty = Left {
            bounded: true,
            ..left(1, &[], 0)
        };
        let sent = Left {
            bounded: true,
            recorded: true,
            ..left(1, &[], 0)
        };
        for (left, parts) in [
            (empty, &["no day of the range is over and holds data"][..]),
            (sent, &["every day of the range that is over and holds data"]),
            (left(0, &[], 0), &["no project has an enabled integration"][..]),
            (left(0, &["q"], 0), &["is paused"]),
            (
                left(2, &[], 0),
                &["every day that is over and holds data is in the ledger."],
            ),
            (left(2, &["q"], 0), &["every day of the projects that are not paused"]),
            (
                left(2, &[], 1),
                &["1 dead letter waits: p/2024-06-01/daily (`producer dead-letters list`)."],
            ),
            (left(2, &[], 7), &["7 dead letters wait: ", "p/2024-06-05/daily, … ("]),
        ] {
            let text = left.why_nothing();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}
