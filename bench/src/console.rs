//! `cargo bench-export --console`: how long the console's pages take at a ledger of 400 projects over
//! three years, without and with hourly steps.

pub mod measured;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{Client, StatusCode, header};
use sqlx::{Connection as _, PgConnection};
use testkit::{Process, Servers, World, wait};

use crate::contestants::postgres_cpu;
use crate::{machine, measure};
use measured::{Console, Look, Looked};

/// What fills the ledger.
const LEDGER: &str = include_str!("console/ledger.sql");
/// What adds steps to it.
const STEPS: &str = include_str!("console/steps.sql");
/// Between two looks of a browser.
const PACE: Duration = Duration::from_secs(5);
/// A console that does not answer after this has not started.
const PATIENCE: Duration = Duration::from_mins(1);

/// Measures the console's pages.
pub async fn run(
    runs: u32,
    servers: &Arc<Servers>,
    say: &(impl Fn(&str) + Sync),
) -> Result<(Vec<(&'static str, String)>, Console)> {
    let world = World::in_database(Arc::clone(servers), "console").await;
    for command in ["migrate", "declare"] {
        let output = world.producer(&[command]).await;
        ensure!(
            output.code == 0,
            "producer {command}: {}{}",
            output.stdout,
            output.stderr
        );
    }
    let mut console = Console::default();
    let mut sizes = Vec::new();
    for (statements, looks) in [LEDGER, STEPS].into_iter().zip(Look::ALL) {
        say("filling the ledger");
        fill(&world, statements).await?;
        sizes.push(size(&world).await?);
        for round in 1..=runs {
            for look in looks {
                let (looked, peak_memory) = measure(&world, *look, round).await.with_context(|| look.to_string())?;
                let mean = looked.walls.iter().sum::<f64>() * 1e3 / f64::from(u32::try_from(looked.walls.len())?);
                say(&format!("round {round} of {runs}: {look}: {mean:.1} ms"));
                console.looks.push(looked);
                console.peak_memory = console.peak_memory.max(peak_memory);
            }
        }
    }
    let mut circumstances = machine::circumstances(&world).await?;
    circumstances.push(("ledger", sizes.join("; with hourly steps ")));
    Ok((circumstances, console))
}

/// Adds rows, and leaves the tables as those that have been in use.
async fn fill(world: &World, statements: &'static str) -> Result<()> {
    let mut connection = PgConnection::connect(&world.database_url).await?;
    for statement in [
        statements,
        "vacuum (analyze) posthog_export.runs",
        "vacuum (analyze) posthog_export.streams",
        "vacuum (analyze) posthog_export.arrivals",
        "vacuum (analyze) posthog_export.rejects",
        "checkpoint",
    ] {
        sqlx::raw_sql(statement).execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(())
}

async fn size(world: &World) -> Result<String> {
    let counts = "select format('%s projects, %s runs, %s streams', count(distinct project_id), count(*),
        (select count(*) from posthog_export.streams)) from posthog_export.runs";
    Ok(sqlx::query_scalar(counts).fetch_one(&world.pool()).await?)
}

/// A console that runs, and who looks at it.
struct Running {
    process: Arc<Process>,
    url: String,
    client: Client,
}

impl Running {
    async fn start(world: &World) -> Result<Self> {
        let process = world.spawn_producer(&["console", "--listen", "127.0.0.1:0"], &[]).await;
        let listens = wait::until(PATIENCE, async || {
            let log = process.stderr();
            let (_, rest) = log.split_once("\"listens\":\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        });
        let listens = listens
            .await
            .with_context(|| format!("no console\n{}", process.tail()))?;
        Ok(Self {
            process,
            url: format!("http://{listens}"),
            client: Client::builder().build()?,
        })
    }

    /// How long it takes, and the answer's bytes.
    async fn look(&self, path: &str, encoding: &str) -> Result<(Duration, usize)> {
        let began = Instant::now();
        let request = self.client.get(format!("{}{path}", self.url));
        let answer = request.header(header::ACCEPT_ENCODING, encoding).send().await?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        let took = began.elapsed();
        let expected = if path == NOTHING {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::OK
        };
        if status != expected {
            bail!("{path} answers {status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok((took, bytes.len()))
    }

    async fn end(self) {
        self.process.terminate();
        self.process.exited_within(PATIENCE).await;
    }
}

const NOTHING: &str = "/nothing";

/// The page, how often it is looked at in a row, and whether each look is a browser's next.
fn plan(look: Look) -> (String, usize, bool) {
    let project = "/projects/clx0000000000000000000008";
    let back = |days| chrono::Utc::now().date_naive() - chrono::Days::new(days);
    let path = match look {
        Look::Nothing => NOTHING.to_owned(),
        Look::First | Look::Again | Look::Memory | Look::FirstSteps | Look::AgainSteps => "/".to_owned(),
        Look::Chosen => "/?state=needs_somebody&sort=events".to_owned(),
        Look::Project | Look::ProjectSteps => project.to_owned(),
        Look::Year => format!("{project}?year={}", back(500).format("%Y")),
        Look::Day => format!("{project}?day={}", back(1)),
        Look::DaySteps => format!("{project}?day={}&steps=open", back(0)),
        Look::Run => format!("/runs/clx0000000000000000000008/{}/daily", back(1)),
        Look::Dead => "/dead-letters".to_owned(),
        Look::Cause => "/dead-letters?cause=posthog_unavailable".to_owned(),
    };
    match look {
        Look::First | Look::FirstSteps => (path, 1, false),
        Look::Again | Look::Chosen | Look::AgainSteps => (path, 5, true),
        _ => (path, 20, false),
    }
}

/// Some looks in a row at a console of their own, and its peak memory.
async fn measure(world: &World, look: Look, round: u32) -> Result<(Looked, u64)> {
    let (path, looks, paced) = plan(look);
    let running = Running::start(world).await?;
    // Connects to the servers; a first look is one that has not.
    if !matches!(look, Look::First | Look::FirstSteps) {
        running.look(&path, "identity").await?;
    }
    let (mut walls, mut bytes) = (Vec::new(), 0);
    let pid = running.process.pid();
    let (own_before, postgres_before) = (measure::cpu(pid)?, postgres_cpu(world)?);
    for _ in 0..looks {
        if paced {
            tokio::time::sleep(PACE).await;
        }
        let (took, length) = running.look(&path, "identity").await?;
        walls.push(took.as_secs_f64());
        bytes = length;
    }
    let looked = Looked {
        look,
        round,
        walls,
        cpu: measure::cpu(pid)?.saturating_sub(own_before).as_secs_f64(),
        postgres_cpu: postgres_cpu(world)?.saturating_sub(postgres_before).as_secs_f64(),
        bytes,
        gzip_bytes: running.look(&path, "gzip").await?.1,
    };
    let peak_memory = measure::peak_memory(pid)?;
    running.end().await;
    Ok((looked, peak_memory))
}
