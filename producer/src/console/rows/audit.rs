//! What people did here.

use chrono::{DateTime, Utc};
use shared::ledger::{AuditRow, Examination, Ledger};

use super::told;

/// So many are listed.
pub(in crate::console) const LISTED: usize = 100;
/// So many of what one was done to are listed.
pub(in crate::console) const SUBJECTS: i32 = 400;

/// The newest, or those before one of them, and the database's clock.
pub(in crate::console) async fn newest(
    ledger: Ledger,
    before: Option<i64>,
) -> Result<(DateTime<Utc>, Vec<AuditRow>), String> {
    let limit = i64::try_from(LISTED).unwrap_or(i64::MAX);
    let rows = tokio::try_join!(ledger.now(), ledger.audit_newest(limit, 1, before));
    told(&ledger, rows).await
}

/// One of them.
pub(in crate::console) async fn one(ledger: Ledger, id: i64) -> Result<(DateTime<Utc>, Option<AuditRow>), String> {
    let rows = tokio::try_join!(ledger.now(), ledger.audit_of(id, SUBJECTS));
    told(&ledger, rows).await
}

/// What the doctor found last, and when; and the database's clock.
pub(in crate::console) async fn examined(
    ledger: Ledger,
) -> Result<(DateTime<Utc>, Option<(DateTime<Utc>, Examination)>), String> {
    let rows = tokio::try_join!(ledger.now(), ledger.audit_examined());
    told(&ledger, rows).await
}
