//! The HTTP client for PostHog, and the question whether a host knows a key.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::json;
use url::Url;

use crate::egress::{Egress, GuardedResolver, NotAllowed};
use crate::ingestion::endpoint;
use crate::integration::Integration;
use crate::settings::ExposeSecret;

/// How often a key check that got no answer is tried.
const KEY_CHECK_TRIES: u32 = 3;
const KEY_CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer is kept. PostHog's answers are a few words.
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
    /// Network, TLS or timeout. PostHog may have taken the body all the same.
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
            // An error often repeats the text of its cause.
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
    /// The host knows the key.
    Known,
    /// It does not know it. It would answer 200 to every batch, and drop the batch.
    Unknown,
    /// It gives no sensible answer, as a proxy that serves capture only. The export goes on.
    CannotTell(String),
    /// It gave no answer.
    NoAnswer(String),
}

/// The HTTP client. It calls only hosts that [`Egress`] allows, and uses no redirects and no proxy.
#[derive(Clone, Debug)]
pub struct Posthog {
    client: Client,
    egress: Arc<Egress>,
}

/// Makes ring the process's TLS provider, instead of aws-lc. `main` calls this first. A second call
/// changes nothing.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An answer of PostHog. Only the beginning of a long body is kept.
#[derive(Debug)]
pub struct Answer {
    /// The status; it alone decides whether a batch was accepted
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

    /// A client that also trusts these certificate authorities, beside the machine's own.
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
            // A redirect could lead to a host that is not allowed. PostHog's capture sends none.
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would resolve names itself, and the resolver here could not check them.
            .no_proxy()
            .tls_certs_merge(authorities)
            .connect_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(connections)
            // Load balancers close an idle connection after 60 s. A request must not meet a
            // connection that is about to be closed.
            .pool_idle_timeout(Duration::from_secs(50))
            .build()?;
        Ok(Self { client, egress })
    }

    /// Sends one POST. The time limit covers everything, the answer's body included.
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
        read(response, ANSWER_LIMIT).await
    }

    /// Asks PostHog's app for something, or to change something. Keeps up to `limit` bytes of the
    /// answer. The time limit covers everything.
    pub async fn ask(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<String>,
        timeout: Duration,
        limit: usize,
    ) -> Result<Answer, CallError> {
        self.egress.check_url(&url)?;
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.headers(headers).timeout(timeout).send().await?;
        read(response, limit).await
    }

    /// Asks `/flags/?v=2` whether the host knows the key. Capture itself answers 200 to any
    /// well-formed key.
    ///
    /// # Errors
    /// When the host may not be called. A host that gives no sensible answer is
    /// [`KeyCheck::CannotTell`].
    pub async fn knows_key(&self, integration: &Integration) -> Result<KeyCheck, NotAllowed> {
        let mut url = endpoint(&integration.host, "flags/");
        url.set_query(Some("v=2"));
        let body = json!({"token": integration.api_key.expose_secret(), "distinct_id": "key-check"}).to_string();
        let mut last = KeyCheck::NoAnswer(String::new());
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
                Ok(answer) => last = KeyCheck::CannotTell(format!("it answered {}", answer.status)),
                Err(CallError::NotAllowed(refused)) => return Err(refused),
                Err(CallError::Transport(why)) => last = KeyCheck::NoAnswer(why),
            }
        }
        Ok(last)
    }
}

async fn read(mut response: Response, limit: usize) -> Result<Answer, CallError> {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(reqwest::header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let mut text = Vec::new();
    // Reads to the end, so that the connection can be used again. The request's time limit ends an
    // answer that has no end.
    while let Some(part) = response.chunk().await? {
        let room = limit.saturating_sub(text.len());
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
