//! The page between the wish and the deed. Its form carries what was shown.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use crate::console::address::carry;
use crate::console::app::App;
use crate::console::pages::frame::{Frame, page};

/// A text that somebody may type.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) value: String,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) says: &'static str,
    pub(super) is_number: bool,
}

impl Column {
    pub(super) fn words(says: &'static str) -> Self {
        Self { says, is_number: false }
    }

    pub(super) fn number(says: &'static str) -> Self {
        Self { says, is_number: true }
    }
}

/// What a confirmation shows as a table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) says: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<String>>,
}

/// What is asked before something is done.
#[derive(Clone, Debug, Default)]
pub(super) struct Confirm {
    pub(super) title: String,
    /// What will happen, a sentence each
    pub(super) lines: Vec<String>,
    /// What somebody may not expect
    pub(super) warnings: Vec<String>,
    pub(super) table: Option<Table>,
    pub(super) question: Option<Question>,
    /// Where the form goes
    pub(super) to: String,
    /// What the form carries; names may come several times
    pub(super) hidden: Vec<(&'static str, String)>,
    /// What the button says; empty: there is nothing to do
    pub(super) button: &'static str,
    /// Whether it cannot be undone
    pub(super) is_final: bool,
    /// The page that it comes from, and its name
    pub(super) back: (String, String),
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct Page {
    frame: Frame,
    confirm: Confirm,
    once: String,
}

/// Asks.
pub(super) fn confirm(app: &App, mut confirm: Confirm) -> Response {
    for (_, value) in &mut confirm.hidden {
        *value = carry(value);
    }
    page(&Page {
        frame: Frame::new(&app.prefix, confirm.title.clone()),
        confirm,
        once: Uuid::new_v4().to_string(),
    })
}

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused<'a> {
    frame: Frame,
    why: &'a str,
}

/// Says that nothing was done, and why.
pub(super) fn refused(app: &App, status: StatusCode, title: &str, why: &str) -> Response {
    let frame = Frame::new(&app.prefix, title);
    (status, page(&Refused { frame, why })).into_response()
}
