//! How commands that deal with many jobs tell which of them failed.

use serde::Serialize;

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
