//! Runs one after the other, with changes in between: the oracle knows what each had to send.

use chrono::{NaiveTime, TimeDelta};
use serde_json::Value;
use testkit::oracle::{Kind, Oracle, Sent, Sequence};
use testkit::{Clock, World, langfuse};

use crate::{KEY, URL, day, deliver, three};

/// A day at 10:35 of which the three rows of 09:30 are known, and their run has sent these events.
async fn first_run(spoil: impl FnOnce(&mut Vec<Value>)) -> (World, Clock, Sequence, Sent) {
    let world = World::new().await;
    let clock = world.clock("2024-06-01 10:35").await;
    langfuse::add_project(&world.pool(), "p", "Project").await;
    three().insert(&world.pool()).await;
    world.posthog.known_key(KEY);
    let oracle = Oracle::new(world.pool(), Some(URL));
    let mut sequence = Sequence::new(oracle.clone(), &world.posthog, KEY, "p", day());
    sequence.begins(Some((hour(9), hour(10)))).await;
    let mut events = oracle.expected("p", day()).await;
    spoil(&mut events);
    deliver(&world.posthog, &events).await;
    let sent = sequence.completed().await;
    (world, clock, sequence, sent)
}

fn hour(hour: u32) -> NaiveTime {
    NaiveTime::from_hms_opt(hour, 0, 0).unwrap()
}

async fn alter(world: &World, change: &'static str) {
    sqlx::raw_sql(change).execute(&world.pool()).await.unwrap();
}

#[tokio::test]
async fn what_a_run_did_not_send_or_sent_for_nothing_is_found() {
    let (world, clock, mut sequence, sent) = first_run(|_| {}).await;
    sent.assert_exact("the first run");
    assert_eq!((sent.called_for, sent.sent, sent.again), (3, 3, 0));
    let (_world, _, _, sent) = first_run(|events| drop(events.pop())).await;
    assert_eq!(sent.findings, ["not sent: langfuse score \"s\""]);
    let (_world, _, _, sent) = first_run(|events| events.push(events[0].clone())).await;
    assert!(sent.findings[0].starts_with("2 times: langfuse trace "), "{sent:?}");

    // Nothing was touched, so nothing may be sent.
    let oracle = sequence.oracle().clone();
    let all = oracle.expected("p", day()).await;
    sequence.begins(None).await;
    deliver(&world.posthog, &all[..1]).await;
    let sent = sequence.completed().await;
    assert_eq!((sent.called_for, sent.sent, sent.again), (0, 1, 1));
    assert!(sent.findings[0].starts_with("for nothing: langfuse trace "), "{sent:?}");

    // A trace's columns stand in all of its events, and an observation in its trace's totals.
    let touches: [(&str, &[&str]); 4] = [
        (
            "update traces set updated_at = clock_timestamp()",
            &["langfuse generation", "langfuse score", "langfuse trace"],
        ),
        (
            "update observations set updated_at = clock_timestamp()",
            &["langfuse generation", "langfuse trace"],
        ),
        ("update scores set updated_at = clock_timestamp()", &["langfuse score"]),
        ("update scores set created_at = clock_timestamp()", &["langfuse score"]),
    ];
    for (touch, called_for) in touches {
        clock.forward(TimeDelta::minutes(10)).await;
        alter(&world, touch).await;
        clock.forward(TimeDelta::minutes(10)).await;
        sequence.begins(None).await;
        let sent = sequence.completed().await;
        assert_eq!((sent.called_for, sent.sent), (called_for.len(), 0), "{touch}");
        for (finding, event) in sent.findings.iter().zip(called_for) {
            assert!(finding.starts_with(&format!("not sent: {event}")), "{touch}: {finding}");
        }
    }
}

#[tokio::test]
async fn what_changed_just_before_a_run_or_during_it_is_in_doubt() {
    let (world, clock, mut sequence, _) = first_run(|_| {}).await;
    let oracle = sequence.oracle().clone();
    clock.forward(TimeDelta::minutes(20)).await;
    alter(
        &world,
        "update scores set updated_at = clock_timestamp() - interval '4 minutes'",
    )
    .await;
    // The first run has not sent it so. The second may not have seen it, so the third sends it, too.
    for (run, called_for) in [("second", 1), ("third", 1)] {
        sequence.begins(None).await;
        let events = oracle.expected_filtered("p", day(), &[Kind::Score], None).await;
        deliver(&world.posthog, &events).await;
        let sent = sequence.completed().await;
        sent.assert_exact(run);
        assert_eq!((sent.called_for, sent.again), (called_for, 1), "{run}");
        clock.forward(TimeDelta::minutes(2)).await;
    }
    sequence.begins(None).await;
    assert_eq!(sequence.completed().await, Sent::default());

    // What changes while a run is on its way it may send or not; the next one has to.
    for sends in [true, false] {
        clock.forward(TimeDelta::minutes(20)).await;
        sequence.begins(None).await;
        alter(&world, "update scores set updated_at = clock_timestamp()").await;
        let events = oracle.expected_filtered("p", day(), &[Kind::Score], None).await;
        if sends {
            deliver(&world.posthog, &events).await;
        }
        sequence.completed().await.assert_exact("it may");
        sequence.begins(None).await;
        let sent = sequence.completed().await;
        assert_eq!((sent.called_for, sent.findings.len()), (1, 1));
        // A run that failed covers nothing.
        sequence.begins(None).await;
        sequence.failed();
        clock.forward(TimeDelta::minutes(20)).await;
        sequence.begins(None).await;
        assert_eq!(sequence.completed().await.called_for, 1);
    }
}

#[tokio::test]
async fn copies_under_a_former_distinct_id_are_counted_apart() {
    let (world, _, mut sequence, _) = first_run(|_| {}).await;
    alter(
        &world,
        "update traces set user_id = 'ann', updated_at = clock_timestamp()",
    )
    .await;
    sequence.begins(None).await;
    let report = sequence.oracle().check(&world.posthog, KEY, "p", &[day()]).await;
    assert_eq!(
        (report.altered, report.former_copies),
        (3, 0),
        "the last form is missing"
    );
    let events = sequence.oracle().expected("p", day()).await;
    deliver(&world.posthog, &events).await;
    let report = sequence.oracle().check(&world.posthog, KEY, "p", &[day()]).await;
    report.assert_delivered();
    assert_eq!(
        report.to_string(),
        "delivered 3 of 3 events, 0 missing, 0 unexpected, 0 copies kept, 3 under a former distinct id"
    );
    // Nobody ever was called so.
    let mut stranger = events[0].clone();
    stranger["distinct_id"] = "somebody else".into();
    deliver(&world.posthog, &[stranger]).await;
    let report = sequence.oracle().check(&world.posthog, KEY, "p", &[day()]).await;
    assert_eq!((report.copies_kept, report.former_copies), (1, 3));
    assert!(report.findings[0].contains("somebody else"), "{:?}", report.findings);
}
