//! What the page of dead letters shows of the ledger.

use chrono::{DateTime, Utc};
use shared::job::RunKey;
use shared::ledger::{Cause, Ledger, LedgerError, RunRow};

use super::told;

/// The word of a cause that the ledger does not name.
pub(in crate::console) const UNKNOWN: &str = "unknown";
/// No more of them are dealt with at once.
pub(in crate::console) const AT_ONCE: usize = 1_000;
/// No more of them are on one page.
pub(in crate::console) const LISTED: usize = 100;

/// The rows.
#[derive(Debug)]
pub(in crate::console) struct Rows {
    pub(in crate::console) now: DateTime<Utc>,
    pub(in crate::console) causes: Vec<Cause>,
    pub(in crate::console) runs: Vec<RunRow>,
    /// There are others behind them
    pub(in crate::console) more: bool,
}

/// Reads them; the runs of one cause, where one is chosen, and those behind one run.
pub(in crate::console) async fn read(
    ledger: Ledger,
    cause: Option<String>,
    behind: Option<RunKey>,
) -> Result<Rows, String> {
    told(&ledger, rows(&ledger, cause.as_deref(), behind.as_ref()).await).await
}

async fn rows(ledger: &Ledger, cause: Option<&str>, behind: Option<&RunKey>) -> Result<Rows, LedgerError> {
    let limit = i64::try_from(LISTED + 1).unwrap_or(i64::MAX);
    let runs = ledger.dead_runs(cause, behind, limit);
    let (now, causes, mut runs) = tokio::try_join!(ledger.now(), ledger.dead_causes(), runs)?;
    let more = runs.len() > LISTED;
    runs.truncate(LISTED);
    Ok(Rows {
        now,
        causes,
        runs,
        more,
    })
}
