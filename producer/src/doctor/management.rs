//! Checks what only RabbitMQ's management API tells: version, policies, bindings, the broker's
//! clock. Also the queues' arguments, when this user has no right to declare.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lapin::uri::AMQPUri;
use reqwest::{Client, Url};
use serde_json::Value;
use shared::ladder::Ladder;
use shared::settings::{ExposeSecret, SecretString};
use shared::topology::{self, Piece};

use super::broker::QueueArguments;
use super::check::Check;
use super::clocks;
use super::finding::Finding;
use super::queues::{judge_arguments, judge_policy, judge_timeout};

pub(super) struct Management {
    client: Client,
    url: Url,
    vhost: String,
}

impl Management {
    /// `None` when the client cannot be made or a URL cannot be read; an error about the settings
    /// has named that already.
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

    /// The virtual host of AMQP_URL.
    pub(super) fn vhost(&self) -> &str {
        &self.vhost
    }

    /// Asks the API. Answers with the document, and how far the broker's clock is ahead of ours.
    pub(super) async fn get(&self, segments: &[&str]) -> Result<(Value, Option<TimeDelta>), String> {
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
        // The header is cut to whole seconds, so half a second is added.
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
    let (mut absent, mut unbound) = (BTreeSet::new(), Vec::new());
    for piece in topology::pieces(ladder) {
        match piece {
            Piece::Queue { name, arguments } => {
                // A missing queue has been reported already.
                let Ok((queue, _)) = management.get(&["queues", &management.vhost, &name]).await else {
                    absent.insert(name);
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
            // A queue that is not there has no binding either.
            Piece::Binding { queue, .. } if absent.contains(&queue) => {}
            Piece::Binding { queue, exchange, key } => {
                let Ok((bindings, _)) = management
                    .get(&["bindings", &management.vhost, "e", &exchange, "q", &queue])
                    .await
                else {
                    continue;
                };
                let bound = |binding: &Value| binding["routing_key"] == key;
                if !bindings.as_array().is_some_and(|all| all.iter().any(bound)) {
                    unbound.push(format!("`{exchange}` has no binding to `{queue}` with key `{key}`"));
                }
            }
            Piece::Exchange { .. } => {}
        }
    }
    if !unbound.is_empty() {
        let found = unbound.join("; ");
        findings.push(Finding::problem(
            Check::BrokerTopology,
            found,
            "Run `producer declare`.",
        ));
    }
    if policies.is_empty() {
        policies.push(Finding::ok(
            Check::BrokerPolicies,
            "no policy changes what our queues do",
        ));
    }
    findings.append(&mut policies);
    findings.push(judge_timeout(&version, shortest, slice));
    Ok(())
}
