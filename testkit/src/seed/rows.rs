//! Single rows of a Langfuse database, for tests that need a certain one.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use serde::{Serialize, Serializer};
use sqlx::PgPool;

/// A row of `traces`. Start from [`Trace::new`] and set what matters.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the columns")]
pub struct Trace {
    pub id: String,
    pub project_id: String,
    pub timestamp: NaiveDateTime,
    pub name: Option<String>,
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    pub release: Option<String>,
    pub version: Option<String>,
    pub tags: Option<Vec<String>>,
    /// A JSON text; `Some("null")` is JSON's null, `None` is SQL's.
    pub metadata: Option<String>,
    /// `None`: two seconds after the event.
    pub created_at: Option<NaiveDateTime>,
}

impl Trace {
    /// A trace with empty tags and nothing else.
    pub fn new(project: &str, id: &str, timestamp: NaiveDateTime) -> Self {
        Self {
            id: id.to_owned(),
            project_id: project.to_owned(),
            timestamp,
            name: None,
            user_id: None,
            session_id: None,
            release: None,
            version: None,
            tags: Some(Vec::new()),
            metadata: None,
            created_at: None,
        }
    }
}

/// A row of `observations`. Start from [`Observation::generation`] or [`Observation::span`] and set
/// what matters.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the columns")]
pub struct Observation {
    pub id: String,
    pub project_id: String,
    pub trace_id: Option<String>,
    /// `GENERATION`, `SPAN` or `EVENT`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub start_time: NaiveDateTime,
    pub end_time: Option<NaiveDateTime>,
    pub completion_start_time: Option<NaiveDateTime>,
    pub name: Option<String>,
    pub version: Option<String>,
    pub model: Option<String>,
    pub internal_model: Option<String>,
    /// `DEBUG`, `DEFAULT`, `WARNING` or `ERROR`.
    pub level: &'static str,
    pub unit: Option<String>,
    pub prompt_tokens: i32,
    pub completion_tokens: i32,
    pub total_tokens: i32,
    /// Decimal texts, like all costs.
    pub input_cost: Option<String>,
    pub output_cost: Option<String>,
    pub total_cost: Option<String>,
    pub calculated_total_cost: Option<String>,
    /// `None`: two seconds after the start.
    pub created_at: Option<NaiveDateTime>,
}

impl Observation {
    /// A generation of this trace, a second long, that cost nothing known.
    pub fn generation(project: &str, id: &str, trace: &str, start_time: NaiveDateTime) -> Self {
        Self {
            id: id.to_owned(),
            project_id: project.to_owned(),
            trace_id: Some(trace.to_owned()),
            kind: "GENERATION",
            start_time,
            end_time: Some(start_time + TimeDelta::seconds(1)),
            completion_start_time: None,
            name: None,
            version: None,
            model: None,
            internal_model: None,
            level: "DEFAULT",
            unit: Some("TOKENS".to_owned()),
            prompt_tokens: 0,
            completion_tokens: 0,
            total_tokens: 0,
            input_cost: None,
            output_cost: None,
            total_cost: None,
            calculated_total_cost: None,
            created_at: None,
        }
    }

    /// A span of this trace: counted in its totals, not exported itself.
    pub fn span(project: &str, id: &str, trace: &str, start_time: NaiveDateTime) -> Self {
        Self {
            kind: "SPAN",
            unit: None,
            ..Self::generation(project, id, trace, start_time)
        }
    }
}

/// A row of `scores`. Start from [`Score::new`] and set what matters.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the columns")]
pub struct Score {
    pub id: String,
    pub project_id: String,
    pub trace_id: String,
    pub timestamp: NaiveDateTime,
    pub name: String,
    /// Any double, `NaN` and infinities too.
    #[serde(serialize_with = "double_as_text")]
    pub value: Option<f64>,
    pub string_value: Option<String>,
    /// `NUMERIC`, `CATEGORICAL` or `BOOLEAN`.
    pub data_type: &'static str,
    pub comment: Option<String>,
    /// `API`, `EVAL` or `ANNOTATION`.
    pub source: &'static str,
    pub observation_id: Option<String>,
    /// `None`: two seconds after the event.
    pub created_at: Option<NaiveDateTime>,
}

impl Score {
    /// A numeric score of 1 for this trace.
    pub fn new(project: &str, id: &str, trace: &str, timestamp: NaiveDateTime) -> Self {
        Self {
            id: id.to_owned(),
            project_id: project.to_owned(),
            trace_id: trace.to_owned(),
            timestamp,
            name: "quality".to_owned(),
            value: Some(1.0),
            string_value: None,
            data_type: "NUMERIC",
            comment: None,
            source: "API",
            observation_id: None,
            created_at: None,
        }
    }
}

/// A row of `models`: what a model costs.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are the columns")]
pub struct Model {
    pub id: String,
    /// `None`: shared by all projects.
    pub project_id: Option<String>,
    pub model_name: String,
    pub unit: Option<String>,
    pub start_date: Option<NaiveDateTime>,
    /// Decimal texts, like all prices.
    pub input_price: Option<String>,
    pub output_price: Option<String>,
    pub total_price: Option<String>,
}

/// Rows to insert together.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the fields are the tables")]
pub struct Rows {
    pub traces: Vec<Trace>,
    pub observations: Vec<Observation>,
    pub scores: Vec<Score>,
    pub models: Vec<Model>,
}

impl Rows {
    /// Inserts them all; their projects must be there.
    ///
    /// # Panics
    /// When the database refuses one.
    pub async fn insert(&self, pool: &PgPool) {
        insert(pool, include_str!("rows/models.sql"), &self.models).await;
        insert(pool, include_str!("rows/traces.sql"), &self.traces).await;
        insert(pool, include_str!("rows/observations.sql"), &self.observations).await;
        insert(pool, include_str!("rows/scores.sql"), &self.scores).await;
    }
}

async fn insert<Row: Serialize>(pool: &PgPool, statement: &'static str, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let rows = serde_json::to_string(rows).expect("rows serialise");
    sqlx::query(statement)
        .bind(rows)
        .execute(pool)
        .await
        .expect("the rows can be inserted");
}

/// JSON has no `NaN`, Postgres reads it from a text.
#[allow(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn double_as_text<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(|value| format!("{value:?}")).serialize(serializer)
}

/// A time of a day, to the millisecond.
///
/// # Panics
/// When there is no such time.
pub fn at(day: NaiveDate, hour: u32, minute: u32, second: u32, millisecond: u32) -> NaiveDateTime {
    day.and_time(NaiveTime::from_hms_milli_opt(hour, minute, second, millisecond).expect("a time of day"))
}
