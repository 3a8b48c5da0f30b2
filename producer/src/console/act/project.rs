//! The project that an action is about: as it is now, and whether it still is as it was shown.

use axum::http::StatusCode;
use axum::response::Response;
use chrono::SecondsFormat;
use shared::integration::{self, StoredIntegration};
use shared::ledger::Pause;

use super::confirm::{Confirm, refused};
use super::form::Form;
use super::outcome::Outcome;
use crate::console::address;
use crate::console::app::App;
use crate::console::operator::Operator;
use crate::console::pages::missing::not_here;
use crate::console::pages::words;
use crate::error::CommandError;
use crate::output;
use crate::pauses::by;

/// The field with what was shown.
const SHOWN: &str = "shown";

/// A project as it is now.
pub(super) struct Now {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) stored: Option<StoredIntegration>,
    pub(super) pause: Option<Pause>,
}

impl Now {
    /// `None`: Langfuse's settings do not know it, and it is not paused.
    async fn look(operator: &Operator, id: &str) -> Result<Option<Self>, CommandError> {
        let stored = integration::list(&operator.source, Some(id)).await?.pop();
        let pause = operator.ledger.pauses().await?.remove(id);
        if stored.is_none() && pause.is_none() {
            return Ok(None);
        }
        let holds = |pause: &Pause| stored.as_ref().is_none_or(|own| pause.holds(&own.fingerprint()));
        let name = stored.as_ref().map(|own| own.project_name.clone());
        Ok(Some(Self {
            id: id.to_owned(),
            name: name.filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_owned()),
            pause: pause.filter(holds),
            stored,
        }))
    }

    /// The project of a form, or the page that says why there is none.
    pub(super) async fn of(app: &App, form: &Form, piece: &str) -> Result<Self, Response> {
        let Some(id) = address::id(piece) else {
            return Err(not_here(app, "No project has such an id."));
        };
        match Self::look(&form.operator, &id).await {
            Ok(Some(now)) => Ok(now),
            Ok(None) => Err(not_here(app, "Langfuse's settings know no project with this id.")),
            Err(error) => Err(unreadable(app, &error)),
        }
    }

    /// What a confirmation about it begins with.
    pub(super) fn ask(&self, app: &App, action: &str, verb: &str) -> Confirm {
        Confirm {
            title: format!("{verb} {}", self.name),
            to: app.prefix.act(&self.id, action),
            hidden: vec![(SHOWN, self.mark())],
            back: (app.prefix.project(&self.id), self.name.clone()),
            ..Confirm::default()
        }
    }

    fn enabled(&self) -> Option<bool> {
        self.stored.as_ref().map(|own| own.enabled)
    }

    /// What tells one state of it from another. PURE.
    fn mark(&self) -> String {
        mark(self.pause.as_ref(), self.enabled())
    }

    /// How it stands, in words. PURE.
    pub(super) fn stands(&self) -> String {
        stands(self.pause.as_ref(), self.enabled())
    }
}

/// The page for what could not be looked at.
pub(super) fn unreadable(app: &App, error: &CommandError) -> Response {
    let status = match error {
        CommandError::Refused(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    refused(app, status, "Nothing was done", &error.to_string())
}

fn mark(pause: Option<&Pause>, enabled: Option<bool>) -> String {
    let paused = pause.map_or_else(
        || "none".to_owned(),
        |pause| pause.paused_at.to_rfc3339_opts(SecondsFormat::Micros, true),
    );
    format!("{paused} {enabled:?}")
}

fn stands(pause: Option<&Pause>, enabled: Option<bool>) -> String {
    let integration = match enabled {
        Some(true) => "",
        Some(false) => ", and its integration is disabled",
        None => ", and it has no integration",
    };
    let paused = match pause {
        None => "it is not paused".to_owned(),
        Some(pause) => format!(
            "it is paused since {} UTC by {} ({})",
            output::moment(pause.paused_at),
            by(pause),
            words::failure(&pause.error)
        ),
    };
    format!("{paused}{integration}")
}

/// What a confirmation showed of its project.
pub(super) struct Shown(Vec<String>);

impl Shown {
    pub(super) fn of(form: &Form) -> Self {
        Self(form.carried(SHOWN))
    }

    /// The project, if it still is as it was shown; else what to say. A deed looks again, since some
    /// time may lie between.
    pub(super) async fn still(&self, operator: &Operator, id: &str) -> Result<Result<Now, Outcome>, CommandError> {
        let Some(now) = Now::look(operator, id).await? else {
            return Ok(Err(Outcome::failed(
                "Nothing was done: Langfuse's settings do not know the project any more.",
            )));
        };
        if self.0 == [now.mark()] {
            return Ok(Ok(now));
        }
        Ok(Err(Outcome::failed(format!(
            "Nothing was done: the project has changed since it was shown. Now {}.",
            now.stands()
        ))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_states_of_one_project_are_told_apart() {
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
        let on = Some(true);
        assert_ne!(mark(Some(&one), on), mark(Some(&two), on));
        assert_ne!(mark(Some(&one), on), mark(None, on));
        assert_ne!(mark(None, Some(false)), mark(None, on));
        assert_eq!(mark(Some(&one), on), mark(Some(&one.clone()), on));
        assert_eq!(
            stands(Some(&one), Some(false)),
            "it is paused since 2026-06-01 12:00:00 UTC by a person (x), and its integration is disabled"
        );
    }
}
