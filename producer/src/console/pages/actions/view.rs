//! What the pages of actions show. PURE.

use chrono::{DateTime, Utc};
use shared::ledger::{AuditRow, DeedState};

use crate::console::address::Prefix;
use crate::console::deeds::cut_short_after;
use crate::console::pages::words;
use crate::console::rows::audit::LISTED;
use crate::console::times::Moment;
use crate::output::number;

/// A deed's state: its name in the styles, and its word.
fn state(now: DateTime<Utc>, row: &AuditRow) -> (&'static str, &'static str) {
    let age = (now - row.at).to_std().unwrap_or_default();
    match row.state {
        DeedState::Done => ("ok", "done"),
        DeedState::Failed if row.result.as_ref().is_some_and(|result| result.unsure) => ("bad", "not known"),
        DeedState::Failed => ("bad", "failed"),
        DeedState::Begun if age > cut_short_after() => ("bad", "cut short"),
        DeedState::Begun => ("wait", "going on"),
    }
}

/// What was done, in words.
fn what(action: &str) -> &str {
    match action {
        "pause" => "Pause",
        "resume" => "Resume",
        "check_key" => "Check key",
        "replay" => "Replay",
        "requeue" => "Requeue dead letters",
        "discard" => "Discard dead letters",
        "doctor" => "Doctor",
        "look_into_queue" => "Look into the queue",
        "look_at_message" => "Look at a message",
        other => other,
    }
}

/// The page of what was done, if it has one of its own: its address and its name.
fn page(prefix: &Prefix, action: &str) -> Option<(String, &'static str)> {
    match action {
        "requeue" | "discard" | "look_into_queue" | "look_at_message" => {
            Some((prefix.dead_letters(None), "To the dead letters"))
        }
        "doctor" => Some((prefix.path("/doctor"), "To what the doctor found")),
        _ => None,
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) as_of: Moment,
    pub(super) allowed: bool,
    pub(super) lines: Vec<Line>,
    /// Where the older ones are
    pub(super) older: Option<String>,
}

/// One of many.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) href: String,
    pub(super) what: String,
    pub(super) class: &'static str,
    pub(super) word: &'static str,
    pub(super) at: Moment,
    pub(super) address: String,
    /// The project's page and id
    pub(super) project: Option<(String, String)>,
    pub(super) subjects: String,
    pub(super) says: String,
}

impl Listed {
    pub(super) fn new(prefix: &Prefix, (now, rows): &(DateTime<Utc>, Vec<AuditRow>), allowed: bool) -> Self {
        let line = |row: &AuditRow| Line::new(prefix, *now, row);
        let last = rows.last().filter(|_| rows.len() == LISTED);
        Self {
            as_of: Moment::new(*now, *now),
            allowed,
            lines: rows.iter().map(line).collect(),
            older: last.map(|row| format!("{}?before={}", prefix.path("/actions"), row.id)),
        }
    }
}

impl Line {
    fn new(prefix: &Prefix, now: DateTime<Utc>, row: &AuditRow) -> Self {
        let (class, word) = state(now, row);
        let first = row
            .subjects
            .0
            .first()
            .filter(|first| Some(*first) != row.project_id.as_ref());
        Self {
            href: prefix.action(row.id),
            what: format!("{} {}", row.id, what(&row.action)),
            class,
            word,
            at: Moment::new(now, row.at),
            address: row.address.clone(),
            project: row.project_id.as_ref().map(|id| (prefix.project(id), id.clone())),
            subjects: match (first, row.asked) {
                (None, _) => "–".to_owned(),
                (Some(first), 1) => first.clone(),
                (Some(first), asked) => format!("{first} and {} more", number(i64::from(asked) - 1)),
            },
            says: row
                .result
                .as_ref()
                .map(|result| words::failure(&result.says))
                .unwrap_or_default(),
        }
    }
}

/// One, with all that is known of it.
#[derive(Clone, Debug)]
pub(super) struct One {
    pub(super) line: Line,
    /// Where it comes from
    pub(super) page: Option<(String, &'static str)>,
    pub(super) ended: Option<Moment>,
    pub(super) going_on: bool,
    pub(super) cut_short: bool,
    pub(super) counts: Vec<(String, String)>,
    pub(super) left: Vec<(String, String)>,
    pub(super) subjects: Vec<String>,
    pub(super) more: Option<String>,
    pub(super) as_of: Moment,
}

impl One {
    pub(super) fn new(prefix: &Prefix, now: DateTime<Utc>, row: &AuditRow) -> Self {
        let line = Line::new(prefix, now, row);
        let result = row.result.as_ref().map(|result| result.0.clone()).unwrap_or_default();
        let shown = i64::try_from(row.subjects.len()).unwrap_or(0);
        let more = i64::from(row.asked) - shown;
        let begun = row.state == DeedState::Begun;
        Self {
            page: page(prefix, &row.action),
            going_on: begun && line.class == "wait",
            cut_short: begun && line.class == "bad",
            ended: row.ended_at.map(|at| Moment::new(now, at)),
            counts: result
                .counts
                .into_iter()
                .map(|(what, count)| (what, number(count)))
                .collect(),
            left: result.left.into_iter().map(|left| (left.subject, left.why)).collect(),
            subjects: if line.subjects == "–" {
                Vec::new()
            } else {
                row.subjects.0.clone()
            },
            more: (more > 0).then(|| number(more)),
            as_of: Moment::new(now, now),
            line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use shared::ledger::DeedResult;
    use sqlx::types::Json;

    fn row(state: DeedState, subjects: &[&str]) -> AuditRow {
        AuditRow {
            id: 7,
            at: "2026-06-01T12:00:00Z".parse().unwrap(),
            address: "127.0.0.1".into(),
            action: "replay".into(),
            project_id: Some("p".into()),
            asked: i32::try_from(subjects.len()).unwrap(),
            subjects: Json(subjects.iter().map(|one| (*one).to_owned()).collect()),
            state,
            result: None,
            ended_at: None,
        }
    }

    #[test]
    fn a_deed_that_never_ended_is_told_from_one_that_goes_on() {
        let begun = row(DeedState::Begun, &["2026-05-01", "2026-05-02", "2026-05-03"]);
        let after = |minutes| One::new(&Prefix::default(), begun.at + TimeDelta::minutes(minutes), &begun);
        assert!(after(1).going_on && !after(1).cut_short);
        assert!(after(20).cut_short && !after(20).going_on);
        assert_eq!(after(1).line.subjects, "2026-05-01 and 2 more");
        assert_eq!(after(1).line.what, "7 Replay");
    }

    #[test]
    fn what_may_have_been_done_is_not_called_failed() {
        let mut row = row(DeedState::Failed, &["p"]);
        assert_eq!(state(row.at, &row).1, "failed");
        row.result = Some(Json(DeedResult {
            unsure: true,
            ..DeedResult::default()
        }));
        assert_eq!(state(row.at, &row).1, "not known");
    }

    #[test]
    fn what_only_concerns_the_project_names_it_once() {
        let paused = row(DeedState::Done, &["p"]);
        let one = One::new(&Prefix::default(), paused.at, &paused);
        assert!(one.line.subjects == "–" && one.subjects.is_empty());
    }
}
