//! Pauses and resumes a project.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;

use super::confirm::{Question, confirm};
use super::form::Form;
use super::outcome::Outcome;
use super::project::{Now, Shown};
use super::{Order, perform};
use crate::console::address::Prefix;
use crate::console::app::App;
use crate::pauses;

/// The reason where nobody typed one, as the command's.
const BY_HAND: &str = "by hand";
/// A longer reason is cut.
const LONGEST: usize = 200;

pub(super) fn routes(prefix: &Prefix) -> Router<Arc<App>> {
    let path = |action: &str| prefix.path(&format!("/projects/{{id}}/{action}"));
    Router::new()
        .route(&path("pause/preview"), post(preview_pause))
        .route(&path("pause"), post(pause))
        .route(&path("resume/preview"), post(preview_resume))
        .route(&path("resume"), post(resume))
}

/// With a large letter. PURE.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

async fn preview_pause(State(app): State<Arc<App>>, Path(piece): Path<String>, form: Form) -> Response {
    let now = match Now::of(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let mut asks = now.ask(&app, "pause", "Pause");
    asks.lines = vec![
        "No jobs are published for the project. Jobs that are in the queue already end as skipped.".to_owned(),
        "It stays so until it is resumed. The first enqueue after that publishes the days that were skipped."
            .to_owned(),
    ];
    if now.pause.is_some() {
        let stands = sentence(&now.stands());
        asks.warnings = vec![format!("{stands} Your pause takes the place of that one.")];
    }
    asks.question = Some(Question {
        name: "reason",
        label: "Why; workers' logs show it",
        value: BY_HAND.to_owned(),
    });
    asks.button = "Pause";
    confirm(&app, asks)
}

async fn preview_resume(State(app): State<Arc<App>>, Path(piece): Path<String>, form: Form) -> Response {
    let now = match Now::of(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let mut asks = now.ask(&app, "resume", "Resume");
    asks.lines = vec![sentence(&now.stands())];
    if let Some(pause) = &now.pause {
        let then = "The pause ends. The next enqueue publishes again what was skipped.";
        asks.lines.push(then.to_owned());
        asks.button = "Resume";
        if pause.error_code.is_some() {
            let again =
                "A worker paused it after a failure. Where the cause is still there, the next job pauses it again.";
            asks.warnings = vec![again.to_owned()];
        }
    }
    confirm(&app, asks)
}

fn order(now: &Now, action: &'static str) -> Order {
    Order {
        action,
        project: Some(now.id.clone()),
        subjects: vec![now.id.clone()],
    }
}

async fn pause(State(app): State<Arc<App>>, Path(piece): Path<String>, form: Form) -> Response {
    let now = match Now::of(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let (operator, shown) = (Arc::clone(&form.operator), Shown::of(&form));
    let typed = form.typed("reason").unwrap_or(BY_HAND);
    let reason: String = typed.chars().take(LONGEST).collect();
    let order = order(&now, "pause");
    let deed = async move {
        let now = match shown.still(&operator, &now.id).await? {
            Ok(now) => now,
            Err(outcome) => return Ok(outcome),
        };
        pauses::pause(&operator.source, &operator.ledger, &[now.id], &reason).await?;
        Ok(Outcome::done(format!("The project is paused: {reason}.")))
    };
    perform(&app, &form, order, deed).await
}

async fn resume(State(app): State<Arc<App>>, Path(piece): Path<String>, form: Form) -> Response {
    let now = match Now::of(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let (operator, shown) = (Arc::clone(&form.operator), Shown::of(&form));
    let order = order(&now, "resume");
    let deed = async move {
        let now = match shown.still(&operator, &now.id).await? {
            Ok(now) => now,
            Err(outcome) => return Ok(outcome),
        };
        let Some(pause) = now.pause else {
            return Ok(Outcome::failed("Nothing was done: the project is not paused."));
        };
        // Of a pause that somebody makes in this moment nobody has been shown anything.
        if !operator.ledger.end_pause(&pause).await? {
            return Ok(Outcome::failed(
                "Nothing was done: the project has changed since it was shown. Look at it again.",
            ));
        }
        Ok(Outcome::done(
            "The project is resumed. The next enqueue publishes again what was skipped.",
        ))
    };
    perform(&app, &form, order, deed).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_begins_large_and_ends() {
        assert_eq!(sentence("it is not paused"), "It is not paused.");
        assert_eq!(sentence(""), ".");
    }
}
