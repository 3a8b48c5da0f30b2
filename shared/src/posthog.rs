//! The HTTP client towards PostHog, where a configured host takes events, and whether it knows a key.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use serde_json::json;
use url::Url;

use crate::egress::{Egress, GuardedResolver, NotAllowed};
use crate::ingestion::endpoint;
use crate::integration::Integration;
use crate::settings::ExposeSecret;

/// How often a key check that got no answer is tried.
const KEY_CHECK_TRIES: u32 = 3;
const KEY_CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers are a few words; nobody makes us read more.
const ANSWER_LIMIT: usize = 2_000;

/// Name and version, sent as user agent and as `$lib`, `$lib_version`.
pub const LIB: &str = "langfuse-posthog-export";
/// See [`LIB`].
pub const LIB_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The host may not be called; nothing was sent.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// Network, TLS, timeout: ambiguous, the body may have been taken.
    #[error("{0}")]
    Transport(String),
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut words: Vec<String> = Vec::new();
        while let Some(e) = cause {
            if let Some(refused) = e.downcast_ref::<NotAllowed>() {
                return Self::NotAllowed(refused.clone());
            }
            let text = e.to_string();
            // Each layer likes to repeat the one below.
            if !words.iter().any(|known| known.contains(&text)) {
                words.push(text);
            }
            cause = e.source();
        }
        Self::Transport(words.join(": "))
    }
}

/// What a host says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyCheck {
    /// It knows it.
    Known,
    /// It does not: it would answer 200 to every batch and drop it.
    Unknown,
    /// It cannot be asked (a proxy that serves capture only): go on.
    CannotTell(String),
}

/// The client: guarded, no redirects, no proxy.
#[derive(Clone, Debug)]
pub struct Posthog {
    client: Client,
    egress: Arc<Egress>,
}

/// Makes ring, not aws-lc, the process's TLS provider: first thing in `main`. A second call changes nothing.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An answer, read to its end (or to the limit of what is of interest).
#[derive(Debug)]
pub struct Answer {
    /// The status, by which alone a batch is judged
    pub status: StatusCode,
    /// The body, for people
    pub text: String,
    /// `Retry-After` as it came
    pub retry_after: Option<String>,
}

impl Posthog {
    /// Builds the client.
    ///
    /// # Errors
    /// When the machine has no usable certificate store.
    pub fn new(egress: Egress, connections: usize) -> Result<Self, reqwest::Error> {
        Self::trusting(egress, connections, Vec::new())
    }

    /// The same, which trusts these authorities beside the machine's own.
    ///
    /// # Errors
    /// As [`Posthog::new`].
    pub fn trusting(
        egress: Egress,
        connections: usize,
        authorities: Vec<reqwest::Certificate>,
    ) -> Result<Self, reqwest::Error> {
        install_crypto();
        let egress = Arc::new(egress);
        let client = Client::builder()
            .user_agent(format!("{LIB}/{LIB_VERSION}"))
            .dns_resolver(Arc::new(GuardedResolver::new(Arc::clone(&egress))))
            // A redirect could lead past the guard, and capture never sends one.
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would resolve names itself, behind the guard's back.
            .no_proxy()
            .tls_certs_merge(authorities)
            .connect_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(connections)
            // Shorter than the 60 s after which load balancers close: a request must not meet a closing socket.
            .pool_idle_timeout(Duration::from_secs(50))
            .build()?;
        Ok(Self { client, egress })
    }

    /// One POST with a time limit over all of it, and the whole answer.
    pub async fn post(
        &self,
        url: Url,
        headers: HeaderMap,
        body: reqwest::Body,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        self.egress.check_url(&url)?;
        let response = self
            .client
            .post(url)
            .headers(headers)
            .body(body)
            .timeout(timeout)
            .send()
            .await?;
        read(response).await
    }

    /// Asks whether the host knows the key (`/flags/?v=2`): capture itself answers 200 to any well-formed key.
    ///
    /// # Errors
    /// When the host may not be called. A host that gives no sensible answer is [`KeyCheck::CannotTell`].
    pub async fn knows_key(&self, integration: &Integration) -> Result<KeyCheck, NotAllowed> {
        let mut url = endpoint(&integration.host, "flags/");
        url.set_query(Some("v=2"));
        let body = json!({"token": integration.api_key.expose_secret(), "distinct_id": "key-check"}).to_string();
        let mut last = String::new();
        for tried in 0..KEY_CHECK_TRIES {
            if tried > 0 {
                tokio::time::sleep(Duration::from_millis(300 << tried)).await;
            }
            match self
                .post(url.clone(), json_headers(), body.clone().into(), KEY_CHECK_TIMEOUT)
                .await
            {
                Ok(answer) if answer.status.is_success() => return Ok(KeyCheck::Known),
                Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => return Ok(KeyCheck::Unknown),
                Ok(answer) if !answer.status.is_server_error() && answer.status != StatusCode::TOO_MANY_REQUESTS => {
                    return Ok(KeyCheck::CannotTell(format!("it answered {}", answer.status)));
                }
                Ok(answer) => last = format!("it answered {}", answer.status),
                Err(CallError::NotAllowed(refused)) => return Err(refused),
                Err(CallError::Transport(why)) => last = why,
            }
        }
        Ok(KeyCheck::CannotTell(last))
    }
}

async fn read(mut response: Response) -> Result<Answer, CallError> {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(reqwest::header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let mut text = Vec::new();
    // To its end, so that the connection can be used again; an endless answer meets the request's time limit.
    while let Some(part) = response.chunk().await? {
        let room = ANSWER_LIMIT.saturating_sub(text.len());
        text.extend_from_slice(&part[..part.len().min(room)]);
    }
    Ok(Answer {
        status,
        text: String::from_utf8_lossy(&text).into_owned(),
        retry_after,
    })
}

/// Headers of a JSON body.
pub fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        reqwest::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers
}
