//! Which days hold rows to export. Each look into an index jumps to the next day that holds a row.
//! So the cost follows the days that hold data, whatever empty years lie between them.

use std::ops::RangeInclusive;

use chrono::NaiveDate;
use sqlx::{PgExecutor, PgPool};

use crate::job::Day;

/// Days from a first to a last, both included.
pub type Days = RangeInclusive<Day>;

/// How many days, or ranges of days, one statement answers for, so that it ends within its time
/// limit.
const AT_ONCE: usize = 200;

/// $1 first days, $2 the days behind the last, $3 how many days to find, $4 the project. Begins on
/// the day before each range, and jumps from the day it found to the next one that holds a row.
///
/// The comparison of pairs makes the order of the index the only one that serves: a planner with
/// old statistics cannot take an index on the time alone, and walk the rows of other projects.
/// Generations are asked for only as far as the next trace leaves days open.
macro_rules! with_traces {
    ($name:literal, $type:literal) => {
        concat!(
            $name,
            "
    with recursive look (day, until, found) as (
      select r.first - 1, r.until, false from unnest($1::date[], $2::date[]) as r (first, until)
      union all
      select coalesce(g.day, t.day), look.until, true
      from look
      left join lateral (
        select t.timestamp::date as day from traces t
        where (t.project_id, t.timestamp) >= ($4, (look.day + 1)::timestamp)
          and (t.project_id, t.timestamp) < ($4, look.until::timestamp)
        order by t.project_id, t.timestamp limit 1) t on true
      left join lateral (
        select o.start_time::date as day from observations o
        where (t.day is null or t.day > look.day + 1)
          and (o.project_id, o.start_time) >= ($4, (look.day + 1)::timestamp)
          and (o.project_id, o.start_time) < ($4, coalesce(t.day, look.until)::timestamp)
          ",
            $type,
            "
        order by o.project_id, o.start_time limit 1) g on true
      where coalesce(g.day, t.day) is not null
    )
    select day from look where found limit $3"
        )
    };
}

const WITH_TRACES: &str = with_traces!("-- langfuse_days_with_traces", "and o.type = 'GENERATION'");
/// As [`WITH_TRACES`], for observations of any type.
const WITH_OBSERVATIONS: &str = with_traces!("-- langfuse_days_with_observations", "");

/// As [`WITH_TRACES`]; needs an index on the project and the time.
const WITH_SCORES: &str = "-- langfuse_days_with_scores
    with recursive look (day, until, found) as (
      select r.first - 1, r.until, false from unnest($1::date[], $2::date[]) as r (first, until)
      union all
      select s.day, look.until, true
      from look
      cross join lateral (
        select s.timestamp::date as day from scores s
        where (s.project_id, s.timestamp) >= ($4, (look.day + 1)::timestamp)
          and (s.project_id, s.timestamp) < ($4, look.until::timestamp)
        order by s.project_id, s.timestamp limit 1) s
    )
    select day from look where found limit $3";

/// As [`WITH_TRACES`], for the scores of all projects: Langfuse's index of their times knows no
/// project.
const WITH_ANY_SCORES: &str = "-- langfuse_days_with_any_scores
    with recursive look (day, until, found) as (
      select r.first - 1, r.until, false from unnest($1::date[], $2::date[]) as r (first, until)
      union all
      select s.day, look.until, true
      from look
      cross join lateral (
        select s.timestamp::date as day from scores s
        where s.timestamp >= (look.day + 1)::timestamp and s.timestamp < look.until::timestamp
        order by s.timestamp limit 1) s
    )
    select day from look where found limit $3";

/// The days of the ranges that hold a trace or a generation of the project, or with `observations`
/// any observation. The ranges do not overlap.
pub async fn days_with_traces(
    source: &PgPool,
    project_id: &str,
    ranges: &[Days],
    observations: bool,
) -> Result<Vec<Day>, sqlx::Error> {
    let statement = if observations { WITH_OBSERVATIONS } else { WITH_TRACES };
    jump(source, statement, Some(project_id), ranges).await
}

/// The days of the ranges that hold a score of the project. Only for a database with an index on
/// the project and the time of scores ([`has_index`]). The ranges do not overlap.
pub async fn days_with_scores(source: &PgPool, project_id: &str, ranges: &[Days]) -> Result<Vec<Day>, sqlx::Error> {
    jump(source, WITH_SCORES, Some(project_id), ranges).await
}

/// The days of the ranges that hold a score of any project. The ranges do not overlap.
pub async fn days_with_any_scores(source: &PgPool, ranges: &[Days]) -> Result<Vec<Day>, sqlx::Error> {
    jump(source, WITH_ANY_SCORES, None, ranges).await
}

async fn jump(
    source: &PgPool,
    statement: &'static str,
    project_id: Option<&str>,
    ranges: &[Days],
) -> Result<Vec<Day>, sqlx::Error> {
    let mut all = Vec::new();
    for some in ranges.chunks(AT_ONCE) {
        let mut open = some.to_vec();
        while !open.is_empty() {
            let query = sqlx::query_scalar(statement)
                .bind(open.iter().map(|range| range.start().0).collect::<Vec<_>>())
                .bind(open.iter().map(|range| range.end().next().0).collect::<Vec<_>>())
                .bind(i64::try_from(AT_ONCE).unwrap_or(i64::MAX));
            let query = match project_id {
                Some(project_id) => query.bind(project_id),
                None => query,
            };
            let found: Vec<NaiveDate> = query.fetch_all(source).await?;
            let found: Vec<Day> = found.into_iter().map(Day).collect();
            open = if found.len() < AT_ONCE {
                Vec::new()
            } else {
                behind(open, &found)
            };
            all.extend(found);
        }
    }
    Ok(all)
}

/// What a statement that ended at its limit has left of its ranges: in each, it found the oldest
/// days first. PURE.
fn behind(ranges: Vec<Days>, found: &[Day]) -> Vec<Days> {
    let rest = |range: Days| {
        let last = found.iter().filter(|day| range.contains(day)).max();
        last.map_or(range.clone(), |day| day.next()..=*range.end())
    };
    ranges.into_iter().map(rest).filter(|range| !range.is_empty()).collect()
}

/// What a statement with a limit has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited<T> {
    /// What it found within the limit
    pub found: Vec<T>,
    /// Whether that is all
    pub complete: bool,
}

impl<T> Limited<T> {
    fn new(found: Vec<T>, rows: i64, limit: u32) -> Self {
        let complete = rows <= i64::from(limit);
        Self { found, complete }
    }
}

/// Which of the given projects have a score on the day. Walks the scores of the day, those of all
/// projects, up to `limit`.
pub async fn projects_with_scores(
    source: &PgPool,
    day: Day,
    projects: &[String],
    limit: u32,
) -> Result<Limited<String>, sqlx::Error> {
    let (found, rows) = sqlx::query_as(
        "-- langfuse_projects_with_scores
         select coalesce(array_agg(distinct s.project_id) filter (where s.project_id = any($3)), '{}'), count(*)
         from (select project_id from scores where timestamp >= $1 and timestamp < $2
               order by timestamp limit $4::int8 + 1) s",
    )
    .bind(day.start())
    .bind(day.end())
    .bind(projects)
    .bind(i64::from(limit))
    .fetch_one(source)
    .await?;
    Ok(Limited::new(found, rows, limit))
}

/// The days on which a project has a score. Walks the scores of the project, by Langfuse's index of
/// their names, up to `limit`.
pub async fn score_days(source: &PgPool, project_id: &str, limit: u32) -> Result<Limited<Day>, sqlx::Error> {
    let (found, rows): (Vec<NaiveDate>, i64) = sqlx::query_as(
        "-- langfuse_score_days
         select coalesce(array_agg(distinct s.timestamp::date)
                         filter (where s.timestamp >= '0001-01-01' and s.timestamp < '10000-01-01'), '{}'), count(*)
         from (select timestamp from scores where project_id = $1 order by name limit $2::int8 + 1) s",
    )
    .bind(project_id)
    .bind(i64::from(limit))
    .fetch_one(source)
    .await?;
    Ok(Limited::new(found.into_iter().map(Day).collect(), rows, limit))
}

/// Whether a table has an index whose leading columns are these.
pub async fn has_index(source: impl PgExecutor<'_>, table: &str, columns: &[&str]) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "-- langfuse_has_index
         select exists (select 1 from pg_index i
           where i.indrelid = to_regclass(quote_ident($1)) and i.indisvalid and i.indpred is null
             and $2::text[] = array(
               select a.attname::text from unnest(i.indkey::int2[]) with ordinality as k (number, place)
               join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
               where k.place <= cardinality($2::text[]) order by k.place))",
    )
    .bind(table)
    .bind(columns)
    .fetch_one(source)
    .await
}

/// Rows of a project that no job can export, because their time lies on no day of the years 1 to
/// 9999.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Undated {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// `traces`, `observations` or `scores`
    pub table: String,
    /// How many
    pub rows: i64,
    /// The id of one of them
    pub example: String,
}

/// The rows of these projects whose time lies on no day: `infinity`, `-infinity`, before the year 1
/// and after the year 9999. Of the observations the generations, or with `observations` all.
pub async fn undated(source: &PgPool, projects: &[String], observations: bool) -> Result<Vec<Undated>, sqlx::Error> {
    macro_rules! undated_observations {
        ($name:literal, $type:literal) => {
            concat!(
                $name,
                "
             select p.id, count(*), min(r.id) from unnest($1::text[]) as p (id)
             cross join lateral (
               select o.id from observations o
               where o.project_id = p.id and o.start_time < '0001-01-01'",
                $type,
                "
               union all
               select o.id from observations o
               where o.project_id = p.id and o.start_time >= '10000-01-01'",
                $type,
                ") r
             group by 1 order by 1"
            )
        };
    }
    let of_observations = if observations {
        undated_observations!("-- langfuse_undated_observations", "")
    } else {
        undated_observations!("-- langfuse_undated_generations", " and o.type = 'GENERATION'")
    };
    let statements = [
        (
            "traces",
            "-- langfuse_undated_traces
             select p.id, count(*), min(r.id) from unnest($1::text[]) as p (id)
             cross join lateral (
               select t.id from traces t where t.project_id = p.id and t.timestamp < '0001-01-01'
               union all
               select t.id from traces t where t.project_id = p.id and t.timestamp >= '10000-01-01') r
             group by 1 order by 1",
        ),
        ("observations", of_observations),
        (
            "scores",
            "-- langfuse_undated_scores
             select r.project_id, count(*), min(r.id) from (
               select s.project_id, s.id from scores s where s.timestamp < '0001-01-01'
               union all
               select s.project_id, s.id from scores s where s.timestamp >= '10000-01-01') r
             where r.project_id = any($1) group by 1 order by 1",
        ),
    ];
    let mut all = Vec::new();
    for (table, statement) in statements {
        let found: Vec<(String, i64, String)> = sqlx::query_as(statement).bind(projects).fetch_all(source).await?;
        all.extend(found.into_iter().map(|(project_id, rows, example)| Undated {
            project_id,
            table: table.to_owned(),
            rows,
            example,
        }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn what_a_limit_cut_off_is_asked_for_again() {
        let range = |first, last| day(first)..=day(last);
        let ranges = vec![
            range("0001-01-01", "2024-01-31"),
            range("2024-03-01", "2024-03-31"),
            range("2024-05-01", "2024-05-02"),
        ];
        let found = ["1970-01-01", "2024-05-02", "2024-01-07", "2024-05-01"].map(day);
        let rest = [range("2024-01-08", "2024-01-31"), range("2024-03-01", "2024-03-31")];
        assert_eq!(behind(ranges, &found), rest);
    }
}
