//! Judges what the broker says about our queues: their arguments, the policies on them, the
//! consumer timeout. PURE.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use shared::settings::format_duration;
use shared::topology::{BACKFILL_QUEUE, DEAD_LETTER_QUEUE, JOBS_QUEUE};

use super::broker::MAKE_ANEW;
use super::check::Check;
use super::finding::Finding;

/// From this version of RabbitMQ on, a queue can have a consumer timeout of its own.
const OWN_TIMEOUT: (u32, u32) = (3, 12);

/// Which arguments of a queue differ from ours. The broker would refuse a declaration for them.
pub(super) fn judge_arguments(queue: &str, ours: &FieldTable, theirs: &Value) -> Option<Finding> {
    let ours: BTreeMap<&str, Value> = ours
        .inner()
        .iter()
        .map(|(name, value)| (name.as_str(), plain(value)))
        .collect();
    let others = theirs.as_object().into_iter().flat_map(|object| object.keys());
    let names: BTreeSet<&str> = ours.keys().copied().chain(others.map(String::as_str)).collect();
    let differs = |name: &&str| *ours.get(name).unwrap_or(&Value::Null) != theirs[name];
    let said = |name: &str| match ours.get(name) {
        Some(wanted) => format!("{name} = {}, not {wanted}", theirs[name]),
        None => format!("{name} = {}, which is not ours", theirs[name]),
    };
    let faults: Vec<String> = names.into_iter().filter(differs).map(said).collect();
    if faults.is_empty() {
        return None;
    }
    let found = format!("queue `{queue}` has other arguments: {}", faults.join("; "));
    Some(Finding::problem(Check::BrokerTopology, found, MAKE_ANEW))
}

/// An argument as the management API writes it. Ours are texts and numbers.
fn plain(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        AMQPValue::LongLongInt(number) => (*number).into(),
        other => format!("{other:?}").into(),
    }
}

/// What a policy does to one of our queues that it should not.
pub(super) fn judge_policy(queue: &str, policy: &Value) -> Vec<Finding> {
    let is_set = |name: &str| !policy[name].is_null();
    let mut findings = Vec::new();
    let mut problem = |name: &str, what: &str| {
        let found = format!("a policy sets {name} = {} on `{queue}`: {what}", policy[name]);
        let advice = "Change the policy's pattern so that it leaves `posthog-export` alone.";
        findings.push(Finding::problem(Check::BrokerPolicies, found, advice));
    };
    if is_set("expires") {
        problem("expires", "an unused queue is deleted with its messages");
    }
    let is_lane = queue == JOBS_QUEUE || queue == BACKFILL_QUEUE;
    if is_set("message-ttl") && is_lane {
        problem("message-ttl", "jobs that wait longer become dead letters");
    }
    if is_set("message-ttl") && queue == DEAD_LETTER_QUEUE {
        problem("message-ttl", "dead letters that wait longer are lost");
    }
    if is_set("delivery-limit") && queue == DEAD_LETTER_QUEUE {
        problem("delivery-limit", "dead letters that were looked at that often are lost");
    }
    if is_set("max-length") && queue == DEAD_LETTER_QUEUE {
        problem("max-length", "beyond it dead letters are lost");
    }
    findings
}

/// Whether a slice ends before the broker's consumer timeout, after which it takes the delivery
/// away.
pub(super) fn judge_timeout(version: &str, policy: Option<Duration>, slice: Duration) -> Finding {
    let slice_text = format_duration(slice);
    if let Some(timeout) = policy {
        let found = format!(
            "a policy sets the consumer timeout to {}; JOB_SLICE is {slice_text}",
            format_duration(timeout)
        );
        // A slice ends when the batch at hand is sent, a few minutes late at most.
        return if timeout <= slice + slice / 5 {
            Finding::problem(
                Check::BrokerConsumerTimeout,
                found,
                "Raise the policy's consumer-timeout, or lower JOB_SLICE well below it.",
            )
        } else {
            Finding::ok(Check::BrokerConsumerTimeout, found)
        };
    }
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version_number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version_number >= OWN_TIMEOUT {
        Finding::ok(
            Check::BrokerConsumerTimeout,
            format!("our queues have a consumer timeout of 2h; JOB_SLICE is {slice_text}"),
        )
    } else {
        Finding::unknown(
            Check::BrokerConsumerTimeout,
            format!(
                "RabbitMQ {version} has one consumer timeout for the whole node, 30m unless it is configured; JOB_SLICE is {slice_text}"
            ),
            "If rabbitmq.conf sets consumer_timeout, keep it well above JOB_SLICE.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;
    use serde_json::json;
    use shared::ladder::Ladder;
    use shared::topology::{self, Piece};

    #[test]
    fn a_timeout_must_leave_room_for_a_slice() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        for (version, policy, status) in [
            ("3.10.8", None, Status::Unknown),
            ("3.12.1", None, Status::Ok),
            ("4.1.0", None, Status::Ok),
            ("4.1.0", Some(minutes(30)), Status::Ok),
            ("4.1.0", Some(minutes(12)), Status::Problem),
            ("4.1.0", Some(minutes(1)), Status::Problem),
        ] {
            assert_eq!(
                judge_timeout(version, policy, minutes(10)).status,
                status,
                "{version} {policy:?}"
            );
        }
    }

    #[test]
    fn arguments_are_compared_as_a_declaration_would() {
        let ladder: Ladder = "30s×1".parse().unwrap();
        let jobs = topology::pieces(&ladder).into_iter().find_map(|piece| match piece {
            Piece::Queue { name, arguments } if name == JOBS_QUEUE => Some(arguments),
            _ => None,
        });
        let ours = jobs.unwrap();
        let names = ours.inner().iter();
        let same: serde_json::Map<String, Value> = names
            .map(|(name, value)| (name.as_str().to_owned(), plain(value)))
            .collect();
        let judged = |theirs: serde_json::Map<String, Value>| judge_arguments(JOBS_QUEUE, &ours, &theirs.into());
        assert!(judged(same.clone()).is_none());
        for (name, theirs, part) in [
            (
                "x-queue-type",
                json!("classic"),
                "x-queue-type = \"classic\", not \"quorum\"",
            ),
            ("x-delivery-limit", Value::Null, "x-delivery-limit = null, not "),
            ("x-expires", json!(5), "x-expires = 5, which is not ours"),
        ] {
            let mut other = same.clone();
            other.insert(name.to_owned(), theirs);
            let finding = judged(other).unwrap();
            assert_eq!(finding.status, Status::Problem);
            assert!(finding.found.contains(part), "{}", finding.found);
        }
    }

    #[test]
    fn a_policy_counts_where_it_does_harm() {
        let policy = json!({"message-ttl": 1000, "delivery-limit": 5});
        assert_eq!(judge_policy(JOBS_QUEUE, &policy).len(), 1);
        assert_eq!(judge_policy(DEAD_LETTER_QUEUE, &policy).len(), 2);
        assert_eq!(judge_policy("posthog-export.retry.30s", &policy).len(), 0);
        assert_eq!(judge_policy(JOBS_QUEUE, &Value::Null).len(), 0);
    }
}
