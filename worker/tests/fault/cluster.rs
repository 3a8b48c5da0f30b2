//! A cluster of three RabbitMQ nodes: one is killed, then another one is paused.

use std::sync::Arc;
use std::time::Duration;

use testkit::rabbitmq::RabbitMq;
use testkit::{DEAD, JOBS, Servers, World, lines};

use crate::{PATIENCE, SMALL, heartbeat, prepared, ready, slow};

const DAYS: [&str; 3] = ["2024-06-01", "2024-06-02", "2024-06-03"];

#[tokio::test]
async fn the_leader_of_the_jobs_is_killed_and_another_node_stands_still() {
    let servers = Arc::new(Servers::start_cluster(3).await);
    let (world, project) = prepared(World::on(servers.clone()).await, 0).await;
    let nodes: Vec<&RabbitMq> = std::iter::once(&servers.rabbitmq).chain(&servers.peers).collect();
    let days = DAYS.map(|day| day.parse().unwrap());
    project.seed(&days, 150, 1).await;
    slow(&world, 60);

    // A worker at each node.
    let mut workers = Vec::new();
    for node in &nodes {
        let url = heartbeat(&node.amqp_url(&world.vhost));
        workers.push(ready(&world, &[&SMALL, &[("AMQP_URL", &url)]]).await);
    }
    project.publish_all(&DAYS).await;
    project.stored(100).await;

    let leader = leader(&world, &nodes, JOBS).await;
    assert_eq!(members(&world, JOBS).await, 3, "the queue has a copy on each node");
    for node in &nodes {
        node.keep_names().await;
    }
    nodes[leader].kill();
    workers[leader].wait_log(lines::SESSION_ENDED).await;
    project.stored(300).await;
    nodes[leader].start_again().await;
    workers[leader].wait_ready().await;

    // A paused node differs from a dead one: its connections stay open.
    let still = (leader + 1) % 3;
    nodes[still].pause();
    workers[still].wait_log(lines::SESSION_ENDED).await;
    nodes[still].resume();

    // A cluster that has lost a node takes its time.
    for day in DAYS {
        let completed = async || project.state(day, "daily").await == "completed";
        world.wait_until(day, PATIENCE * 2, completed).await;
    }
    project.assert_delivered(&DAYS).await;
    for queue in [JOBS, DEAD] {
        let is_empty = async || world.queue_messages(queue).await == Some(0);
        world.wait_until(&format!("{queue} is empty"), PATIENCE, is_empty).await;
    }
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
