//! The fake misbehaves as its rules say.

use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::json;
use testkit::posthog::{Behavior, Cut, Part, Rule};

use crate::{KEY, batch, event, start};

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
