//! What a project's page shows. PURE.

use chrono::{DateTime, Utc};
use shared::integration::StoredIntegration;
use shared::job::Day;
use shared::ledger::Pause;

use super::calendar::Calendar;
use crate::advice::advice;
use crate::console::address::Prefix;
use crate::console::pages::run_list::{RunLine, step_counts};
use crate::console::pages::words;
use crate::console::rows::project::{LISTED, Part, Rows};
use crate::console::times::Moment;
use crate::output::number;
use crate::pauses;
use crate::step_counts::StepCounts;

/// The page.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) as_of: Moment,
    /// `None`: Langfuse's database never answered
    pub(super) enabled: Option<bool>,
    /// Where its events go
    pub(super) host: Option<String>,
    pub(super) pause: Option<Paused>,
    /// How many runs are in each state
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) years: Vec<Year>,
    pub(super) calendar: Calendar,
    pub(super) unfinished: Vec<RunLine>,
    /// The day whose runs are listed
    pub(super) day: Option<String>,
    /// What became of it
    pub(super) day_words: Option<String>,
    pub(super) all_days: String,
    pub(super) runs: Vec<RunLine>,
    /// Those of the day whose runs are listed
    pub(super) steps: Option<Steps>,
}

/// The steps of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// `24 steps, 23 completed, 1 on their way`
    pub(super) words: String,
    pub(super) lines: Vec<RunLine>,
    /// They are listed from the beginning
    pub(super) open: bool,
}

/// A year to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Year {
    pub(super) href: String,
    pub(super) number: i32,
    pub(super) chosen: bool,
}

/// Why the project is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paused {
    pub(super) by_human: bool,
    pub(super) code: String,
    pub(super) error: String,
    pub(super) by: String,
    pub(super) since: Moment,
    pub(super) advice: &'static str,
}

impl Paused {
    fn new(now: DateTime<Utc>, pause: &Pause) -> Self {
        let code = pause.error_code.as_deref();
        Self {
            by_human: code.is_none(),
            code: code.unwrap_or_default().to_owned(),
            error: words::failure(&pause.error),
            by: pauses::by(pause).to_owned(),
            since: Moment::new(now, pause.paused_at),
            advice: code.map_or(
                "`producer projects resume` ends it; the next enqueue brings the days back.",
                advice,
            ),
        }
    }
}

impl View {
    pub(super) fn new(
        prefix: &Prefix,
        id: &str,
        rows: &Rows,
        stored: Option<&[StoredIntegration]>,
        own: Option<&StoredIntegration>,
        part: Part,
    ) -> Self {
        let holds = |pause: &&Pause| own.is_none_or(|own| pause.holds(&own.fingerprint()));
        let page = prefix.project(id);
        let (first, last) = rows.years;
        let year = |year| Year {
            href: format!("{page}?year={year}"),
            number: year,
            chosen: year == rows.year,
        };
        let line = |run| RunLine::new(prefix, rows.now, run);
        let calendar = Calendar::new(prefix, id, rows);
        Self {
            as_of: Moment::new(rows.now, rows.now),
            enabled: stored.map(|_| own.is_some_and(|own| own.enabled)),
            host: own.map(|own| words::host(&own.host)),
            pause: rows
                .pause
                .as_ref()
                .filter(holds)
                .map(|pause| Paused::new(rows.now, pause)),
            facts: facts(rows),
            years: (first..=last).rev().map(year).collect(),
            day_words: part.day.and_then(|day| calendar.words(day)),
            calendar,
            unfinished: unfinished(prefix, id, rows),
            day: part.day.map(|day| day.to_string()),
            all_days: page.clone(),
            runs: match part.day {
                Some(_) => rows.runs.iter().map(line).collect(),
                None => newest(prefix, id, rows),
            },
            steps: (!rows.of_day.is_empty()).then(|| {
                let counts = StepCounts::of(rows.of_day.iter().map(|step| (step.state, step.counts)));
                Steps {
                    words: format!("{}, {}", counts.name(), counts.words()),
                    lines: rows.of_day.iter().map(line).collect(),
                    open: part.steps,
                }
            }),
        }
    }
}

/// What is not finished; the steps of a day in one line.
fn unfinished(prefix: &Prefix, id: &str, rows: &Rows) -> Vec<RunLine> {
    let open = rows
        .steps
        .iter()
        .rev()
        .filter(|steps| step_counts(steps).on_their_way > 0);
    let runs = rows.unfinished.iter().map(|run| RunLine::new(prefix, rows.now, run));
    runs.chain(open.map(|steps| RunLine::of_steps(prefix, id, steps)))
        .collect()
}

/// The runs of the newest days; the steps of a day in one line before its other runs.
fn newest(prefix: &Prefix, id: &str, rows: &Rows) -> Vec<RunLine> {
    let steps = rows
        .steps
        .iter()
        .map(|steps| (steps.day, RunLine::of_steps(prefix, id, steps)));
    let runs = rows
        .runs
        .iter()
        .map(|run| (run.day, RunLine::new(prefix, rows.now, run)));
    let mut lines: Vec<(Day, RunLine)> = steps.chain(runs).collect();
    // Keeps the order within a day.
    lines.sort_by_key(|(day, _)| std::cmp::Reverse(*day));
    lines.into_iter().map(|(_, line)| line).take(LISTED).collect()
}

fn facts(rows: &Rows) -> Vec<(&'static str, String)> {
    let summary = rows.summary.clone().unwrap_or_default();
    let all = [
        ("completed", summary.completed),
        ("running", summary.running),
        ("queued", summary.queued),
        ("waiting", summary.waiting),
        ("dead letters", summary.dead),
        ("skipped", summary.skipped),
        ("discarded", summary.discarded),
        ("events sent", summary.sent),
        ("rows rejected", summary.rejected),
    ];
    let shown = all
        .into_iter()
        .filter(|(what, value)| *value > 0 || ["completed", "dead letters", "events sent"].contains(what));
    shown.map(|(what, value)| (what, number(value))).collect()
}
