//! What the doctor found last, and how to run it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use shared::settings::BadSettings;

use super::frame::{Frame, page};
use crate::console::app::App;
use crate::console::examined::Examination;
use crate::console::times::Moment;
use crate::doctor::{Finding, Status};
use crate::output::{agree, count, shorten};

/// Characters of a finding.
const LONGEST: usize = 1_000;
/// Projects of a finding that are named.
const PROJECTS: usize = 20;

#[derive(Template)]
#[template(path = "doctor.html")]
struct Doctor {
    frame: Frame,
    /// Where the form goes; `None`: the console only shows
    run: Option<String>,
    /// Why it cannot be run here
    faults: Vec<String>,
    view: Option<View>,
}

/// What it found. PURE.
#[derive(Clone, Debug)]
struct View {
    at: Moment,
    summary: String,
    is_whole: bool,
    /// The worst first
    lines: Vec<Line>,
}

/// A finding.
#[derive(Clone, Debug)]
struct Line {
    class: &'static str,
    word: &'static str,
    check: &'static str,
    found: String,
    advice: String,
    projects: Vec<String>,
    more_projects: usize,
}

impl View {
    fn new(now: DateTime<Utc>, Examination { at, findings, is_whole }: &Examination) -> Self {
        let number = |status: Status| findings.iter().filter(|finding| finding.status == status).count();
        let rank = |finding: &&Finding| match finding.status {
            Status::Problem => 0,
            Status::Warning => 1,
            Status::Unknown => 2,
            Status::Ok => 3,
        };
        let mut sorted: Vec<&Finding> = findings.iter().collect();
        sorted.sort_by_key(rank);
        Self {
            at: Moment::new(now, *at),
            summary: format!(
                "{}, {}, {} as {} should be.",
                count(number(Status::Problem), "problem"),
                count(number(Status::Warning), "warning"),
                count(number(Status::Ok), "check"),
                agree(number(Status::Ok), "it", "they")
            ),
            is_whole: *is_whole,
            lines: sorted.into_iter().map(Line::new).collect(),
        }
    }
}

impl Line {
    fn new(finding: &Finding) -> Self {
        let (class, word) = match finding.status {
            Status::Ok => ("ok", "ok"),
            Status::Unknown => ("idle", "not known"),
            Status::Warning => ("wait", "warning"),
            Status::Problem => ("bad", "problem"),
        };
        // One project stands in the finding's own words.
        let named = if finding.projects.len() > 1 { PROJECTS } else { 0 };
        Self {
            class,
            word,
            check: finding.check.as_str(),
            found: shorten(&finding.found, LONGEST),
            advice: finding.advice.clone().unwrap_or_default(),
            projects: finding.projects.iter().take(named).cloned().collect(),
            more_projects: finding.projects.len().saturating_sub(PROJECTS),
        }
    }
}

/// Answers `/doctor`. It asks nobody.
pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    let operator = app.operator.as_ref();
    let faults = match operator.map(|operator| &operator.doctor) {
        Some(Err(BadSettings(faults))) => faults.clone(),
        _ => Vec::new(),
    };
    let last = operator.and_then(|operator| operator.examined.last());
    page(&Doctor {
        frame: Frame::new(&app.prefix, "Doctor"),
        run: operator.map(|_| app.prefix.path("/doctor/run")),
        faults,
        view: last.map(|last| View::new(Utc::now(), &last)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Check;

    #[test]
    fn the_worst_comes_first_and_the_projects_of_one_cause_are_named() {
        let ids = (0..30).map(|id| format!("p{id}")).collect();
        let examination = Examination {
            at: "2026-06-01T12:00:00Z".parse().unwrap(),
            findings: vec![
                Finding::ok(Check::Clocks, "they agree"),
                Finding::warning(Check::ProjectsPaused, "30 projects are paused", "Resume them.").of_projects(ids),
                Finding::problem(Check::BrokerReachable, "away", "Start it."),
            ],
            is_whole: true,
        };
        let view = View::new(examination.at, &examination);
        let words: Vec<&str> = view.lines.iter().map(|line| line.word).collect();
        assert_eq!(words, ["problem", "warning", "ok"]);
        assert_eq!((view.lines[1].projects.len(), view.lines[1].more_projects), (20, 10));
        assert_eq!(view.summary, "1 problem, 1 warning, 1 check as it should be.");
        assert!(view.lines[2].advice.is_empty());
    }
}
