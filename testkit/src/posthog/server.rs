//! The HTTP side of the fake: one request in, one answer (or none) out.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::State;
use super::answer::Answer;
use super::app::{self, Question};
use super::behavior::{Behavior, Cut, Route, Seen};
use super::capture::{self, Batch, Refusal, WIRE_LIMIT};
use super::wire::{Faults, Wire};

/// Bytes beyond the wire limit that are still read, so that the sender gets its 413 rather than a
/// reset.
const READ_BEFORE_413: usize = 3 * WIRE_LIMIT;

/// Accepts connections until it is dropped.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&state)));
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let faults = Faults::default();
    let wire = TokioIo::new(Wire::new(stream, faults.clone()));
    let service = service_fn(move |request| answer(request, Arc::clone(&state), faults.clone()));
    // An error is a sender that went away, or a connection that was cut on purpose.
    let _ = http1::Builder::new().serve_connection(wire, service).await;
}

/// A request in hand; recorded as ended when it is answered, cut, or given up by its sender.
struct Open {
    state: Arc<State>,
    number: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.state.log.ended(self.number);
        self.state.changed();
    }
}

/// The connection is to end without an answer.
#[derive(Debug)]
struct Ended;

impl std::fmt::Display for Ended {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "cut by the script")
    }
}

impl std::error::Error for Ended {}

/// A request once its body was read: what a rule may look at, and what the endpoint would make of
/// it.
enum Received {
    Batch(Batch),
    Flags(Option<String>),
    Question(Question, Option<String>),
    Refused(Refusal),
}

impl Received {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Batch(batch) => Some(&batch.key),
            Self::Flags(key) | Self::Question(_, key) => key.as_deref(),
            Self::Refused(_) => None,
        }
    }

    fn events(&self) -> &[Value] {
        match self {
            Self::Batch(batch) => &batch.events,
            Self::Flags(_) | Self::Question(..) | Self::Refused(_) => &[],
        }
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>, faults: Faults) -> Result<Response<Full<Bytes>>, Ended> {
    faults.clear();
    let (head, body) = request.into_parts();
    let route = route_of(head.uri.path());
    let number = state.log.arrived(&head.method, &head.uri, &head.headers, route);
    let _open = Open {
        state: Arc::clone(&state),
        number,
    };
    state.changed();
    let early = state.script().before_reading(number, route, head.method.as_str());
    match early {
        Some(Behavior::CutBeforeReading(cut)) => return end(&faults, cut),
        Some(Behavior::HangAfterAccept) => return pending().await,
        _ => {}
    }
    let received = receive(body, route, &head, &state, number).await?;
    let behavior = early.unwrap_or_else(|| {
        let seen = Seen {
            number,
            route,
            method: head.method.as_str(),
            key: received.key(),
            events: received.events(),
        };
        state.script().decide(&seen)
    });
    let answer = behave(behavior, received, &state, &faults).await?;
    state.log.answered(number, answer.status);
    Ok(answer.into_http())
}

async fn behave(behavior: Behavior, received: Received, state: &State, faults: &Faults) -> Result<Answer, Ended> {
    Ok(match behavior {
        Behavior::Ok => usual(received, usize::MAX, state),
        Behavior::Status(status, body, headers) => Answer { status, body, headers },
        Behavior::StoreThenStatus(status) => {
            usual(received, usize::MAX, state);
            Answer::text(status, "transient error, please retry")
        }
        Behavior::StoreSomeThenStatus(some, status) => {
            usual(received, some, state);
            Answer::text(status, "transient error, please retry")
        }
        Behavior::Delay(time) => {
            let answer = usual(received, usize::MAX, state);
            state.changed();
            tokio::time::sleep(time).await;
            answer
        }
        Behavior::Hold => {
            let answer = usual(received, usize::MAX, state);
            state.changed();
            state.gate.wait().await;
            answer
        }
        Behavior::HoldUnstored => {
            state.gate.wait().await;
            usual(received, usize::MAX, state)
        }
        Behavior::StoreThenCut(cut) => {
            usual(received, usize::MAX, state);
            return end(faults, cut);
        }
        Behavior::CutBeforeReading(cut) => return end(faults, cut),
        Behavior::AnswerPartially(part) => {
            faults.answer_only(part);
            usual(received, usize::MAX, state)
        }
        Behavior::SlowDrip(pause) => {
            faults.drip(pause);
            usual(received, usize::MAX, state)
        }
        Behavior::HangAfterAccept => return pending().await,
        Behavior::RejectEventsWhere(test) if received.events().iter().any(|event| test(event)) => {
            Answer::text(400, "failed to parse request: an event was refused")
        }
        Behavior::MaxEventsPerBatch(most) if received.events().len() > most => {
            Answer::text(413, "Failed to buffer the request body: length limit exceeded")
        }
        Behavior::DropEventsWhere(test) => {
            let mut received = received;
            if let Received::Batch(batch) = &mut received {
                let before = batch.events.len();
                batch.events.retain(|event| !test(event));
                state.store().count_dropped(&batch.key, before - batch.events.len());
            }
            usual(received, usize::MAX, state)
        }
        Behavior::RejectEventsWhere(_) | Behavior::MaxEventsPerBatch(_) => usual(received, usize::MAX, state),
    })
}

fn end<T>(faults: &Faults, cut: Cut) -> Result<T, Ended> {
    faults.cut(cut);
    Err(Ended)
}

/// What PostHog would do; of a batch, only the first `most` events are stored.
fn usual(received: Received, most: usize, state: &State) -> Answer {
    match received {
        Received::Refused(refusal) => refusal.into(),
        Received::Flags(key) => flags(key.as_deref(), state),
        Received::Question(question, _) => app::answer(&question, state),
        Received::Batch(batch) => {
            let mut checked = capture::check(batch.events, Utc::now());
            checked.acceptable.truncate(most);
            match state.store().take(&batch.key, checked) {
                Ok(()) => Answer::json(&json!({"status": "Ok"})),
                Err(refusal) => refusal.into(),
            }
        }
    }
}

fn flags(key: Option<&str>, state: &State) -> Answer {
    if !state.serves_flags() {
        return Answer::text(404, "");
    }
    if key.is_some_and(|key| state.store().is_known(key)) {
        return Answer::json(&json!({"errorsWhileComputingFlags": false, "flags": {}}));
    }
    Answer::text(
        401,
        "The provided API key is invalid or has expired. Please check your API key and try again.",
    )
}

fn route_of(path: &str) -> Route {
    match path.trim_end_matches('/') {
        "/batch" | "/i/v0/e" | "/e" | "/capture" | "/track" | "/engage" => Route::Batch,
        "/flags" | "/decide" => Route::Flags,
        path => app::route_of(path).unwrap_or(Route::Unknown),
    }
}

async fn receive(body: Incoming, route: Route, head: &Parts, state: &State, number: usize) -> Result<Received, Ended> {
    let wire = match Limited::new(body, READ_BEFORE_413).collect().await {
        Ok(body) => Some(body.to_bytes()).filter(|bytes| bytes.len() <= WIRE_LIMIT),
        Err(error) if error.is::<LengthLimitError>() => None,
        Err(_) => return Err(Ended),
    };
    let received = match wire {
        None => Err(Refusal {
            status: 413,
            text: "Failed to buffer the request body: length limit exceeded".to_owned(),
        }),
        Some(wire) => read(&wire, route, head, state),
    };
    let received = received.unwrap_or_else(Received::Refused);
    if let Received::Batch(batch) = &received {
        state.store().count_request(&batch.key);
        state.log.read_batch(number, batch);
    } else if let Some(key) = received.key() {
        state.log.read_key(number, key);
    }
    Ok(received)
}

fn read(wire: &[u8], route: Route, head: &Parts, state: &State) -> Result<Received, Refusal> {
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Some(question) = Question::new(head, wire) {
        let key = state.app().key_of(question.project());
        return Ok(Received::Question(question, key));
    }
    match route {
        Route::Batch if !capture::is_json(content_type) => Err(Refusal {
            status: 400,
            text: "failed to parse request: the body is not application/json".to_owned(),
        }),
        Route::Batch => capture::parse(&capture::decode(wire)?).map(Received::Batch),
        Route::Flags => {
            let body: Value = capture::decode(wire)?.parse().unwrap_or_default();
            let key = body
                .get("token")
                .or_else(|| body.get("api_key"))
                .and_then(Value::as_str);
            Ok(Received::Flags(key.map(|key| key.trim().to_owned())))
        }
        _ => Err(Refusal {
            status: 404,
            text: String::new(),
        }),
    }
}
