//! What the ledger's statements share.

use std::time::Duration;

use super::error::LedgerError;
use crate::job::Scope;

/// How long the database may take over one change of the ledger. A connection that a network swallowed would never answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A statement's answer within [`ANSWER_TIMEOUT`].
pub(super) async fn answered<T>(statement: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
    tokio::time::timeout(ANSWER_TIMEOUT, statement)
        .await
        .unwrap_or_else(|_| Err(LedgerError::no_answer()))
}

/// The column `events` of a row.
pub(super) fn event_words(scope: &Scope) -> Option<Vec<&'static str>> {
    let events = scope.events.as_ref()?;
    Some(events.iter().map(|stream| stream.as_str()).collect())
}

/// A Postgres interval of a duration.
pub(super) fn interval(length: Duration) -> sqlx::postgres::types::PgInterval {
    let microseconds = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    sqlx::postgres::types::PgInterval {
        months: 0,
        days: 0,
        microseconds,
    }
}
