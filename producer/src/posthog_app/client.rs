//! The client of the app API. A key goes to the host of its own entry, over the guarded client: no
//! redirects, no proxy, https or a host of `EGRESS_ALLOW`.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Certificate, Method, Url};
use serde_json::Value;
use shared::egress::Egress;
use shared::ingestion::endpoint;
use shared::posthog::{Answer, CallError, Posthog, json_headers};
use shared::settings::ExposeSecret;

use super::error::{AppError, judge};
use super::keys::PersonalKeys;
use crate::error::CommandError;

/// PostHog waits up to 30 s for a place before it begins a query, and ends it after 10 s in its cloud
/// and after 60 s elsewhere. Its own answer says more than our silence.
const TIMEOUT: Duration = Duration::from_secs(100);
/// An answer of 50,000 uuids has 2 MB.
const LIMIT: usize = 8_000_000;
/// A dashboard comes with the rows that each of its tiles shows.
const LIMIT_OF_OTHERS: usize = 64_000_000;
/// How often a question is asked whose answer was to wait, or got lost.
const TRIES: u32 = 3;
/// A longer wait ends the questions to a host.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// PostHog's app API.
#[derive(Clone, Debug)]
pub(crate) struct App {
    posthog: Posthog,
    keys: PersonalKeys,
}

/// One question.
pub(crate) struct Question<'a> {
    /// GET, POST or PATCH
    pub(crate) method: Method,
    /// The app
    pub(crate) app: &'a Url,
    /// The path, behind the app's own
    pub(crate) path: String,
    /// What follows the question mark
    pub(crate) query: Option<String>,
    /// JSON, where there is a body
    pub(crate) body: Option<String>,
    /// The PostHog project that is asked
    pub(crate) project: Option<i64>,
    /// Whether it may be asked again when nobody knows whether it arrived. What makes something
    /// would make it twice.
    pub(crate) may_repeat: bool,
}

impl<'a> Question<'a> {
    /// A GET.
    pub(super) fn get(app: &'a Url, path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            app,
            path: path.into(),
            query: None,
            body: None,
            project: None,
            may_repeat: true,
        }
    }

    /// Whether it asks for rows.
    fn is_query(&self) -> bool {
        self.path.ends_with("/query/")
    }
}

impl App {
    /// With these keys.
    pub(crate) fn new(keys: PersonalKeys, egress: Egress, authorities: Vec<Certificate>) -> Result<Self, CommandError> {
        let posthog = Posthog::trusting(egress, 4, authorities)
            .map_err(|error| CommandError::refused(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { posthog, keys })
    }

    /// Asks, and waits where PostHog says so.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Value, AppError> {
        let mut tried = 1;
        loop {
            let error = match self.ask_once(&question).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = match &error {
                // What is told by 503 may be done all the same, behind a proxy that did not wait for it.
                AppError::Busy { wait, is_limit, .. } if *is_limit || question.may_repeat => *wait,
                AppError::NoAnswer { .. } if question.may_repeat => Duration::from_secs(1),
                _ => return Err(error),
            };
            if tried == TRIES || wait > LONGEST_WAIT {
                return Err(error);
            }
            if wait > Duration::from_secs(1) {
                tracing::info!("{} asks to wait {} s; waiting", named(question.app), wait.as_secs());
            }
            tokio::time::sleep(wait).await;
            tried += 1;
        }
    }

    async fn ask_once(&self, question: &Question<'_>) -> Result<Value, AppError> {
        let host = named(question.app);
        let key = self
            .keys
            .of(question.app)
            .ok_or_else(|| AppError::NoKey(host.clone()))?;
        let mut url = endpoint(question.app, &question.path);
        url.set_query(question.query.as_deref());
        let mut headers = json_headers();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
            .map_err(|_| AppError::BadKey(host.clone()))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        let method = question.method.clone();
        let limit = if question.is_query() { LIMIT } else { LIMIT_OF_OTHERS };
        let began = Instant::now();
        let asked = self
            .posthog
            .ask(method, url, headers, question.body.clone(), TIMEOUT, limit);
        let Answer {
            status,
            text,
            retry_after,
        } = asked.await.map_err(|error| match error {
            CallError::NotAllowed(refused) => AppError::NotAllowed(refused.to_string()),
            CallError::Transport(why) => lost(host.clone(), question.is_query(), began.elapsed(), why),
        })?;
        // A host that repeats what it was sent must not bring the key into a log.
        let text = if text.contains(key.expose_secret()) {
            text.replace(key.expose_secret(), "(key)")
        } else {
            text
        };
        if status.is_success() {
            return serde_json::from_str(&text).map_err(|_| unreadable(host, question.is_query(), &text));
        }
        let wait = retry_after.and_then(|seconds| seconds.trim().parse().ok());
        let wait = wait.map(Duration::from_secs);
        match judge(&host, question.project, status.as_u16(), &text, wait) {
            // Only a query can be asked for less.
            AppError::TooHeavy(host) if !question.is_query() => Err(AppError::NoAnswer {
                host,
                why: format!("status {}", status.as_u16()),
            }),
            error => Err(error),
        }
    }
}

/// Why no answer came. A query that takes as long as it may is too much for PostHog, and is not asked
/// again as it is. PURE.
fn lost(host: String, is_query: bool, waited: Duration, why: String) -> AppError {
    if waited >= TIMEOUT && is_query {
        AppError::TooHeavy(host)
    } else {
        AppError::NoAnswer { host, why }
    }
}

/// An answer that is no JSON: a page of a web server, or one whose end was lost.
fn unreadable(host: String, is_query: bool, text: &str) -> AppError {
    if text.trim_start().starts_with('<') {
        AppError::NoApi(host)
    } else if is_query && text.len() >= LIMIT {
        AppError::Cut(host)
    } else {
        AppError::NoAnswer {
            host,
            why: "its answer has no end".to_owned(),
        }
    }
}

/// How errors name an app.
pub(super) fn named(app: &Url) -> String {
    let port = app.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", app.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_without_an_end_is_too_heavy_and_a_lost_connection_is_not() {
        let lost = |is_query, waited| lost("h".to_owned(), is_query, waited, "timed out".to_owned());
        assert_eq!(lost(true, TIMEOUT), AppError::TooHeavy("h".to_owned()));
        let short = lost(true, Duration::from_secs(3));
        assert!(matches!(short, AppError::NoAnswer { .. }), "{short}");
        let other = lost(false, TIMEOUT);
        assert!(matches!(other, AppError::NoAnswer { .. }), "{other}");
    }
}
