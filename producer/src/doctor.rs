//! Checks everything that a deployment needs, and says what to do. It changes nothing.

mod arrival;
mod broker;
mod check;
mod clocks;
mod config;
mod database;
mod finding;
mod held_back;
mod ledger;
mod management;
mod newest;
mod projects;
mod queues;
mod steps;
mod times;
mod workers;

use std::time::Duration;

use shared::ladder::Ladder;

use broker::QueueArguments;
pub(crate) use check::Check;
pub use config::Config;
pub(crate) use finding::{Finding, Status};
use management::Management;

/// Looks at everything, one check after the other. A check that fails is a finding, too.
pub(crate) async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    look(config, &mut findings).await;
    findings
}

/// The same, and no longer than `limit`: what was found by then, and whether that is all.
pub(crate) async fn examine_within(config: &Config, limit: Duration) -> (Vec<Finding>, bool) {
    let mut findings = Vec::new();
    let ended = tokio::time::timeout(limit, look(config, &mut findings)).await;
    (findings, ended.is_ok())
}

async fn look(config: &Config, findings: &mut Vec<Finding>) {
    let source = database::check(&config.source).await.report_to(findings);
    let ledger = ledger::check(&config.ledger, config.is_operator)
        .await
        .report_to(findings);
    if let Some(ladder) = &config.ladder {
        let has_management = config.management.is_some();
        let broker = broker::check(&config.broker, ladder, has_management).await;
        let arguments = broker.report_to(findings);
        findings.extend(by_management(config, ladder, arguments).await);
    }
    if let Some(source) = &source {
        findings.extend(clocks::check(source, ledger.as_ref()).await);
        findings.extend(times::check(source, config.observations).await);
        findings.extend(newest::check(source).await);
        findings.extend(projects::check(config, source, ledger.as_ref()).await);
        if let Some(ledger) = &ledger {
            findings.push(held_back::check(config, source, ledger).await);
        }
    }
    if let (Some(ledger), Some(steps)) = (&ledger, &config.steps) {
        findings.push(steps::check(steps, ledger).await);
    }
    if let Some(ledger) = &ledger {
        findings.push(arrival::check(config.keys.as_ref(), ledger).await);
    }
}

async fn by_management(config: &Config, ladder: &Ladder, arguments: QueueArguments) -> Vec<Finding> {
    let Some(url) = &config.management else {
        return vec![Finding::unknown(
            Check::BrokerManagement,
            "AMQP_MANAGEMENT_URL is not set: policies, bindings and the broker's clock were not looked at",
            "Set it to http://user:password@host:15672 to have them looked at.",
        )];
    };
    match Management::new(url, &config.broker.url, config.amqp_ca.clone()) {
        Some(management) => {
            let mut findings = management::check(&management, ladder, config.slice, arguments).await;
            // Only these make messages that a worker of before does not understand.
            if config.steps.is_some() || config.horizon.settle_after.is_some() {
                findings.extend(workers::check(&management).await.ok());
            }
            findings
        }
        None => Vec::new(),
    }
}
