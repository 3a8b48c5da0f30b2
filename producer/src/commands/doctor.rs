//! `doctor`: says what the checks have found, and what to do.

use clap::Args;
use serde::Serialize;

use crate::doctor::{Finding, Status, examine};
use crate::error::CommandError;
use crate::output::{self, Exit, count, line};

pub use crate::doctor::Config;

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Report {
    problems: usize,
    warnings: usize,
    checks: Vec<Finding>,
}

impl Report {
    fn of(checks: Vec<Finding>) -> Self {
        let number = |status: Status| checks.iter().filter(|finding| finding.status == status).count();
        Self {
            problems: number(Status::Problem),
            warnings: number(Status::Warning),
            checks,
        }
    }
}

/// Executes the command.
pub async fn execute(arguments: &Arguments, config: Config) -> Result<Exit, CommandError> {
    let report = Report::of(examine(&config).await);
    if arguments.json {
        output::json(&report);
    } else {
        say(&report);
    }
    Ok(Exit::of(report.problems == 0))
}

fn say(report: &Report) {
    let row = |finding: &Finding| {
        [
            finding.status.word().to_owned(),
            finding.check.as_str().to_owned(),
            finding.found.clone(),
        ]
    };
    output::table(["STATUS", "CHECK", "FOUND"], report.checks.iter().map(row));
    let to_do: Vec<&Finding> = report
        .checks
        .iter()
        .filter(|finding| matches!(finding.status, Status::Problem | Status::Warning))
        .collect();
    if !to_do.is_empty() {
        line("");
        line("What to do:");
    }
    for finding in to_do {
        let advice = finding.advice.as_deref().unwrap_or_default();
        line(format!(
            "  {}  {}: {}",
            finding.status.word(),
            finding.check.as_str(),
            finding.found
        ));
        line(format!("      {advice}"));
    }
    line("");
    line(format!(
        "{}, {}.",
        count(report.problems, "problem"),
        count(report.warnings, "warning")
    ));
}
