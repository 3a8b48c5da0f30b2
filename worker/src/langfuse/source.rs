//! Langfuse's tables, read by keyset pages. Each page starts behind the last row of the page
//! before, whatever was inserted or deleted between.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use shared::coverage::Coverage;
use shared::error_code::ErrorCode;
use shared::integration::{self, EncryptionKey, Loaded};
use shared::job::{Day, Job, Span, Stream};
use shared::langfuse;
use shared::ledger::Cursor;
use shared::postgres::{ACQUIRE_TIMEOUT, STATEMENT_TIMEOUT, in_words, is_unreachable};
use shared::topology::Lane;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgPool, PgRow, Postgres};
use sqlx::query::Query;
use tokio::sync::OnceCell;

use crate::langfuse::rows::{Row, TraceColumns, get};
use crate::pace::Pacer;
use crate::watch::metrics;

mod connections;
mod scores;
mod statements;
use connections::{Connections, Turn};
pub use statements::{OBSERVATIONS_TOUCHED, OWN_SCORES, TOTALS, TRACE_COLUMNS, statement};

/// What went wrong while reading.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The database cannot be reached.
    #[error("Langfuse's database cannot be reached: {}", in_words(.0))]
    Unreachable(#[source] sqlx::Error),
    /// A statement failed.
    #[error("Langfuse's database refused a statement: {}", in_words(.0))]
    Sql(#[source] sqlx::Error),
    /// Columns that the worker reads are missing.
    #[error("Langfuse's tables lack {}; a Langfuse v2 database is needed", .0.join(", "))]
    Schema(Vec<String>),
}

impl SourceError {
    /// The stable word for logs, metrics and headers.
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

/// The longest wait for a statement, connection included. The server ends a statement sooner, but
/// its answer may be lost on the way; without this limit the turn would be lost for good.
const LONGEST: Duration = STATEMENT_TIMEOUT.saturating_add(ACQUIRE_TIMEOUT);

async fn in_time<T, E: Into<SourceError>>(statement: impl Future<Output = Result<T, E>>) -> Result<T, SourceError> {
    let answer = tokio::time::timeout(LONGEST, statement).await;
    answer.map_or_else(
        |_| {
            Err(SourceError::Unreachable(
                std::io::Error::from(std::io::ErrorKind::TimedOut).into(),
            ))
        },
        |answer| answer.map_err(Into::into),
    )
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
    /// Only this part of it; `None`: all of it
    pub span: Option<Span>,
    /// Only rows created since then
    pub created_after: Option<chrono::NaiveDateTime>,
}

impl Window {
    /// The rows of a job.
    pub fn of(Job { key, scope }: &Job) -> Self {
        Self {
            project_id: key.project_id.clone(),
            day: key.day,
            span: scope.span,
            // As Langfuse stores moments: UTC without a zone.
            created_after: scope.created_after.map(|moment| moment.naive_utc()),
        }
    }
}

/// Reader of Langfuse's tables.
#[derive(Debug)]
pub struct Source {
    connections: Connections,
    pacer: Option<Pacer>,
    page_rows: u32,
    checked: OnceCell<()>,
    ways: scores::Ways,
}

impl Source {
    /// A reader of pages of up to `page_rows` rows, at most so many a second.
    pub fn new(pool: PgPool, page_rows: u32, rows_per_second: Option<u32>) -> Self {
        Self {
            connections: Connections::new(pool),
            pacer: rows_per_second.map(Pacer::new),
            // A page of more than a second's rows would be a burst, followed by a pause.
            page_rows: page_rows.min(rows_per_second.unwrap_or(u32::MAX)),
            checked: OnceCell::new(),
            ways: scores::Ways::default(),
        }
    }

    /// The project's PostHog settings.
    pub async fn integration(&self, key: &EncryptionKey, project_id: &str) -> Result<Loaded, SourceError> {
        let turn = self.connections.turn().await;
        in_time(async {
            let mut connection = turn.connection().await?;
            let loaded = integration::load(&mut *connection, key, project_id).await?;
            connection.keep();
            Ok::<_, sqlx::Error>(loaded)
        })
        .await
    }

    /// Checks that the columns are there, until the first success. One clear error then stands for
    /// many unclear ones.
    pub async fn check_columns(&self) -> Result<(), SourceError> {
        let check = async || {
            let turn = self.connections.turn().await;
            let missing = in_time(async { langfuse::missing_columns(&mut *turn.connection().await?).await }).await?;
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
        // First the pace, then a connection: a page that has to wait holds none.
        let charged = match &self.pacer {
            Some(pacer) => Some(pacer.pass(self.page_rows, Lane::Jobs).await),
            None => None,
        };
        let turn = self.connections.turn().await;
        let began = Instant::now();
        let rows = in_time(self.fetch(&turn, stream, window, after)).await?;
        metrics::page_read(stream, began.elapsed());
        if let Some(charged) = charged {
            charged.used(rows.len());
        }
        let last = rows.len() < usize::try_from(self.page_rows).unwrap_or(usize::MAX);
        Ok(Page { rows, last })
    }

    async fn fetch(
        &self,
        turn: &Turn<'_>,
        stream: Stream,
        window: &Window,
        after: Option<&Cursor>,
    ) -> Result<Vec<Row>, SourceError> {
        let mut connection = turn.connection().await?;
        let statement = match stream {
            Stream::Score if self.ways.reads_own(&mut connection, window).await? => OWN_SCORES,
            stream => statement(stream),
        };
        let Span { from, until } = window.span.unwrap_or(Span::of(window.day));
        let (start, end) = (from.naive_utc(), until.naive_utc());
        // Where a stream begins: a moment before the window. The lower bound leaves out what lies
        // before the window itself.
        let before_all = start - chrono::TimeDelta::seconds(1);
        let (time, id) = after.map_or((before_all, ""), |cursor| (cursor.time, cursor.id.as_str()));
        let mut fetched = sqlx::query(statement)
            .bind(&window.project_id)
            .bind(time.max(start))
            .bind(end)
            .bind(time)
            .bind(id)
            .bind(i64::from(self.page_rows))
            .bind(window.created_after)
            .fetch(&mut *connection);
        // Rows are decoded as they arrive, so that no page is in memory twice.
        let mut rows = Vec::new();
        while let Some(row) = fetched.try_next().await? {
            rows.push(Row::decode(stream, &row)?);
        }
        drop(fetched);
        connection.keep();
        Ok(rows)
    }

    /// Leaves out the rows that completed runs have sent and nobody touched since. The observations of
    /// a trace are asked for only where nothing else says that it was touched; and what they add up to
    /// is then asked for few traces, or for none.
    pub async fn leave_out(
        &self,
        project_id: &str,
        stream: Stream,
        coverage: &Coverage,
        rows: &mut Vec<Row>,
    ) -> Result<(), SourceError> {
        let must_send = |row: &Row| coverage.must_send(stream, row.time(), row.touched());
        let quiet = rows.iter_mut().filter(|row| !must_send(row));
        let mut quiet: Vec<_> = quiet.filter_map(Row::as_trace_mut).collect();
        if !quiet.is_empty() {
            let ids: Vec<&str> = quiet.iter().map(|trace| trace.id.as_str()).collect();
            let touched = sqlx::query(OBSERVATIONS_TOUCHED).bind(project_id).bind(ids);
            let touched = self.all(touched).await?;
            for (trace, row) in quiet.iter_mut().zip(&touched) {
                trace.observations_touched = get(row, 0)?;
            }
        }
        rows.retain(must_send);
        Ok(())
    }

    /// Adds to each trace what its observations add up to. This is a statement of its own because
    /// it takes ten times as long as the page: neither the next page nor the rows that wait for
    /// these traces wait for it.
    pub async fn add_totals(&self, project_id: &str, rows: &mut [Row]) -> Result<(), SourceError> {
        let mut traces: Vec<_> = rows.iter_mut().filter_map(Row::as_trace_mut).collect();
        if traces.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = traces.iter().map(|trace| trace.id.as_str()).collect();
        let totals = sqlx::query(TOTALS).bind(project_id).bind(ids);
        let totals = self.all(totals).await?;
        for (trace, row) in traces.iter_mut().zip(&totals) {
            trace.add_totals(row)?;
        }
        Ok(())
    }

    /// Looks up the traces of rows that have none yet. A row whose trace does not exist stays
    /// without one.
    pub async fn join_missing(&self, project_id: &str, rows: &mut [Row]) -> Result<(), SourceError> {
        let ids: HashSet<&str> = rows
            .iter()
            .filter(|row| row.lacks_trace())
            .filter_map(Row::trace_id)
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = ids.into_iter().collect();
        let lookup = sqlx::query(TRACE_COLUMNS).bind(project_id).bind(ids);
        let found = self.all(lookup).await?;
        let mut traces = HashMap::with_capacity(found.len());
        for row in &found {
            traces.insert(get::<&str>(row, 0)?, Arc::new(TraceColumns::decode(row, 1)?));
        }
        for row in rows.iter_mut().filter(|row| row.lacks_trace()) {
            if let Some(trace) = row.trace_id().and_then(|id| traces.get(id)) {
                row.join(Arc::clone(trace));
            }
        }
        Ok(())
    }

    /// All rows of a statement.
    async fn all(&self, statement: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, SourceError> {
        let turn = self.connections.turn().await;
        in_time(async {
            let mut connection = turn.connection().await?;
            let rows = statement.fetch_all(&mut *connection).await?;
            connection.keep();
            Ok::<_, sqlx::Error>(rows)
        })
        .await
    }

    /// Whether the database answers. When all turns are taken it is answering others, which is
    /// enough.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        let Some(turn) = self.connections.try_turn() else {
            return Ok(());
        };
        sqlx::query("-- source_ping\nselect 1")
            .fetch_one(&mut *turn.connection().await?)
            .await?
            .try_get::<i32, _>(0)
            .map(|_| ())
    }
}
