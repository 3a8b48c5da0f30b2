//! The claims of a day's runs: which worker had them, from when to when, how that ended.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::job::Day;
use shared::ledger::{ClaimRow, Ledger, LedgerError};

use crate::output::{self, age, cell, moment};

/// A claim of a run.
#[derive(Debug, Serialize)]
pub(super) struct ClaimLine {
    project_id: String,
    day: Day,
    #[serde(flatten)]
    claim: ClaimRow,
}

/// Reads those of a day; `None` without a day.
pub(super) async fn read(
    ledger: &Ledger,
    projects: &[String],
    day: Option<Day>,
) -> Result<Option<Vec<ClaimLine>>, LedgerError> {
    let Some(day) = day else { return Ok(None) };
    let mut lines = Vec::new();
    for project_id in projects {
        let claims = ledger.claims_of_day(project_id, day).await?;
        lines.extend(claims.into_iter().map(|claim| ClaimLine {
            project_id: project_id.clone(),
            day,
            claim,
        }));
    }
    Ok(Some(lines))
}

/// Writes them for people.
pub(super) fn say(now: DateTime<Utc>, lines: &[ClaimLine]) {
    let header = [
        "DAY", "RUN", "NO.", "FROM", "LASTED", "WORKER", "ATTEMPT", "ENDED", "CAUSE", "TRACE", "WHY",
    ];
    output::table(header, lines.iter().map(|line| row(now, line)));
}

/// PURE.
fn row(now: DateTime<Utc>, line: &ClaimLine) -> [String; 11] {
    let claim = &line.claim;
    let until = match claim.ended_as {
        Some(_) => claim.ended_at,
        None => Some(now),
    };
    [
        format!("{}/{}", line.project_id, line.day),
        claim.run.clone(),
        claim.number.to_string(),
        moment(claim.claimed_at),
        cell(until.map(|until| age(until, claim.claimed_at))),
        claim.worker.clone(),
        claim.attempt.to_string(),
        claim.ended_as.clone().unwrap_or_else(|| "at work".to_owned()),
        cell(claim.error_code.as_deref()),
        cell(claim.trace_id.as_deref()),
        cell(claim.error.as_deref()),
    ]
}
