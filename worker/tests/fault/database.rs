//! PostgreSQL dies, is cut off, or does not answer.

use std::time::Duration;

use sqlx::{Postgres, Transaction};
use testkit::posthog::{Behavior, Rule};
use testkit::{DEAD, JOBS, Outcome, World, lines};

use crate::{DAY, PATIENCE, SMALL, fragile, prepared, ready, slow, world};

/// Two workers export; the database ends as `end` says, and comes back.
async fn outage(end: impl AsyncFnOnce(&testkit::Servers)) {
    let servers = fragile().await;
    let servers = servers.as_ref().unwrap();
    let (world, project) = prepared(World::on(servers.clone()).await, 300).await;
    slow(&world, 30);
    let workers = [ready(&world, &[&SMALL]).await, ready(&world, &[&SMALL]).await];
    project.publish(DAY, "daily").await;
    project.stored(100).await;
    end(servers).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(field_unreachable(&world).await, "the fault did not bite");
    servers.postgres.start_again().await;
    project.arrives(DAY).await;
    for worker in &workers {
        worker.wait_ready().await;
    }
    assert_eq!(project.field("daily", "attempt").await.as_deref(), Some("0"));
    assert_eq!(world.queue_depth(DEAD).await, 0);
}

async fn field_unreachable(world: &World) -> bool {
    sqlx::query("select 1").execute(&world.pool()).await.is_err()
}

#[tokio::test]
async fn it_is_killed_and_comes_back() {
    outage(async |servers| servers.postgres.kill()).await;
}

#[tokio::test]
async fn it_is_stopped_at_once_and_comes_back() {
    outage(async |servers| servers.postgres.stop().await).await;
}

/// Keeps pages from being finished until the test lets them go. Only a connection that is cut
/// during a page interrupts a job; the pool replaces one that is cut between two pages.
struct HeldPages(Transaction<'static, Postgres>);

impl HeldPages {
    /// Lets no page of observations end, and waits until one has begun.
    async fn of(world: &World) -> Self {
        let mut lock = world.pool().begin().await.unwrap();
        let table = "lock table observations in access exclusive mode";
        sqlx::raw_sql(table).execute(&mut *lock).await.unwrap();
        let begun = "select exists (select from pg_stat_activity where wait_event_type = 'Lock'
            and datname = current_database() and query like '-- source_%')";
        let pool = world.pool();
        world
            .wait_until("a page is being read", PATIENCE, async || {
                sqlx::query_scalar::<_, bool>(begun).fetch_one(&pool).await.unwrap()
            })
            .await;
        Self(lock)
    }

    async fn let_go(self) {
        self.0.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn connections_are_cut_in_the_middle_of_pages() {
    let (world, project) = world(300).await;
    slow(&world, 20);
    let proxy = world.database_proxy().await;
    let url = world.database_url_via(&proxy);
    let worker = ready(&world, &[&SMALL, &[("DATABASE_URL", &url)]]).await;
    project.publish(DAY, "daily").await;
    for (cuts, events) in (1..).zip([50, 150, 250, 350, 450]) {
        project.stored(events).await;
        let page = HeldPages::of(&world).await;
        proxy.cut();
        page.let_go().await;
        // The next cut has to hit the next delivery, so wait until this one has ended.
        let interrupted = async || worker.count(Outcome::Later, None) >= cuts;
        world
            .wait_until("the delivery was interrupted", PATIENCE, interrupted)
            .await;
    }
    project.arrives(DAY).await;
    assert_eq!(project.field("daily", "attempt").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_database_that_does_not_answer_one_worker_does_not_keep_the_job_from_the_others() {
    let (world, project) = world(300).await;
    slow(&world, 20);
    let proxy = world.database_proxy().await;
    let url = world.database_url_via(&proxy);
    let cut_off = ready(&world, &[&SMALL, &[("DATABASE_URL", &url)]]).await;
    project.publish(DAY, "daily").await;
    project.stored(100).await;
    proxy.stall();
    let other = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    other.wait_log(lines::TAKEN_OVER).await;

    // When it can reach the database again, its pool still has free places.
    other.terminate();
    other.wait_exit().await;
    proxy.pass();
    cut_off.wait_ready().await;
    let again = "2024-06-02";
    project.seed(&[again.parse().unwrap()], 50, 2).await;
    project.publish(again, "daily").await;
    project.wait_state(again, "daily", "completed").await;
}

#[tokio::test]
async fn outages_of_the_ledger_are_no_deaths_of_workers() {
    // Both outages are longer than the lease. The first is also longer than the worker waits when
    // it gives a lease back.
    const OUTAGES: [u64; 2] = [14_000, 3_300];
    let (world, project) = world(50).await;
    world.set("RETRY_RUNGS", "5s×1");
    world.succeeds(&["declare"]).await;
    let proxy = world.database_proxy().await;
    let url = world.database_url_via(&proxy);
    let settings = [
        ("LEDGER_DATABASE_URL", url.as_str()),
        ("LEASE", "3s"),
        ("SEND_TIMEOUT", "40s"),
        ("RETRY_BUDGET", "50s"),
    ];
    // No cursor moves, so no earlier take-over would be forgiven.
    world.posthog.script(Rule::always(Behavior::HoldUnstored));
    let worker = ready(&world, &[&SMALL, &settings]).await;
    project.publish(DAY, "daily").await;
    for (before, milliseconds) in OUTAGES.into_iter().enumerate() {
        project.wait_state(DAY, "daily", "running").await;
        proxy.refuse();
        proxy.cut();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        proxy.pass();
        world
            .wait_until("the job was interrupted", PATIENCE, async || {
                worker.count(Outcome::Later, None) > before
            })
            .await;
        project.wait_state(DAY, "daily", "queued").await;
    }
    world.posthog.behave();
    project.arrives(DAY).await;
    assert_eq!(project.field("daily", "takeovers").await.as_deref(), Some("0"));
    world.wait_depth(JOBS, 0).await;
    assert_eq!(world.queue_depth(DEAD).await, 0);
    assert!(!worker.log().contains(lines::TAKEN_OVER));
}

#[tokio::test]
async fn a_question_that_the_ledger_never_answers_keeps_neither_the_job_nor_its_lease() {
    const LONGEST: Duration = Duration::from_secs(25);
    let (world, project) = world(50).await;
    // Shorter than a statement of the ledger may take, so that it must be renewed meanwhile.
    let worker = ready(&world, &[&SMALL, &[("LEASE", "3s")]]).await;
    let mut lock = world.pool().begin().await.unwrap();
    let paused = "lock table posthog_export.paused in access exclusive mode";
    sqlx::raw_sql(paused).execute(&mut *lock).await.unwrap();
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "running").await;
    let lease = "select lease_expires_at > clock_timestamp() from posthog_export.runs where state = 'running'";
    let interrupted = async || {
        let held: Option<bool> = sqlx::query_scalar(lease).fetch_optional(&world.pool()).await.unwrap();
        assert!(held.unwrap_or(true), "the lease ran out");
        worker.count(Outcome::Later, None) > 0
    };
    world
        .wait_until("the job no longer waits for the answer", LONGEST, interrupted)
        .await;
    assert_eq!(project.field("daily", "attempt").await.as_deref(), Some("0"));
    lock.rollback().await.unwrap();
    project.arrives(DAY).await;
    assert_eq!(project.field("daily", "takeovers").await.as_deref(), Some("0"));
    assert!(!worker.log().contains(lines::TAKEN_OVER));
}
