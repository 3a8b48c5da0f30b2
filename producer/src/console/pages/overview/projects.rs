//! The overview's list of projects. PURE.

use std::collections::{BTreeMap, BTreeSet};

use shared::integration::StoredIntegration;
use shared::ledger::{DayRun, Pause, ProjectDays, State};

use super::chosen::{Chosen, Sort};
use super::strip::Strip;
use crate::console::address::Prefix;
use crate::console::rows::overview::{Days, Rows};
use crate::missing::Missing;
use crate::output::{count, number};
use crate::pauses::holding;
use crate::standing::{Known, Standing, standings};

/// One project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) href: String,
    pub(super) id: String,
    /// Its name in Langfuse; its id where that is not known
    pub(super) name: String,
    pub(super) standing: Standing,
    /// The standing's name in the styles, and its word
    pub(super) class: &'static str,
    pub(super) word: &'static str,
    /// What led to the standing
    pub(super) why: String,
    pub(super) strip: Strip,
    pub(super) events: i64,
    pub(super) open: i64,
    pub(super) arrival: String,
}

impl Line {
    pub(super) fn events(&self) -> String {
        number(self.events)
    }

    pub(super) fn open(&self) -> String {
        number(self.open)
    }
}

/// A standing's name in the styles, and its word.
pub(super) fn words(standing: Standing) -> (&'static str, &'static str) {
    match standing {
        Standing::NeedsSomebody => ("bad", "Needs attention"),
        Standing::Behind => ("wait", "Behind"),
        Standing::Paused => ("idle", "Paused"),
        // Days without a job and histories that are held back show only in Langfuse's traces,
        // observations and scores, which no page reads.
        Standing::UpToDate => ("ok", "Nothing open"),
        Standing::Disabled => ("idle", "Disabled"),
    }
}

/// The open runs of a project.
#[derive(Default)]
struct Open {
    dead: i64,
    moving: i64,
}

/// All projects that the ledger or Langfuse has. `stored` is `None` where Langfuse never answered.
pub(super) fn lines(prefix: &Prefix, rows: &Rows, days: &Days, stored: Option<&[StoredIntegration]>) -> Vec<Line> {
    let by_id: BTreeMap<&str, &StoredIntegration> = stored
        .unwrap_or_default()
        .iter()
        .map(|found| (found.project_id.as_str(), found))
        .collect();
    let pauses = holding(rows.pauses.clone(), stored.unwrap_or_default());
    let mut open: BTreeMap<&str, Open> = BTreeMap::new();
    for found in &rows.unfinished {
        let of_project = open.entry(&found.project_id).or_default();
        match found.state {
            State::Dead => of_project.dead += found.runs,
            State::Queued | State::Running | State::Waiting => {
                of_project.moving += found.runs;
            }
            State::Skipped | State::Completed | State::Discarded => {}
        }
    }
    let sent: BTreeMap<&str, i64> = days
        .sent
        .iter()
        .map(|sent| (sent.project_id.as_str(), sent.before + sent.last_day))
        .collect();
    let arrivals: BTreeMap<&str, (i64, i64)> = days
        .arrivals
        .iter()
        .map(|counts| (counts.project_id.as_str(), (counts.not_arrived, counts.verified)))
        .collect();
    let (strips, older) = (by_project(&days.strips), by_project(&days.open_before));
    let ids: BTreeSet<&str> = days
        .projects
        .iter()
        .map(String::as_str)
        .chain(by_id.keys().copied())
        .collect();
    let (none, no_days) = (Open::default(), ProjectDays::default());
    let line = |id: &str| {
        let open = open.get(id).unwrap_or(&none);
        let pause = pauses.get(id);
        let strip = strips.get(id).copied().unwrap_or(&no_days);
        let before: &[DayRun] = older.get(id).map_or(&[], |days| &days.runs);
        let missing = Missing::of(before.iter().chain(&strip.runs), &BTreeSet::new(), days.newest_over);
        let (not_arrived, verified) = arrivals.get(id).copied().unwrap_or_default();
        let standing = Standing::of(Known {
            dead: open.dead > 0,
            // Unless Langfuse says otherwise.
            enabled: stored.is_none() || by_id.get(id).is_some_and(|found| found.enabled),
            paused_by_fault: pause.map(|pause| pause.error_code.is_some()),
            held_back: false,
            not_arrived: not_arrived > 0,
            missing: !missing.days.is_empty(),
        });
        let (class, word) = words(standing);
        Line {
            href: prefix.project(id),
            name: by_id
                .get(id)
                .map(|found| found.project_name.as_str())
                .filter(|name| !name.is_empty())
                .unwrap_or(id)
                .to_owned(),
            id: id.to_owned(),
            standing,
            class,
            word,
            why: why(open, pause, not_arrived, &missing),
            strip: Strip::new(days.today, &standings(strip)),
            events: sent.get(id).copied().unwrap_or(0),
            open: open.moving,
            arrival: match (not_arrived, verified) {
                (0, 0) => "–".to_owned(),
                (0, _) => "ok".to_owned(),
                (days, _) => format!("{} missing", count(days, "day")),
            },
        }
    };
    ids.into_iter().map(line).collect()
}

fn by_project(all: &[ProjectDays]) -> BTreeMap<&str, &ProjectDays> {
    all.iter().map(|days| (days.project_id.as_str(), days)).collect()
}

/// What led to a standing, in few words.
fn why(open: &Open, pause: Option<&Pause>, not_arrived: i64, missing: &Missing) -> String {
    let mut causes = Vec::new();
    if open.dead > 0 {
        causes.push(count(open.dead, "dead letter"));
    }
    if let Some(pause) = pause {
        causes.push(match &pause.error_code {
            Some(code) => format!("paused: {code}"),
            None => "paused by a person".to_owned(),
        });
    }
    if not_arrived > 0 {
        causes.push(format!("{} not in PostHog", count(not_arrived, "day")));
    }
    causes.extend(missing.words());
    causes.join("; ")
}

/// The lines that were asked for, in the order that was asked for.
pub(super) fn choose(mut lines: Vec<Line>, chosen: &Chosen) -> Vec<Line> {
    let find = chosen.find.trim().to_lowercase();
    lines.retain(|line| {
        let standing = chosen.state.0.0.is_none_or(|standing| standing == line.standing);
        standing && (line.name.to_lowercase().contains(&find) || line.id.to_lowercase().contains(&find))
    });
    let name = |line: &Line| (line.name.to_lowercase(), line.id.clone());
    match chosen.sort.0 {
        Sort::Need => lines.sort_by_cached_key(|line| (line.standing, name(line))),
        Sort::Name => lines.sort_by_cached_key(name),
        Sort::Events => lines.sort_by_cached_key(|line| (-line.events, name(line))),
        Sort::Open => lines.sort_by_cached_key(|line| (-line.open, name(line))),
    }
    lines
}
