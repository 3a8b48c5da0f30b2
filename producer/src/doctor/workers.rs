//! Looks whether each worker understands the messages that this producer publishes: a worker of
//! before takes a field that it does not know for a typo, and makes the message a dead letter.

use std::collections::BTreeSet;

use serde_json::Value;
use shared::message::{UNDERSTANDS, VERSION};
use shared::topology::{BACKFILL_QUEUE, JOBS_QUEUE};

use super::check::Check;
use super::finding::Finding;
use super::management::Management;

const CHECK: Check = Check::BrokerWorkers;

pub(super) async fn check(management: &Management) -> Result<Finding, String> {
    let (consumers, _) = management.get(&["consumers", management.vhost()]).await?;
    let mut workers = Vec::new();
    for connection in connections(&consumers) {
        // One that has ended meanwhile consumes no more.
        if let Ok((connection, _)) = management.get(&["connections", &connection]).await {
            workers.push(Worker::of(&connection));
        }
    }
    Ok(judge(workers))
}

/// The connections that consume jobs. PURE.
fn connections(consumers: &Value) -> BTreeSet<String> {
    let all = consumers.as_array().into_iter().flatten();
    let jobs = all.filter(|consumer| {
        let queue = consumer["queue"]["name"].as_str();
        queue.is_some_and(|queue| [JOBS_QUEUE, BACKFILL_QUEUE].contains(&queue))
    });
    let name = |consumer: &Value| {
        consumer["channel_details"]["connection_name"]
            .as_str()
            .map(str::to_owned)
    };
    jobs.filter_map(name).collect()
}

struct Worker {
    name: String,
    /// The version of the messages that it understands; `None`: it does not say
    version: Option<u32>,
}

impl Worker {
    fn of(connection: &Value) -> Self {
        let properties = &connection["client_properties"];
        let text = |name: &str| properties[name].as_str();
        let name = text("connection_name").or(connection["name"].as_str());
        Self {
            name: name.unwrap_or_default().to_owned(),
            version: text(UNDERSTANDS).and_then(|version| version.parse().ok()),
        }
    }
}

/// PURE.
fn judge(workers: Vec<Worker>) -> Finding {
    let number = workers.len();
    let is_old = |worker: &Worker| worker.version.is_none_or(|version| version < VERSION);
    let old: Vec<String> = workers.into_iter().filter(is_old).map(|worker| worker.name).collect();
    if old.is_empty() {
        return Finding::ok(
            CHECK,
            match number {
                0 => "no worker is connected".to_owned(),
                1 => "1 worker is connected, and understands this producer's messages".to_owned(),
                _ => format!("{number} workers are connected, and each understands this producer's messages"),
            },
        );
    }
    Finding::warning(
        CHECK,
        format!(
            "of an earlier version: {}; they make dead letters of steps and of settled days",
            old.join(", ")
        ),
        "Update the workers first. Until then set EXPORT_EVERY=1d and SETTLE_AFTER=off for the producer.",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_worker_that_does_not_say_what_it_understands_is_too_old() {
        let connection = |name: &str, version: Option<u32>| {
            let version = version.map(|version| version.to_string());
            Worker::of(&json!({"name": "127.0.0.1:1 -> 127.0.0.1:5672",
                "client_properties": {"connection_name": name, UNDERSTANDS: version}}))
        };
        let judged = |versions: &[Option<u32>]| {
            let workers = versions.iter().enumerate();
            judge(
                workers
                    .map(|(n, version)| connection(&format!("w{n} (consume)"), *version))
                    .collect(),
            )
        };
        assert_eq!(judged(&[]).status, Status::Ok);
        assert_eq!(judged(&[Some(VERSION), Some(VERSION + 1)]).status, Status::Ok);
        let found = judged(&[Some(VERSION), None, Some(VERSION - 1)]);
        assert_eq!(found.status, Status::Warning);
        assert!(found.found.contains("w1 (consume), w2 (consume);"), "{}", found.found);
    }

    #[test]
    fn only_consumers_of_jobs_count() {
        let consumer = |queue: &str, connection: &str| json!({"queue": {"name": queue}, "channel_details": {"connection_name": connection}});
        let consumers = json!([
            consumer(JOBS_QUEUE, "a"),
            consumer(BACKFILL_QUEUE, "a"),
            consumer("somebody's", "b"),
            {"queue": {"name": JOBS_QUEUE}, "channel_details": []},
        ]);
        assert_eq!(connections(&consumers), ["a".to_owned()].into());
        assert!(connections(&json!({"error": "not_authorised"})).is_empty());
    }
}
