//! The way to PostHog; with `--dry-run` nothing but questions leaves by it.

use reqwest::Method;
use serde_json::Value;

use crate::dashboards::request::Request;
use crate::posthog_app::{App, AppError, Call, Place};

/// The way to one project.
pub(super) struct Wire<'a> {
    app: &'a App,
    pub(super) place: &'a Place,
    /// What would have been sent, with `--dry-run`
    held: Option<Vec<Request>>,
}

impl<'a> Wire<'a> {
    pub(super) fn new(app: &'a App, place: &'a Place, dry_run: bool) -> Self {
        Self {
            app,
            place,
            held: dry_run.then(Vec::new),
        }
    }

    pub(super) fn is_dry(&self) -> bool {
        self.held.is_some()
    }

    /// What was not sent.
    pub(super) fn into_requests(self) -> Vec<Request> {
        self.held.unwrap_or_default()
    }

    /// Asks for something.
    pub(super) async fn get(&self, path: &str, query: Option<String>) -> Result<Value, AppError> {
        let call = Call {
            method: Method::GET,
            path,
            query,
            body: None,
            may_repeat: true,
        };
        self.app.call(self.place, call).await
    }

    /// The same; `None` where it is not there (any more).
    pub(super) async fn get_if_there(&self, path: &str) -> Result<Option<Value>, AppError> {
        match self.get(path, None).await {
            Ok(answer) => Ok(Some(answer)),
            Err(AppError::NotThere { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes or tries something.
    pub(super) async fn send(&mut self, request: Request) -> Result<Value, AppError> {
        if let Some(held) = &mut self.held {
            let answer = request.stand_in();
            held.push(request);
            return Ok(answer);
        }
        let call = Call {
            method: request.method.clone(),
            path: &request.path,
            query: None,
            body: Some(&request.body),
            may_repeat: request.may_repeat(),
        };
        self.app.call(self.place, call).await
    }

    /// Deletes something. PostHog does not find what is deleted already, be it by this very request,
    /// whose answer was lost.
    pub(super) async fn delete(&mut self, request: Request) -> Result<(), AppError> {
        match self.send(request).await {
            Ok(_) | Err(AppError::NotThere { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// An answer that lacks what it must have.
    pub(super) fn garbled(&self, why: &str) -> AppError {
        AppError::Garbled {
            host: self.place.app.host_str().unwrap_or_default().to_owned(),
            why: why.to_owned(),
        }
    }
}
