//! What the ledger's statements share: the words of their conditions, the binds of a key, and the
//! time limit that every one of them has.

use std::time::Duration;

use chrono::NaiveDate;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::{Query, QueryAs, QueryScalar};

use super::error::LedgerError;
use crate::job::{RunKey, Scope};
use crate::postgres::{ACQUIRE_TIMEOUT, STATEMENT_TIMEOUT};

/// How long the database may take over a statement that a job may be waiting for. A connection that
/// a network swallowed would never answer, and the lease must be renewed long before it runs out.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for what only people and the producer wait for. Listing every run of 400 projects over
/// three years takes long, and a write may wait for a worker that was stopped within a transaction.
/// The server itself ends a statement after [`STATEMENT_TIMEOUT`].
const REPORT_TIMEOUT: Duration = STATEMENT_TIMEOUT.saturating_add(ACQUIRE_TIMEOUT);

/// The row of a run; binds as [`BindKey::bind_key`] does.
macro_rules! this_run {
    () => {
        "project_id = $1 and day = $2 and run = $3"
    };
}

/// The row of a run while the lease is ours: [`this_run`], and the lease's token as `$4`.
macro_rules! fence {
    () => {
        "project_id = $1 and day = $2 and run = $3 and lease_token = $4 and state = 'running'"
    };
}

/// Makes the row of a run in this state; binds as [`BindKey::bind_key`] and then [`BindScope::bind_scope`] do.
macro_rules! insert_run {
    ($state:literal) => {
        concat!(
            "insert into posthog_export.runs as r
               (project_id, day, run, events, created_after, changed, span_from, span_until, state)
             values ($1, $2, $3, $4, $5, $6, $7, $8, '",
            $state,
            "')
             on conflict (project_id, day, run) do "
        )
    };
}

pub(super) use {fence, insert_run, this_run};

/// A statement whose first three binds are the key of a run.
pub(super) trait BindKey<'q> {
    /// Binds project, day and run as `$1`, `$2` and `$3`.
    fn bind_key(self, key: &'q RunKey) -> Self;
}

macro_rules! bind_key {
    ($statement:ty $(, $answer:ident)?) => {
        impl<'q $(, $answer)?> BindKey<'q> for $statement {
            fn bind_key(self, key: &'q RunKey) -> Self {
                self.bind(&key.project_id).bind(key.day.0).bind(&key.run)
            }
        }
    };
}

/// A statement whose next five binds are which rows a run exports.
pub(super) trait BindScope {
    /// Binds the columns `events`, `created_after`, `changed`, `span_from` and `span_until`.
    fn bind_scope(self, scope: &Scope) -> Self;
}

impl BindScope for Query<'_, Postgres, PgArguments> {
    fn bind_scope(self, scope: &Scope) -> Self {
        self.bind(event_words(scope))
            .bind(scope.created_after)
            .bind(scope.changed)
            .bind(scope.span.map(|span| span.from))
            .bind(scope.span.map(|span| span.until))
    }
}

bind_key!(Query<'q, Postgres, PgArguments>);
bind_key!(QueryAs<'q, Postgres, O, PgArguments>, O);
bind_key!(QueryScalar<'q, Postgres, O, PgArguments>, O);

/// The columns of many keys, to bind as arrays.
pub(super) fn key_columns<'a>(
    keys: impl IntoIterator<Item = &'a RunKey>,
) -> (Vec<&'a str>, Vec<NaiveDate>, Vec<&'a str>) {
    let columns = |key: &'a RunKey| (key.project_id.as_str(), key.day.0, key.run.as_str());
    keys.into_iter().map(columns).collect()
}

/// The answer to a statement, or to several in one transaction. Every statement of the ledger goes
/// through here or through [`reported`].
pub(super) fn answered<T>(
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> impl Future<Output = Result<T, LedgerError>> {
    within(ANSWER_TIMEOUT, statement)
}

/// [`answered`] for what may take longer: reports, and the producer's writes.
pub(super) fn reported<T>(
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> impl Future<Output = Result<T, LedgerError>> {
    within(REPORT_TIMEOUT, statement)
}

fn within<T>(
    limit: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> impl Future<Output = Result<T, LedgerError>> {
    // On the heap, because the future of a statement is large. A job's future would contain
    // several.
    let answer = tokio::time::timeout(limit, Box::pin(statement));
    async {
        let answer = answer.await;
        answer.map_err(|_| LedgerError::no_answer())?.map_err(LedgerError::from)
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::*;

    #[tokio::test]
    async fn a_statement_without_an_answer_ends() {
        let answer = within::<()>(Duration::from_millis(1), std::future::pending()).await;
        assert!(matches!(answer, Err(LedgerError::Unreachable(_))));
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                found.push(path);
            }
        }
    }

    /// `pg_stat_activity` and slow-query logs name a statement: the name must lead to one place.
    #[test]
    fn no_two_statements_have_the_same_name() {
        let mut files = Vec::new();
        for package in ["shared", "worker", "producer"] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            sources(&root.join(package).join("src"), &mut files);
        }
        let mut places: BTreeMap<String, Vec<&PathBuf>> = BTreeMap::new();
        for file in &files {
            let text = std::fs::read_to_string(file).unwrap();
            let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            for part in product.split("\"-- ").skip(1) {
                let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // Code that reads a name has the two dashes alone.
                if !name.is_empty() {
                    places.entry(name).or_default().push(file);
                }
            }
        }
        assert!(places.len() > 40, "no statements were found");
        places.retain(|_, files| files.len() > 1);
        assert!(places.is_empty(), "{places:#?}");
    }
}
