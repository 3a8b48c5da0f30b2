//! What the database calls for: ids and times of rows, by the same keyset pages as the export.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use chrono::{DateTime, NaiveDateTime, Utc};
use futures::TryStreamExt as _;
use shared::event_id::EventIds;
use shared::job::{Day, Stream};
use shared::langfuse::has_index;
use sqlx::{PgPool, Row as _};

use super::covering::Runs;
use super::diff::{Diff, Own};
use super::tally::{Cell, Differs, EventKey, Expected, Hour, window};
use super::unknown::{Deadline, Unknown};

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
    /// In which runs a row was refused
    refused: HashMap<(Stream, EventKey), Vec<String>>,
    /// What was sent before that must be visible.
    visible_since: DateTime<Utc>,
    scores: &'static str,
    deadline: Deadline,
}

impl<'a> Ours<'a> {
    pub(super) async fn new(
        source: &'a PgPool,
        project_id: &'a str,
        day: Day,
        runs: &'a Runs,
        rejected: Vec<(Stream, String, String)>,
        visible_since: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Self, sqlx::Error> {
        let ids = EventIds::of(project_id);
        let mut refused: HashMap<_, Vec<String>> = HashMap::new();
        for (stream, id, run) in rejected {
            refused
                .entry((stream, EventKey::of(ids.uuid(&id))))
                .or_default()
                .push(run);
        }
        Ok(Self {
            refused,
            visible_since,
            scores: way_to_scores(source, project_id).await?,
            source,
            ids,
            project_id,
            day,
            runs,
            deadline,
        })
    }

    /// What PostHog ought to hold of some hours, by cell, with so many digits.
    pub(super) async fn cells(
        &self,
        stream: Stream,
        hours: Range<Hour>,
        digits: u32,
    ) -> Result<BTreeMap<Cell, Expected>, Unknown> {
        let mut cells: BTreeMap<Cell, Expected> = BTreeMap::new();
        self.walk(stream, times(&hours), |row| {
            let at = cells.entry(Cell::of(row.key, row.hour(), digits)).or_default();
            match self.sent(stream, &row) {
                Some(sent) => {
                    at.must.add(row.key);
                    at.overdue += u64::from(sent < self.visible_since);
                }
                None => at.may.add(row.key),
            }
            true
        })
        .await?;
        Ok(cells)
    }

    /// Shows the rows that lie in some cells, which are in order.
    pub(super) async fn rows(
        &self,
        stream: Stream,
        cells: &[Differs],
        digits: u32,
        mut show: impl FnMut(Own),
    ) -> Result<(), Unknown> {
        self.walk(stream, times(&window(cells)), |row| {
            let cell = Cell::of(row.key, row.hour(), digits);
            if cells.binary_search_by_key(&cell, |differs| differs.cell).is_ok() {
                let sent = self.sent(stream, &row);
                show(Own {
                    key: row.key,
                    hour: self.hour_of_day(cell.hour),
                    must: sent.is_some(),
                    overdue: sent.is_some_and(|sent| sent < self.visible_since),
                });
            }
            true
        })
        .await
    }

    /// What is missing of cells in which PostHog holds nothing: no uuid need be asked for.
    pub(super) fn nothing_there(&self, cells: &[Differs]) -> Diff {
        let mut diff = Diff::default();
        for differs in cells.iter().filter(|differs| differs.must > 0) {
            *diff.missing.entry(self.hour_of_day(differs.cell.hour)).or_default() += differs.must;
            diff.overdue += differs.overdue;
        }
        diff
    }

    /// Hours since the beginning of the day.
    pub(super) fn hour_of_day(&self, hour: Hour) -> u8 {
        u8::try_from(hour.0 - Hour::of(self.day.start().and_utc()).0).unwrap_or(u8::MAX)
    }

    /// The uuids of all rows of the day.
    pub(super) async fn all(&self, stream: Stream, mut found: impl FnMut(EventKey)) -> Result<(), Unknown> {
        self.walk(stream, (self.day.start(), self.day.end()), |row| {
            found(row.key);
            true
        })
        .await
    }

    /// The ids of rows with these uuids, as `trace/id`; with no uuids the first few rows that must be
    /// there.
    pub(super) async fn name(
        &self,
        stream: Stream,
        hours: Range<Hour>,
        keys: &[EventKey],
        most: usize,
    ) -> Result<Vec<String>, Unknown> {
        let mut names = Vec::new();
        let wanted = if keys.is_empty() { most } else { keys.len() };
        self.walk(stream, times(&hours), |row| {
            let is_wanted = if keys.is_empty() {
                self.sent(stream, &row).is_some()
            } else {
                keys.contains(&row.key)
            };
            if is_wanted {
                names.push(format!("{stream}/{}", row.id));
            }
            names.len() < wanted
        })
        .await?;
        Ok(names)
    }

    /// When the row was last sent; `None` where PostHog need not hold its event.
    fn sent(&self, stream: Stream, row: &Row<'_>) -> Option<DateTime<Utc>> {
        let refused = self.refused.get(&(stream, row.key)).map_or(&[][..], Vec::as_slice);
        self.runs.sent(self.day, stream, row.time, row.created, refused)
    }

    /// Shows each row of a window, in keyset order, until `show` has seen enough.
    async fn walk(
        &self,
        stream: Stream,
        (from, until): (NaiveDateTime, NaiveDateTime),
        mut show: impl FnMut(Row<'_>) -> bool,
    ) -> Result<(), Unknown> {
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
            self.deadline.check()?;
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

impl Row<'_> {
    fn hour(&self) -> Hour {
        Hour::of(self.time.and_utc())
    }
}

fn times(hours: &Range<Hour>) -> (NaiveDateTime, NaiveDateTime) {
    (hours.start.start().naive_utc(), hours.end.start().naive_utc())
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
