//! `doctor`: checks everything that a deployment needs and says what to do. It changes nothing.

mod arrival;
mod broker;
mod check;
mod clocks;
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

use clap::Args;
use serde::Serialize;
use shared::egress::Egress;
use shared::ladder::Ladder;
use shared::settings::{BadSettings, SecretString, Settings, variables};

use crate::config::{self, Horizon, Key, Server};
use crate::error::CommandError;
use crate::output::{self, Exit, count, line};
use crate::posthog_app::PersonalKeys;
use crate::steps::Steps;

use broker::QueueArguments;
use check::Check;
use finding::{Finding, Status};
use management::Management;

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `doctor` reads from the environment.
#[derive(Debug)]
pub struct Config {
    source: Server,
    ledger: Server,
    broker: Server,
    management: Option<SecretString>,
    amqp_ca: Vec<reqwest::Certificate>,
    ladder: Option<Ladder>,
    slice: Duration,
    horizon: Horizon,
    steps: Option<Steps>,
    observations: bool,
    key: Key,
    egress: Egress,
    /// Or what is wrong with them, which hinders no other check
    keys: Result<PersonalKeys, BadSettings>,
    posthog_ca: Vec<reqwest::Certificate>,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            source: config::source(settings),
            ledger: config::ledger(settings),
            broker: config::broker(settings),
            management: settings.optional_secret_url(&variables::AMQP_MANAGEMENT_URL, &["http", "https"]),
            amqp_ca: settings.certificates(&variables::AMQP_CA_FILE),
            ladder: config::ladder(settings),
            slice: settings.duration(&variables::JOB_SLICE),
            horizon: config::horizon(settings),
            steps: config::steps(settings),
            observations: config::observations(settings),
            key: Key::read(settings),
            egress: Egress::read(settings),
            keys: settings.apart(PersonalKeys::read),
            posthog_ca: settings.certificates(&variables::POSTHOG_CA_FILE),
        }
    }
}

#[derive(Serialize)]
struct Report {
    problems: usize,
    warnings: usize,
    checks: Vec<Finding>,
}

impl Report {
    fn of(checks: Vec<Finding>) -> Self {
        let number = |status: Status| checks.iter().filter(|finding| finding.status == status).count();
        Self {
            problems: number(Status::Problem),
            warnings: number(Status::Warning),
            checks,
        }
    }
}

/// Executes the command.
pub async fn execute(arguments: &Arguments, config: Config) -> Result<Exit, CommandError> {
    let report = Report::of(examine(&config).await);
    if arguments.json {
        output::json(&report);
    } else {
        say(&report);
    }
    Ok(Exit::of(report.problems == 0))
}

async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let source = database::check(&config.source).await.report_to(&mut findings);
    let ledger = ledger::check(&config.ledger).await.report_to(&mut findings);
    if let Some(ladder) = &config.ladder {
        let has_management = config.management.is_some();
        let broker = broker::check(&config.broker, ladder, has_management).await;
        let arguments = broker.report_to(&mut findings);
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
    findings
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

fn say(report: &Report) {
    let row = |finding: &Finding| {
        [
            finding.status.word().to_owned(),
            finding.check.as_str().to_owned(),
            finding.found.clone(),
        ]
    };
    output::table(["STATUS", "CHECK", "FOUND"], report.checks.iter().map(row));
    let to_do: Vec<&Finding> = report
        .checks
        .iter()
        .filter(|finding| matches!(finding.status, Status::Problem | Status::Warning))
        .collect();
    if !to_do.is_empty() {
        line("");
        line("What to do:");
    }
    for finding in to_do {
        let advice = finding.advice.as_deref().unwrap_or_default();
        line(format!(
            "  {}  {}: {}",
            finding.status.word(),
            finding.check.as_str(),
            finding.found
        ));
        line(format!("      {advice}"));
    }
    line("");
    line(format!(
        "{}, {}.",
        count(report.problems, "problem"),
        count(report.warnings, "warning")
    ));
}
