//! The dead letters: by cause, and the dead runs of the ledger one by one.

mod view;

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use shared::topology::DEAD_LETTER_QUEUE;

use super::frame::{Frame, Trouble, page, status, within};
use crate::console::address::Prefix;
use crate::console::app::App;
use crate::console::named::decoded;
use crate::console::rows::dead::read;
use crate::output::count;
use view::{Asked, View};

/// What stands in the address behind `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Parameters {
    cause: String,
    behind: String,
}

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLetters {
    frame: Frame,
    troubles: Vec<Trouble>,
    view: Option<View>,
    /// Messages in the queue
    messages: Option<String>,
    /// `None`: the console only shows
    acts: Option<Acts>,
}

/// Where the forms go.
#[derive(Clone, Debug)]
struct Acts {
    requeue: String,
    discard: String,
    message: String,
    queue: String,
}

impl Acts {
    fn new(prefix: &Prefix) -> Self {
        let path = |action: &str| prefix.path(&format!("/dead-letters/{action}"));
        Self {
            requeue: path("requeue/preview"),
            discard: path("discard/preview"),
            message: path("message"),
            queue: path("queue"),
        }
    }
}

impl Parameters {
    fn asked(self) -> Asked {
        Asked {
            cause: Some(self.cause).filter(|cause| !cause.is_empty() && !cause.contains('\0')),
            behind: decoded(&self.behind).and_then(|named| named.key),
        }
    }
}

/// Answers `/dead-letters`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Response {
    let asked = parameters
        .map(|Query(parameters)| parameters)
        .unwrap_or_default()
        .asked();
    let rows = within(read(app.ledger.clone(), asked.cause.clone(), asked.behind.clone()));
    let (rows, queues) = tokio::join!(rows, app.queues.look());
    let ledger = rows.as_ref().err().map(|words| Trouble::left_out("The ledger", words));
    let broker = Trouble::of("The broker", &queues);
    let queue = queues.known.as_ref().and_then(|(queues, _)| {
        let letters = queues.iter().find(|queue| queue.name == DEAD_LETTER_QUEUE);
        letters?.messages
    });
    let template = DeadLetters {
        frame: Frame::new(&app.prefix, "Dead letters"),
        troubles: ledger.into_iter().chain(broker).collect(),
        view: rows.as_ref().ok().map(|rows| View::new(&app.prefix, rows, &asked)),
        acts: app.operator.as_ref().map(|_| Acts::new(&app.prefix)),
        messages: queue.map(|messages| count(messages, "message")),
    };
    (status(rows.is_ok()), page(&template)).into_response()
}
