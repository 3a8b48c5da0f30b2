//! What `verify` tells people and programs.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::ledger::{Arrival, Verdict};

use super::repair::Repaired;
use super::{Arguments, Report};
use crate::output::{self, count, line};

#[derive(Serialize)]
struct Json<'a> {
    days: &'a [Arrival],
    left: usize,
    warnings: &'a [String],
    repaired: &'a [Repaired],
}

pub(super) fn say(arguments: &Arguments, report: &Report) {
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    if arguments.json {
        output::json(&Json {
            days: &report.days,
            left: report.left,
            warnings: &report.warnings,
            repaired: &report.repaired,
        });
        return;
    }
    for day in &report.days {
        line(format!("{} {}: {}", day.project_id, day.day, day.says));
        if day.missing > 0 && !day.sample.is_empty() {
            line(format!("  missing, for example: {}", day.sample.join(", ")));
        }
    }
    for Repaired {
        project_id,
        day,
        run,
        refused,
    } in &report.repaired
    {
        match (run, refused) {
            (Some(run), _) => line(format!("{project_id} {day}: sent again as {run}")),
            (None, why) => line(format!(
                "{project_id} {day}: NOT sent again: {}",
                why.as_deref().unwrap_or_default()
            )),
        }
    }
    line(summary(report));
    let missing = report.days.iter().any(|day| day.verdict == Verdict::Missing);
    if missing && !arguments.repair {
        line(
            "Send what is missing again with `producer verify --repair`; docs/OPERATIONS.md tells how to find the cause first.",
        );
    }
}

/// `3 days verified: 2 arrived, 1 missing`. PURE.
fn summary(report: &Report) -> String {
    if report.days.is_empty() && report.left == 0 {
        return "Nothing is due: `--from` and `--to` verify days again.".to_owned();
    }
    let mut numbers: BTreeMap<Verdict, usize> = BTreeMap::new();
    for day in &report.days {
        *numbers.entry(day.verdict).or_default() += 1;
    }
    let parts: Vec<String> = numbers
        .iter()
        .map(|(verdict, number)| format!("{number} {}", verdict.as_str().replace('_', " ")))
        .collect();
    let left = match report.left {
        0 => String::new(),
        left => format!("; no time was left for {}", count(left, "day")),
    };
    let verified = count(report.days.len(), "day");
    if parts.is_empty() {
        format!("{verified} verified{left}.")
    } else {
        format!("{verified} verified: {}{left}.", parts.join(", "))
    }
}

/// For nobody in particular: a line for each day that needs somebody, and one for all.
pub(super) fn log(report: &Report) {
    for warning in &report.warnings {
        tracing::warn!("arrival cannot be verified as it should: {warning}");
    }
    for day in report.days.iter().filter(|day| day.verdict == Verdict::Missing) {
        let (project, of, missing, says) = (&day.project_id, day.day, day.missing, &day.says);
        tracing::error!(project, day = %of, missing, says, "PostHog does not hold what was exported");
    }
    tracing::info!(days = report.days.len(), left = report.left, "{}", summary(report));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_a_sentence() {
        let report = Report {
            left: 2,
            ..Report::default()
        };
        assert_eq!(summary(&report), "0 days verified; no time was left for 2 days.");
        assert!(summary(&Report::default()).starts_with("Nothing is due"));
    }
}
