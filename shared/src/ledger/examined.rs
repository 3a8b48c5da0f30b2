//! What the doctor found when the console ran it. It stands in the row of that deed, so that every
//! console shows it, also after a restart.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::Ledger;
use super::error::LedgerError;
use super::statement::answered;

/// What the doctor found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// The worst first
    pub findings: Vec<Examined>,
    /// How many more there were
    #[serde(default)]
    pub more: usize,
    /// Nothing was left out for lack of time
    pub is_whole: bool,
}

/// A finding of the doctor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// The word of the check
    pub check: String,
    /// `ok`, `unknown`, `warning` or `problem`
    pub status: String,
    /// In words
    pub found: String,
    /// What to do
    #[serde(default)]
    pub advice: Option<String>,
    /// The first projects that it is about
    #[serde(default)]
    pub projects: Vec<String>,
    /// How many more there were
    #[serde(default)]
    pub more_projects: usize,
}

impl Ledger {
    /// What the doctor found last, and when. Older deeds than the newest 10,000 are not looked through.
    pub async fn audit_examined(&self) -> Result<Option<(DateTime<Utc>, Examination)>, LedgerError> {
        let found = sqlx::query_as(
            "-- ledger_audit_examined
             select ended_at, result -> 'examination'
             from (select id, action, ended_at, result from posthog_export.audit order by id desc limit 10000) newest
             where action = 'doctor' and ended_at is not null and result ? 'examination' order by id desc limit 1",
        )
        .fetch_optional(&self.pool);
        let found: Option<(DateTime<Utc>, Json<Examination>)> = answered(found).await?;
        Ok(found.map(|(at, Json(examination))| (at, examination)))
    }
}
