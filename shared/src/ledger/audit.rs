//! What people did in the console. A row is written before the deed and ended after it.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgExecutor};
use sqlx::types::Json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::Ledger;
use super::error::LedgerError;
use super::examined::Examination;
use super::statement::answered;

/// How far a deed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeedState {
    /// It is going on, or the console ended in the middle of it
    Begun,
    /// It was done, at least in part
    Done,
    /// Nothing came of it, or it is not known whether anything did: [`DeedResult::unsure`]
    Failed,
}

impl DeedState {
    const ALL: [Self; 3] = [Self::Begun, Self::Done, Self::Failed];

    /// Its word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for DeedState {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| format!("`{word}` is no state of a deed"))
    }
}

/// Something that was asked for and not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its id
    pub subject: String,
    /// Why
    pub why: String,
}

/// What came of a deed. It has no key, no answer of a host and no words of end users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeedResult {
    /// One or two sentences
    pub says: String,
    /// Numbers by name
    #[serde(default)]
    pub counts: BTreeMap<String, i64>,
    /// What was not done
    #[serde(default)]
    pub left: Vec<LeftOut>,
    /// It is not known whether something was done
    #[serde(default)]
    pub unsure: bool,
    /// What the doctor found. It is not read with the other rows: [`Ledger::audit_examined`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examination: Option<Examination>,
}

/// A deed before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Where the request came from
    pub address: String,
    /// What is done, in one word
    pub action: &'static str,
    /// To which project
    pub project_id: Option<String>,
    /// To what
    pub subjects: Vec<String>,
    /// The number of its confirmation, or a new one
    pub once: Uuid,
}

/// The row of a deed.
#[derive(Debug)]
pub enum Noted {
    /// It is new
    New(Noting),
    /// This confirmation was sent before
    Before(i64),
}

/// A row that is written and not yet committed. Its number is known before it can be there, so that a
/// row whose commit got no answer is known again.
#[derive(Debug)]
pub struct Noting {
    id: i64,
    tx: Transaction<'static, Postgres>,
}

impl Noting {
    /// Its number.
    pub const fn id(&self) -> i64 {
        self.id
    }

    /// Commits it; only then may the deed begin. After an error the row may be there or not:
    /// [`Ledger::audit_never_begun`].
    pub async fn commit(self) -> Result<(), LedgerError> {
        answered(self.tx.commit()).await
    }
}

/// Whether deeds can be written down.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditRights {
    /// The role of the connection
    pub role: String,
    /// Whether it may write them
    pub may_write: bool,
}

/// What is known of a deed.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AuditRow {
    /// Its number
    pub id: i64,
    /// When it was asked for
    pub at: DateTime<Utc>,
    /// Where the request came from
    pub address: String,
    /// What
    pub action: String,
    /// To which project
    pub project_id: Option<String>,
    /// To how many
    pub asked: i32,
    /// The first of them
    pub subjects: Json<Vec<String>>,
    /// How far it is
    pub state: DeedState,
    /// What came of it
    pub result: Option<Json<DeedResult>>,
    /// When it ended
    pub ended_at: Option<DateTime<Utc>>,
}

/// `$1` is a limit or an id, and `$2` how many subjects are read.
macro_rules! audit_rows {
    ($name:literal, $rest:literal) => {
        concat!(
            $name,
            "
             select id, at, address, action, project_id, jsonb_array_length(subjects) as asked,
                    jsonb_path_query_array(subjects, '$[0 to $last]', jsonb_build_object('last', $2::int)) as subjects,
                    state, result - 'examination' as result, ended_at
             from posthog_export.audit ",
            $rest
        )
    };
}

impl Ledger {
    /// Whether the role of this connection may write down deeds.
    pub async fn audit_rights(&self) -> Result<AuditRights, LedgerError> {
        let asked = sqlx::query_as(
            "-- ledger_audit_rights
             select current_user::text as role,
                    has_any_column_privilege('posthog_export.audit', 'insert')
                        and has_any_column_privilege('posthog_export.audit', 'update')
                        and not current_setting('transaction_read_only')::boolean as may_write",
        )
        .fetch_one(&self.pool);
        answered(asked).await
    }

    /// Writes down what is about to be done. A confirmation that was sent before gets no second row.
    pub async fn audit_begin(&self, deed: &Deed) -> Result<Noted, LedgerError> {
        let noting = async {
            let mut tx = self.pool.begin().await?;
            let id = insert(&mut tx, deed).await?;
            Ok(id.map(|id| Noting { id, tx }))
        };
        if let Some(noting) = answered(noting).await? {
            return Ok(Noted::New(noting));
        }
        let before = self.audit_before(deed.once).await?;
        before
            .map(Noted::Before)
            .ok_or_else(|| LedgerError::from(sqlx::Error::RowNotFound))
    }

    /// Ends the row of a deed that nobody does, after an error of [`Noting::commit`]. That commit may
    /// still go on at the server. The confirmation's number is taken by it, so writing the number once
    /// more waits until it is over. Where it came to nothing, the new row is the deed's.
    pub async fn audit_never_begun(&self, id: i64, deed: &Deed, result: &DeedResult) -> Result<(), LedgerError> {
        let written = async {
            let mut tx = self.pool.begin().await?;
            let id = insert(&mut tx, deed).await?.unwrap_or(id);
            end(&mut *tx, id, DeedState::Failed, result).await?;
            tx.commit().await
        };
        answered(written).await
    }

    /// The deed of a confirmation that was sent before.
    pub async fn audit_before(&self, once: Uuid) -> Result<Option<i64>, LedgerError> {
        let before = sqlx::query_scalar("-- ledger_audit_before\nselect id from posthog_export.audit where once = $1")
            .bind(once)
            .fetch_optional(&self.pool);
        answered(before).await
    }

    /// Writes down what came of it.
    pub async fn audit_end(&self, id: i64, state: DeedState, result: &DeedResult) -> Result<(), LedgerError> {
        answered(end(&self.pool, id, state, result)).await
    }

    /// One deed, with so many of its subjects.
    pub async fn audit_of(&self, id: i64, subjects: i32) -> Result<Option<AuditRow>, LedgerError> {
        let row = sqlx::query_as(audit_rows!("-- ledger_audit_of", "where id = $1"))
            .bind(id)
            .bind(subjects - 1);
        answered(row.fetch_optional(&self.pool)).await
    }

    /// The newest deeds, or those before one of them.
    pub async fn audit_newest(
        &self,
        limit: i64,
        subjects: i32,
        before: Option<i64>,
    ) -> Result<Vec<AuditRow>, LedgerError> {
        let rows = sqlx::query_as(audit_rows!(
            "-- ledger_audit_newest",
            "where id < $3 order by id desc limit $1"
        ))
        .bind(limit)
        .bind(subjects - 1)
        .bind(before.unwrap_or(i64::MAX));
        answered(rows.fetch_all(&self.pool)).await
    }
}

/// Answers the number of the new row; none where this confirmation has one.
async fn insert(tx: &mut PgConnection, deed: &Deed) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "-- ledger_audit_begin
         insert into posthog_export.audit (address, action, project_id, subjects, once) values ($1, $2, $3, $4, $5)
         on conflict (once) do nothing returning id",
    )
    .bind(&deed.address)
    .bind(deed.action)
    .bind(&deed.project_id)
    .bind(Json(&deed.subjects))
    .bind(deed.once)
    .fetch_optional(tx)
    .await
}

async fn end(ledger: impl PgExecutor<'_>, id: i64, state: DeedState, result: &DeedResult) -> Result<(), sqlx::Error> {
    sqlx::query(
        "-- ledger_audit_end
         update posthog_export.audit set state = $2, result = $3, ended_at = clock_timestamp()
         where id = $1 and state = 'begun'",
    )
    .bind(id)
    .bind(state)
    .bind(Json(result))
    .execute(ledger)
    .await?;
    Ok(())
}
