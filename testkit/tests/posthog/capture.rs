//! What the real PostHog takes, refuses, drops and folds, the fake does, too.

use serde_json::{Value, json};
use testkit::posthog::{Behavior, Counts, Route, Rule};

use crate::{KEY, batch, event, gzip, start};

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
