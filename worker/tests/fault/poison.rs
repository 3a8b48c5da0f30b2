//! Messages that kill the process: they are stopped, and their neighbours are not.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use testkit::posthog::{Behavior, Rule};

use crate::{
    DAY, JOBS, KEY, PROJECT, SMALL, add_project, dead_letter, depth, field, message, publish, publish_body, ready,
    world,
};

const NEIGHBOUR: &str = "neighbour";

#[tokio::test]
async fn one_that_kills_before_the_claim_is_dead_lettered_by_the_broker() {
    // The broker's limit, and once more.
    const DELIVERIES: usize = 21;
    let world = world(20).await;
    add_project(&world, NEIGHBOUR, "phc_neighbour").await;
    testkit::seed::realistic(&world.pool(), NEIGHBOUR, &[crate::day()], 20, 2).await;
    // Whoever claims this day waits; meanwhile the process is killed.
    let mut lock = PgConnection::connect(&world.database_url).await.unwrap();
    sqlx::query("select pg_advisory_lock(hashtextextended($1, 0))")
        .bind(format!("posthog_export.claim/{PROJECT}/{DAY}"))
        .execute(&mut lock)
        .await
        .unwrap();
    let claims = async |world: &testkit::World| {
        let waiting = "select count(*) from pg_stat_activity
                       where wait_event = 'advisory' and query like '%ledger_claim_lock%' and datname = current_database()";
        sqlx::query_scalar::<_, i64>(waiting)
            .fetch_one(&world.pool())
            .await
            .unwrap()
            > 0
    };
    publish(&world).await;
    for delivery in 0..DELIVERIES {
        let worker = world.worker(&[("WORKER_CONCURRENCY", "2")]).await;
        world
            .wait_until("the claim waits", crate::PATIENCE, || claims(&world))
            .await;
        if delivery == 0 {
            publish_body(&world, &message(NEIGHBOUR, Some("daily"))).await;
            world.wait_state(NEIGHBOUR, DAY, "daily", "completed").await;
        }
        worker.kill();
        // Its own statement goes on waiting, without anybody who reads the answer.
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity
                     where wait_event = 'advisory' and query like '%ledger_claim_lock%' and datname = current_database()")
            .execute(&world.pool())
            .await
            .unwrap();
        world
            .wait_until("that statement has ended", crate::PATIENCE, async || {
                !claims(&world).await
            })
            .await;
    }
    let letter = dead_letter(&world).await;
    assert_eq!(letter.body, message(PROJECT, Some("daily")));
    assert_eq!(
        letter.headers["x-death"][0]["reason"], "delivery_limit",
        "{}",
        letter.headers
    );
    depth(&world, JOBS, 0).await;
    assert_eq!(field(&world, "state").await, None);
}

#[tokio::test]
async fn one_that_kills_after_the_claim_is_given_up_after_five_workers() {
    let world = world(20).await;
    let settings = [
        ("LEASE", "3s"),
        ("WORKER_CONCURRENCY", "2"),
        ("SEND_TIMEOUT", "40s"),
        ("RETRY_BUDGET", "50s"),
    ];
    let asked = |world: &testkit::World| {
        let batches = world.posthog.batches();
        batches.iter().filter(|batch| batch.key.as_deref() == Some(KEY)).count()
    };
    world.posthog.script(Rule::always(Behavior::HoldUnstored).for_key(KEY));
    add_project(&world, NEIGHBOUR, "phc_neighbour").await;
    testkit::seed::realistic(&world.pool(), NEIGHBOUR, &[crate::day()], 20, 2).await;
    publish(&world).await;
    publish_body(&world, &message(NEIGHBOUR, Some("daily"))).await;
    for _ in 0..5 {
        let before = asked(&world);
        let worker = ready(&world, &[&SMALL, &settings]).await;
        world
            .wait_until("a batch is on its way", crate::PATIENCE, async || {
                asked(&world) > before
            })
            .await;
        worker.kill();
    }
    let _last = ready(&world, &[&SMALL, &settings]).await;
    let letter = dead_letter(&world).await;
    assert_eq!(letter.headers["x-error-code"], "kills_workers");
    assert_eq!(field(&world, "takeovers").await.as_deref(), Some("5"));
    world.wait_state(NEIGHBOUR, DAY, "daily", "completed").await;
}
