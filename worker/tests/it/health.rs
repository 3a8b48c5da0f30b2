//! `worker health`, as an image without a shell asks.

use testkit::{World, lines};

use crate::world;

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
