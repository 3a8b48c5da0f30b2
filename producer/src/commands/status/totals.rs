//! All projects together. PURE.

use serde::Serialize;
use shared::job::Day;

use super::line::{Line, Standing};

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
}

impl Totals {
    pub(super) fn of(lines: &[Line]) -> Self {
        let mut totals = Self {
            projects: lines.len(),
            oldest_missing_day: lines.iter().filter_map(|line| line.oldest_missing_day).min(),
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
        }
        totals
    }
}
