//! Runs the doctor's checks. They call the hosts that projects' settings name.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use shared::ledger::{Examination, Examined};
use shared::settings::BadSettings;

use super::confirm::refused;
use super::form::Form;
use super::outcome::Outcome;
use super::{Order, perform};
use crate::console::address::Prefix;
use crate::console::app::App;
use crate::console::pages::words;
use crate::doctor::{Finding, Status, examine_within};
use crate::output::{count, plain, shorten};

/// How long the checks may take: a little less than what calls a host may take, so that what was
/// found by then is kept.
const LIMIT: Duration = Duration::from_secs(55);

/// Findings that are kept. Of a thousand projects whose settings are wrong in the same way there is one.
const FINDINGS: usize = 100;
/// Characters of what one says, and of its advice.
const LONGEST: usize = 1_000;
/// Projects of a finding that are named.
const PROJECTS: usize = 20;

pub(super) fn routes(prefix: &Prefix) -> Router<Arc<App>> {
    Router::new().route(&prefix.path("/doctor/run"), post(run))
}

async fn run(State(app): State<Arc<App>>, form: Form) -> Response {
    if let Err(BadSettings(faults)) = &form.operator.doctor {
        let why = format!(
            "The checks need settings that are wrong or missing: {}",
            faults.join("; ")
        );
        return refused(&app, StatusCode::SERVICE_UNAVAILABLE, "Nothing was checked", &why);
    }
    let order = Order {
        action: "doctor",
        project: None,
        subjects: Vec::new(),
    };
    let operator = Arc::clone(&form.operator);
    let deed = async move {
        let Ok(config) = &operator.doctor else {
            return Ok(Outcome::failed("Nothing was checked."));
        };
        let (findings, is_whole) = examine_within(config, LIMIT).await;
        let mut outcome = outcome(&findings, is_whole);
        outcome.result.examination = Some(kept(findings, is_whole));
        Ok(outcome)
    };
    perform(&app, &form, order, deed).await
}

/// What came of it: numbers, and no word of a host. PURE.
fn outcome(findings: &[Finding], is_whole: bool) -> Outcome {
    let number = |status: Status| findings.iter().filter(|finding| finding.status == status).count();
    let (problems, warnings) = (number(Status::Problem), number(Status::Warning));
    let mut says = format!("{}, {}.", count(problems, "problem"), count(warnings, "warning"));
    if !is_whole {
        says.push_str(" Time was up before everything was looked at.");
    }
    Outcome::done(says)
        .count("checks", findings.len())
        .count("problems", problems)
        .count("warnings", warnings)
}

/// What is kept of the findings, the worst first. PURE.
fn kept(mut findings: Vec<Finding>, is_whole: bool) -> Examination {
    findings.sort_by_key(|finding| match finding.status {
        Status::Problem => 0,
        Status::Warning => 1,
        Status::Unknown => 2,
        Status::Ok => 3,
    });
    let more = findings.len().saturating_sub(FINDINGS);
    Examination {
        findings: findings.into_iter().take(FINDINGS).map(one).collect(),
        more,
        is_whole,
    }
}

fn one(finding: Finding) -> Examined {
    // One project stands in the finding's own words.
    let named = if finding.projects.len() > 1 { PROJECTS } else { 0 };
    Examined {
        check: finding.check.as_str().to_owned(),
        status: match finding.status {
            Status::Ok => "ok",
            Status::Unknown => "unknown",
            Status::Warning => "warning",
            Status::Problem => "problem",
        }
        .to_owned(),
        // JSON of PostgreSQL holds no NUL, which the name of a broker's connection may have.
        found: shorten(&plain(&words::failure(&finding.found)), LONGEST),
        advice: finding.advice.map(|advice| shorten(&plain(&advice), LONGEST)),
        more_projects: finding.projects.len().saturating_sub(PROJECTS),
        projects: finding.projects.into_iter().take(named).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Check;

    #[test]
    fn what_is_kept_is_bounded_and_the_worst_comes_first() {
        let ids = |number: usize| (0..number).map(|id| format!("p{id}")).collect::<Vec<_>>();
        let mut found: Vec<Finding> = (0..200)
            .map(|_| Finding::ok(Check::Clocks, "x".repeat(5_000)))
            .collect();
        found.push(Finding::warning(Check::ProjectsPaused, "30 are paused", "Resume them.").of_projects(ids(30)));
        found.push(Finding::problem(Check::Projects, "p0 at h: refused", "Mend it.").of_projects(ids(1)));
        let typed = "the project's PostHog host is not usable: `hunter2` is not a URL";
        found.push(Finding::problem(Check::Projects, typed, "Mend it."));
        found.push(Finding::warning(Check::ProjectsPaused, "a\0b", "c\0d"));
        let kept = kept(found, false);
        let statuses: Vec<&str> = kept.findings.iter().map(|one| one.status.as_str()).collect();
        assert_eq!(statuses[..5], ["problem", "problem", "warning", "warning", "ok"]);
        assert_eq!((kept.findings.len(), kept.more, kept.is_whole), (100, 104, false));
        assert_eq!(
            (kept.findings[2].projects.len(), kept.findings[2].more_projects),
            (20, 10)
        );
        assert!(kept.findings[0].projects.is_empty());
        let all = serde_json::to_string(&kept).unwrap();
        assert!(all.len() < 150_000 && !all.contains("hunter2"), "{} bytes", all.len());
        assert!(!all.contains("\\u0000"), "PostgreSQL's jsonb takes no NUL");
    }
}
