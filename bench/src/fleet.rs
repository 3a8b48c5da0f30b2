//! `cargo bench-export --fleet`: many projects with a few rows a day. One worker exports ten days
//! of each, beside another commit's worker where one is given; and the producer plans 180 days of
//! each, with and without rows at odd times.

pub mod jobs;
pub mod measured;
pub mod planning;
pub mod rows;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use testkit::{Servers, World};

use crate::arguments::Arguments;
use crate::database::LANGFUSE_URL;
use crate::machine;
use crate::receiver::Receiver;
use crate::verify::{self, Depth};

use measured::{Fleet, Whose};

/// Measures a fleet.
pub async fn run(
    arguments: &Arguments,
    servers: &Arc<Servers>,
    receiver: &Receiver,
    say: &(impl Fn(&str) + Sync),
) -> Result<(Vec<(&'static str, String)>, Fleet)> {
    let projects = arguments.projects;
    let mut fleet = Fleet::default();
    let world = world(servers, &rows::name(projects)).await?;
    say(&format!("the days of {projects} projects"));
    rows::fill(&world, projects).await?;
    rows::connect(&world, projects, receiver.url()).await?;
    let mut circumstances = machine::circumstances(&world).await?;
    circumstances.push(("fleet", Fleet::size(projects)));
    jobs(arguments, &world, receiver, &mut fleet, say).await?;

    say(&format!(
        "{} days of {projects} projects, without and with odd rows",
        rows::PLANNED_DAYS
    ));
    let plain = self::world(servers, "fleet_plain").await?;
    let odd = self::world(servers, "fleet_odd").await?;
    for (world, odd) in [(&plain, false), (&odd, true)] {
        rows::connect(world, projects, receiver.url()).await?;
        rows::fill_planned(world, projects, odd).await?;
    }
    planning(arguments, &plain, &odd, &mut fleet, say).await?;
    Ok((circumstances, fleet))
}

/// A database of that name and a virtual host, ready for a worker.
async fn world(servers: &Arc<Servers>, name: &str) -> Result<World> {
    let world = World::in_database(Arc::clone(servers), name).await;
    world.set("LANGFUSE_URL", LANGFUSE_URL);
    world.set("RUST_LOG", "info");
    for command in ["migrate", "declare"] {
        let output = world.producer(&[command]).await;
        ensure!(
            output.code == 0,
            "producer {command}: {}{}",
            output.stdout,
            output.stderr
        );
    }
    Ok(world)
}

/// The workers take turns, after an untimed run of each whose every event is looked at.
async fn jobs(
    arguments: &Arguments,
    world: &World,
    receiver: &Receiver,
    fleet: &mut Fleet,
    say: &(impl Fn(&str) + Sync),
) -> Result<()> {
    let mut workers: Vec<(Whose, Option<&Path>)> = vec![(Whose::Ours, arguments.worker.as_deref())];
    if let Some(path) = &arguments.against {
        workers.push((Whose::Other, Some(path)));
    }
    let expected = rows::expected(world).await?;
    for (whose, program) in &workers {
        let bodies = receiver.expect_and_hand_on();
        let looking = tokio::task::spawn_blocking(move || verify::look(&bodies, Depth::Uuids));
        let done = jobs::export(world, *program, arguments.projects).await;
        receiver.hand_on_no_more();
        let (seen, done) = (looking.await??, done?);
        let verdict = verify::compare(&expected, &seen.uuids);
        say(&format!(
            "verified {whose}: {} events of {} jobs",
            verdict.arrived, done.jobs
        ));
        ensure!(verdict.is_good(), "{whose}: not every event arrived once: {verdict:?}");
        fleet.verdicts.push((*whose, verdict));
    }
    for round in 1..=arguments.runs {
        for (whose, program) in &workers {
            receiver.expect(std::time::Duration::ZERO);
            let done = jobs::export(world, *program, arguments.projects).await;
            let done = done.with_context(|| format!("{whose}, round {round}"))?;
            say(&format!(
                "round {round} of {}: {whose}: {:.1} jobs a second, {:.1} transactions a job, {:.2} ms of the worker and {:.2} ms of PostgreSQL a job",
                arguments.runs,
                done.rate(),
                done.transactions_a_job(),
                done.cpu_a_job(),
                done.postgres_a_job()
            ));
            fleet.rounds.push((round, *whose, done));
        }
    }
    Ok(())
}

async fn planning(
    arguments: &Arguments,
    plain: &World,
    odd: &World,
    fleet: &mut Fleet,
    say: &(impl Fn(&str) + Sync),
) -> Result<()> {
    for full in [false, true] {
        if full {
            for world in [plain, odd] {
                rows::complete_everything(world).await?;
            }
        }
        // One untimed run of each: the first reads what was just written.
        for round in 0..=arguments.runs {
            for command in measured::Command::ALL {
                for (world, is_odd) in [(plain, false), (odd, true)] {
                    let time = planning::time(world, command, full, arguments.projects, is_odd).await?;
                    if round > 0 {
                        say(&format!("round {round} of {}: {time}", arguments.runs));
                        fleet.plans.push((round, time));
                    }
                }
            }
        }
    }
    Ok(())
}
