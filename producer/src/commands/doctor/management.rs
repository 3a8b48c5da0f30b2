//! What only RabbitMQ's management API knows: version, policies, bindings, the broker's clock; and the queues' arguments, for a
//! user who may declare nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use reqwest::{Client, Url};
use serde_json::Value;
use shared::settings::{ExposeSecret, SecretString, format_duration};
use shared::topology::{self, BACKFILL_QUEUE, DEAD_LETTER_QUEUE, JOBS_QUEUE, Ladder, Piece};

use super::broker::{MAKE_ANEW, QueueArguments};
use super::check::Check;
use super::clocks;
use super::finding::Finding;

/// From this version on a queue has a consumer timeout of its own.
const OWN_TIMEOUT: (u32, u32) = (3, 12);

pub(super) struct Management {
    client: Client,
    url: Url,
    vhost: String,
}

impl Management {
    /// `None` when the client cannot be made or the URLs cannot be read, which the settings have complained of.
    pub(super) fn new(url: &SecretString, amqp: &SecretString, authorities: Vec<reqwest::Certificate>) -> Option<Self> {
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(10))
            .tls_certs_merge(authorities)
            .build();
        Some(Self {
            client: client.ok()?,
            url: url.expose_secret().parse().ok()?,
            vhost: amqp.expose_secret().parse::<AMQPUri>().ok()?.vhost,
        })
    }

    /// The answer, and how far the broker's clock is ahead of ours.
    async fn get(&self, segments: &[&str]) -> Result<(Value, Option<TimeDelta>), String> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| "AMQP_MANAGEMENT_URL has no path".to_owned())?
            .pop_if_empty()
            .push("api")
            .extend(segments);
        let said = |error: reqwest::Error| error.without_url().to_string();
        let asked = Utc::now();
        let response = self.client.get(url).send().await.map_err(said)?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answered {status} to /api/{}", segments.join("/")));
        }
        let date = response.headers().get(reqwest::header::DATE);
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date.to_str().ok()?).ok());
        // The header has whole seconds, cut off.
        let ahead = date.map(|date| date.to_utc() - asked + TimeDelta::milliseconds(500));
        Ok((response.json().await.map_err(said)?, ahead))
    }
}

pub(super) async fn check(
    management: &Management,
    ladder: &Ladder,
    slice: Duration,
    arguments: QueueArguments,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = look(management, ladder, slice, arguments, &mut findings).await {
        let advice = "Correct AMQP_MANAGEMENT_URL, and give its user the tag `monitoring`.";
        findings.push(Finding::problem(Check::BrokerManagement, error, advice));
    }
    findings
}

async fn look(
    management: &Management,
    ladder: &Ladder,
    slice: Duration,
    known: QueueArguments,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let (overview, ahead) = management.get(&["overview"]).await?;
    let version = overview["rabbitmq_version"].as_str().unwrap_or("?").to_owned();
    findings.push(Finding::ok(Check::BrokerManagement, format!("RabbitMQ {version}")));
    findings.extend(ahead.map(|ahead| clocks::judge("the broker's clock", ahead)));

    let mut policies = Vec::new();
    let mut shortest: Option<Duration> = None;
    for piece in topology::pieces(ladder) {
        match piece {
            Piece::Queue { name, arguments } => {
                // One that is missing has been told already.
                let Ok((queue, _)) = management.get(&["queues", &management.vhost, &name]).await else {
                    continue;
                };
                if known == QueueArguments::NotCompared {
                    findings.extend(judge_arguments(&name, &arguments, &queue["arguments"]));
                }
                let policy = &queue["effective_policy_definition"];
                if let Some(millis) = policy["consumer-timeout"].as_u64() {
                    let timeout = Duration::from_millis(millis);
                    shortest = Some(shortest.map_or(timeout, |known| known.min(timeout)));
                }
                policies.extend(judge_policy(&name, policy));
            }
            Piece::Binding { queue, exchange, key } => {
                let Ok((bindings, _)) = management
                    .get(&["bindings", &management.vhost, "e", &exchange, "q", &queue])
                    .await
                else {
                    continue;
                };
                let bound = |binding: &Value| binding["routing_key"] == key;
                if !bindings.as_array().is_some_and(|all| all.iter().any(bound)) {
                    let found = format!("`{exchange}` has no binding to `{queue}` with key `{key}`");
                    findings.push(Finding::problem(
                        Check::BrokerTopology,
                        found,
                        "Run `producer declare`.",
                    ));
                }
            }
            Piece::Exchange { .. } => {}
        }
    }
    if policies.is_empty() {
        policies.push(Finding::ok(
            Check::BrokerPolicies,
            "none that changes what our queues do",
        ));
    }
    findings.append(&mut policies);
    findings.push(judge_timeout(&version, shortest, slice));
    Ok(())
}

/// What the broker would say to a declaration: which arguments of a queue are not ours. PURE.
fn judge_arguments(queue: &str, ours: &FieldTable, theirs: &Value) -> Option<Finding> {
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

/// As the management API writes it; our arguments are texts and numbers.
fn plain(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        AMQPValue::LongLongInt(number) => (*number).into(),
        other => format!("{other:?}").into(),
    }
}

/// What a policy does to one of our queues. PURE.
fn judge_policy(queue: &str, policy: &Value) -> Vec<Finding> {
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

/// Whether a slice ends before the broker takes the delivery away. PURE.
fn judge_timeout(version: &str, policy: Option<Duration>, slice: Duration) -> Finding {
    let slice_text = format_duration(slice);
    if let Some(timeout) = policy {
        let found = format!("a policy sets {}; JOB_SLICE is {slice_text}", format_duration(timeout));
        // A slice ends at a batch's border, some minutes late at most.
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
            format!("our queues say 2h; JOB_SLICE is {slice_text}"),
        )
    } else {
        Finding::unknown(
            Check::BrokerConsumerTimeout,
            format!("RabbitMQ {version} has one for the whole node, 30m unless configured; JOB_SLICE is {slice_text}"),
            "If rabbitmq.conf sets consumer_timeout, keep it well above JOB_SLICE.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;
    use serde_json::json;

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
