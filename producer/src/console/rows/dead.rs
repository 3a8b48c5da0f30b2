//! What the page of dead letters shows of the ledger.

use chrono::{DateTime, Utc};
use shared::ledger::{Cause, Ledger, LedgerError, RunRow};

use super::told;

/// No more of them are listed.
pub(in crate::console) const LISTED: i64 = 200;

/// The rows.
#[derive(Debug)]
pub(in crate::console) struct Rows {
    pub(in crate::console) now: DateTime<Utc>,
    pub(in crate::console) causes: Vec<Cause>,
    pub(in crate::console) runs: Vec<RunRow>,
}

/// Reads them; the runs of one cause, where one is chosen.
pub(in crate::console) async fn read(ledger: Ledger, cause: Option<String>) -> Result<Rows, String> {
    told(&ledger, rows(&ledger, cause.as_deref()).await).await
}

async fn rows(ledger: &Ledger, cause: Option<&str>) -> Result<Rows, LedgerError> {
    let (now, causes, runs) = tokio::try_join!(ledger.now(), ledger.dead_causes(), ledger.dead_runs(cause, LISTED))?;
    Ok(Rows { now, causes, runs })
}
