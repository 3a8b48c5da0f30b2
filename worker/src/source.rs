//! Langfuse's tables, read by keyset pages: each page starts behind the last row of the one before, whatever happened between.

use std::time::Instant;

use shared::error_code::ErrorCode;
use shared::job::{Day, ExportJob, Stream};
use shared::langfuse;
use shared::ledger::{Cursor, is_unreachable};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{FromRow, Row as _};
use tokio::sync::OnceCell;

use crate::metrics;
use crate::rows::{GenerationRow, Row, ScoreRow, TraceRow};

/// What went wrong while reading.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The database cannot be reached.
    #[error("Langfuse's database cannot be reached: {0}")]
    Unreachable(#[source] sqlx::Error),
    /// A statement failed.
    #[error("Langfuse's database refused a statement: {0}")]
    Sql(#[source] sqlx::Error),
    /// Columns that are read are not there.
    #[error("Langfuse's tables lack {}; a Langfuse v2 database is needed", .0.join(", "))]
    Schema(Vec<String>),
}

impl SourceError {
    /// The stable word.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable(_) => ErrorCode::DatabaseUnavailable,
            Self::Sql(_) => ErrorCode::DatabaseError,
            Self::Schema(_) => ErrorCode::SchemaMismatch,
        }
    }
}

impl From<sqlx::Error> for SourceError {
    fn from(error: sqlx::Error) -> Self {
        if is_unreachable(&error) {
            Self::Unreachable(error)
        } else {
            Self::Sql(error)
        }
    }
}

/// One page of one stream.
#[derive(Debug)]
pub struct Page {
    /// In keyset order
    pub rows: Vec<Row>,
    /// Whether the stream ends here
    pub last: bool,
}

/// Which rows a job reads.
#[derive(Clone, Debug)]
pub struct Window {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// The UTC day
    pub day: Day,
    /// Only rows created since then
    pub created_after: Option<chrono::NaiveDateTime>,
}

impl Window {
    /// A job's.
    pub fn of(job: &ExportJob) -> Self {
        Self {
            project_id: job.project_id.clone(),
            day: job.day,
            created_after: job.created_after_naive(),
        }
    }
}

/// Reader of Langfuse's tables.
#[derive(Debug)]
pub struct Source {
    pool: PgPool,
    page_rows: i64,
    checked: OnceCell<()>,
}

/// A time that PostgreSQL can hold and a calendar cannot (`infinity`, the year 290000) counts as not set.
macro_rules! sane {
    ($column:literal) => {
        concat!(
            "case when ",
            $column,
            " between '0001-01-01' and '9999-12-31' then ",
            $column,
            " end"
        )
    };
}

/// The seven columns of `TraceColumns`. Only strings of `metadata` leave the database, and only these two.
macro_rules! trace_columns {
    () => {
        "t.name, t.user_id, t.session_id, t.release,
         case when array_ndims(t.tags) > 1 then array(select unnest(t.tags)) else t.tags end as tags,
         case when jsonb_typeof(t.metadata -> '$posthog_distinct_id') = 'string'
              then t.metadata ->> '$posthog_distinct_id' end as distinct_id,
         case when jsonb_typeof(t.metadata -> '$posthog_session_id') = 'string'
              then t.metadata ->> '$posthog_session_id' end as ph_session_id"
    };
}

/// The cost of observation `o` as Langfuse's `observations_view` has it. As `numeric`, so that sums are exact.
macro_rules! cost {
    () => {
        "case
           when coalesce(o.calculated_total_cost, o.total_cost) is not null
             then coalesce(o.calculated_total_cost, o.total_cost)
           when o.input_cost is null and o.output_cost is null and o.internal_model is not null
             then (select case when m.total_price is not null then m.total_price * o.total_tokens
                               else o.prompt_tokens * m.input_price + o.completion_tokens * m.output_price end
                   from models m
                   where m.model_name = o.internal_model and m.unit = o.unit
                     and (m.project_id = o.project_id or m.project_id is null)
                     and (m.start_date is null or m.start_date < o.start_time)
                   order by m.project_id nulls last, m.start_date desc nulls last limit 1)
         end"
    };
}

/// $1 project, $2 lower bound, $3 end of the day, ($4, $5) cursor, $6 limit, $7 created after. Ids compare by bytes: a failover to
/// another system library may change what a collation says. The lower bound repeats the cursor for the index.
macro_rules! keyset {
    ($alias:literal, $time:literal) => {
        concat!(
            $alias,
            ".project_id = $1 and ",
            $alias,
            ".",
            $time,
            " >= $2 and ",
            $alias,
            ".",
            $time,
            " < $3 and (",
            $alias,
            ".",
            $time,
            ", ",
            $alias,
            ".id collate \"C\") > ($4, $5)"
        )
    };
}

const TRACES: &str = concat!(
    "-- source_traces
     select p.timestamp, p.id, p.name, p.user_id, p.session_id, p.release, p.tags, p.distinct_id, p.ph_session_id, p.version,
            a.observations, a.first_start, a.last_end, a.cost::float8
     from (select t.timestamp, t.id, t.version, ",
    trace_columns!(),
    "
           from traces t where ",
    keyset!("t", "timestamp"),
    "        and ($7::timestamp is null or t.created_at >= $7
                or exists (select 1 from observations o where o.trace_id = t.id and o.project_id = t.project_id
                           and o.created_at >= $7))
           order by t.timestamp, t.id collate \"C\" limit $6) p
     left join lateral (
       select count(*) as observations, min(", sane!("o.start_time"), ") as first_start,
              max(greatest(", sane!("o.start_time"), ", ", sane!("o.end_time"), ")) as last_end, sum(", cost!(), ") as cost
       from observations o where o.trace_id = p.id and o.project_id = $1) a on true
     order by p.timestamp, p.id collate \"C\""
);

const GENERATIONS: &str = concat!(
    "-- source_generations
     select o.start_time, o.id, ",
    trace_columns!(),
    ", o.trace_id, o.name, o.version, o.model, o.level::text, o.unit, ",
    sane!("o.end_time"),
    ", ",
    sane!("o.completion_start_time"),
    ", o.prompt_tokens, o.completion_tokens, o.total_tokens, (",
    cost!(),
    ")::float8
     from (select * from observations o where o.type = 'GENERATION' and ",
    keyset!("o", "start_time"),
    "        and ($7::timestamp is null or o.created_at >= $7)
           order by o.start_time, o.id collate \"C\" limit $6) o
     left join traces t on t.id = o.trace_id and t.project_id = $1
     order by o.start_time, o.id collate \"C\""
);

const SCORES: &str = concat!(
    "-- source_scores
     select s.timestamp, s.id, ",
    trace_columns!(),
    ", s.trace_id, s.name, s.value, s.string_value, s.data_type::text, s.comment
     from (select * from scores s where ",
    keyset!("s", "timestamp"),
    "        and ($7::timestamp is null or s.created_at >= $7)
           order by s.timestamp, s.id collate \"C\" limit $6) s
     left join traces t on t.id = s.trace_id and t.project_id = $1
     order by s.timestamp, s.id collate \"C\""
);

impl Source {
    /// A reader of pages of `page_rows` rows.
    pub fn new(pool: PgPool, page_rows: u32) -> Self {
        Self {
            pool,
            page_rows: i64::from(page_rows),
            checked: OnceCell::new(),
        }
    }

    /// The pool, for reading integrations.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Checks once in the life of the process that the columns are there, so that one clear error stands for many.
    pub async fn check_columns(&self) -> Result<(), SourceError> {
        let check = async || {
            let missing = langfuse::missing_columns(&self.pool).await?;
            if missing.is_empty() {
                Ok(())
            } else {
                Err(SourceError::Schema(missing))
            }
        };
        self.checked.get_or_try_init(check).await.copied()
    }

    /// The rows of a stream behind a cursor.
    pub async fn page(&self, stream: Stream, window: &Window, after: Option<&Cursor>) -> Result<Page, SourceError> {
        let began = Instant::now();
        let rows = match stream {
            Stream::Trace => self.fetch::<TraceRow>(TRACES, window, after, Row::Trace).await?,
            Stream::Generation => {
                self.fetch::<GenerationRow>(GENERATIONS, window, after, Row::Generation)
                    .await?
            }
            Stream::Score => self.fetch::<ScoreRow>(SCORES, window, after, Row::Score).await?,
        };
        metrics::page_read(stream, began.elapsed());
        let last = i64::try_from(rows.len()).unwrap_or(i64::MAX) < self.page_rows;
        Ok(Page { rows, last })
    }

    async fn fetch<T>(
        &self,
        statement: &'static str,
        window: &Window,
        after: Option<&Cursor>,
        wrap: fn(T) -> Row,
    ) -> Result<Vec<Row>, SourceError>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        let start = window.day.start();
        // Before the first row: a moment before the day, which the lower bound keeps out.
        let before_all = start - chrono::TimeDelta::seconds(1);
        let (time, id) = after.map_or((before_all, ""), |cursor| (cursor.time, cursor.id.as_str()));
        let rows = sqlx::query(statement)
            .bind(&window.project_id)
            .bind(time.max(start))
            .bind(window.day.end())
            .bind(time)
            .bind(id)
            .bind(self.page_rows)
            .bind(window.created_after)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows
            .iter()
            .map(|row| T::from_row(row).map(wrap))
            .collect::<Result<_, _>>()?)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        sqlx::query("-- source_ping\nselect 1")
            .fetch_one(&self.pool)
            .await?
            .try_get::<i32, _>(0)
            .map(|_| ())
    }
}
