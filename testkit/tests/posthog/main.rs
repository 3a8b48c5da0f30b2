//! The fake PostHog behaves as the real one does, and misbehaves as it is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

mod app;
mod boards;
mod capture;
mod faults;
mod nodes;

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use testkit::posthog::{Counts, FakePosthog};

const KEY: &str = "phc_known";

struct Sender {
    posthog: FakePosthog,
    client: Client,
}

async fn start() -> Sender {
    testkit::install_crypto();
    let posthog = FakePosthog::start().await;
    posthog.known_key(KEY);
    Sender {
        posthog,
        client: Client::new(),
    }
}

fn event(number: u32) -> Value {
    json!({
        "event": "langfuse trace",
        "uuid": format!("00000000-0000-5000-8000-{number:012}"),
        "distinct_id": "jo",
        "timestamp": "2024-06-01T09:30:00.123Z",
        "properties": {"number": number},
    })
}

fn batch(events: &[Value]) -> Value {
    json!({"api_key": KEY, "batch": events})
}

impl Sender {
    async fn try_send(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Result<Response> {
        let url = format!("{}{path}", self.posthog.url());
        self.client
            .post(url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
    }

    async fn send(&self, body: impl Into<reqwest::Body>) -> (u16, String) {
        let answer = self.try_send("/batch/", body).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn send_event(&self, change: impl FnOnce(&mut Value)) -> (u16, String) {
        let mut event = event(1);
        change(&mut event);
        self.send(batch(&[event]).to_string()).await
    }

    fn counts(&self) -> Counts {
        self.posthog.counts(KEY)
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn requests_are_recorded() {
    let sender = start().await;
    let body = json!({"api_key": KEY, "historical_migration": true, "sent_at": "2024-06-01T00:00:00Z", "batch": [event(1), event(2)]});
    let sent = sender
        .client
        .post(format!("{}/batch/?compression=gzip", sender.posthog.url()));
    let sent = sent
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    let answer = sent
        .header("user-agent", "exporter/1")
        .body(gzip(&body.to_string()))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let request = sender.posthog.batches().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/batch/"));
    assert_eq!(
        (request.query.as_deref(), request.status),
        (Some("compression=gzip"), Some(200))
    );
    assert_eq!((request.key.as_deref(), request.events), (Some(KEY), 2));
    assert_eq!(
        (request.header("content-encoding"), request.header("user-agent")),
        (Some("gzip"), Some("exporter/1"))
    );
    assert!(request.sent_at && request.historical_migration && request.ended.unwrap() >= request.at);
}

#[test]
fn it_outlives_a_runtime_and_ends_with_its_last_handle() {
    testkit::install_crypto();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let posthog = runtime().block_on(FakePosthog::start());
    let another = posthog.clone();
    drop(posthog);
    let address = another.address();
    let url = format!("{}/batch/", another.url());
    let answer = runtime().block_on(async { Client::new().post(url).body("x").send().await.unwrap().status() });
    assert_eq!(answer, 400);
    drop(another);
    assert!(std::net::TcpStream::connect(address).is_err());
}
