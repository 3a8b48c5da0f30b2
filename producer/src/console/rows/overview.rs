//! What the overview shows of the ledger.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use shared::freshness::Freshness;
use shared::job::Day;
use shared::ledger::{ArrivalCounts, DayRun, Gauges, Ledger, LedgerError, Pause, RunRow, Sent, Unfinished};

use super::told;

/// Each project's strip has so many days, today included.
pub(in crate::console) const STRIP: i64 = 60;
/// Events are counted of so many days before today.
const COUNTED: i64 = 30;
/// No more runs at work are listed.
const AT_WORK: i64 = 50;

/// The rows.
#[derive(Debug)]
pub(in crate::console) struct Rows {
    pub(in crate::console) now: DateTime<Utc>,
    pub(in crate::console) today: Day,
    pub(in crate::console) projects: Vec<String>,
    pub(in crate::console) runs: Vec<DayRun>,
    pub(in crate::console) sent: Vec<Sent>,
    pub(in crate::console) unfinished: Vec<Unfinished>,
    pub(in crate::console) arrivals: Vec<ArrivalCounts>,
    pub(in crate::console) pauses: BTreeMap<String, Pause>,
    pub(in crate::console) at_work: Vec<RunRow>,
    pub(in crate::console) gauges: Gauges,
    pub(in crate::console) last_enqueued: Option<DateTime<Utc>>,
    pub(in crate::console) freshness: Freshness,
}

/// Reads them.
pub(in crate::console) async fn read(ledger: Ledger) -> Result<Rows, String> {
    told(&ledger, rows(&ledger).await).await
}

async fn rows(ledger: &Ledger) -> Result<Rows, LedgerError> {
    let gauges = ledger.gauges().await?;
    let projects = ledger.projects().await?;
    let now = gauges.now;
    let today = Day::of(now);
    let back = |days| Day::of(now - TimeDelta::days(days));
    let (runs, sent, unfinished, arrivals, others, steps) = tokio::try_join!(
        ledger.runs_of_days(&projects, back(STRIP - 1), today),
        ledger.sent_of_days(&projects, back(COUNTED), today),
        ledger.unfinished(),
        ledger.arrivals_of_days(&projects, back(COUNTED), today),
        async { tokio::try_join!(ledger.pauses(), ledger.at_work(AT_WORK), ledger.last_enqueued()) },
        async { tokio::try_join!(ledger.last_steps(), ledger.steps(today)) },
    )?;
    let (pauses, at_work, last_enqueued) = others;
    let (last_steps, steps) = steps;
    Ok(Rows {
        now,
        today,
        projects,
        runs,
        sent,
        unfinished,
        arrivals,
        pauses,
        at_work,
        gauges,
        last_enqueued,
        freshness: Freshness::of(now, last_steps, &steps),
    })
}
