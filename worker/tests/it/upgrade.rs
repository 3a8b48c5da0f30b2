//! Programs and ledgers of different versions side by side.

use std::sync::Arc;

use testkit::{Project, World, lines};

use crate::{DAY, KEY, PROJECT, day, world};

#[tokio::test]
async fn a_ledger_that_is_too_old_is_waited_for() {
    let world = Arc::new(World::new().await);
    let worker = world.worker(&[]).await;
    worker.wait_log(lines::LEDGER_TOO_OLD).await;
    let project = Project::add(&world, PROJECT, KEY).await;
    project.seed(&[day()], 20, 1).await;
    shared::ledger::migrator().run(&world.pool()).await.unwrap();
    worker.wait_ready().await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
}

#[tokio::test]
async fn a_ledger_of_the_version_before_is_waited_for() {
    let (world, _) = world().await;
    let newest = shared::ledger::migrator()
        .iter()
        .map(|migration| migration.version)
        .max();
    assert_eq!(newest, Some(15), "what is undone here is the newest migration");
    // It gives no table a new form.
    let before = "delete from posthog_export._sqlx_migrations where version = 15";
    sqlx::raw_sql(before).execute(&world.pool()).await.unwrap();
    let worker = world.worker(&[]).await;
    worker.wait_log(lines::LEDGER_TOO_OLD).await;
    let output = world.producer(&["migrate"]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    worker.wait_ready().await;
}

#[tokio::test]
async fn a_ledger_of_a_later_version_serves() {
    let (world, project) = world().await;
    let later = "insert into posthog_export._sqlx_migrations (version, description, success, checksum, execution_time)
                     values (9999, 'of a later version', true, '', 0);
                 alter table posthog_export.runs add column later text not null default 'x';
                 alter table posthog_export.streams add column later bigint;
                 create table posthog_export.later (id int)";
    sqlx::raw_sql(later).execute(&world.pool()).await.unwrap();
    project.seed(&[day()], 20, 1).await;
    let _worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
}
