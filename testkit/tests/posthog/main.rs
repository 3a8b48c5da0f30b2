//! The fake PostHog behaves as the real one does, and misbehaves as it is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::{Compression, write::GzEncoder};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use testkit::posthog::{Behavior, Counts, Cut, FakePosthog, Part, Route, Rule};

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
async fn copies_are_folded_and_the_last_one_wins() {
    let sender = start().await;
    let ok = (200, r#"{"status":"Ok"}"#.to_owned());
    assert_eq!(sender.send(gzip(&batch(&[event(1), event(2)]).to_string())).await, ok);
    assert_eq!(
        sender
            .send_event(|event| event["properties"]["number"] = 7.into())
            .await,
        ok
    );
    assert_eq!(sender.send(batch(&[event(2)]).to_string()).await, ok);
    let events = sender.posthog.events(KEY);
    assert_eq!((&events[0]["properties"]["number"], &events[1]), (&json!(7), &event(2)));
    let counts = Counts {
        requests: 3,
        received: 4,
        stored: 2,
        resent: 2,
        changed: 1,
        ..Counts::default()
    };
    assert_eq!(sender.counts(), counts);

    sender
        .send_event(|event| event["distinct_id"] = "someone else".into())
        .await;
    assert_eq!(sender.counts().copies_kept, 1);
    sender
        .send_event(|event| event["timestamp"] = "2024-06-01T23:59:59.999Z".into())
        .await;
    assert_eq!(sender.counts().copies_kept, 1, "the same date is the same event");
    sender
        .send_event(|event| event["timestamp"] = "2024-06-02T00:00:00.000Z".into())
        .await;
    assert_eq!((sender.counts().copies_kept, sender.counts().stored), (1, 4));
    sender.posthog.reset();
    assert_eq!(
        (sender.counts(), sender.posthog.requests().len()),
        (Counts::default(), 0)
    );
    assert_eq!(sender.send_event(|_| {}).await, ok);
    assert_eq!(sender.counts().stored, 1, "the key is still known");
}

#[tokio::test]
async fn an_unknown_key_and_one_over_its_limit_get_200_and_nothing_is_kept() {
    let sender = start().await;
    sender.posthog.forget_key(KEY);
    assert_eq!(sender.send_event(|_| {}).await.0, 200);
    sender.posthog.known_key(KEY);
    sender.posthog.billing_limit(KEY, true);
    assert_eq!(sender.send_event(|_| {}).await.0, 200);
    assert_eq!(
        sender.counts(),
        Counts {
            requests: 2,
            dropped: 2,
            ..Counts::default()
        }
    );
    sender.posthog.billing_limit(KEY, false);
    assert_eq!(sender.send_event(|_| {}).await.0, 200);
    assert_eq!(sender.counts().stored, 1);
}

#[tokio::test]
async fn a_bad_event_refuses_its_whole_batch() {
    type Spoil = fn(&mut Value);
    let sender = start().await;
    let bad: [(&str, Spoil); 17] = [
        ("did not match any variant", |event| event["properties"] = Value::Null),
        ("did not match any variant", |event| event["properties"] = json!([])),
        ("did not match any variant", |event| event["properties"] = "text".into()),
        ("did not match any variant", |event| event["event"] = Value::Null),
        ("did not match any variant", |event| {
            drop(event.as_object_mut().unwrap().remove("event"));
        }),
        ("did not match any variant", |event| event["uuid"] = "no uuid".into()),
        ("did not match any variant", |event| event["uuid"] = 7.into()),
        ("did not match any variant", |event| {
            event["timestamp"] = 1_717_200_000.into();
        }),
        ("did not match any variant", |event| event["$set"] = "text".into()),
        ("did not match any variant", |event| event["offset"] = 1.5.into()),
        ("did not match any variant", |event| {
            event["$distinct_id"] = "twice".into();
        }),
        ("event submitted with an empty event name", |event| {
            event["event"] = "".into();
        }),
        ("event submitted without a distinct_id", |event| {
            event["distinct_id"] = Value::Null;
        }),
        ("event submitted without a distinct_id", |event| {
            drop(event.as_object_mut().unwrap().remove("distinct_id"));
        }),
        ("event submitted with an empty distinct_id", |event| {
            event["distinct_id"] = "".into();
        }),
        ("event submitted with an empty distinct_id", |event| {
            event["distinct_id"] = " \u{3000}\t".into();
        }),
        ("did not match any variant", |event| *event = json!("no event")),
    ];
    for (why, spoil) in bad {
        let mut spoilt = event(2);
        spoil(&mut spoilt);
        let (status, text) = sender.send(batch(&[event(1), spoilt.clone()]).to_string()).await;
        assert!(status == 400 && text.contains(why), "{status} {text} for {spoilt}");
    }
    assert_eq!(sender.counts().stored, 0);
}

#[tokio::test]
async fn a_bad_body_is_refused_in_posthogs_words() {
    let sender = start().await;
    let of = |key: &str| json!({"api_key": key, "batch": [event(1)]}).to_string();
    let text = batch(&[event(1)]).to_string();
    let lone_surrogate = text.replace("jo", "\\ud800");
    let (nan, deep) = (text.replace(r#""number":1"#, r#""number":NaN"#), |levels: usize| {
        text.replace(
            r#""number":1"#,
            &format!(r#""number":{}{}"#, "[".repeat(levels), "]".repeat(levels)),
        )
    });
    let cases = [
        (400, "failed to parse request", "not json".to_owned()),
        (400, "failed to parse request", lone_surrogate),
        (400, "failed to parse request", nan),
        (400, "recursion limit", deep(124)),
        (
            400,
            "did not match any variant",
            json!({"batch": [event(1)]}).to_string(),
        ),
        (
            400,
            "did not match any variant",
            json!({"api_key": null, "batch": [event(1)]}).to_string(),
        ),
        (
            400,
            "did not match any variant",
            json!({"api_key": KEY, "batch": [], "sent_at": 1}).to_string(),
        ),
        (
            400,
            "did not match any variant",
            json!({"api_key": KEY, "batch": [event(1)], "historical_migration": "true"}).to_string(),
        ),
        (400, "request holds no event", batch(&[]).to_string()),
        (401, "API key is not valid: empty", of(" ")),
        (401, "API key is not valid: too_long", of(&"k".repeat(65))),
        (401, "API key is not valid: not_ascii", of("phc_é")),
        (401, "API key is not valid: personal_api_key", of("phx_mine")),
    ];
    for (expected, why, body) in cases {
        let (status, text) = sender.send(body.clone()).await;
        assert!(status == expected && text.contains(why), "{status} {text} for {body}");
    }
    let mut truncated = gzip(&text);
    truncated.truncate(truncated.len() / 2);
    assert_eq!(
        sender.send(truncated).await,
        (400, "failed to decode request: invalid gzip data".to_owned())
    );
    let form = sender
        .client
        .post(format!("{}/batch/", sender.posthog.url()))
        .body(text.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(form.status(), 400, "without a content type");
    assert_eq!(sender.counts().stored, 0);
    for path in ["/batch", "/batch/", "/i/v0/e/", "/i/v0/e"] {
        assert_eq!(
            sender.try_send(path, text.clone()).await.unwrap().status(),
            200,
            "{path}"
        );
    }
    assert_eq!(sender.send(deep(123)).await.0, 200);
    assert_eq!(sender.try_send("/elsewhere", text).await.unwrap().status(), 404);
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_what_came_before_it_is_kept() {
    let sender = start().await;
    let with = |number: u32, text: &str| {
        let mut event = event(number);
        event["properties"] = json!({"text": text});
        event
    };
    let size = |event: &Value| event.to_string().len() + event.to_string().matches(['"', '\\']).count() + 220;
    let room = 1_000_000 - size(&with(4, ""));
    let largest = with(4, &"x".repeat(room));
    let too_large = with(4, &"x".repeat(room + 1));
    let events = [event(1), event(2), event(3), too_large, event(5)];
    assert_eq!(
        sender.send(batch(&events).to_string()).await,
        (400, "maximum event size exceeded".to_owned())
    );
    assert_eq!(sender.counts().stored, 3);
    assert_eq!(sender.send(batch(&[largest]).to_string()).await.0, 200);
    assert_eq!(
        sender
            .send(batch(&[with(6, &"\"".repeat(300_000))]).to_string())
            .await
            .0,
        400
    );
    assert_eq!(
        sender
            .send(batch(&[with(6, &"\n".repeat(250_000))]).to_string())
            .await
            .0,
        200
    );

    let (status, text) = sender.send(vec![b' '; 20 * 1024 * 1024 + 1]).await;
    assert_eq!(
        (status, text.as_str()),
        (413, "Failed to buffer the request body: length limit exceeded")
    );
    let bomb = gzip(&" ".repeat(100 * 1024 * 1024 + 1));
    assert_eq!(sender.send(bomb).await, (400, "maximum event size exceeded".to_owned()));
}

#[tokio::test]
async fn ids_are_kept_as_posthog_keeps_them() {
    let sender = start().await;
    sender
        .send_event(|event| event["distinct_id"] = "é".repeat(250).into())
        .await;
    sender
        .send_event(|event| (event["uuid"], event["distinct_id"]) = (Value::Null, 7.into()))
        .await;
    let events = sender.posthog.events(KEY);
    assert_eq!(events[0]["distinct_id"], "é".repeat(200));
    assert_eq!(events[1]["distinct_id"], "7");
    assert_ne!(events[1]["uuid"], Value::Null);
}

#[tokio::test]
async fn keys_can_be_checked() {
    let sender = start().await;
    let check = async |key: &str| {
        let body = json!({"token": key, "distinct_id": "probe"}).to_string();
        sender.try_send("/flags/?v=2", body).await.unwrap().status()
    };
    assert_eq!(check(KEY).await, 200);
    assert_eq!(check("phc_unknown").await, 401);
    sender
        .posthog
        .script(Rule::next(1, Behavior::status(503)).on(Route::Flags));
    assert_eq!(check(KEY).await, 503);
    sender.posthog.flags_route(false);
    assert_eq!(check(KEY).await, 404);
    assert_eq!(sender.counts().requests, 0, "a check is no batch");
    assert_eq!(sender.posthog.requests().len(), 4);
}

#[tokio::test]
async fn rules_are_asked_in_order() {
    let sender = start().await;
    sender.posthog.script(Rule::next(2, Behavior::retry_after(429, 3)));
    sender.posthog.script(Rule::next(1, Behavior::StoreThenStatus(503)));
    sender.posthog.script(Rule::every(2, Behavior::status(500)));
    let mut statuses = Vec::new();
    for number in 0..7 {
        statuses.push(sender.send(batch(&[event(number)]).to_string()).await.0);
    }
    assert_eq!(statuses, [429, 429, 503, 200, 500, 200, 500]);
    assert_eq!(sender.counts().stored, 3);
    sender.posthog.behave();
    assert_eq!(sender.send_event(|_| {}).await.0, 200);

    sender
        .posthog
        .script(Rule::always(Behavior::status(402)).for_key("phc_other"));
    assert_eq!(sender.send_event(|_| {}).await.0, 200);
    assert_eq!(
        sender
            .send(json!({"api_key": "phc_other", "batch": [event(1)]}).to_string())
            .await
            .0,
        402
    );
    sender.posthog.behave();

    sender.posthog.script(Rule::choose(|seen| {
        (seen.events.len() == 2).then(|| Behavior::StoreSomeThenStatus(1, 503))
    }));
    assert_eq!(sender.send(batch(&[event(100)]).to_string()).await.0, 200);
    assert_eq!(sender.send(batch(&[event(101), event(102)]).to_string()).await.0, 503);
    assert!(!sender.posthog.events(KEY).contains(&event(102)));
    sender.posthog.behave();

    let seldom = |seed| {
        let sender = &sender;
        async move {
            sender.posthog.script(Rule::sometimes(0.3, seed, Behavior::status(500)));
            let mut failed = Vec::new();
            for number in 0..40 {
                failed.push(sender.send(batch(&[event(number)]).to_string()).await.0 == 500);
            }
            sender.posthog.behave();
            failed
        }
    };
    let first = seldom(1).await;
    assert!(
        (4..=24).contains(&first.iter().filter(|failed| **failed).count()),
        "{first:?}"
    );
    assert_eq!(first, seldom(1).await);
    assert_ne!(first, seldom(2).await);
}

#[tokio::test]
async fn events_can_be_refused_by_what_they_hold_or_how_many_they_are() {
    let sender = start().await;
    sender
        .posthog
        .script(Rule::always(Behavior::reject_events_where(|event| {
            event["properties"]["number"] == 2
        })));
    assert_eq!(sender.send(batch(&[event(1), event(2)]).to_string()).await.0, 400);
    assert_eq!(sender.send(batch(&[event(1), event(3)]).to_string()).await.0, 200);
    sender.posthog.behave();
    sender.posthog.script(Rule::always(Behavior::MaxEventsPerBatch(1)));
    assert_eq!(sender.send(batch(&[event(4), event(5)]).to_string()).await.0, 413);
    assert_eq!(sender.send(batch(&[event(4)]).to_string()).await.0, 200);
    assert_eq!(sender.counts().stored, 3);
}

#[tokio::test]
async fn a_cut_connection_is_an_error_and_says_nothing_of_what_was_stored() {
    let sender = start().await;
    let body = batch(&[event(1)]).to_string();
    for cut in [Cut::Fin, Cut::Rst] {
        sender.posthog.reset();
        sender.posthog.script(Rule::next(1, Behavior::StoreThenCut(cut)));
        sender.try_send("/batch/", body.clone()).await.unwrap_err();
        assert_eq!(sender.counts().stored, 1, "{cut:?}");
        sender.posthog.reset();
        sender.posthog.script(Rule::next(1, Behavior::CutBeforeReading(cut)));
        // Large enough that it cannot all lie in the socket's buffers.
        sender.try_send("/batch/", vec![b' '; 10_000_000]).await.unwrap_err();
        assert_eq!(sender.posthog.requests()[0].status, None);
        assert_eq!((sender.counts().requests, sender.counts().stored), (0, 0), "{cut:?}");
        assert_eq!(sender.send(body.clone()).await.0, 200, "the next connection is served");
    }
    sender.posthog.reset();
    sender
        .posthog
        .script(Rule::next(1, Behavior::AnswerPartially(Part::Head)));
    sender.try_send("/batch/", body.clone()).await.unwrap_err();
    sender
        .posthog
        .script(Rule::next(1, Behavior::AnswerPartially(Part::Body)));
    let answer = sender.try_send("/batch/", body.clone()).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap_err();
    assert_eq!(sender.counts().received, 2);
    sender.posthog.reset();
    sender
        .posthog
        .script(Rule::next(1, Behavior::CutBeforeReading(Cut::Rst)).for_key(KEY));
    sender.try_send("/batch/", body).await.unwrap_err();
    assert_eq!(sender.counts().stored, 0);
}

#[tokio::test]
async fn a_reset_and_an_orderly_end_look_different_to_the_sender() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sender = start().await;
    let body = batch(&[event(1)]).to_string();
    let head = format!(
        "POST /batch/ HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    for (behavior, expected) in [
        (Behavior::StoreThenCut(Cut::Fin), Ok(0)),
        (
            Behavior::StoreThenCut(Cut::Rst),
            Err(std::io::ErrorKind::ConnectionReset),
        ),
        (Behavior::CutBeforeReading(Cut::Fin), Ok(0)),
        (
            Behavior::CutBeforeReading(Cut::Rst),
            Err(std::io::ErrorKind::ConnectionReset),
        ),
    ] {
        sender.posthog.script(Rule::next(1, behavior.clone()));
        let mut socket = tokio::net::TcpStream::connect(sender.posthog.address()).await.unwrap();
        socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let read = socket.read(&mut [0; 1]).await.map_err(|error| error.kind());
        assert_eq!(read, expected, "{behavior:?}");
    }
}

#[tokio::test]
async fn a_request_is_held_until_it_is_released() {
    let sender = start().await;
    for (behavior, stored) in [(Behavior::Hold, 1), (Behavior::HoldUnstored, 0)] {
        sender.posthog.reset();
        sender.posthog.script(Rule::next(1, behavior));
        let sent = sender.send(batch(&[event(1)]).to_string());
        let watched = async {
            sender.posthog.held().await;
            let then = (sender.counts().stored, sender.posthog.requests()[0].status);
            sender.posthog.release();
            then
        };
        let ((status, _), then) = tokio::join!(sent, watched);
        assert_eq!((status, then), (200, (stored, None)));
        assert_eq!(sender.counts().stored, 1);
    }
    // A sender that goes away before it was stored leaves nothing.
    sender.posthog.reset();
    sender.posthog.script(Rule::next(1, Behavior::HoldUnstored));
    tokio::select! {
        _ = sender.send(batch(&[event(1)]).to_string()) => panic!("it is held"),
        () = sender.posthog.held() => {}
    }
    sender
        .posthog
        .until(|posthog| posthog.requests()[0].ended.is_some())
        .await;
    assert_eq!(sender.counts().stored, 0);
}

#[tokio::test]
async fn answers_can_be_slow_or_never_come() {
    let sender = start().await;
    let body = batch(&[event(1)]).to_string();
    sender
        .posthog
        .script(Rule::next(1, Behavior::Delay(Duration::from_millis(50))));
    sender
        .posthog
        .script(Rule::next(1, Behavior::SlowDrip(Duration::from_millis(1))));
    sender.posthog.script(Rule::next(1, Behavior::HangAfterAccept));
    let started = Instant::now();
    assert_eq!(sender.send(body.clone()).await.0, 200);
    assert!(started.elapsed() >= Duration::from_millis(50));
    let started = Instant::now();
    assert_eq!(sender.send(body.clone()).await, (200, r#"{"status":"Ok"}"#.to_owned()));
    assert!(
        started.elapsed() >= Duration::from_millis(100),
        "{:?}",
        started.elapsed()
    );
    let impatient = Client::builder().timeout(Duration::from_millis(200)).build().unwrap();
    let sent = impatient
        .post(format!("{}/batch/", sender.posthog.url()))
        .header("content-type", "application/json");
    assert!(sent.body(body).send().await.unwrap_err().is_timeout());
    assert_eq!(sender.counts().received, 2);
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
