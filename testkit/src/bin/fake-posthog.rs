//! The fake PostHog on its own, for Compose: `fake-posthog ADDRESS KEY…`, until SIGTERM.

#![allow(clippy::print_stdout, reason = "a command-line program")]

use std::net::SocketAddr;

use testkit::posthog::FakePosthog;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: fake-posthog ADDRESS KEY…, for example: fake-posthog 0.0.0.0:8000 phc_sandbox";
    let address: SocketAddr = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .ok_or(anyhow::anyhow!(usage))?;
    let keys: Vec<String> = arguments.collect();
    anyhow::ensure!(!keys.is_empty(), usage);
    let posthog = FakePosthog::start_at(address).await;
    for key in &keys {
        posthog.known_key(key);
    }
    println!("the fake PostHog listens on {address} and knows {} key(s)", keys.len());
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
