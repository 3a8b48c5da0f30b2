//! A run that seems to be lost is published again, once.

use testkit::{BACKFILL, JOBS};

use crate::{PROJECT, add_run, alter, day, jobs, json, ledger, world, yesterday};

#[tokio::test]
async fn stuck_runs_are_published_again_once() {
    let world = world().await;
    add_run(&world, day("2024-06-01"), "daily", "running", None).await;
    add_run(&world, day("2024-06-02"), "daily", "waiting", None).await;
    add_run(&world, day("2024-06-03"), "replay-1", "queued", None).await;
    add_run(&world, yesterday(), "daily", "running", None).await;
    alter(
        &world,
        "update posthog_export.runs set events = '{trace}', created_after = '2024-06-04T00:00:00.5Z' where run = 'replay-1'",
    )
    .await;
    // None of these times is long enough ago.
    alter(
        &world,
        "update posthog_export.runs set lease_expires_at = now() - interval '5 minutes',
         retry_at = now() - interval '5 minutes', queued_at = now() - interval '55 minutes'",
    )
    .await;
    assert_eq!(json(&world, &["enqueue", "--json"]).await["planned"]["healed"], 0);

    alter(
        &world,
        "update posthog_export.runs set lease_expires_at = now() - interval '11 minutes',
         retry_at = now() - interval '11 minutes', queued_at = now() - interval '61 minutes'",
    )
    .await;
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(
        (&report["planned"]["healed"], &report["confirmed"]),
        (&4.into(), &4.into())
    );
    let mut lost = jobs_with_filters(&world).await;
    lost.sort_unstable();
    assert_eq!(lost.len(), 4);
    assert!(
        lost[2].contains(r#""events":["trace"],"created_after":"2024-06-04T00:00:00.500Z""#),
        "{}",
        lost[2]
    );
    assert!(lost[3].contains(&yesterday().to_string()), "{}", lost[3]);
    // Their state is unchanged, so a worker may still take them.
    assert!(
        ledger(&world)
            .await
            .contains(&format!("{PROJECT}/2024-06-01/daily running"))
    );
    assert!(
        ledger(&world)
            .await
            .contains(&format!("{PROJECT}/2024-06-02/daily waiting"))
    );

    assert_eq!(json(&world, &["enqueue", "--json"]).await["planned"]["healed"], 0);
    assert!(jobs(&world).await.is_empty());
}

#[tokio::test]
async fn what_is_queued_is_not_lost_while_a_queue_holds_something() {
    let world = world().await;
    add_run(&world, day("2024-06-03"), "daily", "queued", None).await;
    alter(
        &world,
        "update posthog_export.runs set queued_at = now() - interval '3 hours'",
    )
    .await;
    assert!(world.publish("posthog-export", "backfill", b"{}").await);
    assert_eq!(json(&world, &["enqueue", "--json"]).await["planned"]["healed"], 0);
    world.purge(BACKFILL).await;
    assert_eq!(json(&world, &["enqueue", "--json"]).await["planned"]["healed"], 1);
    assert_eq!(jobs(&world).await, ["2024-06-03 daily"]);
}

async fn jobs_with_filters(world: &testkit::World) -> Vec<String> {
    let mut bodies = Vec::new();
    for queue in [BACKFILL, JOBS] {
        let taken = crate::drain(world, queue).await;
        bodies.extend(
            taken
                .into_iter()
                .map(|message| String::from_utf8(message.body).unwrap()),
        );
    }
    bodies
}
