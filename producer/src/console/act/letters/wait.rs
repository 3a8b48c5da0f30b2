//! The dead letters that only the queue has: messages that are no job, those that the broker gave up,
//! and what was left of runs that have gone on. They are looked for on request.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use shared::ledger::State as RunState;

use super::super::form::Form;
use super::ask::named;
use super::look::look;
use crate::advice::advice;
use crate::console::address::carry;
use crate::console::app::App;
use crate::console::named::coded;
use crate::console::pages::frame::{Frame, page};
use crate::console::pages::words;
use crate::console::rows::dead::{LISTED, UNKNOWN};
use crate::console::times::Moment;
use crate::dead_letters::{DeadLetter, Looked};
use crate::output::{count, number, plain, shorten};

#[derive(Template)]
#[template(path = "dead_letters_queue.html")]
struct Page {
    frame: Frame,
    letters: String,
    requeue: String,
    discard: String,
    message: String,
    view: View,
}

/// What lies in the queue. PURE.
#[derive(Clone, Debug)]
struct View {
    as_of: Moment,
    /// Messages in the queue
    messages: String,
    /// More wait than were looked at
    is_part: bool,
    causes: Vec<CauseLine>,
    lines: Vec<Line>,
    number: String,
    more: bool,
}

/// The messages of a cause.
#[derive(Clone, Debug)]
struct CauseLine {
    code: String,
    /// The value of its buttons
    value: String,
    number: String,
    advice: &'static str,
}

/// A message.
#[derive(Clone, Debug)]
struct Line {
    id: String,
    /// The value of its field
    value: String,
    code: String,
    state: String,
    failed: Option<Moment>,
    error: String,
}

/// Why it is a dead letter.
pub(super) fn cause(letter: &DeadLetter) -> &str {
    letter.error_code.as_deref().unwrap_or(UNKNOWN)
}

/// Those that the ledger does not have as dead runs.
pub(super) fn only_in_queue(letters: Vec<DeadLetter>) -> impl Iterator<Item = DeadLetter> {
    letters.into_iter().filter(|letter| {
        let state = letter.ledger.as_ref().map(|row| row.state);
        letter.tag.is_some() && state != Some(RunState::Dead)
    })
}

impl View {
    fn new(looked: Looked) -> Self {
        let (now, looked_at) = (looked.now, looked.messages);
        let all: Vec<DeadLetter> = only_in_queue(looked.letters).collect();
        let mut causes: BTreeMap<&str, usize> = BTreeMap::new();
        for letter in &all {
            *causes.entry(cause(letter)).or_default() += 1;
        }
        let large = |all: usize| number(i64::try_from(all).unwrap_or(i64::MAX));
        Self {
            as_of: Moment::new(now, now),
            messages: count(looked_at, "message"),
            is_part: looked.is_part,
            causes: causes
                .iter()
                .take(LISTED)
                .map(|(code, count)| CauseLine {
                    code: shorten(&plain(code), 60),
                    value: carry(code),
                    number: large(*count),
                    advice: advice(code),
                })
                .collect(),
            lines: all.iter().take(LISTED).map(|letter| Line::new(now, letter)).collect(),
            number: large(all.len()),
            more: all.len() > LISTED,
        }
    }
}

impl Line {
    fn new(now: DateTime<Utc>, letter: &DeadLetter) -> Self {
        Self {
            id: shorten(&plain(&letter.id), 200),
            value: coded(&named(letter)),
            code: shorten(&plain(cause(letter)), 60),
            state: letter
                .ledger
                .as_ref()
                .map_or_else(|| "no run".to_owned(), |row| row.state.to_string()),
            failed: letter.first_failed_at().map(|failed| Moment::new(now, failed)),
            error: shorten(&plain(&words::failure(letter.error().unwrap_or_default())), 160),
        }
    }
}

/// Shows them.
pub(super) async fn show(State(app): State<Arc<App>>, form: Form) -> Response {
    let looked = match look(&app, &form, "look_into_queue", Vec::new()).await {
        Ok(looked) => looked,
        Err(answer) => return answer,
    };
    let path = |action: &str| app.prefix.path(&format!("/dead-letters/{action}"));
    page(&Page {
        frame: Frame::new(&app.prefix, "In the queue only"),
        letters: app.prefix.dead_letters(None),
        requeue: path("requeue/preview"),
        discard: path("discard/preview"),
        message: path("message"),
        view: View::new(looked),
    })
}
