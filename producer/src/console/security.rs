//! Who may see a page. Every answer, also a refusal, goes out with the same headers.

mod client;
mod guesses;
mod headers;
mod host;
mod known;
mod listen;
mod origin;
mod password;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use guesses::{Guesses, Sender};
pub(super) use host::Hosts;
use known::Known;
pub(super) use listen::{Protection, may_listen};
pub(super) use origin::may_act;
pub(super) use password::Password;
use password::given;

/// What a probe of an orchestrator asks, under whatever name. It says nothing but that it answers.
pub(super) const HEALTH: &str = "/healthz";

/// What is asked of each request.
#[derive(Debug)]
pub(super) struct Gate {
    hosts: Hosts,
    password: Option<Password>,
    /// Whether it may change something
    actions: bool,
    guesses: Mutex<Guesses>,
    known: Known,
    behind_proxy: bool,
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
    /// It wants to change something, and the console only shows
    ReadOnly,
    /// It was not one of the console's own pages that sent it
    Origin,
    /// The console has no use for this method
    Method,
}

/// How requests come to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// A proxy says where they come from
    pub(super) behind_proxy: bool,
    /// Between browser and console, or browser and proxy, there is TLS
    pub(super) is_tls: bool,
}

impl Gate {
    pub(super) fn new(hosts: Hosts, password: Option<Password>, actions: bool, way: Way) -> Self {
        Self {
            hosts,
            password,
            actions,
            guesses: Mutex::default(),
            known: Known::new(way.is_tls),
            behind_proxy: way.behind_proxy,
        }
    }

    /// The cookie for a browser that was let in and has none.
    fn mark(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.password.as_ref()?;
        if self.known.of(headers).is_some() {
            return None;
        }
        self.known.mark()
    }

    fn judge(&self, from: IpAddr, method: &Method, headers: &HeaderMap, now: Instant) -> Result<(), Refusal> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.hosts.know(host)) {
            return Err(Refusal::Host);
        }
        if method == Method::POST {
            if !self.actions {
                return Err(Refusal::ReadOnly);
            }
            // Before the password: a page of somebody else learns nothing, and is no guess.
            if !origin::is_own(headers, &self.hosts) {
                return Err(Refusal::Origin);
            }
        } else if method != Method::GET && method != Method::HEAD {
            return Err(Refusal::Method);
        }
        if let Some(password) = &self.password {
            let sender = match self.known.of(headers) {
                Some(browser) => Sender::Browser(browser),
                None => Sender::Place(client::place(from)),
            };
            let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
            guesses.may_try(sender, now).map_err(Refusal::Wait)?;
            match given(headers) {
                Some(given) if password.is(&given) => {}
                // A browser asks without a password first: that is no guess.
                None => return Err(Refusal::Password),
                Some(_) => {
                    guesses.failed(sender, now);
                    return Err(Refusal::Password);
                }
            }
        }
        Ok(())
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
                "Too many wrong passwords came from this address. Wait a minute. A browser that was let in before does not wait.\n",
            )
                .into_response(),
            Self::ReadOnly => text(
                StatusCode::FORBIDDEN,
                "The console was started without --allow-actions; it only shows.\n",
            ),
            Self::Origin => text(
                StatusCode::FORBIDDEN,
                "No page of this console sent this: neither Sec-Fetch-Site nor Origin says so. Nothing was done.\n",
            ),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                [(header::ALLOW, "GET, HEAD, POST")],
                "The console takes GET, HEAD and POST.\n",
            )
                .into_response(),
        }
    }
}

/// Lets a request through to its page, or turns it away.
pub(super) async fn guard(
    State(gate): State<Arc<Gate>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_health = request.uri().path() == HEALTH;
    let client = client::client(from.ip(), request.headers(), gate.behind_proxy);
    let judged = gate.judge(client, request.method(), request.headers(), Instant::now());
    let mut answer = match judged {
        Ok(()) => {
            let mark = gate.mark(request.headers()).filter(|_| !is_health);
            // What actions write down is who asked, not which proxy.
            request
                .extensions_mut()
                .insert(ConnectInfo(SocketAddr::new(client, from.port())));
            let mut answer = next.run(request).await;
            if let Some(mark) = mark {
                answer.headers_mut().append(header::SET_COOKIE, mark);
            }
            answer
        }
        Err(_) if is_health => next.run(request).await,
        Err(refusal) => {
            tracing::warn!(from = %client, ?refusal, "a request to the console was turned away");
            refusal.answer()
        }
    };
    headers::add(answer.headers_mut());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    #[test]
    fn a_request_needs_a_known_name_then_the_right_to_act_then_the_password() {
        let from = IpAddr::from([127, 0, 0, 1]);
        let gate = |actions| {
            let password = Password::new(&"correct horse battery".into()).unwrap();
            let way = Way {
                behind_proxy: false,
                is_tls: false,
            };
            Gate::new(Hosts::new(None), Some(password), actions, way)
        };
        let (reading, acting) = (gate(false), gate(true));
        let judge = |gate: &Gate, method: Method, pairs: &[(HeaderName, &str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
            gate.judge(from, &method, &headers.collect(), Instant::now())
        };
        // `me:correct horse battery`
        let right = (header::AUTHORIZATION, "Basic bWU6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5");
        let here = (header::HOST, "localhost:8090");
        let rebound = (header::HOST, "evil.example:8090");
        let own = (HeaderName::from_static("sec-fetch-site"), "same-origin");
        for gate in [&reading, &acting] {
            let get = |pairs: &[(HeaderName, &str)]| judge(gate, Method::GET, pairs);
            assert_eq!(get(std::slice::from_ref(&right)), Err(Refusal::Host));
            assert_eq!(get(&[rebound.clone(), right.clone()]), Err(Refusal::Host));
            assert_eq!(get(std::slice::from_ref(&here)), Err(Refusal::Password));
            assert_eq!(get(&[here.clone(), right.clone()]), Ok(()));
            for other in [Method::PUT, Method::DELETE, Method::OPTIONS] {
                let whole = [here.clone(), right.clone(), own.clone()];
                assert_eq!(judge(gate, other, &whole), Err(Refusal::Method));
            }
        }
        let post = |gate: &Gate, pairs: &[(HeaderName, &str)]| judge(gate, Method::POST, pairs);
        let whole = [here.clone(), right.clone(), own.clone()];
        assert_eq!(post(&reading, &whole), Err(Refusal::ReadOnly));
        assert_eq!(post(&acting, &whole), Ok(()));
        assert_eq!(
            post(&acting, &[rebound, right.clone(), own.clone()]),
            Err(Refusal::Host)
        );
        assert_eq!(post(&acting, &[here.clone(), right]), Err(Refusal::Origin));
        assert_eq!(post(&acting, &[here, own]), Err(Refusal::Password));
    }
}
