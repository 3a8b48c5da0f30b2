//! What `verify` tells people and programs.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use shared::ledger::{Arrival, Verdict};

use super::repair::Repaired;
use super::{Arguments, Report};
use crate::output::{self, agree, count, line, moment};

/// So many hours of a day are named; `--json` has all.
const HOURS_SHOWN: usize = 6;

#[derive(Serialize)]
struct Json<'a> {
    days: &'a [Arrival],
    earlier: &'a [Arrival],
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
            earlier: &report.earlier,
            left: report.left,
            warnings: &report.warnings,
            repaired: &report.repaired,
        });
        return;
    }
    for day in &report.days {
        say_day(day, false);
    }
    for day in &report.earlier {
        say_day(day, true);
    }
    for Repaired {
        project_id,
        day,
        run,
        refused,
        ..
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
    let mut standing = report.days.iter().chain(&report.earlier);
    if standing.any(|day| day.verdict == Verdict::Missing) && !arguments.repair {
        line(
            "Send what is missing again with `producer verify --repair`; docs/VERIFY.md tells how to find the cause first.",
        );
    }
}

fn say_day(day: &Arrival, is_earlier: bool) {
    line(format!(
        "{} {}: {}{}",
        day.project_id,
        day.day,
        day.says,
        since(day, is_earlier)
    ));
    if let Some(hours) = hours(&day.hours).filter(|_| day.nothing_after.is_none()) {
        line(format!("  missing, by hour: {hours}"));
    }
    if day.missing > 0 && !day.sample.is_empty() {
        line(format!("  missing, for example: {}", day.sample.join(", ")));
    }
}

/// Whose finding it is, where it is not this look's. PURE.
fn since(day: &Arrival, is_earlier: bool) -> String {
    let found = moment(day.checked_at);
    match &day.failure {
        _ if is_earlier => format!(" (found at {found}; not looked at now)"),
        Some(failure) => format!(" (found at {found}; now it cannot be decided: {failure})"),
        None => String::new(),
    }
}

/// `14:00 126 of 130, 15:00 all 127`: the first hours that miss events. PURE.
fn hours(by_stream: &Value) -> Option<String> {
    let mut hours: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
    for (hour, numbers) in by_stream.as_object()?.values().filter_map(Value::as_object).flatten() {
        let (of, missing) = hours.entry(hour.parse().ok()?).or_default();
        *of += numbers[0].as_u64()?;
        *missing += numbers[1].as_u64()?;
    }
    hours.retain(|_, (_, missing)| *missing > 0);
    let say = |(hour, (of, missing)): (&u8, &(u64, u64))| match missing {
        missing if missing == of => format!("{hour:02}:00 all {of}"),
        missing => format!("{hour:02}:00 {missing} of {of}"),
    };
    let mut said: Vec<String> = hours.iter().take(HOURS_SHOWN).map(say).collect();
    if hours.len() > HOURS_SHOWN {
        said.push(format!("and {} more", count(hours.len() - HOURS_SHOWN, "hour")));
    }
    (!said.is_empty()).then(|| said.join(", "))
}

/// `3 days verified: 2 arrived, 1 missing`. PURE.
fn summary(report: &Report) -> String {
    let mut said = Vec::new();
    if !report.days.is_empty() || report.left > 0 {
        let mut numbers: BTreeMap<Verdict, usize> = BTreeMap::new();
        for day in report.days.iter().filter(|day| day.failure.is_none()) {
            *numbers.entry(day.verdict).or_default() += 1;
        }
        let mut parts: Vec<String> = numbers
            .iter()
            .map(|(verdict, number)| format!("{number} {}", verdict.as_str().replace('_', " ")))
            .collect();
        let failed = report.days.iter().filter(|day| day.failure.is_some()).count();
        if failed > 0 {
            parts.push(format!("{failed} as before, because this look decided nothing"));
        }
        let mut first = format!("{} verified", count(report.days.len(), "day"));
        if !parts.is_empty() {
            first += &format!(": {}", parts.join(", "));
        }
        if report.left > 0 {
            first += &format!("; no time was left for {}", count(report.left, "day"));
        }
        said.push(first + ".");
    } else if report.asked && report.earlier.is_empty() {
        said.push(
            "Nothing to verify: no run of these days is completed. `producer status --project ID` shows their runs."
                .to_owned(),
        );
    } else if report.earlier.is_empty() {
        said.push("Nothing is due: `--from` and `--to` verify days again.".to_owned());
    } else {
        said.push("Nothing was looked at now.".to_owned());
    }
    if !report.earlier.is_empty() {
        let (days, miss) = (report.earlier.len(), agree(report.earlier.len(), "misses", "miss"));
        said.push(format!(
            "By earlier looks, {} still {miss} events.",
            count(days, "other day")
        ));
    }
    said.join(" ")
}

/// Of how many days this look decided nothing, by reason. PURE.
fn undecided(days: &[Arrival]) -> BTreeMap<&str, usize> {
    let mut reasons = BTreeMap::new();
    for day in days {
        let unknown = (day.verdict == Verdict::Unknown).then_some(&day.says);
        if let Some(reason) = day.failure.as_ref().or(unknown) {
            *reasons.entry(reason.as_str()).or_default() += 1;
        }
    }
    reasons
}

/// For nobody in particular: a line for each day that needs attention, one for each reason why days
/// could not be judged, and one for all.
pub(super) fn log(report: &Report) {
    let reasons = undecided(&report.days);
    let is_other = |warning: &&String| !reasons.contains_key(warning.as_str());
    for warning in report.warnings.iter().filter(is_other) {
        tracing::warn!("arrival cannot be verified as it should: {warning}");
    }
    for (reason, days) in &reasons {
        tracing::warn!(days, "arrival cannot be verified as it should: {reason}");
    }
    let is_news = |day: &&Arrival| day.verdict == Verdict::Missing && day.failure.is_none();
    for day in report.days.iter().filter(is_news) {
        let (project, of, missing, says) = (&day.project_id, day.day, day.missing, &day.says);
        tracing::error!(project, day = %of, missing, says, "PostHog does not hold what was exported");
    }
    tracing::info!(days = report.days.len(), left = report.left, "{}", summary(report));
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use shared::job::Day;

    use super::*;

    #[test]
    fn a_summary_is_a_sentence() {
        let report = Report {
            left: 2,
            ..Report::default()
        };
        assert_eq!(summary(&report), "0 days verified; no time was left for 2 days.");
        assert!(summary(&Report::default()).starts_with("Nothing is due"));
        let asked = Report {
            asked: true,
            ..Report::default()
        };
        assert!(summary(&asked).starts_with("Nothing to verify"));
    }

    #[test]
    fn a_reason_is_told_once_with_the_number_of_its_days() {
        let day = |verdict, says: &str, failure: Option<&str>| Arrival {
            project_id: "p".to_owned(),
            day: Day::FIRST,
            run: "daily".to_owned(),
            run_completed_at: DateTime::UNIX_EPOCH,
            verdict,
            says: says.to_owned(),
            expected: 0,
            missing: 0,
            extra: 0,
            late: 0,
            copies: 0,
            weaker: false,
            nothing_after: None,
            streams: Vec::new(),
            sample: Vec::new(),
            hours: Value::Null,
            checked_at: DateTime::UNIX_EPOCH,
            repaired_at: None,
            target: None,
            looked_at: DateTime::UNIX_EPOCH,
            failure: failure.map(str::to_owned),
            set_aside: false,
        };
        let days = [
            day(Verdict::Unknown, "no plan", None),
            day(Verdict::Arrived, "all 4 arrived", None),
            day(Verdict::Unknown, "too heavy", None),
            day(Verdict::Missing, "3 of 4 arrived", Some("no plan")),
            day(Verdict::Missing, "3 of 4 arrived", None),
        ];
        assert_eq!(undecided(&days), BTreeMap::from([("no plan", 2), ("too heavy", 1)]));
    }

    #[test]
    fn the_hours_that_miss_events_are_named() {
        let said = |day: serde_json::Value| hours(&day);
        let day = serde_json::json!({
            "trace": {"4": [5, 0], "9": [2, 1], "14": [7, 7]},
            "score": {"9": [1, 1], "14": [3, 3]},
        });
        assert_eq!(said(day).as_deref(), Some("09:00 2 of 3, 14:00 all 10"));
        let all: serde_json::Map<_, _> = (0..8)
            .map(|hour| (hour.to_string(), serde_json::json!([1, 1])))
            .collect();
        let day = said(serde_json::json!({"trace": all})).unwrap();
        assert!(
            day.starts_with("00:00 all 1, ") && day.ends_with("05:00 all 1, and 2 hours more"),
            "{day}"
        );
        assert_eq!(said(serde_json::json!({})), None);
        assert_eq!(said(serde_json::Value::Null), None);
    }
}
