//! Pauses and resumes a project.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use chrono::SecondsFormat;
use shared::integration::{self, StoredIntegration};
use shared::ledger::Pause;

use super::confirm::{Confirm, Question, confirm, refused};
use super::form::Form;
use super::outcome::Outcome;
use super::{Order, perform};
use crate::console::address::{self, Prefix};
use crate::console::app::App;
use crate::console::operator::Operator;
use crate::console::pages::missing::not_here;
use crate::console::pages::words;
use crate::error::CommandError;
use crate::{output, pauses};

/// The field with the pause that was shown.
const SHOWN: &str = "shown";
/// The reason where nobody typed one, as the command's.
const BY_HAND: &str = "by hand";

pub(super) fn routes(prefix: &Prefix) -> Router<Arc<App>> {
    let path = |action: &str| prefix.path(&format!("/projects/{{id}}/{action}"));
    Router::new()
        .route(&path("pause/preview"), post(preview_pause))
        .route(&path("pause"), post(pause))
        .route(&path("resume/preview"), post(preview_resume))
        .route(&path("resume"), post(resume))
}

/// A project as it is now.
struct Now {
    id: String,
    name: String,
    pause: Option<Pause>,
}

impl Now {
    /// `None`: Langfuse's settings do not know it, and it is not paused.
    async fn look(operator: &Operator, id: &str) -> Result<Option<Self>, CommandError> {
        let stored: Option<StoredIntegration> = integration::list(&operator.source, Some(id)).await?.pop();
        let pause = operator.ledger.pauses().await?.remove(id);
        let holds = |pause: &Pause| stored.as_ref().is_none_or(|own| pause.holds(&own.fingerprint()));
        if stored.is_none() && pause.is_none() {
            return Ok(None);
        }
        let name = stored.as_ref().map(|own| own.project_name.clone());
        Ok(Some(Self {
            id: id.to_owned(),
            name: name.filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_owned()),
            pause: pause.filter(holds),
        }))
    }
}

/// What tells one pause from another. PURE.
fn mark(pause: Option<&Pause>) -> String {
    pause.map_or_else(
        || "none".to_owned(),
        |pause| pause.paused_at.to_rfc3339_opts(SecondsFormat::Micros, true),
    )
}

/// How the project stands, in words. PURE.
fn stands(pause: Option<&Pause>) -> String {
    match pause {
        None => "it is not paused".to_owned(),
        Some(pause) => format!(
            "it is paused since {} UTC by {}: {}",
            output::moment(pause.paused_at),
            pause.paused_by,
            words::failure(&pause.error)
        ),
    }
}

/// The project that a form is about, or the page that says why there is none.
async fn project(app: &App, form: &Form, piece: &str) -> Result<Now, Response> {
    let Some(id) = address::id(piece) else {
        return Err(not_here(app, "No project has such an id."));
    };
    match Now::look(&form.operator, &id).await {
        Ok(Some(now)) => Ok(now),
        Ok(None) => Err(not_here(app, "Langfuse's settings know no project with this id.")),
        Err(error) => Err(refused(
            app,
            StatusCode::SERVICE_UNAVAILABLE,
            "Nothing was done",
            &error.to_string(),
        )),
    }
}

fn ask(app: &App, now: &Now, action: &str, verb: &str) -> Confirm {
    Confirm {
        title: format!("{verb} {}", now.name),
        to: app.prefix.act(&now.id, action),
        hidden: vec![(SHOWN, mark(now.pause.as_ref()))],
        back: (app.prefix.project(&now.id), now.name.clone()),
        ..Confirm::default()
    }
}

async fn preview_pause(State(app): State<Arc<App>>, Path(piece): Path<String>, form: Form) -> Response {
    let now = match project(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let mut asks = ask(&app, &now, "pause", "Pause");
    asks.lines = vec![
        "No jobs are published for the project. Jobs that are in the queue already end as skipped.".to_owned(),
        "It stays so until somebody resumes it. The first enqueue after that publishes the days that were skipped."
            .to_owned(),
    ];
    if now.pause.is_some() {
        let stands = stands(now.pause.as_ref());
        asks.warnings = vec![format!("{stands}. Your pause takes the place of that one.").replacen('i', "I", 1)];
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
    let now = match project(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let mut asks = ask(&app, &now, "resume", "Resume");
    let stands = stands(now.pause.as_ref()).replacen('i', "I", 1);
    if now.pause.is_none() {
        asks.lines = vec![format!("{stands}.")];
    } else {
        asks.lines = vec![
            format!("{stands}."),
            "The pause ends. The next enqueue publishes again what was skipped.".to_owned(),
        ];
        if now.pause.as_ref().is_some_and(|pause| pause.error_code.is_some()) {
            asks.warnings = vec![
                "A worker paused it after a failure. Where the cause is still there, the next job pauses it again."
                    .to_owned(),
            ];
        }
        asks.button = "Resume";
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

/// Whether the project is still as it was shown; else what to say. The deed looks again, since some
/// time may lie between.
async fn unchanged(operator: &Operator, id: &str, shown: &[String]) -> Result<Result<Now, Outcome>, CommandError> {
    let Some(now) = Now::look(operator, id).await? else {
        return Ok(Err(Outcome::failed(
            "Nothing was done: Langfuse's settings do not know the project any more.",
        )));
    };
    if *shown == [mark(now.pause.as_ref())] {
        return Ok(Ok(now));
    }
    Ok(Err(Outcome::failed(format!(
        "Nothing was done: the project has changed since it was shown. Now {}.",
        stands(now.pause.as_ref())
    ))))
}

async fn pause(State(app): State<Arc<App>>, Path(piece): Path<String>, form: Form) -> Response {
    let now = match project(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let (operator, shown) = (Arc::clone(&form.operator), form.carried(SHOWN));
    let reason: String = form.typed("reason").unwrap_or(BY_HAND).chars().take(200).collect();
    let order = order(&now, "pause");
    let deed = async move {
        let now = match unchanged(&operator, &now.id, &shown).await? {
            Ok(now) => now,
            Err(outcome) => return Ok(outcome),
        };
        pauses::pause(&operator.source, &operator.ledger, &[now.id], &reason).await?;
        Ok(Outcome::done(format!("The project is paused: {reason}.")))
    };
    perform(&app, &form, order, deed).await
}

async fn resume(State(app): State<Arc<App>>, Path(piece): Path<String>, form: Form) -> Response {
    let now = match project(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let (operator, shown) = (Arc::clone(&form.operator), form.carried(SHOWN));
    let order = order(&now, "resume");
    let deed = async move {
        let now = match unchanged(&operator, &now.id, &shown).await? {
            Ok(now) => now,
            Err(outcome) => return Ok(outcome),
        };
        let known = now.pause.into_iter().map(|pause| (now.id.clone(), pause)).collect();
        pauses::resume(&operator.ledger, &known, &[now.id]).await?;
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
    fn two_pauses_of_one_project_are_told_apart() {
        let pause = |at: &str| Pause {
            project_id: "p".into(),
            settings: None,
            error_code: None,
            error: "x".into(),
            paused_by: "human".into(),
            paused_at: at.parse().unwrap(),
        };
        let (one, two) = (
            pause("2026-06-01T12:00:00.000001Z"),
            pause("2026-06-01T12:00:00.000002Z"),
        );
        assert_ne!(mark(Some(&one)), mark(Some(&two)));
        assert_ne!(mark(Some(&one)), mark(None));
        assert_eq!(mark(Some(&one)), mark(Some(&one.clone())));
        assert_eq!(
            stands(Some(&one)),
            "it is paused since 2026-06-01 12:00:00 UTC by human: x"
        );
    }
}
