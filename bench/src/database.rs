//! Langfuse's tables, filled, and what must come out of them.

use anyhow::{Context as _, Result, ensure};
use chrono::{Days, NaiveDate};
use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use testkit::langfuse::SCHEMA_SQL;
use testkit::template::fingerprint;
use testkit::{World, langfuse};

use crate::verify;

/// The base of the links in the events.
pub const LANGFUSE_URL: &str = "https://langfuse.example.com";
/// The key of every project.
pub const API_KEY: &str = "phc_bench";
/// The large project.
pub const BIG: &str = "big";
/// Four that are together as large, for a day.
pub const QUARTERS: [&str; 4] = ["quarter-1", "quarter-2", "quarter-3", "quarter-4"];
/// What PostgreSQL is told beyond what tests tell it: room for what a warm server has in memory,
/// and nobody else at work.
pub const POSTGRES_SETTINGS: [&str; 4] = [
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "checkpoint_timeout=1h",
    "autovacuum=off",
];

/// A day of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Its id
    pub project: &'static str,
    /// The UTC day
    pub date: NaiveDate,
}

impl Day {
    /// The day that is this many days after the measured one.
    pub fn of(project: &'static str, number: u64) -> Self {
        let first = NaiveDate::from_ymd_opt(2025, 1, 14).unwrap_or_default();
        Self {
            project,
            date: first + Days::new(number),
        }
    }
}

/// A day that is to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which
    pub day: Day,
    /// How many traces
    pub traces: u32,
    /// Without inputs and outputs
    pub bare: bool,
}

/// Two days of a large project and of two small ones, and one of the four quarters.
pub fn usual_days(traces: u32, bare: bool) -> Vec<Wanted> {
    let mut days = Vec::new();
    for number in 0..2 {
        days.push((Day::of(BIG, number), traces));
        days.push((Day::of("small-1", number), traces / 10));
        days.push((Day::of("small-2", number), traces / 10));
    }
    days.extend(QUARTERS.map(|project| (Day::of(project, 2), traces / 4)));
    let wanted = |(day, traces)| Wanted { day, traces, bare };
    days.into_iter().map(wanted).collect()
}

/// A day, and a day ten times as large, both bare.
pub fn bare_days(traces: u32) -> Vec<Wanted> {
    let wanted = |number, traces| Wanted {
        day: Day::of(BIG, number),
        traces,
        bare: true,
    };
    vec![wanted(0, traces), wanted(1, traces * 10)]
}

/// What makes the rows of the days that the temporary table `bench_days` lists.
pub(crate) const GENERATOR: &str = include_str!("generator.sql");
/// What a database is called that has them all.
pub(crate) const FILLED: &str = "filled";

/// The name of the database for these days: another one when the days, or what makes their rows,
/// change.
pub fn name(days: &[Wanted]) -> String {
    format!(
        "bench_{:016x}",
        fingerprint(&format!("{days:?}{GENERATOR}{SCHEMA_SQL}"))
    )
}

/// Whether the rows are there, from this or an earlier run.
pub async fn is_filled(world: &World) -> Result<bool> {
    says(world, FILLED).await
}

/// Whether the comment on the world's database is this one.
pub(crate) async fn says(world: &World, wanted: &str) -> Result<bool> {
    let comment = "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()";
    let comment: Option<String> = sqlx::query_scalar(comment).fetch_one(&world.pool()).await?;
    Ok(comment.as_deref() == Some(wanted))
}

/// Makes the days' projects and integrations, those of this run's receiver.
pub async fn connect_projects(world: &World, host: &str, days: &[Wanted]) {
    for wanted in days {
        langfuse::add_project(&world.pool(), wanted.day.project, wanted.day.project).await;
        langfuse::add_integration(&world.pool(), wanted.day.project, host, API_KEY, true).await;
    }
}

/// Fills an empty database with the days, and leaves it as one that has been in use.
pub async fn fill(world: &World, days: &[Wanted]) -> Result<()> {
    let mut connection = PgConnection::connect(&world.database_url).await?;
    let table = "create temporary table bench_days (project_id text, day timestamp, traces integer, bare boolean)";
    sqlx::raw_sql(table).execute(&mut connection).await?;
    for wanted in days {
        sqlx::query("insert into bench_days values ($1, $2, $3, $4)")
            .bind(wanted.day.project)
            .bind(wanted.day.date.and_time(chrono::NaiveTime::MIN))
            .bind(i32::try_from(wanted.traces)?)
            .bind(wanted.bare)
            .execute(&mut connection)
            .await?;
    }
    sqlx::raw_sql(GENERATOR)
        .execute(&mut connection)
        .await
        .context("generate the rows")?;
    settle(&mut connection, FILLED).await?;
    connection.close().await?;
    Ok(())
}

/// Leaves a database that was filled as one that has been in use. The comment comes last: a
/// database whose filling was interrupted has none, and is filled anew.
pub(crate) async fn settle(connection: &mut PgConnection, comment: &str) -> Result<()> {
    for statement in [
        "vacuum (analyze) traces",
        "vacuum (analyze) observations",
        "vacuum (analyze) scores",
        "checkpoint",
    ] {
        sqlx::raw_sql(statement).execute(&mut *connection).await?;
    }
    let name: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(&mut *connection)
        .await?;
    let comment = format!("comment on database {name} is '{comment}'");
    sqlx::raw_sql(AssertSqlSafe(comment)).execute(connection).await?;
    Ok(())
}

/// The uuids of all events of a day.
pub async fn expected(world: &World, day: Day) -> Result<Vec<u128>> {
    let rows = "select id from traces where project_id = $1 and timestamp >= $2 and timestamp < $2 + interval '1 day'
        union all select id from observations
        where project_id = $1 and start_time >= $2 and start_time < $2 + interval '1 day' and type = 'GENERATION'
        union all select id from scores where project_id = $1 and timestamp >= $2 and timestamp < $2 + interval '1 day'";
    let pool = world.pool();
    // By the row: the ids of a large day as texts would take a gigabyte.
    let uuids: Vec<u128> = sqlx::query_scalar::<_, String>(rows)
        .bind(day.project)
        .bind(day.date.and_time(chrono::NaiveTime::MIN))
        .fetch(&pool)
        .map_ok(|id| verify::uuid_of(day.project, &id))
        .try_collect()
        .await?;
    ensure!(!uuids.is_empty(), "{} {} has no rows", day.project, day.date);
    Ok(uuids)
}

/// The size of the tables and their indexes, in bytes.
pub async fn size(world: &World) -> Result<u64> {
    let size: i64 = sqlx::query_scalar("select pg_database_size(current_database())")
        .fetch_one(&world.pool())
        .await?;
    Ok(size.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quarters_are_together_as_large_as_the_large_day() {
        let days = usual_days(200_000, false);
        let traces = |project| {
            days.iter()
                .filter(|wanted| wanted.day.project == project)
                .map(|wanted| wanted.traces)
                .sum::<u32>()
        };
        assert_eq!(QUARTERS.map(traces).iter().sum::<u32>(), traces(BIG) / 2);
        assert_eq!(traces("small-1"), 40_000);
        assert!(bare_days(200_000).iter().all(|wanted| wanted.bare));
    }
}
