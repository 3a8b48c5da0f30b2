//! Messages that kill the process: they are stopped, and their neighbours are not.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use testkit::posthog::{Behavior, Rule};
use testkit::{Count, JOBS, Project};

use crate::{DAY, KEY, PATIENCE, PROJECT, SMALL, day, ready, world};

const NEIGHBOUR: &str = "neighbour";

#[tokio::test]
async fn one_that_kills_before_the_claim_is_given_up_and_its_run_is_dead() {
    // Two fewer than the broker's delivery limit: then a worker gives it up itself.
    const DELIVERIES: usize = 18;
    let (world, project) = world(20).await;
    let neighbour = Project::add(&world, NEIGHBOUR, "phc_neighbour").await;
    neighbour.seed(&[day()], 20, 2).await;
    // A worker that claims this day waits for this lock. Meanwhile it is killed.
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
    // As `enqueue` leaves it. Left so, it would be published again within the hour, for ever.
    sqlx::query("insert into posthog_export.runs (project_id, day, run) values ($1, $2::text::date, 'daily')")
        .bind(PROJECT)
        .bind(DAY)
        .execute(&world.pool())
        .await
        .unwrap();
    project.publish(DAY, "daily").await;
    for delivery in 0..DELIVERIES {
        let worker = world.worker(&[("WORKER_CONCURRENCY", "2")]).await;
        world.wait_until("the claim waits", PATIENCE, || claims(&world)).await;
        if delivery == 0 {
            neighbour.publish(DAY, "daily").await;
            neighbour.wait_state(DAY, "daily", "completed").await;
        }
        worker.kill();
        // The statement of the dead worker still waits in the database, and nobody will read its
        // answer.
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity
                     where wait_event = 'advisory' and query like '%ledger_claim_lock%' and datname = current_database()")
            .execute(&world.pool())
            .await
            .unwrap();
        world
            .wait_until("that statement has ended", PATIENCE, async || !claims(&world).await)
            .await;
    }
    let _last = world.worker(&[("WORKER_CONCURRENCY", "2")]).await;
    let letter = world.dead_letter().await;
    assert_eq!(letter.body, project.message(DAY, "daily"));
    assert_eq!(letter.headers["x-error-code"], "delivery_limit", "{}", letter.headers);
    world.wait_depth(JOBS, 0).await;
    assert_eq!(project.state(DAY, "daily").await, "dead");
}

#[tokio::test]
async fn one_that_kills_after_the_claim_is_given_up_after_five_workers() {
    let (world, project) = world(20).await;
    let settings = [
        ("LEASE", "3s"),
        ("WORKER_CONCURRENCY", "2"),
        // More than the held project has bodies, so that its neighbour at the same host gets on.
        ("SENDS_IN_FLIGHT", "64"),
        ("SEND_TIMEOUT", "40s"),
        ("RETRY_BUDGET", "50s"),
    ];
    let asked = |world: &testkit::World| {
        let batches = world.posthog.batches();
        batches.iter().filter(|batch| batch.key.as_deref() == Some(KEY)).count()
    };
    world.posthog.script(Rule::always(Behavior::HoldUnstored).for_key(KEY));
    let neighbour = Project::add(&world, NEIGHBOUR, "phc_neighbour").await;
    neighbour.seed(&[day()], 20, 2).await;
    project.publish(DAY, "daily").await;
    neighbour.publish(DAY, "daily").await;
    for _ in 0..5 {
        let (before, sent) = (asked(&world), neighbour.count("daily", Count::Sent).await);
        let worker = ready(&world, &[&SMALL, &settings]).await;
        world
            .wait_until("a batch is on its way", PATIENCE, async || asked(&world) > before)
            .await;
        // A worker that dies before its neighbour got on would count for both.
        let got_on = async || {
            neighbour.state(DAY, "daily").await == "completed" || neighbour.count("daily", Count::Sent).await > sent
        };
        world.wait_until("the neighbour gets on", PATIENCE, got_on).await;
        worker.kill();
    }
    let _last = ready(&world, &[&SMALL, &settings]).await;
    let letter = world.dead_letter().await;
    assert_eq!(letter.headers["x-error-code"], "kills_workers");
    assert_eq!(project.field("daily", "takeovers").await.as_deref(), Some("5"));
    neighbour.wait_state(DAY, "daily", "completed").await;
}
