//! What the producer asks Langfuse's tables about all projects at once. Each statement uses an
//! index.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use sqlx::PgPool;

use crate::job::Day;

/// When the newest of a day's rows was created, by project and day.
pub type Newest = BTreeMap<(String, Day), DateTime<Utc>>;

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

// `offset 0` keeps the condition on the project out of the inner selection. With old statistics the
// planner would otherwise read all rows of a project by another index, instead of the rows that were
// created in the given time. The last moment is one that an index can end at, also where there is none
// to end at.
const LATE_TRACES: &str = concat!(
    "-- langfuse_late_traces
     select r.project_id, r.timestamp::date, least(max(r.created_at), '9999-12-31')
     from (select project_id, timestamp, created_at from traces
           where created_at >= $1 and created_at <= coalesce($2::timestamp - interval '1 microsecond', 'infinity') offset 0) r
     where r.project_id = any($3)",
    dated!("r.timestamp")
);
const LATE_GENERATIONS: &str = concat!(
    "-- langfuse_late_generations
     select r.project_id, r.start_time::date, least(max(r.created_at), '9999-12-31')
     from (select project_id, start_time, created_at from observations
           where created_at >= $1 and created_at <= coalesce($2::timestamp - interval '1 microsecond', 'infinity')
             and type = 'GENERATION' offset 0) r
     where r.project_id = any($3)",
    dated!("r.start_time")
);
const LATE_ANY_OBSERVATIONS: &str = concat!(
    "-- langfuse_late_any_observations
     select r.project_id, r.start_time::date, least(max(r.created_at), '9999-12-31')
     from (select project_id, start_time, created_at from observations
           where created_at >= $1 and created_at <= coalesce($2::timestamp - interval '1 microsecond', 'infinity') offset 0) r
     where r.project_id = any($3)",
    dated!("r.start_time")
);
/// Each trace is looked up once, however many observations it has.
const LATE_OBSERVATIONS: &str = concat!(
    "-- langfuse_late_observations
     select t.project_id, t.timestamp::date, least(max(o.newest), '9999-12-31')
     from (select project_id, trace_id, max(created_at) as newest
           from (select project_id, trace_id, created_at from observations
                 where created_at >= $1 and created_at <= coalesce($2::timestamp - interval '1 microsecond', 'infinity')
                   and trace_id is not null offset 0) r
           where project_id = any($3) group by 1, 2) o
     join traces t on t.id = o.trace_id and t.project_id = o.project_id where true",
    dated!("t.timestamp")
);
const LATE_SCORES: &str = concat!(
    "-- langfuse_late_scores
     select r.project_id, r.timestamp::date, least(max(r.created_at), '9999-12-31')
     from (select project_id, timestamp, created_at from scores
           where created_at >= $1 and created_at <= coalesce($2::timestamp - interval '1 microsecond', 'infinity') offset 0) r
     where r.project_id = any($3)",
    dated!("r.timestamp")
);

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
    let mut newest = Newest::new();
    for (day, created_at) in all_created(source, projects, since, Some(until), observations).await? {
        newest
            .entry(day)
            .and_modify(|known| *known = created_at.max(*known))
            .or_insert(created_at);
    }
    Ok(newest)
}

/// The projects and days of the scores that were created from `since` on and before `until`, if there
/// is an end.
pub async fn scores_created_between(
    source: &PgPool,
    projects: &[String],
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
) -> Result<BTreeSet<(String, Day)>, sqlx::Error> {
    let found = created(source, LATE_SCORES, projects, since, until).await?;
    Ok(found.into_iter().map(|(day, _)| day).collect())
}

/// A project's day, and when its newest row was created.
type Created = ((String, Day), DateTime<Utc>);

async fn all_created(
    source: &PgPool,
    projects: &[String],
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    observations: bool,
) -> Result<Vec<Created>, sqlx::Error> {
    let of_own_day = if observations {
        LATE_ANY_OBSERVATIONS
    } else {
        LATE_GENERATIONS
    };
    let mut all = Vec::new();
    for statement in [LATE_TRACES, of_own_day, LATE_OBSERVATIONS, LATE_SCORES] {
        all.extend(created(source, statement, projects, since, until).await?);
    }
    Ok(all)
}

async fn created(
    source: &PgPool,
    statement: &'static str,
    projects: &[String],
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
) -> Result<Vec<Created>, sqlx::Error> {
    let rows: Vec<(String, NaiveDate, NaiveDateTime)> = sqlx::query_as(statement)
        .bind(since.naive_utc())
        .bind(until.map(|until| until.naive_utc()))
        .bind(projects)
        .fetch_all(source)
        .await?;
    let found = |(project, day, at): (String, NaiveDate, NaiveDateTime)| ((project, Day(day)), at.and_utc());
    Ok(rows.into_iter().map(found).collect())
}

/// The projects and days of rows that were "created" from this moment on, which is now: by clocks
/// that are ahead, or by a database whose `timezone` lies east of UTC.
pub async fn created_from(
    source: &PgPool,
    projects: &[String],
    now: DateTime<Utc>,
    observations: bool,
) -> Result<BTreeSet<(String, Day)>, sqlx::Error> {
    let ahead = all_created(source, projects, now, None, observations).await?;
    Ok(ahead.into_iter().map(|(day, _)| day).collect())
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
