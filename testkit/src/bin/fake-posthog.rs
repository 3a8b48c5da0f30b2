//! The fake PostHog as a program, for Compose and for a try without a PostHog:
//! `fake-posthog ADDRESS KEY…`, until SIGTERM. A key `phx_…` is a personal one, which may do everything.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::net::SocketAddr;
use std::process::ExitCode;

use testkit::posthog::FakePosthog;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
usage: fake-posthog ADDRESS KEY…, for example: fake-posthog 127.0.0.1:8000 phc_sandbox phx_sandbox

Takes events of the projects whose keys are named (phc_…), keeps them in memory, and says how many it holds.
Answers `producer verify` and `producer dashboards` with the personal keys that are named (phx_…).";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = arguments.first().and_then(|text| text.parse().ok());
    let (Some(address), Some(keys @ [_, ..])) = (address, arguments.get(1..)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match serve(address, keys).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: SocketAddr, keys: &[String]) -> std::io::Result<()> {
    let posthog = FakePosthog::start_at(address).await;
    let (personal, keys): (Vec<&String>, Vec<&String>) = keys.iter().partition(|key| key.starts_with("phx_"));
    for (number, key) in (1..).zip(&keys) {
        posthog.app_project(number, key);
    }
    for key in personal {
        posthog.personal_key(key, &["*"]);
    }
    println!(
        "the fake PostHog listens on {address} and knows {} of its projects",
        keys.len()
    );
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut told = 0;
    let mut every = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = every.tick() => {
                let stored: usize = keys.iter().map(|key| posthog.counts(key).stored).sum();
                if stored != told {
                    println!("{stored} events stored");
                    told = stored;
                }
            }
        }
    }
}
