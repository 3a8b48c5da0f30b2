//! Hosts come from users: a worker calls only what it may, and goes only where it was sent.

use std::net::TcpListener;

use testkit::posthog::{Behavior, FakePosthog, Rule};

use crate::{DAY, KEY, day, world};

/// A listener that must not be called, and a function that says whether it was.
fn trap() -> (String, impl Fn() -> bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (address, move || listener.accept().is_ok())
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (world, project) = world().await;
    let other = FakePosthog::start().await;
    other.known_key(KEY);
    project.seed(&[day()], 10, 1).await;
    let location = vec![("location".to_owned(), format!("{}/batch/", other.url()))];
    world
        .posthog
        .script(Rule::always(Behavior::Status(307, String::new(), location)));
    let _worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    let headers = world.dead_letter().await.headers;
    assert_eq!(headers["x-error-code"], "endpoint_refused");
    let called = format!("POST {}/batch/: ", world.posthog.url());
    let error = headers["x-error"].as_str().unwrap();
    assert!(error.contains(&called) && !error.contains(KEY), "{error}");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    let (world, project) = world().await;
    project.seed(&[day()], 10, 1).await;
    let (proxy, was_called) = trap();
    let proxy = format!("http://{proxy}");
    let names = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    let _worker = world.ready_worker(&names.map(|name| (name, proxy.as_str()))).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    assert!(!was_called());
}

#[tokio::test]
async fn names_and_addresses_that_lead_inside_are_not_called() {
    let (world, project) = world().await;
    project.seed(&[day()], 10, 1).await;
    let (address, was_called) = trap();
    let port = address.rsplit(':').next().unwrap();
    let _worker = world.ready_worker(&[("EGRESS_ALLOW", "")]).await;
    for (run, host) in [
        ("r1", format!("https://localhost:{port}")),
        ("r2", format!("https://127.0.0.1:{port}")),
        ("r3", format!("https://[::ffff:127.0.0.1]:{port}")),
        ("r4", format!("https://2130706433:{port}")),
        ("r5", format!("http://localhost:{port}")),
    ] {
        project.leads_to(&host).await;
        project.publish(DAY, run).await;
        let headers = world.dead_letter().await.headers;
        assert_eq!(headers["x-error-code"], "host_not_allowed", "{host}");
    }
    assert!(!was_called());
}

/// The whole history of a project that may not leave is one dead letter: the first job pauses the
/// project, and its other days are skipped.
#[tokio::test]
async fn a_host_outside_of_the_only_hosts_is_not_called_and_its_project_is_paused() {
    let (world, project) = world().await;
    project.seed(&[day()], 10, 1).await;
    let _worker = world
        .ready_worker(&[("EGRESS_ONLY", "eu.i.posthog.com"), ("WORKER_CONCURRENCY", "1")])
        .await;
    project.publish(DAY, "daily").await;
    let headers = world.dead_letter().await.headers;
    assert_eq!(headers["x-error-code"], "host_not_allowed");
    let error = headers["x-error"].as_str().unwrap();
    assert!(error.contains("EGRESS_ONLY"), "{error}");
    for day in ["2024-05-30", "2024-05-31"] {
        project.publish(day, "daily").await;
        project.wait_state(day, "daily", "skipped").await;
    }
    assert!(
        world.posthog.requests().is_empty(),
        "neither a key nor an event has left"
    );
}
