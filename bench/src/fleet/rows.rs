//! The rows of a fleet, and what must come out of them.

use anyhow::{Context as _, Result, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use testkit::langfuse::SCHEMA_SQL;
use testkit::template::fingerprint;
use testkit::{World, langfuse};

use crate::database::{API_KEY, FILLED, GENERATOR, is_filled, says, settle};
use crate::verify;

/// Days of each project that are exported.
pub const DAYS: u32 = 10;
/// The first and the last of them.
pub const RANGE: [&str; 2] = ["2025-01-14", "2025-01-23"];
/// Traces of such a day. With their generations and scores that is 21 events.
const TRACES: u32 = 6;
/// Days of each project that are planned.
pub const PLANNED_DAYS: u32 = 180;
/// What makes the rows of the days that are planned.
const PLANNED: &str = include_str!("planned.sql");
/// Rows at times that no day of a fleet has: the year 1, and 1970.
const ODD: &str = include_str!("odd.sql");

/// The name of the database for the exported days.
pub fn name(projects: u32) -> String {
    format!(
        "fleet_{:016x}",
        fingerprint(&format!("{}{GENERATOR}{SCHEMA_SQL}", wanted(projects)))
    )
}

/// The days that the generator fills.
fn wanted(projects: u32) -> String {
    let [first, last] = RANGE;
    format!(
        "create temporary table bench_days as
         select 'fleet-' || number as project_id, day::timestamp as day, {TRACES} as traces, false as bare
         from generate_series(1, {projects}) number, generate_series('{first}', '{last}', interval '1 day') day"
    )
}

/// Fills a database with the exported days, unless it has them from an earlier run.
pub async fn fill(world: &World, projects: u32) -> Result<()> {
    if is_filled(world).await? {
        return Ok(());
    }
    let mut connection = PgConnection::connect(&world.database_url).await?;
    for statements in [wanted(projects).as_str(), GENERATOR] {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await
            .context("generate the rows")?;
    }
    settle(&mut connection, FILLED).await?;
    connection.close().await?;
    Ok(())
}

/// Makes the projects and their integrations, those of this run's receiver.
pub async fn connect(world: &World, projects: u32, host: &str) -> Result<()> {
    let pool = world.pool();
    langfuse::add_project(&pool, "fleet-1", "Fleet 1").await;
    langfuse::add_integration(&pool, "fleet-1", host, API_KEY, true).await;
    for statement in [
        "insert into projects (id, name, org_id, created_at)
         select 'fleet-' || number, 'Fleet ' || number, org_id, created_at
         from projects, generate_series(2, $1) number where projects.id = 'fleet-1' on conflict do nothing",
        "insert into posthog_integrations (project_id, encrypted_posthog_api_key, posthog_host_name, enabled, created_at)
         select 'fleet-' || number, i.encrypted_posthog_api_key, i.posthog_host_name, true, i.created_at
         from posthog_integrations i, generate_series(2, $1) number where i.project_id = 'fleet-1'
         on conflict (project_id) do update set encrypted_posthog_api_key = excluded.encrypted_posthog_api_key,
             posthog_host_name = excluded.posthog_host_name",
        "-- as one that has been in use\nanalyze projects, posthog_integrations",
    ] {
        let query = sqlx::query(statement);
        let query = if statement.contains("$1") {
            query.bind(i32::try_from(projects)?)
        } else {
            query
        };
        query.execute(&pool).await?;
    }
    Ok(())
}

/// The uuids of all events of the exported days.
pub async fn expected(world: &World) -> Result<Vec<u128>> {
    let rows =
        "select project_id, id from traces union all select project_id, id from observations where type = 'GENERATION'
        union all select project_id, id from scores";
    let rows: Vec<(String, String)> = sqlx::query_as(rows).fetch_all(&world.pool()).await?;
    ensure!(!rows.is_empty(), "the fleet has no rows");
    Ok(rows.iter().map(|(project, id)| verify::uuid_of(project, id)).collect())
}

/// Fills a database with the planned days, which end yesterday. Those of another day are made anew.
pub async fn fill_planned(world: &World, projects: u32, odd: bool) -> Result<()> {
    let comment = format!("{projects} projects until {}", chrono::Utc::now().date_naive());
    if says(world, &comment).await? {
        return Ok(());
    }
    let mut connection = PgConnection::connect(&world.database_url).await?;
    let days = format!(
        "create temporary table bench_days as
         select 'fleet-' || number as project_id, day from generate_series(1, {projects}) number,
             generate_series(current_date - {PLANNED_DAYS}, current_date - 1, interval '1 day') day"
    );
    for statements in [days.as_str(), PLANNED, if odd { ODD } else { "" }] {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await
            .context("generate the planned rows")?;
    }
    settle(&mut connection, &comment).await?;
    connection.close().await?;
    Ok(())
}

/// A ledger in which every planned day is completed.
pub async fn complete_everything(world: &World) -> Result<()> {
    for statement in [
        "insert into posthog_export.runs (project_id, day, run, state, started_at, completed_at)
         select project_id, timestamp::date, 'daily', 'completed', now(), now() from traces
         where timestamp > current_date - 365 on conflict do nothing",
        "insert into posthog_export.streams (project_id, day, run, stream, done, sent, batches)
         select project_id, day, run, stream, true, 1, 1
         from posthog_export.runs, unnest(array['trace', 'generation', 'score']) stream on conflict do nothing",
        "vacuum (analyze) posthog_export.runs",
        "vacuum (analyze) posthog_export.streams",
    ] {
        sqlx::raw_sql(statement).execute(&world.pool()).await?;
    }
    Ok(())
}
