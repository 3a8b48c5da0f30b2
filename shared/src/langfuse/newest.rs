//! How old the newest row is. Each look takes the last entry of an index up to now: rows whose time
//! lies in the future, or on no day, do not count.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use sqlx::PgPool;

/// The time of each project's newest trace or observation. Projects without one are left out.
pub async fn newest_rows(
    source: &PgPool,
    projects: &[String],
    now: DateTime<Utc>,
) -> Result<BTreeMap<String, DateTime<Utc>>, sqlx::Error> {
    let rows: Vec<(String, NaiveDateTime)> = sqlx::query_as(
        "-- langfuse_newest_rows
         select p.id, greatest(t.at, o.at) from unnest($1::text[]) as p (id)
         left join lateral (
           select t.timestamp as at from traces t
           where (t.project_id, t.timestamp) >= (p.id, '0001-01-01'::timestamp) and (t.project_id, t.timestamp) <= (p.id, $2)
           order by t.project_id desc, t.timestamp desc limit 1) t on true
         left join lateral (
           select o.start_time as at from observations o
           where (o.project_id, o.start_time) >= (p.id, '0001-01-01'::timestamp) and (o.project_id, o.start_time) <= (p.id, $2)
           order by o.project_id desc, o.start_time desc limit 1) o on true
         where t.at is not null or o.at is not null",
    )
    .bind(projects)
    .bind(now.naive_utc())
    .fetch_all(source)
    .await?;
    Ok(rows.into_iter().map(|(id, at)| (id, at.and_utc())).collect())
}

/// The time of the newest score of any project.
pub async fn newest_score(source: &PgPool, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let at: Option<NaiveDateTime> = sqlx::query_scalar(
        "-- langfuse_newest_score
         select timestamp from scores where timestamp >= '0001-01-01' and timestamp <= $1
         order by timestamp desc limit 1",
    )
    .bind(now.naive_utc())
    .fetch_optional(source)
    .await?;
    Ok(at.map(|at| at.and_utc()))
}
