//! What several commands say about jobs that failed, and about rows that need none.

use serde::Serialize;
use shared::langfuse::Undated;

use crate::output::count;

/// How many failures are named in the log. A person does not read more.
const NAMED: usize = 20;

/// A job or a dead letter that could not be dealt with; `--json` writes it as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// `project/day/run`, or `raw/…` for a message that is no job
    pub id: String,
    /// Why
    pub error: String,
}

/// Names the failures in the log. `what` says what did not happen to them.
pub(crate) fn say_failed(failed: &[Failure], what: &str) {
    for Failure { id, error } in failed.iter().take(NAMED) {
        tracing::error!(job = id, error, "{what}");
    }
    let rest = failed.len().saturating_sub(NAMED);
    if rest > 0 {
        tracing::error!("and {rest} more (`--json` names all)");
    }
}

/// `2 rows of traces of project p lie on no day …`.
pub(crate) fn undated(rows: &Undated) -> String {
    let number = usize::try_from(rows.rows).unwrap_or(usize::MAX);
    format!(
        "{} of {} of project {:?} have a time that lies on no day of the years 1 to 9999, for example {:?}",
        count(number, "row"),
        rows.table,
        rows.project_id,
        rows.example
    )
}
