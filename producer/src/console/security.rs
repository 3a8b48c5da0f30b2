//! Who may see a page. Every answer, also a refusal, goes out with the same headers.

mod headers;
mod host;
mod listen;
mod password;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

pub(super) use host::Hosts;
pub(super) use listen::{Protection, may_listen};
pub(super) use password::Password;
use password::{Guesses, given};

/// What a probe of an orchestrator asks, under whatever name. It says nothing but that it answers.
pub(super) const HEALTH: &str = "/healthz";

/// What is asked of each request.
#[derive(Debug)]
pub(super) struct Gate {
    hosts: Hosts,
    password: Option<Password>,
    guesses: Mutex<Guesses>,
}

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It came under a name that is not the console's
    Host,
    /// The password is missing or wrong
    Password,
    /// Too many wrong passwords came from there; the next one is looked at after so many seconds
    Wait(u64),
    /// It wants to change something
    Method,
}

impl Gate {
    pub(super) fn new(hosts: Hosts, password: Option<Password>) -> Self {
        Self {
            hosts,
            password,
            guesses: Mutex::default(),
        }
    }

    fn judge(&self, from: SocketAddr, method: &Method, headers: &HeaderMap, now: Instant) -> Result<(), Refusal> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.hosts.know(host)) {
            return Err(Refusal::Host);
        }
        if let Some(password) = &self.password {
            let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
            guesses.may_try(from.ip(), now).map_err(Refusal::Wait)?;
            match given(headers) {
                Some(given) if password.is(&given) => {}
                // A browser asks without a password first: that is no guess.
                None => return Err(Refusal::Password),
                Some(_) => {
                    guesses.failed(from.ip(), now);
                    return Err(Refusal::Password);
                }
            }
        }
        if method == Method::GET || method == Method::HEAD {
            Ok(())
        } else {
            Err(Refusal::Method)
        }
    }
}

impl Refusal {
    fn answer(self) -> Response {
        let text = |status: StatusCode, words: &'static str| (status, words).into_response();
        match self {
            Self::Host => text(
                StatusCode::MISDIRECTED_REQUEST,
                "The console is not known under this name. Start it with --public-url and the address that you use.\n",
            ),
            Self::Password => (
                StatusCode::UNAUTHORIZED,
                [(
                    header::WWW_AUTHENTICATE,
                    r#"Basic realm="posthog-export console", charset="UTF-8""#,
                )],
                "The password is CONSOLE_PASSWORD of the console, under any user name.\n",
            )
                .into_response(),
            Self::Wait(seconds) => (
                StatusCode::TOO_MANY_REQUESTS,
                [(header::RETRY_AFTER, seconds.to_string())],
                "Too many wrong passwords came from this address. Wait a minute.\n",
            )
                .into_response(),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                [(header::ALLOW, "GET, HEAD")],
                "The console only shows; it changes nothing.\n",
            )
                .into_response(),
        }
    }
}

/// Lets a request through to its page, or turns it away.
pub(super) async fn guard(
    State(gate): State<Arc<Gate>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let is_health = request.uri().path() == HEALTH;
    let judged = gate.judge(from, request.method(), request.headers(), Instant::now());
    let mut answer = match judged {
        Ok(()) => next.run(request).await,
        Err(_) if is_health => next.run(request).await,
        Err(refusal) => {
            tracing::warn!(%from, ?refusal, "a request to the console was turned away");
            refusal.answer()
        }
    };
    headers::add(answer.headers_mut());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_needs_a_known_name_then_the_password_then_a_reading_method() {
        let from = SocketAddr::from(([127, 0, 0, 1], 5));
        let gate = Gate::new(
            Hosts::new(None),
            Some(Password::new(&"correct horse battery".into()).unwrap()),
        );
        let judge = |method: Method, pairs: &[(header::HeaderName, &str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
            gate.judge(from, &method, &headers.collect(), Instant::now())
        };
        // `me:correct horse battery`
        let right = (header::AUTHORIZATION, "Basic bWU6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5");
        let here = (header::HOST, "localhost:8090");
        assert_eq!(judge(Method::GET, std::slice::from_ref(&right)), Err(Refusal::Host));
        let rebound = (header::HOST, "evil.example:8090");
        assert_eq!(judge(Method::GET, &[rebound, right.clone()]), Err(Refusal::Host));
        assert_eq!(judge(Method::GET, std::slice::from_ref(&here)), Err(Refusal::Password));
        assert_eq!(judge(Method::GET, &[here.clone(), right.clone()]), Ok(()));
        assert_eq!(judge(Method::POST, &[here, right]), Err(Refusal::Method));
    }
}
