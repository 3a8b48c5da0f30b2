//! Runs the doctor's checks. They call the hosts that projects' settings name.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use chrono::Utc;
use shared::settings::BadSettings;

use super::confirm::refused;
use super::form::Form;
use super::outcome::Outcome;
use super::{Order, perform};
use crate::console::address::Prefix;
use crate::console::app::App;
use crate::console::examined::Examination;
use crate::doctor::{Finding, Status, examine_within};
use crate::output::count;

/// How long the checks may take: a little less than what calls a host may take, so that what was
/// found by then is kept.
const LIMIT: Duration = Duration::from_secs(55);

pub(super) fn routes(prefix: &Prefix) -> Router<Arc<App>> {
    Router::new().route(&prefix.path("/doctor/run"), post(run))
}

async fn run(State(app): State<Arc<App>>, form: Form) -> Response {
    if let Err(BadSettings(faults)) = &form.operator.doctor {
        let why = format!(
            "The checks need settings that are wrong or missing: {}",
            faults.join("; ")
        );
        return refused(&app, StatusCode::SERVICE_UNAVAILABLE, "Nothing was checked", &why);
    }
    let order = Order {
        action: "doctor",
        project: None,
        subjects: Vec::new(),
    };
    let operator = Arc::clone(&form.operator);
    let deed = async move {
        let Ok(config) = &operator.doctor else {
            return Ok(Outcome::failed("Nothing was checked."));
        };
        let (findings, is_whole) = examine_within(config, LIMIT).await;
        let outcome = outcome(&findings, is_whole);
        operator.examined.keep(Examination {
            at: Utc::now(),
            findings,
            is_whole,
        });
        Ok(outcome)
    };
    perform(&app, &form, order, deed).await
}

/// What came of it: numbers, and no word of a host. PURE.
fn outcome(findings: &[Finding], is_whole: bool) -> Outcome {
    let number = |status: Status| findings.iter().filter(|finding| finding.status == status).count();
    let (problems, warnings) = (number(Status::Problem), number(Status::Warning));
    let mut says = format!("{}, {}.", count(problems, "problem"), count(warnings, "warning"));
    if !is_whole {
        says.push_str(" Time was up before everything was looked at.");
    }
    Outcome::done(says)
        .count("checks", findings.len())
        .count("problems", problems)
        .count("warnings", warnings)
}
