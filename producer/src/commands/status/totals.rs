//! All projects together. PURE.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::job::Day;

use super::line::Line;
use super::today::clock;
use crate::output::count;
use crate::standing::Standing;

/// The sums over all projects that are shown. The names in its JSON are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub(super) projects: usize,
    pub(super) need_somebody: usize,
    pub(super) behind: usize,
    pub(super) paused: usize,
    pub(super) up_to_date: usize,
    pub(super) disabled: usize,
    pub(super) completed: i64,
    pub(super) running: i64,
    pub(super) queued: i64,
    pub(super) waiting: i64,
    pub(super) dead: i64,
    pub(super) skipped: i64,
    pub(super) discarded: i64,
    pub(super) events_sent: i64,
    pub(super) rows_rejected: i64,
    pub(super) oldest_missing_day: Option<Day>,
    pub(super) missing_days: usize,
    pub(super) days_without_job: usize,
    pub(super) days_held_back: usize,
    pub(super) days_not_arrived: usize,
    /// `None`: no project has steps today
    pub(super) today: Option<TodayTotals>,
}

impl Totals {
    pub(super) fn of(lines: &[Line]) -> Self {
        let mut totals = Self {
            projects: lines.len(),
            oldest_missing_day: lines.iter().filter_map(|line| line.oldest_missing_day).min(),
            today: TodayTotals::of(lines),
            ..Self::default()
        };
        for line in lines {
            *match line.standing {
                Standing::NeedsSomebody => &mut totals.need_somebody,
                Standing::Behind => &mut totals.behind,
                Standing::Paused => &mut totals.paused,
                Standing::UpToDate => &mut totals.up_to_date,
                Standing::Disabled => &mut totals.disabled,
            } += 1;
            totals.completed += line.completed;
            totals.running += line.running;
            totals.queued += line.queued;
            totals.waiting += line.waiting;
            totals.dead += line.dead;
            totals.skipped += line.skipped;
            totals.discarded += line.discarded;
            totals.events_sent += line.events_sent;
            totals.rows_rejected += line.rows_rejected;
            totals.missing_days += line.missing_days;
            totals.days_without_job += line.days_without_job;
            totals.days_held_back += line.days_held_back;
            totals.days_not_arrived += line.days_not_arrived;
        }
        totals
    }
}

/// Today, of all projects that are enabled and not paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct TodayTotals {
    /// How many projects have steps today
    pub(super) projects: usize,
    /// Everything before this moment is exported, in each of them
    pub(super) exported_until: DateTime<Utc>,
    /// The project that is furthest behind; one of them, where several are
    pub(super) furthest_behind: String,
    /// In how many projects a step failed, and what it did not send is still missing
    pub(super) with_failed_step: usize,
}

impl TodayTotals {
    /// `None`: no project has steps today.
    pub(super) fn of(lines: &[Line]) -> Option<Self> {
        let counts = |line: &&Line| line.enabled && line.paused.is_none();
        let with_steps = || {
            let lines = lines.iter().filter(counts);
            lines.filter_map(|line| Some((line, line.today.as_ref()?)))
        };
        let (behind, today) = with_steps().min_by_key(|(_, today)| today.exported_until)?;
        Some(Self {
            projects: with_steps().count(),
            exported_until: today.exported_until,
            furthest_behind: behind.project_id.clone(),
            with_failed_step: with_steps().filter(|(_, today)| today.failed_step.is_some()).count(),
        })
    }

    /// One sentence.
    pub(super) fn words(&self) -> String {
        let until = clock(self.exported_until);
        let exported = match self.projects {
            1 => format!("Today is exported until {until} UTC"),
            number => format!(
                "Today is exported until {until} UTC at least, in {} ({} is furthest behind)",
                count(number, "project"),
                self.furthest_behind
            ),
        };
        match self.with_failed_step {
            0 => format!("{exported}."),
            number => format!(
                "{exported}; a step of {} failed, and the next one makes up for it.",
                count(number, "project")
            ),
        }
    }
}
