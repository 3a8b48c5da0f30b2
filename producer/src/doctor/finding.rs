//! What a check has found, and what to do about it.

use serde::Serialize;

use super::check::Check;
use crate::config::Server;
use crate::error::CommandError;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// As it should be
    Ok,
    /// It could not be looked at from here
    Unknown,
    /// It works, but somebody should know
    Warning,
    /// It does not work, or will stop working
    Problem,
}

impl Status {
    /// The word in the table. A problem is in capitals, so that it is seen.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        }
    }
}

/// One line of the report.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    pub(crate) status: Status,
    pub(crate) found: String,
    /// What to do; nothing when all is well
    pub(crate) advice: Option<String>,
    /// The projects that it is about, where it is about some of them
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) projects: Vec<String>,
}

impl Finding {
    pub(crate) fn ok(check: Check, found: impl Into<String>) -> Self {
        Self {
            check,
            status: Status::Ok,
            found: found.into(),
            advice: None,
            projects: Vec::new(),
        }
    }

    pub(crate) fn unknown(check: Check, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Unknown,
            advice: Some(advice.into()),
            ..Self::ok(check, found)
        }
    }

    pub(crate) fn warning(check: Check, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Warning,
            ..Self::unknown(check, found, advice)
        }
    }

    pub(crate) fn problem(check: Check, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            status: Status::Problem,
            ..Self::unknown(check, found, advice)
        }
    }

    /// The same, about these projects.
    pub(crate) fn of_projects(self, projects: Vec<String>) -> Self {
        Self { projects, ..self }
    }

    /// A server of Postgres that cannot be used.
    pub(crate) fn unreachable(check: Check, server: &Server, error: &CommandError) -> Self {
        let variable = server.variable;
        let advice = match error {
            CommandError::Server(error) if error.is_pooler => {
                format!("Set {variable} to the URL of Postgres itself, which Langfuse calls DIRECT_URL.")
            }
            _ => format!("Correct {variable}, or start the server."),
        };
        Self::problem(check, error.to_string(), advice)
    }

    /// The check itself failed, so what it would have found is not known.
    pub(crate) fn error(check: Check, error: &impl ToString) -> Self {
        Self::problem(
            check,
            error.to_string(),
            "The check itself failed. Mend what the error says, and run `producer doctor` again.",
        )
    }
}

/// What a check of a server has found, and what the later checks need of it.
#[derive(Debug)]
pub(crate) struct Checked<T> {
    /// The connection, or whatever the next check needs
    pub(crate) handle: T,
    pub(crate) findings: Vec<Finding>,
}

impl<T> Checked<T> {
    /// Adds the findings to those of the report, and answers the handle.
    pub(crate) fn report_to(self, report: &mut Vec<Finding>) -> T {
        report.extend(self.findings);
        self.handle
    }
}
