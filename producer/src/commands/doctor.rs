//! `doctor`: looks at everything that a deployment needs, changes nothing, and says what to do.

mod broker;
mod clocks;
mod database;
mod finding;
mod ledger;
mod management;
mod projects;

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use shared::egress::Egress;
use shared::ledger::Ledger;
use shared::settings::{SecretString, Settings};
use shared::topology::Ladder;
use sqlx::PgPool;

use crate::config::{self, Key, Server};
use crate::error::CommandError;
use crate::output::{self, Outcome, count, line};

use finding::{Finding, Status};
use management::Management;

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Answer in JSON
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
    key: Key,
    egress: Egress,
    posthog_ca: Vec<reqwest::Certificate>,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            source: config::source(settings),
            ledger: config::ledger(settings),
            broker: config::broker(settings),
            management: settings.optional_secret_url("AMQP_MANAGEMENT_URL", &["http", "https"]),
            amqp_ca: settings.certificates("AMQP_CA_FILE"),
            ladder: config::ladder(settings),
            slice: settings.duration("JOB_SLICE"),
            key: Key::new(config::encryption_key(settings)),
            egress: config::egress(settings),
            posthog_ca: settings.certificates("POSTHOG_CA_FILE"),
        }
    }
}

#[derive(Serialize)]
struct Report {
    problems: usize,
    warnings: usize,
    checks: Vec<Finding>,
}

/// Runs the command.
pub async fn run(arguments: &Arguments, config: Config) -> Result<Outcome, CommandError> {
    let mut findings = Vec::new();
    let source = database::check(&config.source, &mut findings).await;
    let ledger = ledger::check(&config.ledger, &mut findings).await;
    if let Some(ladder) = &config.ladder {
        let by_management = config.management.is_some();
        let unknown = broker::check(&config.broker, ladder, by_management, &mut findings).await;
        match &config.management {
            None => findings.push(Finding::unknown(
                "broker.management",
                "AMQP_MANAGEMENT_URL is not set: policies, bindings and the broker's clock were not looked at",
                "Set it to http://user:password@host:15672 to have them looked at.",
            )),
            Some(url) => {
                if let Some(management) = Management::new(url, &config.broker.url, config.amqp_ca.clone()) {
                    management::check(&management, ladder, config.slice, unknown, &mut findings).await;
                }
            }
        }
    }
    if let Some(source) = &source {
        tell_clocks(source, ledger.as_ref(), &mut findings).await;
        if let Err(error) = projects::check(&config, source, ledger.as_ref(), &mut findings).await {
            findings.push(Finding::problem(
                "projects",
                error.to_string(),
                "Mend what is said above, and look again.",
            ));
        }
    }
    let number = |status: Status| findings.iter().filter(|finding| finding.status == status).count();
    let report = Report {
        problems: number(Status::Problem),
        warnings: number(Status::Warning),
        checks: findings,
    };
    if arguments.json {
        output::json(&report);
    } else {
        say(&report);
    }
    Ok(if report.problems == 0 {
        Outcome::Done
    } else {
        Outcome::Failed
    })
}

async fn tell_clocks(source: &PgPool, ledger: Option<&Ledger>, findings: &mut Vec<Finding>) {
    let pools = [
        ("the clock of DATABASE_URL", Some(source)),
        ("the clock of the ledger's database", ledger.map(Ledger::pool)),
    ];
    for (whose, pool) in pools {
        if let Some(pool) = pool
            && let Ok(ahead) = clocks::of_database(pool).await
        {
            findings.push(clocks::judge(whose, ahead));
        }
    }
}

fn say(report: &Report) {
    let row = |finding: &Finding| {
        [
            finding.status.word().to_owned(),
            finding.check.to_owned(),
            finding.found.clone(),
        ]
    };
    line(output::table(
        ["STATUS", "CHECK", "FOUND"],
        report.checks.iter().map(row),
    ));
    let to_do: Vec<&Finding> = report
        .checks
        .iter()
        .filter(|finding| matches!(finding.status, Status::Problem | Status::Warning))
        .collect();
    if !to_do.is_empty() {
        line("\nWhat to do:");
    }
    for finding in to_do {
        let advice = finding.advice.as_deref().unwrap_or_default();
        line(format!(
            "  {}  {}: {}\n      {advice}",
            finding.status.word(),
            finding.check,
            finding.found
        ));
    }
    line(format!(
        "\n{}, {}.",
        count(report.problems, "problem"),
        count(report.warnings, "warning")
    ));
}
