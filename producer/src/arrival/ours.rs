//! What the database calls for: ids and times of rows, by the same keyset pages as the export.

use std::collections::{BTreeMap, HashSet};

use chrono::NaiveDateTime;
use futures::TryStreamExt as _;
use shared::event_id::EventIds;
use shared::job::{Day, Stream};
use shared::langfuse::has_index;
use sqlx::{PgPool, Row as _};

use super::covering::Runs;
use super::diff::Own;
use super::tally::{EventKey, Expected, Hour, Place, Prefix, Range};

/// A row has some 70 bytes here.
const PAGE: i64 = 10_000;
/// A project with fewer scores in all has its own read and sorted, rather than those of everybody's
/// day walked through: Langfuse has no index on their project and time.
const FEW_SCORES: i64 = 2_000;

/// $1 project, $2 and $3 the window, ($4, $5) the last row, $6 limit. As the worker's pages.
macro_rules! page {
    ($name:literal, $table:literal, $time:literal, $condition:literal) => {
        concat!(
            $name,
            "
             select r.",
            $time,
            "::timestamp, r.id::text,
                    least(greatest(r.created_at, '0001-01-01'), '9999-12-31')::timestamp
             from ",
            $table,
            " r where ",
            $condition,
            "r.project_id = $1 and r.",
            $time,
            " >= $2 and r.",
            $time,
            " < $3
               and (r.",
            $time,
            ", r.id collate \"C\") > ($4, $5)
             order by r.",
            $time,
            ", r.id collate \"C\" limit $6"
        )
    };
}

const TRACES: &str = page!("-- arrival_traces", "traces", "timestamp", "");
const GENERATIONS: &str = page!(
    "-- arrival_generations",
    "observations",
    "start_time",
    "r.type = 'GENERATION' and "
);
const OBSERVATIONS: &str = page!(
    "-- arrival_observations",
    "observations",
    "start_time",
    "r.type <> 'GENERATION' and "
);
const SCORES: &str = page!("-- arrival_scores", "scores", "timestamp", "");
const OWN_SCORES: &str = page!(
    "-- arrival_own_scores",
    "(select id, project_id, timestamp, created_at from scores where project_id = $1 offset 0)",
    "timestamp",
    ""
);
const COUNT_OWN: &str = "-- arrival_count_own_scores
    select count(*) from (select 1 from scores where project_id = $1 limit $2) own";

/// A project's day in Langfuse's tables.
#[derive(Debug)]
pub(super) struct Ours<'a> {
    source: &'a PgPool,
    ids: EventIds,
    project_id: &'a str,
    day: Day,
    runs: &'a Runs,
    rejected: HashSet<(Stream, EventKey)>,
    scores: &'static str,
}

impl<'a> Ours<'a> {
    pub(super) async fn new(
        source: &'a PgPool,
        project_id: &'a str,
        day: Day,
        runs: &'a Runs,
        rejected: &[(Stream, String)],
    ) -> Result<Self, sqlx::Error> {
        let ids = EventIds::of(project_id);
        let key = |(stream, id): &(Stream, String)| (*stream, EventKey::of(ids.uuid(id)));
        Ok(Self {
            rejected: rejected.iter().map(key).collect(),
            scores: way_to_scores(source, project_id).await?,
            source,
            ids,
            project_id,
            day,
            runs,
        })
    }

    /// What PostHog ought to hold, by hour.
    pub(super) async fn by_hour(&self, streams: &[Stream]) -> Result<BTreeMap<Place, Expected>, sqlx::Error> {
        let mut hours: BTreeMap<Place, Expected> = BTreeMap::new();
        for stream in streams {
            let all = (self.day.start(), self.day.end());
            self.walk(*stream, all, |row| {
                let at = hours.entry((*stream, Hour::of(row.time.and_utc()))).or_default();
                if self.must(*stream, &row) {
                    at.must.add(row.key);
                } else {
                    at.may.add(row.key);
                }
                true
            })
            .await?;
        }
        Ok(hours)
    }

    /// The rows of a range whose uuids begin with one of these.
    pub(super) async fn rows(&self, range: &Range, prefixes: &[Prefix]) -> Result<Vec<Own>, sqlx::Error> {
        let mut rows = Vec::new();
        self.walk(range.stream, window(range), |row| {
            if row.key.begins_with(prefixes) {
                let hour = Hour::of(row.time.and_utc()).0 - Hour::of(self.day.start().and_utc()).0;
                rows.push(Own {
                    key: row.key,
                    hour: u8::try_from(hour).unwrap_or(u8::MAX),
                    must: self.must(range.stream, &row),
                });
            }
            true
        })
        .await?;
        Ok(rows)
    }

    /// The uuids of the day's other rows of the stream.
    pub(super) async fn outside(&self, range: &Range, mut found: impl FnMut(EventKey)) -> Result<(), sqlx::Error> {
        let (from, until) = window(range);
        for part in [(self.day.start(), from), (until, self.day.end())] {
            self.walk(range.stream, part, |row| {
                found(row.key);
                true
            })
            .await?;
        }
        Ok(())
    }

    /// The ids of rows with these uuids, as `trace/id`; with no uuids the first few rows that must be
    /// there.
    pub(super) async fn name(&self, range: &Range, keys: &[EventKey], most: usize) -> Result<Vec<String>, sqlx::Error> {
        let mut names = Vec::new();
        let wanted = if keys.is_empty() { most } else { keys.len() };
        self.walk(range.stream, window(range), |row| {
            let is_wanted = if keys.is_empty() {
                self.must(range.stream, &row)
            } else {
                keys.contains(&row.key)
            };
            if is_wanted {
                names.push(format!("{}/{}", range.stream, row.id));
            }
            names.len() < wanted
        })
        .await?;
        Ok(names)
    }

    fn must(&self, stream: Stream, row: &Row<'_>) -> bool {
        self.runs.have_sent(self.day, stream, row.time, row.created) && !self.rejected.contains(&(stream, row.key))
    }

    /// Shows each row of a window, in keyset order, until `show` has seen enough.
    async fn walk(
        &self,
        stream: Stream,
        (from, until): (NaiveDateTime, NaiveDateTime),
        mut show: impl FnMut(Row<'_>) -> bool,
    ) -> Result<(), sqlx::Error> {
        let statement = match stream {
            Stream::Trace => TRACES,
            Stream::Generation => GENERATIONS,
            Stream::Observation => OBSERVATIONS,
            Stream::Score => self.scores,
        };
        let (mut time, mut id) = (from - chrono::TimeDelta::seconds(1), String::new());
        if from >= until {
            return Ok(());
        }
        loop {
            let mut page = sqlx::query(statement)
                .bind(self.project_id)
                .bind(time.max(from))
                .bind(until)
                .bind(time)
                .bind(&id)
                .bind(PAGE)
                .fetch(self.source);
            let mut rows = 0;
            let mut last = None;
            while let Some(row) = page.try_next().await? {
                rows += 1;
                let (time, id) = (row.try_get(0)?, row.try_get::<&str, _>(1)?);
                let more = show(Row {
                    time,
                    id,
                    key: EventKey::of(self.ids.uuid(id)),
                    created: row.try_get(2)?,
                });
                if !more {
                    return Ok(());
                }
                if rows == PAGE {
                    last = Some((time, id.to_owned()));
                }
            }
            let Some(last) = last else { return Ok(()) };
            drop(page);
            (time, id) = last;
        }
    }
}

/// A row as it is read.
struct Row<'a> {
    time: NaiveDateTime,
    id: &'a str,
    key: EventKey,
    created: NaiveDateTime,
}

fn window(range: &Range) -> (NaiveDateTime, NaiveDateTime) {
    (range.from.start().naive_utc(), range.until.start().naive_utc())
}

async fn way_to_scores(source: &PgPool, project_id: &str) -> Result<&'static str, sqlx::Error> {
    if has_index(source, "scores", &["project_id", "timestamp"]).await?
        || !has_index(source, "scores", &["project_id"]).await?
    {
        return Ok(SCORES);
    }
    let own = sqlx::query_scalar::<_, i64>(COUNT_OWN)
        .bind(project_id)
        .bind(FEW_SCORES + 1);
    let own = own.fetch_one(source).await?;
    Ok(if own <= FEW_SCORES { OWN_SCORES } else { SCORES })
}
