//! What is sent over https goes to whom the certificate names, and to nobody else.

use testkit::tls::{Authority, front};
use testkit::{World, langfuse, seed};

use crate::{DAY, KEY, PATIENCE, PROJECT, assert_delivered, day, field, message, publish, world};

async fn lead_to(world: &World, host: &str) {
    langfuse::add_integration(&world.pool(), PROJECT, host, KEY, true).await;
}

/// A worker with these settings tries, and sends nothing. The run is then given up.
async fn is_refused(world: &World, run: &str, settings: &[(&str, &str)]) {
    let worker = world.worker(settings).await;
    worker.wait_ready().await;
    publish(world, &message(run)).await;
    let failed = || async { field(world, run, "first_failed_at").await.is_some() };
    world.wait_until("the job has failed", PATIENCE, failed).await;
    worker.terminate();
    worker.wait_exit().await;
    let error = field(world, run, "error").await.unwrap().to_lowercase();
    assert!(error.contains("certificate"), "{error}");
    assert!(world.posthog.requests().is_empty(), "something was sent");
    let give_up = "update posthog_export.runs set state = 'discarded'";
    sqlx::query(give_up).execute(&world.pool()).await.unwrap();
}

#[tokio::test]
async fn events_go_over_https_to_a_host_whose_certificate_is_trusted_and_names_it() {
    let world = world().await;
    seed::realistic(&world.pool(), PROJECT, &[day()], 20, 1).await;
    let directory = std::env::temp_dir().join(&world.vhost);
    std::fs::create_dir(&directory).unwrap();
    let ours = Authority::new(&directory, "ours");
    let address = front(ours.identity("127.0.0.1").config, world.posthog.address()).await;
    let trusting = [
        ("POSTHOG_CA_FILE", ours.ca.to_str().unwrap()),
        ("EGRESS_ALLOW", "127.0.0.1,localhost"),
    ];

    // Nobody said that this authority is to be trusted.
    lead_to(&world, &format!("https://{address}")).await;
    is_refused(&world, "unknown-authority", &[]).await;
    // The same server by another name than its certificate's.
    lead_to(&world, &format!("https://localhost:{}", address.port())).await;
    is_refused(&world, "another-name", &trusting).await;

    lead_to(&world, &format!("https://{address}")).await;
    let worker = world.worker(&trusting).await;
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    assert_delivered(&world).await;
    std::fs::remove_dir_all(directory).unwrap();
}
