//! What the producer asks Langfuse's tables about all projects at once. Each statement uses an
//! index.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use sqlx::PgPool;

use crate::job::Day;

/// When the newest of a day's rows was created, by project and day.
pub type Newest = BTreeMap<(String, Day), DateTime<Utc>>;

/// Rows created from `since` on and before `until`, by the project and day that must export them. A
/// trace, a generation or a score belongs to its own day, with `observations` every observation
/// does. An observation of any type also belongs to the day of its trace, because it changes the
/// trace's totals. Rows whose own time lies on no day ([`super::undated`]) are left out. A creation
/// after the year 9999, `infinity` for one, counts as one at its end.
pub async fn created_between(
    source: &PgPool,
    projects: &[String],
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    observations: bool,
) -> Result<Newest, sqlx::Error> {
    created(source, projects, since, Some(until), observations).await
}

async fn created(
    source: &PgPool,
    projects: &[String],
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    observations: bool,
) -> Result<Newest, sqlx::Error> {
    /// The times that lie on a day of the years 1 to 9999. The others cannot be read as dates.
    macro_rules! dated {
        ($column:literal) => {
            concat!(
                " and ",
                $column,
                " >= '0001-01-01' and ",
                $column,
                " < '10000-01-01' group by 1, 2"
            )
        };
    }
    macro_rules! own_day {
        ($name:literal, $type:literal) => {
            concat!(
                $name,
                "
             select project_id, start_time::date, least(max(created_at), '9999-12-31') from observations
             where created_at >= $1 and ($2::timestamp is null or created_at < $2) and project_id = any($3)",
                $type,
                dated!("start_time")
            )
        };
    }
    let of_observations = if observations {
        own_day!("-- langfuse_late_any_observations", "")
    } else {
        own_day!("-- langfuse_late_generations", " and type = 'GENERATION'")
    };
    let statements = [
        concat!(
            "-- langfuse_late_traces
             select project_id, timestamp::date, least(max(created_at), '9999-12-31') from traces
             where created_at >= $1 and ($2::timestamp is null or created_at < $2) and project_id = any($3)",
            dated!("timestamp")
        ),
        of_observations,
        // Each trace is looked up once, however many observations it has.
        concat!(
            "-- langfuse_late_observations
             select t.project_id, t.timestamp::date, least(max(o.newest), '9999-12-31')
             from (select project_id, trace_id, max(created_at) as newest from observations
                   where created_at >= $1 and ($2::timestamp is null or created_at < $2) and project_id = any($3) and trace_id is not null
                   group by 1, 2) o
             join traces t on t.id = o.trace_id and t.project_id = o.project_id",
            dated!("t.timestamp")
        ),
        concat!(
            "-- langfuse_late_scores
             select project_id, timestamp::date, least(max(created_at), '9999-12-31') from scores
             where created_at >= $1 and ($2::timestamp is null or created_at < $2) and project_id = any($3)",
            dated!("timestamp")
        ),
    ];
    let mut newest = Newest::new();
    for statement in statements {
        let rows: Vec<(String, NaiveDate, NaiveDateTime)> = sqlx::query_as(statement)
            .bind(since.naive_utc())
            .bind(until.map(|until| until.naive_utc()))
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

/// The projects and days of rows that were "created" from this moment on, which is now: by clocks
/// that are ahead, or by a database whose `timezone` lies east of UTC.
pub async fn created_from(
    source: &PgPool,
    projects: &[String],
    now: DateTime<Utc>,
    observations: bool,
) -> Result<BTreeSet<(String, Day)>, sqlx::Error> {
    let ahead = created(source, projects, now, None, observations).await?;
    Ok(ahead.into_keys().collect())
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
