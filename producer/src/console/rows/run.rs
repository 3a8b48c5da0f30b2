//! What a run's page shows of the ledger.

use chrono::{DateTime, Utc};
use shared::job::RunKey;
use shared::ledger::{ClaimRow, Ledger, LedgerError, RejectRow, RunRow, StreamRow};

use super::told;

/// No more rejects are listed.
const LISTED: i64 = 100;

/// The rows.
#[derive(Debug)]
pub(in crate::console) struct Rows {
    pub(in crate::console) now: DateTime<Utc>,
    /// `None`: the ledger has no such run
    pub(in crate::console) run: Option<RunRow>,
    pub(in crate::console) target: Option<String>,
    pub(in crate::console) streams: Vec<StreamRow>,
    pub(in crate::console) rejects: Vec<RejectRow>,
    /// How many there are
    pub(in crate::console) rejected: i64,
    /// The run's history, as far as it is kept
    pub(in crate::console) claims: Vec<ClaimRow>,
}

/// Reads them.
pub(in crate::console) async fn read(ledger: Ledger, key: RunKey) -> Result<Rows, String> {
    told(&ledger, rows(&ledger, key).await).await
}

async fn rows(ledger: &Ledger, key: RunKey) -> Result<Rows, LedgerError> {
    let keys = [key];
    let [key] = &keys;
    let (now, mut found, target, streams, (rejects, rejected), claims) = tokio::try_join!(
        ledger.now(),
        ledger.find(&keys),
        ledger.target(key),
        ledger.streams(key),
        ledger.rejects(key, LISTED),
        ledger.claims(key)
    )?;
    Ok(Rows {
        now,
        run: found.pop(),
        target,
        streams,
        rejects,
        rejected,
        claims,
    })
}
