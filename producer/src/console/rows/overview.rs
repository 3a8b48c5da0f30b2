//! What the overview shows of the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use shared::freshness::Freshness;
use shared::job::Day;
use shared::ledger::{ArrivalCounts, Gauges, Ledger, LedgerError, Pause, ProjectDays, RunRow, Sent, Unfinished};

use super::told;
use crate::plan::newest_over;

/// Each project's strip has so many days, today included.
pub(in crate::console) const STRIP: i64 = 60;
/// Events are counted of so many days before today.
const COUNTED: i64 = 30;
/// No more runs at work are listed.
const AT_WORK: i64 = 50;

/// What moves.
#[derive(Debug)]
pub(in crate::console) struct Rows {
    pub(in crate::console) now: DateTime<Utc>,
    pub(in crate::console) unfinished: Vec<Unfinished>,
    pub(in crate::console) pauses: BTreeMap<String, Pause>,
    pub(in crate::console) at_work: Vec<RunRow>,
    pub(in crate::console) gauges: Gauges,
    pub(in crate::console) last_enqueued: Option<DateTime<Utc>>,
}

/// The days and their sums: most of what is read, and it changes less.
#[derive(Debug)]
pub(in crate::console) struct Days {
    pub(in crate::console) now: DateTime<Utc>,
    pub(in crate::console) today: Day,
    /// The newest day that counts as over
    pub(in crate::console) newest_over: Day,
    pub(in crate::console) projects: Vec<String>,
    /// Those of the strips
    pub(in crate::console) strips: Vec<ProjectDays>,
    /// Older ones with a full run that is open
    pub(in crate::console) open_before: Vec<ProjectDays>,
    pub(in crate::console) sent: Vec<Sent>,
    pub(in crate::console) arrivals: Vec<ArrivalCounts>,
    pub(in crate::console) freshness: Freshness,
}

/// Reads what moves.
pub(in crate::console) async fn read(ledger: Ledger) -> Result<Rows, String> {
    told(&ledger, rows(&ledger).await).await
}

/// Reads the days. A day is over `lag` after its end.
pub(in crate::console) async fn read_days(ledger: Ledger, lag: Duration) -> Result<Days, String> {
    told(&ledger, days(&ledger, lag).await).await
}

async fn rows(ledger: &Ledger) -> Result<Rows, LedgerError> {
    let (gauges, unfinished, pauses, at_work, last_enqueued) = tokio::try_join!(
        ledger.gauges(),
        ledger.unfinished(),
        ledger.pauses(),
        ledger.at_work(AT_WORK),
        ledger.last_enqueued(),
    )?;
    Ok(Rows {
        now: gauges.now,
        unfinished,
        pauses,
        at_work,
        gauges,
        last_enqueued,
    })
}

async fn days(ledger: &Ledger, lag: Duration) -> Result<Days, LedgerError> {
    let (now, projects) = tokio::try_join!(ledger.now(), ledger.projects())?;
    let today = Day::of(now);
    let back = |days| Day::of(now - TimeDelta::days(days));
    let (strips, open_before, sent, arrivals, last_steps, steps) = tokio::try_join!(
        ledger.runs_of_days(&projects, back(STRIP - 1), today),
        ledger.runs_of_open_days(back(STRIP - 1)),
        ledger.sent_of_days(&projects, back(COUNTED), today),
        ledger.arrivals_of_days(&projects, back(COUNTED), today),
        ledger.last_steps(),
        ledger.steps(today),
    )?;
    Ok(Days {
        now,
        today,
        newest_over: newest_over(now, lag),
        projects,
        strips,
        open_before,
        sent,
        arrivals,
        freshness: Freshness::of(now, last_steps, &steps),
    })
}
