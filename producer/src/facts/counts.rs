//! How many events jobs hold: counted, or estimated without reading a row.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use shared::job::{Day, Job, Stream};
use shared::langfuse::has_index;
use sqlx::PgPool;

use crate::error::CommandError;
use crate::output::progress;
use crate::plan::{FirstExport, Planned, long_ones};

/// How many statements count at the same time.
const AT_ONCE: usize = 4;

/// What the jobs of a project hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    /// How many jobs
    pub(crate) jobs: usize,
    /// Events by kind
    pub(crate) events: BTreeMap<Stream, i64>,
}

impl Count {
    pub(crate) fn total(&self) -> i64 {
        self.events.values().sum()
    }

    fn add(&mut self, stream: Stream, events: i64) {
        *self.events.entry(stream).or_default() += events;
    }
}

/// $1 project, $2 the day's first moment, $3 the day behind, $4 created since then, or null. The rows
/// of a job, as the worker reads them.
const fn of_project(stream: Stream) -> &'static str {
    match stream {
        Stream::Trace => {
            "-- producer_count_traces
             select count(*) from traces t where t.project_id = $1 and t.timestamp >= $2 and t.timestamp < $3
               and ($4::timestamp is null or t.created_at >= $4
                    or exists (select 1 from observations o where o.trace_id = t.id and o.project_id = t.project_id
                               and o.created_at >= $4))"
        }
        Stream::Generation => {
            "-- producer_count_generations
             select count(*) from observations o
             where o.project_id = $1 and o.start_time >= $2 and o.start_time < $3 and o.type = 'GENERATION'
               and ($4::timestamp is null or o.created_at >= $4)"
        }
        Stream::Observation => {
            "-- producer_count_observations
             select count(*) from observations o
             where o.project_id = $1 and o.start_time >= $2 and o.start_time < $3 and o.type <> 'GENERATION'
               and ($4::timestamp is null or o.created_at >= $4)"
        }
        Stream::Score => {
            "-- producer_count_scores
             select count(*) from scores s where s.project_id = $1 and s.timestamp >= $2 and s.timestamp < $3
               and ($4::timestamp is null or s.created_at >= $4)"
        }
    }
}

/// The scores of a day, of all projects: Langfuse's own index of their times has no project. Without
/// a condition on the project, no planner walks more than the day.
const SCORES_OF_DAY: &str = "-- producer_count_scores_of_day
    select s.project_id, count(*) from scores s where s.timestamp >= $1 and s.timestamp < $2
      and ($3::timestamp is null or s.created_at >= $3) group by 1";

/// Counts the events of each project's jobs. No statement reads more than a day.
pub(crate) async fn count(source: &PgPool, jobs: &[Planned]) -> Result<BTreeMap<String, Count>, CommandError> {
    let by_project = has_index(source, "scores", &["project_id", "timestamp"]).await?;
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut own = Vec::new();
    // Jobs by day and by the rows that they want: one statement for all projects.
    let mut shared: BTreeMap<(Day, Option<DateTime<Utc>>), Vec<&str>> = BTreeMap::new();
    for Planned { job, .. } in jobs {
        let count = counts.entry(job.key.project_id.clone()).or_default();
        count.jobs += 1;
        for stream in job.scope.streams() {
            count.add(stream, 0);
            if stream == Stream::Score && !by_project {
                let same = (job.key.day, job.scope.created_after);
                shared.entry(same).or_default().push(&job.key.project_id);
            } else {
                own.push((stream, job.clone()));
            }
        }
    }
    let bar = progress("counting events", own.len() + shared.len());
    let counted = own.into_iter().map(|(stream, job)| {
        let bar = &bar;
        async move {
            let events = of_job(source, stream, &job).await?;
            bar.inc(1);
            Ok::<_, sqlx::Error>((job.key.project_id, stream, events))
        }
    });
    let counted: Vec<_> = futures::stream::iter(counted)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut add = |project: &str, stream: Stream, events: i64| {
        if let Some(count) = counts.get_mut(project) {
            count.add(stream, events);
        }
    };
    for (project, stream, events) in counted {
        add(&project, stream, events);
    }
    for ((day, created_after), projects) in shared {
        let all = scores_of_day(source, day, created_after).await?;
        for project in projects {
            add(project, Stream::Score, all.get(project).copied().unwrap_or(0));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(counts)
}

async fn of_job(source: &PgPool, stream: Stream, job: &Job) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(of_project(stream))
        .bind(&job.key.project_id)
        .bind(job.key.day.start())
        .bind(job.key.day.end())
        .bind(naive(job.scope.created_after))
        .fetch_one(source)
        .await
}

async fn scores_of_day(
    source: &PgPool,
    day: Day,
    created_after: Option<DateTime<Utc>>,
) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(SCORES_OF_DAY)
        .bind(day.start())
        .bind(day.end())
        .bind(naive(created_after))
        .fetch_all(source)
        .await?;
    Ok(rows.into_iter().collect())
}

fn naive(moment: Option<DateTime<Utc>>) -> Option<NaiveDateTime> {
    moment.map(|moment| moment.naive_utc())
}

/// $1 project, $2 the first moment, $3 the end. The planner's own estimate: it reads statistics, and
/// not one row.
const ESTIMATES: [&str; 3] = [
    "-- producer_estimate_traces
     explain select 1 from traces where project_id = $1 and timestamp >= $2 and timestamp < $3",
    "-- producer_estimate_generations
     explain select 1 from observations
     where project_id = $1 and start_time >= $2 and start_time < $3 and type = 'GENERATION'",
    "-- producer_estimate_scores
     explain select 1 from scores where project_id = $1 and timestamp >= $2 and timestamp < $3",
];

/// The same for observations that are no generations.
const ESTIMATE_OF_OBSERVATIONS: &str = "-- producer_estimate_observations
     explain select 1 from observations
     where project_id = $1 and start_time >= $2 and start_time < $3 and type <> 'GENERATION'";

/// The first exports that are asked about, each with about how many events it holds, with or without
/// other observations.
pub(crate) async fn long(
    source: &PgPool,
    mut first: Vec<FirstExport>,
    observations: bool,
) -> Result<Vec<FirstExport>, CommandError> {
    if first.is_empty() {
        return Ok(first);
    }
    let others = observations.then_some(ESTIMATE_OF_OBSERVATIONS);
    let bar = progress("estimating events", first.len());
    for export in &mut first {
        for stretch in &export.stretches {
            for statement in ESTIMATES.into_iter().chain(others) {
                let plan: Vec<String> = sqlx::query_scalar(statement)
                    .bind(&export.project_id)
                    .bind(stretch.start().start())
                    .bind(stretch.end().end())
                    .fetch_all(source)
                    .await?;
                export.events += plan.first().and_then(|line| expected_rows(line)).unwrap_or(0);
            }
        }
        // Without statistics the planner may expect fewer than there are days with data.
        export.events = export.events.max(i64::try_from(export.days.len()).unwrap_or(i64::MAX));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(long_ones(first))
}

/// `Seq Scan on traces  (cost=0.00..1.10 rows=10 width=4)` expects 10 rows. PURE.
fn expected_rows(line: &str) -> Option<i64> {
    let (_, rest) = line.rsplit_once(" rows=")?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planners_estimate_is_read_from_its_first_line() {
        let line = "Index Scan using i on traces  (cost=0.29..8.31 rows=1234567 width=4)";
        assert_eq!(expected_rows(line), Some(1_234_567));
        for other in ["", "Filter: (x rows=)", "  rows=many "] {
            assert_eq!(expected_rows(other), None, "{other}");
        }
    }
}
