//! Three RabbitMQ nodes, of which one dies or stands still.

use std::sync::Arc;
use std::time::Duration;

use testkit::rabbitmq::RabbitMq;
use testkit::{Servers, World, lines, seed};

use crate::{DEAD, JOBS, KEY, PATIENCE, PROJECT, SMALL, heartbeat, prepared, publish_body, ready, slow, stored};

const DAYS: [&str; 3] = ["2024-06-01", "2024-06-02", "2024-06-03"];

#[tokio::test]
async fn the_leader_of_the_jobs_is_killed_and_another_node_stands_still() {
    let servers = Arc::new(Servers::start_cluster(3).await);
    let world = prepared(World::on(servers.clone()).await, 0).await;
    let nodes: Vec<&RabbitMq> = std::iter::once(&servers.rabbitmq).chain(&servers.peers).collect();
    let days = DAYS.map(|day| day.parse().unwrap());
    seed::realistic(&world.pool(), PROJECT, &days, 150, 1).await;
    slow(&world, 60);

    // A worker at each node.
    let mut workers = Vec::new();
    for node in &nodes {
        let url = heartbeat(&node.amqp_url(&world.vhost));
        workers.push(ready(&world, &[&SMALL, &[("AMQP_URL", &url)]]).await);
    }
    for day in DAYS {
        let body = format!(r#"{{"project_id":"{PROJECT}","day":"{day}","run":"daily"}}"#);
        publish_body(&world, body.as_bytes()).await;
    }
    stored(&world, 100).await;

    let leader = leader(&world, &nodes, JOBS).await;
    assert_eq!(members(&world, JOBS).await, 3, "the queue has a copy on each node");
    for node in &nodes {
        node.keep_names().await;
    }
    nodes[leader].kill();
    workers[leader].wait_log(lines::SESSION_ENDED).await;
    stored(&world, 300).await;
    nodes[leader].start_again().await;
    workers[leader].wait_ready().await;

    // A node that stands still is no dead one: its connections stay open.
    let still = (leader + 1) % 3;
    nodes[still].pause();
    workers[still].wait_log(lines::SESSION_ENDED).await;
    nodes[still].resume();

    for day in DAYS {
        world
            .wait_until(day, PATIENCE * 2, async || {
                let state = "select state from posthog_export.runs where day = $1::text::date";
                let state = sqlx::query_scalar::<_, String>(state).bind(day);
                state.fetch_optional(&world.pool()).await.unwrap().as_deref() == Some("completed")
            })
            .await;
    }
    let oracle = testkit::oracle::Oracle::new(world.pool(), Some("https://langfuse.example.com"));
    oracle
        .check(&world.posthog, KEY, PROJECT, &days)
        .await
        .assert_delivered();
    let depth = |queue: &'static str| {
        let world = &world;
        async move {
            let seen = world.queue_messages(queue).await;
            seen == Some(0)
        }
    };
    world.wait_until("no job is left", PATIENCE, || depth(JOBS)).await;
    world
        .wait_until("no dead letter is left", PATIENCE, || depth(DEAD))
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Which node leads the queue.
async fn leader(world: &World, nodes: &[&RabbitMq], queue: &str) -> usize {
    let management = world.servers().rabbitmq.management();
    let segments = ["queues", &world.vhost, queue];
    let answer = management.request(reqwest::Method::GET, &segments, None).await;
    let name = answer["leader"].as_str().map(str::to_owned);
    nodes.iter().position(|node| node.node() == name).unwrap()
}

async fn members(world: &World, queue: &str) -> usize {
    let management = world.servers().rabbitmq.management();
    let segments = ["queues", &world.vhost, queue];
    let answer = management.request(reqwest::Method::GET, &segments, None).await;
    answer["online"].as_array().unwrap().len()
}
