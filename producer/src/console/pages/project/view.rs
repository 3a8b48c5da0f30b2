//! What a project's page shows. PURE.

use chrono::{DateTime, Utc};
use shared::integration::StoredIntegration;
use shared::ledger::{HUMAN, Pause};

use super::calendar::Calendar;
use crate::advice::advice;
use crate::console::address::Prefix;
use crate::console::pages::run_list::RunLine;
use crate::console::pages::words;
use crate::console::rows::project::{Part, Rows};
use crate::console::times::Moment;
use crate::output::number;

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
    pub(super) all_days: String,
    pub(super) runs: Vec<RunLine>,
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
            code: code.unwrap_or(HUMAN).to_owned(),
            error: words::failure(&pause.error),
            by: pause.paused_by.clone(),
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
            calendar: Calendar::new(prefix, id, rows),
            unfinished: rows.unfinished.iter().map(line).collect(),
            day: part.day.map(|day| day.to_string()),
            all_days: page.clone(),
            runs: rows.runs.iter().map(line).collect(),
        }
    }
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
