//! `worker health`, as an image without a shell asks.

use testkit::{World, lines};

use crate::{DAY, world};

#[tokio::test]
async fn a_live_worker_is_found_and_an_ended_one_is_not() {
    // This worker is alive but not ready: it waits for a ledger. An orchestrator must not restart
    // it for that.
    let world = World::new().await;
    let worker = world.worker(&[]).await;
    worker.wait_log(lines::SERVING).await;
    let address = worker.url().trim_start_matches("http://").to_owned();
    let asked = world.worker_health(&address).await;
    assert_eq!(asked.code, 0, "{}", asked.stderr);

    // The address as the default of HTTP_ADDR has it.
    let (_, port) = address.rsplit_once(':').unwrap();
    assert_eq!(world.worker_health(&format!("0.0.0.0:{port}")).await.code, 0);

    // A paused worker: the kernel accepts the connection, but nobody answers.
    worker.pause();
    let asked = world.worker_health(&address).await;
    assert_eq!(asked.code, 1, "{}", asked.stderr);
    worker.resume();

    worker.kill();
    let asked = world.worker_health(&address).await;
    assert!(
        asked.code == 1 && asked.stderr.contains("no live worker"),
        "{}",
        asked.stderr
    );
}

#[tokio::test]
async fn another_answer_than_200_is_no_life() {
    let (world, _) = world().await;
    // The fake PostHog knows no /livez.
    let asked = world.worker_health(&world.posthog.address().to_string()).await;
    assert!(
        asked.code == 1 && asked.stderr.contains("/livez answered"),
        "{}",
        asked.stderr
    );
}

/// Ends the worker's connections to the database: a session keeps the setting that it began with.
async fn end_sessions(world: &World) {
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and application_name like '% ledger'";
    let ended: i64 = sqlx::query_scalar(end).fetch_one(&world.pool()).await.unwrap();
    assert!(ended > 0);
}

/// Nothing could be claimed, so no message is taken: it would go round the shortest rung, unseen.
#[tokio::test]
async fn a_worker_waits_for_a_ledger_that_takes_writes() {
    let (world, project) = world().await;
    let mut connection = world.pool().acquire().await.unwrap();
    let database: String = sqlx::query_scalar("select current_database()")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    // For sessions that begin from now on; this one keeps its right to write.
    let mut alter = async |how: &str| {
        let statement = format!("alter database {database} {how}");
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement));
        statement.execute(&mut *connection).await.unwrap();
    };
    alter("set default_transaction_read_only = on").await;
    let worker = world.worker(&[]).await;
    worker.wait_log(lines::READ_ONLY).await;
    alter("reset default_transaction_read_only").await;
    worker.wait_ready().await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    // Later, too, an operator sees that nothing can be recorded.
    alter("set default_transaction_read_only = on").await;
    end_sessions(&world).await;
    worker.wait_unready().await;
    alter("reset default_transaction_read_only").await;
    worker.wait_ready().await;
}
