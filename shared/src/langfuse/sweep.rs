//! What the producer asks Langfuse's tables about all projects at once. Each statement uses an
//! index.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use sqlx::PgPool;

use crate::job::Day;

/// Which of the given days hold a trace or a generation of the project; oldest first. Each day
/// costs two lookups in an index.
pub async fn days_with_traces(source: &PgPool, project_id: &str, days: &[Day]) -> Result<Vec<Day>, sqlx::Error> {
    let found: Vec<NaiveDate> = sqlx::query_scalar(
        "-- langfuse_days_with_traces
         select d::date from unnest($2::date[]) d
         where exists (select 1 from traces t where t.project_id = $1
                       and t.timestamp >= d::timestamp and t.timestamp < d::timestamp + interval '1 day')
            or exists (select 1 from observations o where o.project_id = $1 and o.type = 'GENERATION'
                       and o.start_time >= d::timestamp and o.start_time < d::timestamp + interval '1 day')
         order by 1",
    )
    .bind(project_id)
    .bind(days.iter().map(|day| day.0).collect::<Vec<_>>())
    .fetch_all(source)
    .await?;
    Ok(found.into_iter().map(Day).collect())
}

/// Which of the given projects have a score on the day. The index of the scores has no project, so
/// one statement reads the day's scores for all projects.
pub async fn projects_with_scores(source: &PgPool, day: Day, projects: &[String]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "-- langfuse_projects_with_scores
         select distinct project_id from scores
         where timestamp >= $1 and timestamp < $2 and project_id = any($3)",
    )
    .bind(day.start())
    .bind(day.end())
    .bind(projects)
    .fetch_all(source)
    .await
}

/// When the newest of a day's rows was created, by project and day.
pub type Newest = BTreeMap<(String, Day), DateTime<Utc>>;

/// Rows created from `since` on and before `until`, by the project and day that must export them. A
/// trace, a generation or a score belongs to its own day. An observation of any type also belongs
/// to the day of its trace, because it changes the trace's totals.
pub async fn created_between(
    source: &PgPool,
    projects: &[String],
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Newest, sqlx::Error> {
    const STATEMENTS: [&str; 4] = [
        "-- langfuse_late_traces
         select project_id, timestamp::date, max(created_at) from traces
         where created_at >= $1 and created_at < $2 and project_id = any($3) group by 1, 2",
        "-- langfuse_late_generations
         select project_id, start_time::date, max(created_at) from observations
         where created_at >= $1 and created_at < $2 and project_id = any($3) and type = 'GENERATION' group by 1, 2",
        // Each trace is looked up once, however many observations it has.
        "-- langfuse_late_observations
         select t.project_id, t.timestamp::date, max(o.newest)
         from (select project_id, trace_id, max(created_at) as newest from observations
               where created_at >= $1 and created_at < $2 and project_id = any($3) and trace_id is not null
               group by 1, 2) o
         join traces t on t.id = o.trace_id and t.project_id = o.project_id group by 1, 2",
        "-- langfuse_late_scores
         select project_id, timestamp::date, max(created_at) from scores
         where created_at >= $1 and created_at < $2 and project_id = any($3) group by 1, 2",
    ];
    let mut newest = Newest::new();
    for statement in STATEMENTS {
        let rows: Vec<(String, NaiveDate, NaiveDateTime)> = sqlx::query_as(statement)
            .bind(since.naive_utc())
            .bind(until.naive_utc())
            .bind(projects)
            .fetch_all(source)
            .await?;
        for (project, day, created_at) in rows {
            let created_at = created_at.and_utc();
            newest
                .entry((project, Day(day)))
                .and_modify(|known| *known = created_at.max(*known))
                .or_insert(created_at);
        }
    }
    Ok(newest)
}

/// Until when this server has all rows: on a primary now, on a replica the last change that it has
/// replayed.
pub async fn visible_until(source: &PgPool) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar(
        "-- langfuse_visible_until
         select case when pg_is_in_recovery() then coalesce(pg_last_xact_replay_timestamp(), clock_timestamp())
                     else clock_timestamp() end",
    )
    .fetch_one(source)
    .await
}
