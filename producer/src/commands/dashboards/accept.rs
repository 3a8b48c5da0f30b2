//! Each query is tried once before it is stored: PostHog stores anything, and refuses when it is asked.

use serde_json::Value;

use super::wire::Wire;
use crate::dashboards::request::Request;
use crate::posthog_app::{self, AppError};

/// Which form PostHog takes.
pub(super) enum Accepted<'f> {
    /// And what people should know of it
    Form(&'f Value, Option<String>),
    /// Why none
    None(String),
}

/// Tries the forms of a query, one after the other.
pub(super) async fn accepted<'f>(wire: &mut Wire<'_>, forms: &'f [Value]) -> Result<Accepted<'f>, AppError> {
    let mut why = None;
    for form in forms {
        let tried = wire.send(Request::try_query(form)).await;
        let tried = tried.and_then(|answer| match posthog_app::failure(&answer) {
            Some(detail) => Err(AppError::Refused {
                host: wire.place.app.host_str().unwrap_or_default().to_owned(),
                status: 200,
                detail,
            }),
            None => Ok(()),
        });
        match tried {
            Ok(()) => {
                let note = why.map(|why| format!("in a simpler form: {why}"));
                return Ok(Accepted::Form(form, note));
            }
            // Its form is right; the dashboard has more time for it.
            Err(AppError::TooHeavy(_)) => {
                return Ok(Accepted::Form(
                    form,
                    Some("it may be slow: PostHog did not finish it in time now".to_owned()),
                ));
            }
            Err(error) if error.refuses_form() => {
                why.get_or_insert_with(|| error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Accepted::None(why.unwrap_or_default()))
}
