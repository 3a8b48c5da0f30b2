//! What is sent over https goes to whom the certificate names, and to nobody else.

use testkit::tls::{Authority, front};
use testkit::{Project, World};

use crate::{DAY, PATIENCE, day, world};

/// A worker with these settings tries, and sends nothing. The run is then given up.
async fn is_refused(world: &World, project: &Project, run: &str, settings: &[(&str, &str)]) {
    let worker = world.ready_worker(settings).await;
    project.publish(DAY, run).await;
    let failed = || async { project.field(run, "first_failed_at").await.is_some() };
    world.wait_until("the job has failed", PATIENCE, failed).await;
    worker.terminate();
    worker.wait_exit().await;
    let error = project.field(run, "error").await.unwrap().to_lowercase();
    assert!(error.contains("certificate"), "{error}");
    assert!(world.posthog.requests().is_empty(), "something was sent");
    let give_up = "update posthog_export.runs set state = 'discarded'";
    sqlx::query(give_up).execute(&world.pool()).await.unwrap();
}

#[tokio::test]
async fn events_go_over_https_to_a_host_whose_certificate_is_trusted_and_names_it() {
    let (world, project) = world().await;
    project.seed(&[day()], 20, 1).await;
    let directory = std::env::temp_dir().join(&world.vhost);
    std::fs::create_dir(&directory).unwrap();
    let ours = Authority::new(&directory, "ours");
    let address = front(ours.identity("127.0.0.1").config, world.posthog.address()).await;
    let trusting = [
        ("POSTHOG_CA_FILE", ours.ca.to_str().unwrap()),
        ("EGRESS_ALLOW", "127.0.0.1,localhost"),
    ];

    // The worker was not told to trust this authority.
    project.leads_to(&format!("https://{address}")).await;
    is_refused(&world, &project, "unknown-authority", &[]).await;
    // The same server by another name than its certificate's.
    project.leads_to(&format!("https://localhost:{}", address.port())).await;
    is_refused(&world, &project, "another-name", &trusting).await;

    project.leads_to(&format!("https://{address}")).await;
    let _worker = world.ready_worker(&trusting).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    std::fs::remove_dir_all(directory).unwrap();
}
