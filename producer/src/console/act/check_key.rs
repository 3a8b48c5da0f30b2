//! Asks a project's host whether it knows the project's key. It changes nothing, so it has no
//! preview; but it calls a host that a user named, so it is an action.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;

use super::form::Form;
use super::outcome::Outcome;
use super::project::Now;
use super::{Order, perform};
use crate::console::address::Prefix;
use crate::console::app::App;
use crate::console::pages::words;
use crate::key_check::{self, KeyAnswer};

pub(super) fn routes(prefix: &Prefix) -> Router<Arc<App>> {
    Router::new().route(&prefix.path("/projects/{id}/check-key"), post(check))
}

async fn check(State(app): State<Arc<App>>, Path(piece): Path<String>, form: Form) -> Response {
    let now = match Now::of(&app, &form, &piece).await {
        Ok(now) => now,
        Err(answer) => return answer,
    };
    let order = Order {
        action: "check_key",
        project: Some(now.id.clone()),
        subjects: vec![now.id.clone()],
    };
    let operator = Arc::clone(&form.operator);
    let deed = async move {
        let Some(stored) = now.stored else {
            return Ok(Outcome::failed("The project has no PostHog integration."));
        };
        let host = words::host(&stored.host);
        let (key, egress, ca) = (operator.key.get()?, &operator.egress, &operator.ca);
        let answers = key_check::ask(std::slice::from_ref(&stored), key, egress, ca).await?;
        Ok(answers.first().map_or_else(
            || Outcome::failed("The host was not asked."),
            |answer| told(&host, answer),
        ))
    };
    perform(&app, &form, order, deed).await
}

/// What the answer means. PURE.
fn told(host: &str, answer: &KeyAnswer) -> Outcome {
    let detail = answer
        .detail()
        .map(|detail| words::failure(&detail))
        .unwrap_or_default();
    let says = match answer {
        KeyAnswer::Known => format!("{host} knows the key."),
        KeyAnswer::Refused => format!("{host} does not know the key. {detail}"),
        KeyAnswer::CannotTell(_) => {
            format!("{host} does not say whether it knows the key: {detail}. Jobs are sent all the same.")
        }
        KeyAnswer::NoAnswer(_) => format!("{host} gave no answer: {detail}. Jobs are sent all the same."),
        KeyAnswer::NotAsked(_) => format!("The host was not asked: {detail}."),
    };
    if answer.is_usable() {
        Outcome::done(says)
    } else {
        Outcome::failed(says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_check::Unusable;
    use shared::error_code::ErrorCode;

    #[test]
    fn a_key_that_a_job_could_not_use_is_a_failure_and_a_host_that_says_nothing_is_none() {
        let worked = |answer: KeyAnswer| told("https://ph", &answer).worked;
        assert!(worked(KeyAnswer::Known));
        assert!(worked(KeyAnswer::CannotTell("it answered 404".into())));
        assert!(worked(KeyAnswer::NoAnswer("connection refused".into())));
        assert!(!worked(KeyAnswer::Refused));
        let typed = "the project's PostHog host is not usable: `hunter2` is not a URL";
        let unusable = Unusable {
            code: ErrorCode::BadHost,
            reason: typed.to_owned(),
        };
        let outcome = told("not a URL", &KeyAnswer::NotAsked(unusable));
        assert!(
            !outcome.worked && !outcome.result.says.contains("hunter2"),
            "{outcome:?}"
        );
    }
}
