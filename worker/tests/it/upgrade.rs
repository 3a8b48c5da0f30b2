//! Programs and ledgers of different versions side by side.

use testkit::{World, langfuse, lines, seed};

use crate::{DAY, KEY, PROJECT, assert_delivered, day, message, publish, world};

#[tokio::test]
async fn a_ledger_that_is_too_old_is_waited_for() {
    let world = World::new().await;
    let worker = world.worker(&[]).await;
    worker.wait_log(lines::LEDGER_TOO_OLD).await;
    langfuse::add_project(&world.pool(), PROJECT, "Project One").await;
    langfuse::add_integration(&world.pool(), PROJECT, &world.posthog.url(), KEY, true).await;
    world.posthog.known_key(KEY);
    seed::realistic(&world.pool(), PROJECT, &[day()], 20, 1).await;
    shared::ledger::migrator().run(&world.pool()).await.unwrap();
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    assert_delivered(&world).await;
}

#[tokio::test]
async fn a_ledger_of_the_version_before_is_waited_for() {
    let world = world().await;
    let before = "drop table posthog_export.last_enqueue;
                  delete from posthog_export._sqlx_migrations where version = 5";
    sqlx::raw_sql(before).execute(&world.pool()).await.unwrap();
    let worker = world.worker(&[]).await;
    worker.wait_log(lines::LEDGER_TOO_OLD).await;
    let output = world.producer(&["migrate"]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    worker.wait_ready().await;
}

#[tokio::test]
async fn a_ledger_of_a_later_version_serves() {
    let world = world().await;
    let later = "insert into posthog_export._sqlx_migrations (version, description, success, checksum, execution_time)
                     values (9999, 'of a later version', true, '', 0);
                 alter table posthog_export.runs add column later text not null default 'x';
                 alter table posthog_export.streams add column later bigint;
                 create table posthog_export.later (id int)";
    sqlx::raw_sql(later).execute(&world.pool()).await.unwrap();
    seed::realistic(&world.pool(), PROJECT, &[day()], 20, 1).await;
    let worker = world.worker(&[]).await;
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    assert_delivered(&world).await;
}
