//! The rows of the streams, decoded by position. They hold the columns that docs/EVENTS.md
//! needs and no others.

use std::sync::{Arc, LazyLock};

use chrono::NaiveDateTime;
use shared::job::Stream;
use shared::ledger::Cursor;
use smol_str::SmolStr;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{Decode, Row as _};

/// The trace columns of a row whose trace is missing
static MISSING: LazyLock<Arc<TraceColumns>> = LazyLock::new(Arc::default);

/// The columns of a trace that every event repeats. All are absent when the trace is missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceColumns {
    /// `traces.name`
    pub name: Option<SmolStr>,
    /// `traces.user_id`
    pub user_id: Option<SmolStr>,
    /// `traces.session_id`
    pub session_id: Option<SmolStr>,
    /// `traces.release`
    pub release: Option<SmolStr>,
    /// `traces.tags`; null when the column is
    pub tags: Option<Vec<Option<String>>>,
    /// `metadata."$posthog_distinct_id"`, when it is a string or a number
    pub posthog_distinct_id: Option<SmolStr>,
    /// `metadata."$posthog_session_id"`, when it is a string or a number
    pub posthog_session_id: Option<SmolStr>,
    /// The later of `traces.created_at` and `traces.updated_at`
    pub touched: NaiveDateTime,
}

impl TraceColumns {
    /// Decodes eight columns from `at` on, in the order of the fields.
    pub(crate) fn decode(row: &PgRow, at: usize) -> sqlx::Result<Self> {
        Ok(Self {
            name: text(row, at)?,
            user_id: text(row, at + 1)?,
            session_id: text(row, at + 2)?,
            release: text(row, at + 3)?,
            tags: get(row, at + 4)?,
            posthog_distinct_id: text(row, at + 5)?,
            posthog_session_id: text(row, at + 6)?,
            touched: get(row, at + 7)?,
        })
    }

    /// The columns of a missing trace.
    pub fn missing() -> Arc<Self> {
        Arc::clone(&MISSING)
    }

    /// Roughly the memory that it takes, in bytes.
    pub fn size(&self) -> usize {
        let on_heap = |text: &&SmolStr| text.is_heap_allocated();
        let texts = [
            &self.name,
            &self.user_id,
            &self.session_id,
            &self.release,
            &self.posthog_distinct_id,
            &self.posthog_session_id,
        ];
        let tags = self.tags.as_deref().unwrap_or_default();
        size_of::<Self>()
            + texts
                .into_iter()
                .flatten()
                .filter(on_heap)
                .map(SmolStr::len)
                .sum::<usize>()
            + tags
                .iter()
                .map(|tag| size_of_val(tag) + tag.as_ref().map_or(0, String::capacity))
                .sum::<usize>()
    }
}

/// A trace. What its observations add up to is read by a statement of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceRow {
    /// `traces.timestamp`, UTC
    pub time: NaiveDateTime,
    /// `traces.id`
    pub id: SmolStr,
    /// the trace's own columns
    pub trace: Arc<TraceColumns>,
    /// `traces.version`
    pub version: Option<SmolStr>,
    /// number of its observations, all types
    pub observations: i64,
    /// earliest start
    pub first_start: Option<NaiveDateTime>,
    /// latest of starts and ends
    pub last_end: Option<NaiveDateTime>,
    /// USD, summed
    pub cost: Option<f64>,
    /// when the last of its observations was created or updated, if that was asked
    pub observations_touched: Option<NaiveDateTime>,
}

/// A generation or another observation. Its trace's columns are added later.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservationRow {
    /// `observations.start_time`, UTC
    pub time: NaiveDateTime,
    /// `observations.id`
    pub id: SmolStr,
    /// the trace's columns
    pub trace: Arc<TraceColumns>,
    /// `observations.trace_id`
    pub trace_id: Option<SmolStr>,
    /// `observations.type`; null for a generation
    pub kind: Option<SmolStr>,
    /// `observations.name`
    pub name: Option<SmolStr>,
    /// `observations.version`
    pub version: Option<SmolStr>,
    /// `observations.model`
    pub model: Option<SmolStr>,
    /// `observations.level`
    pub level: Option<SmolStr>,
    /// `observations.unit`
    pub unit: Option<SmolStr>,
    /// `observations.end_time`
    pub end: Option<NaiveDateTime>,
    /// `observations.completion_start_time`
    pub completion_start: Option<NaiveDateTime>,
    /// `observations.prompt_tokens`
    pub input_units: i32,
    /// `observations.completion_tokens`
    pub output_units: i32,
    /// `observations.total_tokens`
    pub total_units: i32,
    /// USD
    pub cost: Option<f64>,
    /// the later of `observations.created_at` and `observations.updated_at`
    pub touched: NaiveDateTime,
}

/// A score. Its trace's columns are added later.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreRow {
    /// `scores.timestamp`, UTC
    pub time: NaiveDateTime,
    /// `scores.id`
    pub id: SmolStr,
    /// the trace's columns
    pub trace: Arc<TraceColumns>,
    /// `scores.trace_id`
    pub trace_id: Option<SmolStr>,
    /// `scores.name`
    pub name: Option<SmolStr>,
    /// `scores.value`
    pub value: Option<f64>,
    /// `scores.string_value`
    pub string_value: Option<SmolStr>,
    /// `scores.data_type`
    pub data_type: Option<SmolStr>,
    /// `scores.comment`
    pub comment: Option<SmolStr>,
    /// `scores.source`
    pub source: Option<SmolStr>,
    /// `scores.observation_id`
    pub observation_id: Option<SmolStr>,
    /// the later of `scores.created_at` and `scores.updated_at`
    pub touched: NaiveDateTime,
}

/// A row of any stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// of `traces`
    Trace(TraceRow),
    /// of `observations`, a generation
    Generation(ObservationRow),
    /// of `scores`
    Score(ScoreRow),
    /// of `observations`, of another type
    Observation(ObservationRow),
}

impl Row {
    /// The row's id in Langfuse.
    pub fn id(&self) -> &SmolStr {
        match self {
            Row::Trace(row) => &row.id,
            Row::Generation(row) | Row::Observation(row) => &row.id,
            Row::Score(row) => &row.id,
        }
    }

    /// When it happened.
    pub fn time(&self) -> NaiveDateTime {
        match self {
            Row::Trace(row) => row.time,
            Row::Generation(row) | Row::Observation(row) => row.time,
            Row::Score(row) => row.time,
        }
    }

    /// The columns of its trace; of a trace its own.
    pub fn trace(&self) -> &Arc<TraceColumns> {
        match self {
            Row::Trace(row) => &row.trace,
            Row::Generation(row) | Row::Observation(row) => &row.trace,
            Row::Score(row) => &row.trace,
        }
    }

    /// The id of its trace; of a trace its own.
    pub fn trace_id(&self) -> Option<&str> {
        match self {
            Row::Trace(row) => Some(row.id.as_str()),
            Row::Generation(row) | Row::Observation(row) => row.trace_id.as_deref(),
            Row::Score(row) => row.trace_id.as_deref(),
        }
    }

    /// When anything that its event says was last created or updated. A row without a trace has only
    /// its own times.
    pub fn touched(&self) -> NaiveDateTime {
        let own = match self {
            Row::Trace(row) => row.observations_touched.unwrap_or(NaiveDateTime::MIN),
            Row::Generation(row) | Row::Observation(row) => row.touched,
            Row::Score(row) => row.touched,
        };
        own.max(self.trace().touched)
    }

    /// Whether it still lacks its trace's columns.
    pub fn lacks_trace(&self) -> bool {
        Arc::ptr_eq(self.trace(), &MISSING)
    }

    /// Adds its trace's columns.
    pub fn join(&mut self, trace: Arc<TraceColumns>) {
        match self {
            Row::Trace(row) => row.trace = trace,
            Row::Generation(row) | Row::Observation(row) => row.trace = trace,
            Row::Score(row) => row.trace = trace,
        }
    }

    /// The trace, if it is one.
    pub(crate) fn as_trace_mut(&mut self) -> Option<&mut TraceRow> {
        match self {
            Row::Trace(row) => Some(row),
            Row::Generation(_) | Row::Score(_) | Row::Observation(_) => None,
        }
    }

    /// Its keyset position.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            time: self.time(),
            id: self.id().to_string(),
        }
    }
}

/// A value, of the type to which the statement casts it.
pub(crate) fn get<'r, T: Decode<'r, Postgres>>(row: &'r PgRow, at: usize) -> sqlx::Result<T> {
    row.try_get_unchecked(at)
}

/// A text. Most are short, and short ones need no allocation.
fn text(row: &PgRow, at: usize) -> sqlx::Result<Option<SmolStr>> {
    Ok(get::<Option<&str>>(row, at)?.map(SmolStr::new))
}

impl Row {
    /// Decodes a row that the stream's statement has read.
    pub(crate) fn decode(stream: Stream, row: &PgRow) -> sqlx::Result<Self> {
        let time = get(row, 0)?;
        let id = SmolStr::new(get::<&str>(row, 1)?);
        Ok(match stream {
            Stream::Trace => Self::Trace(TraceRow {
                time,
                id,
                version: text(row, 2)?,
                trace: Arc::new(TraceColumns::decode(row, 3)?),
                ..TraceRow::default()
            }),
            Stream::Generation => Self::Generation(ObservationRow::decode(time, id, row)?),
            Stream::Observation => Self::Observation(ObservationRow::decode(time, id, row)?),
            Stream::Score => Self::Score(ScoreRow {
                time,
                id,
                trace: TraceColumns::missing(),
                trace_id: text(row, 2)?,
                name: text(row, 3)?,
                value: get(row, 4)?,
                string_value: text(row, 5)?,
                data_type: text(row, 6)?,
                comment: text(row, 7)?,
                source: text(row, 8)?,
                observation_id: text(row, 9)?,
                touched: get(row, 10)?,
            }),
        })
    }
}

impl ObservationRow {
    fn decode(time: NaiveDateTime, id: SmolStr, row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            time,
            id,
            trace: TraceColumns::missing(),
            trace_id: text(row, 2)?,
            name: text(row, 3)?,
            version: text(row, 4)?,
            model: text(row, 5)?,
            level: text(row, 6)?,
            unit: text(row, 7)?,
            end: get(row, 8)?,
            completion_start: get(row, 9)?,
            input_units: get(row, 10)?,
            output_units: get(row, 11)?,
            total_units: get(row, 12)?,
            cost: get(row, 13)?,
            kind: text(row, 14)?,
            touched: get(row, 15)?,
        })
    }
}

impl TraceRow {
    /// Adds what its observations add up to.
    pub(crate) fn add_totals(&mut self, row: &PgRow) -> sqlx::Result<()> {
        self.observations = get(row, 0)?;
        self.first_start = get(row, 1)?;
        self.last_end = get(row, 2)?;
        self.cost = get(row, 3)?;
        Ok(())
    }
}
