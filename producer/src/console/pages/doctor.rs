//! What the doctor found last, and how to run it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use shared::ledger::{Examination, Examined};
use shared::settings::BadSettings;

use super::frame::{Frame, Trouble, page, status, within};
use crate::console::app::App;
use crate::console::rows::audit;
use crate::console::times::Moment;
use crate::output::{agree, count};

#[derive(Template)]
#[template(path = "doctor.html")]
struct Doctor {
    frame: Frame,
    /// Where the form goes; `None`: the console only shows
    run: Option<String>,
    /// Why it cannot be run here
    faults: Vec<String>,
    /// The ledger has said what was found last, or that nobody has run it
    is_known: bool,
    troubles: Vec<Trouble>,
    view: Option<View>,
}

/// What it found. PURE.
#[derive(Clone, Debug)]
struct View {
    at: Moment,
    summary: String,
    is_whole: bool,
    /// Findings that were not kept
    more: usize,
    /// The worst first
    lines: Vec<Line>,
}

/// A finding.
#[derive(Clone, Debug)]
struct Line {
    class: &'static str,
    word: &'static str,
    check: String,
    found: String,
    advice: String,
    projects: Vec<String>,
    more_projects: usize,
}

impl View {
    fn new(now: DateTime<Utc>, at: DateTime<Utc>, examination: Examination) -> Self {
        let Examination {
            findings,
            more,
            is_whole,
        } = examination;
        let number = |word: &str| findings.iter().filter(|finding| finding.status == word).count();
        Self {
            at: Moment::new(now, at),
            summary: format!(
                "{}, {}, {} as {} should be.",
                count(number("problem"), "problem"),
                count(number("warning"), "warning"),
                count(number("ok"), "check"),
                agree(number("ok"), "it", "they")
            ),
            is_whole,
            more,
            lines: findings.into_iter().map(Line::new).collect(),
        }
    }
}

impl Line {
    fn new(finding: Examined) -> Self {
        let (class, word) = match finding.status.as_str() {
            "ok" => ("ok", "ok"),
            "warning" => ("wait", "warning"),
            "problem" => ("bad", "problem"),
            _ => ("idle", "not known"),
        };
        Self {
            class,
            word,
            check: finding.check,
            found: finding.found,
            advice: finding.advice.unwrap_or_default(),
            projects: finding.projects,
            more_projects: finding.more_projects,
        }
    }
}

/// Answers `/doctor`. It asks the ledger alone, where each run is written down.
pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    let operator = app.operator.as_ref();
    let faults = match operator.map(|operator| &operator.doctor) {
        Some(Err(BadSettings(faults))) => faults.clone(),
        _ => Vec::new(),
    };
    let last = within(audit::examined(app.ledger.clone())).await;
    let troubles = last.as_ref().err().map(|words| Trouble::left_out("The ledger", words));
    let is_known = last.is_ok();
    let template = Doctor {
        frame: Frame::new(&app.prefix, "Doctor"),
        run: operator.map(|_| app.prefix.path("/doctor/run")),
        faults,
        is_known,
        troubles: troubles.into_iter().collect(),
        view: match last {
            Ok((now, Some((at, examination)))) => Some(View::new(now, at, examination)),
            _ => None,
        },
    };
    (status(is_known), page(&template)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_counted_and_told_in_words() {
        let found = |status: &str| Examined {
            status: status.to_owned(),
            ..Examined::default()
        };
        let examination = Examination {
            findings: ["problem", "warning", "unknown", "ok"].map(found).into(),
            more: 3,
            is_whole: true,
        };
        let at = "2026-06-01T12:00:00Z".parse().unwrap();
        let view = View::new(at, at, examination);
        let words: Vec<&str> = view.lines.iter().map(|line| line.word).collect();
        assert_eq!(words, ["problem", "warning", "not known", "ok"]);
        assert_eq!(view.summary, "1 problem, 1 warning, 1 check as it should be.");
        assert_eq!(view.more, 3);
    }
}
