//! The message of one dead letter, on request.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::super::confirm::refused;
use super::super::form::Form;
use super::ask::named;
use super::look::look;
use super::nothing;
use super::wait::cause;
use crate::advice::advice;
use crate::console::address::Prefix;
use crate::console::app::App;
use crate::console::named::{coded, decoded};
use crate::console::pages::frame::{Frame, page};
use crate::console::pages::words;
use crate::console::times::Moment;
use crate::dead_letters::DeadLetter;
use crate::output::{count, plain};

/// Characters of a body that are shown. A job's has about 100.
const LONGEST_BODY: usize = 20_000;
/// Characters of a header.
const LONGEST_HEADER: usize = 2_000;
/// Headers that are shown. A worker writes seven.
const HEADERS: usize = 50;

#[derive(Template)]
#[template(path = "dead_letter.html")]
struct Message {
    frame: Frame,
    letters: String,
    requeue: String,
    discard: String,
    view: View,
}

/// The message. PURE.
#[derive(Clone, Debug)]
struct View {
    id: String,
    /// The value of its field
    value: String,
    run: Option<String>,
    code: String,
    advice: &'static str,
    error: String,
    facts: Vec<(&'static str, String)>,
    failed: Option<Moment>,
    body: String,
    /// What is to be known of the body
    notes: Vec<String>,
    headers: Vec<(String, String)>,
    more_headers: usize,
}

impl View {
    fn new(prefix: &Prefix, now: DateTime<Utc>, letter: &DeadLetter, messages: usize) -> Self {
        let named = named(letter);
        let code = cause(letter);
        let (body, notes) = body(&letter.body, messages > 0);
        let in_ledger = letter.ledger.as_ref().zip(named.key.as_ref());
        Self {
            value: coded(&named),
            run: in_ledger.map(|(_, key)| prefix.run(key)),
            advice: advice(code),
            code: code.to_owned(),
            error: words::failure(letter.error().unwrap_or_default()),
            facts: vec![
                (
                    "In the queue",
                    if messages == 0 {
                        "its message is gone".to_owned()
                    } else {
                        count(messages, "message")
                    },
                ),
                (
                    "Its run in the ledger",
                    letter
                        .ledger
                        .as_ref()
                        .map_or_else(|| "there is none".to_owned(), |row| row.state.to_string()),
                ),
                (
                    "Attempts",
                    letter
                        .attempt()
                        .map_or_else(|| "not known".to_owned(), |attempt| attempt.to_string()),
                ),
            ],
            failed: letter.first_failed_at().map(|failed| Moment::new(now, failed)),
            body,
            notes,
            headers: headers(&letter.raw_headers),
            more_headers: letter.raw_headers.len().saturating_sub(HEADERS),
            id: named.id,
        }
    }
}

/// A body as text, and what is to be known of it: it is anything that anybody has published.
fn body(bytes: &[u8], came: bool) -> (String, Vec<String>) {
    let mut notes = Vec::new();
    if !came {
        notes.push("Its message is gone from the queue. This is the job as the ledger has it.".to_owned());
    }
    if std::str::from_utf8(bytes).is_err() {
        notes.push("It is no text: bytes that are none are shown as \u{fffd}.".to_owned());
    }
    let text = String::from_utf8_lossy(bytes);
    let shown: String = text.chars().take(LONGEST_BODY).collect();
    if shown.len() < text.len() {
        notes.push(format!(
            "The first {LONGEST_BODY} characters of {} bytes are shown; `producer dead-letters show --message` has all.",
            bytes.len()
        ));
    }
    let lines: Vec<String> = shown.split('\n').map(plain).collect();
    (lines.join("\n"), notes)
}

/// The headers as text. One of them holds the last failure's words, which may quote a host.
fn headers(all: &Map<String, Value>) -> Vec<(String, String)> {
    let shown = |(name, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let text = plain(&words::failure(&text));
        let short: String = text.chars().take(LONGEST_HEADER).collect();
        let end = if short.len() < text.len() { "…" } else { "" };
        (plain(name).chars().take(200).collect(), format!("{short}{end}"))
    };
    all.iter().take(HEADERS).map(shown).collect()
}

/// Shows the message of a dead letter.
pub(super) async fn show(State(app): State<Arc<App>>, form: Form) -> Response {
    let Some(wanted) = form.typed("message").and_then(decoded) else {
        return nothing(&app);
    };
    let looked = match look(&app, &form, "look_at_message", vec![wanted.clone()]).await {
        Ok(looked) => looked,
        Err(answer) => return answer,
    };
    let is_it = |letter: &&DeadLetter| letter.id == wanted.id;
    let messages = looked
        .letters
        .iter()
        .filter(is_it)
        .filter(|letter| letter.tag.is_some());
    let messages = messages.count();
    let Some(letter) = looked.letters.iter().find(is_it) else {
        let why = match looked.part() {
            Some(looked_at) => format!("It is not among the first {looked_at} in the queue."),
            None => "No dead letter has this id any more.".to_owned(),
        };
        return refused(&app, StatusCode::NOT_FOUND, "Not found", &why);
    };
    page(&Message {
        frame: Frame::new(&app.prefix, "Message"),
        letters: app.prefix.dead_letters(None),
        requeue: app.prefix.path("/dead-letters/requeue/preview"),
        discard: app.prefix.path("/dead-letters/discard/preview"),
        view: View::new(&app.prefix, looked.now, letter, messages),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_bounded_and_obeyed_by_nobody() {
        let (text, notes) = body(b"{\"a\":\n\t\"\x1b[31m\xff\"}", true);
        assert_eq!(text, "{\"a\":\n\\t\"\\u{1b}[31m\u{fffd}\"}");
        assert_eq!(notes.len(), 1);
        let (text, notes) = body("é".repeat(50_000).as_bytes(), false);
        assert_eq!(text.chars().count(), LONGEST_BODY);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[1].contains("100000 bytes"), "{notes:?}");
    }

    #[test]
    fn headers_are_bounded_and_quote_no_host() {
        let mut all = Map::new();
        all.insert(
            "x-error".to_owned(),
            "the project's PostHog host is not usable: `hunter2` is not a URL".into(),
        );
        all.insert("long".to_owned(), "x".repeat(10_000).into());
        for number in 0..100 {
            all.insert(format!("y{number}"), number.into());
        }
        let shown = headers(&all);
        assert_eq!(shown.len(), HEADERS);
        assert!(
            shown
                .iter()
                .all(|(_, value)| value.chars().count() <= LONGEST_HEADER + 1)
        );
        assert!(!format!("{shown:?}").contains("hunter2"));
    }
}
