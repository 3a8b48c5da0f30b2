//! The rows of the three streams, decoded by position, with the columns that EVENTS.md needs and no others.

use chrono::NaiveDateTime;
use shared::ledger::Cursor;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row as _};

/// What every event says of its trace. All absent when the trace is missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceColumns {
    /// `traces.name`
    pub name: Option<String>,
    /// `traces.user_id`
    pub user_id: Option<String>,
    /// `traces.session_id`
    pub session_id: Option<String>,
    /// `traces.release`
    pub release: Option<String>,
    /// `traces.tags`; null when the column is
    pub tags: Option<Vec<Option<String>>>,
    /// `metadata."$posthog_distinct_id"`, when it is a string
    pub posthog_distinct_id: Option<String>,
    /// `metadata."$posthog_session_id"`, when it is a string
    pub posthog_session_id: Option<String>,
}

impl TraceColumns {
    /// Decodes seven columns from `at` on, in the order of the fields.
    fn decode(row: &PgRow, at: usize) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get(at)?,
            user_id: row.try_get(at + 1)?,
            session_id: row.try_get(at + 2)?,
            release: row.try_get(at + 3)?,
            tags: row.try_get(at + 4)?,
            posthog_distinct_id: row.try_get(at + 5)?,
            posthog_session_id: row.try_get(at + 6)?,
        })
    }
}

/// A trace with what its observations add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceRow {
    /// `traces.timestamp`, UTC
    pub time: NaiveDateTime,
    /// `traces.id`
    pub id: String,
    /// the trace's own columns
    pub trace: TraceColumns,
    /// `traces.version`
    pub version: Option<String>,
    /// number of its observations, all types
    pub observations: i64,
    /// earliest start
    pub first_start: Option<NaiveDateTime>,
    /// latest of starts and ends
    pub last_end: Option<NaiveDateTime>,
    /// USD, summed
    pub cost: Option<f64>,
}

/// A generation with its trace's columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationRow {
    /// `observations.start_time`, UTC
    pub time: NaiveDateTime,
    /// `observations.id`
    pub id: String,
    /// the trace's columns
    pub trace: TraceColumns,
    /// `observations.trace_id`
    pub trace_id: Option<String>,
    /// `observations.name`
    pub name: Option<String>,
    /// `observations.version`
    pub version: Option<String>,
    /// `observations.model`
    pub model: Option<String>,
    /// `observations.level`
    pub level: Option<String>,
    /// `observations.unit`
    pub unit: Option<String>,
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
}

/// A score with its trace's columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreRow {
    /// `scores.timestamp`, UTC
    pub time: NaiveDateTime,
    /// `scores.id`
    pub id: String,
    /// the trace's columns
    pub trace: TraceColumns,
    /// `scores.trace_id`
    pub trace_id: Option<String>,
    /// `scores.name`
    pub name: Option<String>,
    /// `scores.value`
    pub value: Option<f64>,
    /// `scores.string_value`
    pub string_value: Option<String>,
    /// `scores.data_type`
    pub data_type: Option<String>,
    /// `scores.comment`
    pub comment: Option<String>,
}

/// A row of any stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// of `traces`
    Trace(TraceRow),
    /// of `observations`
    Generation(GenerationRow),
    /// of `scores`
    Score(ScoreRow),
}

impl Row {
    /// The row's id in Langfuse.
    pub fn id(&self) -> &str {
        match self {
            Row::Trace(row) => &row.id,
            Row::Generation(row) => &row.id,
            Row::Score(row) => &row.id,
        }
    }

    /// Its keyset position.
    pub fn cursor(&self) -> Cursor {
        let time = match self {
            Row::Trace(row) => row.time,
            Row::Generation(row) => row.time,
            Row::Score(row) => row.time,
        };
        Cursor {
            time,
            id: self.id().to_owned(),
        }
    }
}

impl FromRow<'_, PgRow> for TraceRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            time: row.try_get(0)?,
            id: row.try_get(1)?,
            trace: TraceColumns::decode(row, 2)?,
            version: row.try_get(9)?,
            observations: row.try_get(10)?,
            first_start: row.try_get(11)?,
            last_end: row.try_get(12)?,
            cost: row.try_get(13)?,
        })
    }
}

impl FromRow<'_, PgRow> for GenerationRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            time: row.try_get(0)?,
            id: row.try_get(1)?,
            trace: TraceColumns::decode(row, 2)?,
            trace_id: row.try_get(9)?,
            name: row.try_get(10)?,
            version: row.try_get(11)?,
            model: row.try_get(12)?,
            level: row.try_get(13)?,
            unit: row.try_get(14)?,
            end: row.try_get(15)?,
            completion_start: row.try_get(16)?,
            input_units: row.try_get(17)?,
            output_units: row.try_get(18)?,
            total_units: row.try_get(19)?,
            cost: row.try_get(20)?,
        })
    }
}

impl FromRow<'_, PgRow> for ScoreRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            time: row.try_get(0)?,
            id: row.try_get(1)?,
            trace: TraceColumns::decode(row, 2)?,
            trace_id: row.try_get(9)?,
            name: row.try_get(10)?,
            value: row.try_get(11)?,
            string_value: row.try_get(12)?,
            data_type: row.try_get(13)?,
            comment: row.try_get(14)?,
        })
    }
}
