//! `producer verify` on a day that has arrived: the whole day is compared with what the testkit's
//! PostHog holds.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::{World, langfuse};

use super::{Outcome, postgres_cpu, worker};
use crate::database::{API_KEY, Day};
use crate::measure;

const PERSONAL_KEY: &str = "phx_bench";
const NUMBER: i64 = 1;
/// How often the process is looked at while it runs.
const LOOK: Duration = Duration::from_millis(20);

/// Exports the day to the testkit's PostHog, which can be asked what it holds.
pub async fn prepare(world: &World, day: Day, run: &str) -> Result<()> {
    let posthog = &world.posthog;
    posthog.reset();
    posthog.known_key(API_KEY);
    posthog.app_project(NUMBER, API_KEY);
    posthog.personal_key(PERSONAL_KEY, &["query:read", "project:read"]);
    let keys = world.servers().directory().path().join("personal-keys");
    std::fs::write(&keys, format!("{} {PERSONAL_KEY}\n", posthog.address()))?;
    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", &keys.to_string_lossy());
    langfuse::add_integration(&world.pool(), day.project, &posthog.url(), API_KEY, true).await;
    worker::export(world, &[day], 1, 1, run).await?;
    Ok(())
}

/// Asks whether the day has arrived.
pub async fn verify(world: &World, day: Day) -> Result<Outcome> {
    let date = day.date.to_string();
    let arguments = ["verify", "--project", day.project, "--day", &date, "--json"];
    let (began, postgres_before) = (Instant::now(), postgres_cpu(world)?);
    let process = world.spawn_producer(&arguments, &[]).await;
    let (mut cpu, mut peak_memory) = (Duration::ZERO, 0);
    while process.exit_status().is_none() {
        // Its files go with it; what was seen last counts.
        if let (Ok(used), Ok(peak)) = (measure::cpu(process.pid()), measure::peak_memory(process.pid())) {
            (cpu, peak_memory) = (cpu.max(used), peak_memory.max(peak));
        }
        tokio::time::sleep(LOOK).await;
    }
    let wall = began.elapsed();
    let report: Value = serde_json::from_str(&process.stdout()).with_context(|| process.tail())?;
    let found = &report["days"][0];
    ensure!(found["verdict"] == "arrived", "verify says {found}\n{}", process.tail());
    Ok(Outcome {
        wall,
        cpu: Some(cpu),
        postgres_cpu: postgres_cpu(world)?.saturating_sub(postgres_before),
        peak_memory: Some(peak_memory),
        events: found["expected"].as_u64().unwrap_or_default(),
    })
}

/// The uuids of the events that the testkit's PostHog holds.
pub fn held(world: &World) -> Vec<u128> {
    let uuid = |text: &str| {
        let (_, rest) = text.split_once(r#""uuid":""#)?;
        u128::from_str_radix(&rest.get(..36)?.replace('-', ""), 16).ok()
    };
    let events = world.posthog.event_texts(API_KEY);
    events.iter().filter_map(|text| uuid(text)).collect()
}
