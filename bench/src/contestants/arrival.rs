//! `producer verify` on a day: the whole day is compared with what a stand-in of PostHog's app holds.

mod app;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chrono::NaiveTime;
use futures::TryStreamExt as _;
use serde_json::Value;
use sqlx::Row as _;
use testkit::{World, langfuse};

use super::{Outcome, postgres_cpu};
use crate::database::{API_KEY, Day};
use crate::{measure, verify as uuids};

use app::{App, Held, NAMES};

const PERSONAL_KEY: &str = "phx_bench";
/// How often the process is looked at while it runs.
const LOOK: Duration = Duration::from_millis(20);
/// One event of so many is missing, where any are: as many everywhere in the day, which is the worst
/// case for whoever must find them.
const MISSING: u128 = 100;

/// Makes the day look exported to an app that holds all of it, or misses one event of a hundred.
pub async fn prepare(world: &World, day: Day, misses: bool) -> Result<()> {
    let app = App::start().await?;
    let mut held = events(world, day).await?;
    if misses {
        held.retain(|event| event.uuid % MISSING != 0);
    }
    app.holds(held);
    let keys = world.servers().directory().path().join("personal-keys");
    std::fs::write(&keys, format!("{} {PERSONAL_KEY}\n", app.address()))?;
    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", &keys.to_string_lossy());
    let host = format!("http://{}", app.address());
    langfuse::add_integration(&world.pool(), day.project, &host, API_KEY, true).await;
    sqlx::query(
        "with run as (
           insert into posthog_export.runs (project_id, day, run, state, target, started_at, completed_at)
           values ($1, $2, 'bench', 'completed', $3 || ' ' || encode(substring(sha256($4::text::bytea), 1, 6), 'hex'),
                   now() - interval '2 days', now() - interval '2 days'))
         insert into posthog_export.streams (project_id, day, run, stream, done)
         select $1, $2, 'bench', unnest(array['trace', 'generation', 'score']), true",
    )
    .bind(day.project)
    .bind(day.date)
    .bind(host)
    .bind(API_KEY)
    .execute(&world.pool())
    .await
    .context("record a completed run")?;
    Ok(())
}

/// The day's events.
async fn events(world: &World, day: Day) -> Result<Vec<Held>> {
    let rows = "select 0 as name, timestamp as time, id from traces
        where project_id = $1 and timestamp >= $2 and timestamp < $2 + interval '1 day'
        union all select 1, start_time, id from observations
        where project_id = $1 and start_time >= $2 and start_time < $2 + interval '1 day' and type = 'GENERATION'
        union all select 2, timestamp, id from scores
        where project_id = $1 and timestamp >= $2 and timestamp < $2 + interval '1 day'";
    let pool = world.pool();
    let rows = sqlx::query(rows)
        .bind(day.project)
        .bind(day.date.and_time(NaiveTime::MIN));
    rows.fetch(&pool)
        .and_then(|row| async move {
            let name: i32 = row.try_get(0)?;
            let time: chrono::NaiveDateTime = row.try_get(1)?;
            Ok(Held {
                name: usize::try_from(name).unwrap_or(NAMES.len()),
                hour: time.and_utc().timestamp().div_euclid(3_600),
                uuid: uuids::uuid_of(day.project, row.try_get(2)?),
            })
        })
        .try_collect()
        .await
        .context("read the day's events")
}

/// Asks whether the day has arrived, and looks whether the answer is true.
pub async fn verify(world: &World, day: Day, expected: &[u128], misses: bool) -> Result<Outcome> {
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
    let missing = expected.iter().filter(|uuid| misses && *uuid % MISSING == 0).count();
    ensure!(
        found["missing"] == missing && found["extra"] == 0,
        "verify says {found}, and {missing} are missing\n{}",
        process.tail()
    );
    Ok(Outcome {
        wall,
        cpu: Some(cpu),
        postgres_cpu: postgres_cpu(world)?.saturating_sub(postgres_before),
        peak_memory: Some(peak_memory),
        memory: Vec::new(),
        events: found["expected"].as_u64().unwrap_or_default(),
    })
}
