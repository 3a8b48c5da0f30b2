//! PURE: row → event, exactly as docs/EVENTS.md has it. Rows serialise straight into the body; only an event that is too large
//! takes the slow way through `oversize.rs`.

use std::fmt::Write as _;

use chrono::NaiveDateTime;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use shared::posthog::{LIB, LIB_VERSION};
use uuid::Uuid;

use crate::oversize;
use crate::rows::{GenerationRow, Row, ScoreRow, TraceColumns, TraceRow};

/// Langfuse Cloud's own namespace: PostHog folds a replay, and an event that Langfuse itself sent, into one.
const NAMESPACE: Uuid = Uuid::from_u128(0x0f6c_91df_d035_4813_b838_9741_ba38_ef0b);
/// Version of the contract in docs/EVENTS.md.
const CONTRACT_VERSION: &str = "1.0.0";
const UNKNOWN_USER: &str = "langfuse_unknown_user";
/// All but letters, digits and `-_.!~*'()`: JavaScript's `encodeURIComponent`.
const URI_COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// What the events of a project have in common.
#[derive(Clone, Debug)]
pub struct ProjectContext {
    project_id: String,
    /// `{langfuse_url}/project/{project_id}`; `None` leaves the links out.
    base_url: Option<String>,
}

impl ProjectContext {
    /// For the events of one project.
    pub fn new(project_id: &str, langfuse_url: Option<&str>) -> Self {
        let base = |url: &str| format!("{}/project/{}", url.trim_end_matches('/'), encode(project_id));
        Self {
            project_id: project_id.to_owned(),
            base_url: langfuse_url.map(base),
        }
    }

    fn uuid(&self, row_id: &str) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("{}-{row_id}", self.project_id).as_bytes())
    }
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "PostHog's name for it")]
struct Event<'a, P> {
    event: &'static str,
    timestamp: String,
    uuid: Uuid,
    distinct_id: &'a str,
    properties: P,
}

/// The properties of every event.
#[derive(Serialize)]
struct Common<'a> {
    #[serde(rename = "$session_id", skip_serializing_if = "Option::is_none")]
    posthog_session_id: Option<&'a str>,
    #[serde(rename = "$set", skip_serializing_if = "Option::is_none")]
    set: Option<Set>,
    #[serde(rename = "$process_person_profile", skip_serializing_if = "Option::is_none")]
    process_person_profile: Option<bool>,
    #[serde(rename = "$geoip_disable")]
    geoip_disable: bool,
    #[serde(rename = "$lib")]
    lib: &'static str,
    #[serde(rename = "$lib_version")]
    lib_version: &'static str,
    langfuse_id: &'a str,
    langfuse_project_id: &'a str,
    langfuse_trace_name: Option<&'a str>,
    langfuse_user_id: &'a str,
    langfuse_session_id: Option<&'a str>,
    langfuse_release: Option<&'a str>,
    langfuse_tags: Option<&'a [Option<String>]>,
    langfuse_integration_version: &'static str,
}

#[derive(Serialize)]
struct Set {
    langfuse_user_url: String,
}

#[derive(Serialize)]
struct TraceProperties<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    langfuse_url: Option<String>,
    langfuse_cost_usd: Option<f64>,
    langfuse_count_observations: i64,
    langfuse_latency: Option<f64>,
    langfuse_version: Option<&'a str>,
    #[serde(flatten)]
    common: Common<'a>,
}

#[derive(Serialize)]
struct GenerationProperties<'a> {
    langfuse_generation_name: Option<&'a str>,
    langfuse_trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    langfuse_url: Option<String>,
    langfuse_cost_usd: Option<f64>,
    langfuse_input_units: i32,
    langfuse_output_units: i32,
    langfuse_total_units: i32,
    langfuse_unit: Option<&'a str>,
    langfuse_latency: Option<f64>,
    langfuse_time_to_first_token: Option<f64>,
    langfuse_version: Option<&'a str>,
    langfuse_model: Option<&'a str>,
    langfuse_level: Option<&'a str>,
    #[serde(flatten)]
    common: Common<'a>,
}

#[derive(Serialize)]
struct ScoreProperties<'a> {
    langfuse_score_name: Option<&'a str>,
    langfuse_score_value: Option<f64>,
    langfuse_score_string_value: Option<&'a str>,
    langfuse_score_data_type: Option<&'a str>,
    langfuse_score_comment: Option<&'a str>,
    langfuse_trace_id: Option<&'a str>,
    #[serde(flatten)]
    common: Common<'a>,
}

/// Appends the row's event as JSON.
pub fn write(row: &Row, project: &ProjectContext, out: &mut Vec<u8>) {
    let start = out.len();
    match row {
        Row::Trace(row) => write_trace(row, project, out),
        Row::Generation(row) => write_generation(row, project, out),
        Row::Score(row) => write_score(row, project, out),
    }
    oversize::shorten(out, start);
}

fn write_trace(row: &TraceRow, project: &ProjectContext, out: &mut Vec<u8>) {
    let properties = TraceProperties {
        langfuse_url: project
            .base_url
            .as_deref()
            .map(|base| format!("{base}/traces/{}", encode(&row.id))),
        langfuse_cost_usd: finite(row.cost),
        langfuse_count_observations: row.observations,
        langfuse_latency: seconds(row.first_start, row.last_end),
        langfuse_version: row.version.as_deref(),
        common: common(&row.id, &row.trace, project),
    };
    append(
        "langfuse trace",
        &row.id,
        row.time,
        &row.trace,
        project,
        properties,
        out,
    );
}

fn write_generation(row: &GenerationRow, project: &ProjectContext, out: &mut Vec<u8>) {
    let url =
        |(base, trace_id): (&str, &str)| format!("{base}/traces/{}?observation={}", encode(trace_id), encode(&row.id));
    let properties = GenerationProperties {
        langfuse_generation_name: row.name.as_deref(),
        langfuse_trace_id: row.trace_id.as_deref(),
        langfuse_url: project.base_url.as_deref().zip(row.trace_id.as_deref()).map(url),
        langfuse_cost_usd: finite(row.cost),
        langfuse_input_units: row.input_units,
        langfuse_output_units: row.output_units,
        langfuse_total_units: row.total_units,
        langfuse_unit: row.unit.as_deref(),
        langfuse_latency: seconds(Some(row.time), row.end),
        langfuse_time_to_first_token: seconds(Some(row.time), row.completion_start),
        langfuse_version: row.version.as_deref(),
        langfuse_model: row.model.as_deref(),
        langfuse_level: row.level.as_deref(),
        common: common(&row.id, &row.trace, project),
    };
    append(
        "langfuse generation",
        &row.id,
        row.time,
        &row.trace,
        project,
        properties,
        out,
    );
}

fn write_score(row: &ScoreRow, project: &ProjectContext, out: &mut Vec<u8>) {
    let properties = ScoreProperties {
        langfuse_score_name: row.name.as_deref(),
        langfuse_score_value: finite(row.value),
        langfuse_score_string_value: row.string_value.as_deref(),
        langfuse_score_data_type: row.data_type.as_deref(),
        langfuse_score_comment: row.comment.as_deref(),
        langfuse_trace_id: row.trace_id.as_deref(),
        common: common(&row.id, &row.trace, project),
    };
    append(
        "langfuse score",
        &row.id,
        row.time,
        &row.trace,
        project,
        properties,
        out,
    );
}

fn common<'a>(row_id: &'a str, trace: &'a TraceColumns, project: &'a ProjectContext) -> Common<'a> {
    let user = filled(trace.user_id.as_deref());
    let anonymous = user.is_none() && filled(trace.posthog_distinct_id.as_deref()).is_none();
    let user_url = |(base, user): (&str, &str)| Set {
        langfuse_user_url: format!("{base}/users/{}", encode(user)),
    };
    Common {
        posthog_session_id: filled(trace.posthog_session_id.as_deref()),
        set: project.base_url.as_deref().zip(user).map(user_url),
        process_person_profile: anonymous.then_some(false),
        geoip_disable: true,
        lib: LIB,
        lib_version: LIB_VERSION,
        langfuse_id: row_id,
        langfuse_project_id: &project.project_id,
        langfuse_trace_name: trace.name.as_deref(),
        langfuse_user_id: user.unwrap_or(UNKNOWN_USER),
        langfuse_session_id: trace.session_id.as_deref(),
        langfuse_release: trace.release.as_deref(),
        langfuse_tags: trace.tags.as_deref(),
        langfuse_integration_version: CONTRACT_VERSION,
    }
}

fn append<P: Serialize>(
    event: &'static str,
    row_id: &str,
    time: NaiveDateTime,
    trace: &TraceColumns,
    project: &ProjectContext,
    properties: P,
    out: &mut Vec<u8>,
) {
    let uuid = project.uuid(row_id);
    let mut buffer = Uuid::encode_buffer();
    let anonymous: &str = uuid.hyphenated().encode_lower(&mut buffer);
    let distinct_id = filled(trace.posthog_distinct_id.as_deref())
        .or(filled(trace.user_id.as_deref()))
        .unwrap_or(anonymous);
    let event = Event {
        event,
        timestamp: rfc3339(time),
        uuid,
        distinct_id,
        properties,
    };
    // Strings, numbers and lists into memory: there is nothing that could fail.
    let _ = serde_json::to_writer(out, &event);
}

/// `2024-06-01T09:30:00.123Z`
fn rfc3339(time: NaiveDateTime) -> String {
    let mut text = String::with_capacity(24);
    let _ = write!(text, "{}", time.format("%Y-%m-%dT%H:%M:%S%.3fZ"));
    text
}

/// Empty means empty or white space only.
fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

/// JSON has neither `NaN` nor infinities; Postgres has both.
fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|n| n.is_finite())
}

/// Seconds between two moments; negative when they are the wrong way round, as Langfuse's clients sometimes send them.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of any real day are far below 2^53"
)]
fn seconds(from: Option<NaiveDateTime>, to: Option<NaiveDateTime>) -> Option<f64> {
    from.zip(to)
        .map(|(from, to)| (to - from).num_milliseconds() as f64 / 1000.0)
}

fn encode(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, URI_COMPONENT)
}

#[cfg(test)]
mod tests;
