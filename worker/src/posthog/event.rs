//! PURE: row → event, exactly as docs/EVENTS.md has it. Rows are written straight into the body;
//! only an event that is too large goes through `oversize.rs`.

use std::ops::{Deref, DerefMut};

use chrono::{Datelike as _, NaiveDateTime, TimeDelta, Timelike as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Serialize;
use shared::event_id::{EventIds, event_name};
use shared::job::Stream;
use shared::posthog::{LIB, LIB_VERSION};
use uuid::Uuid;

use crate::langfuse::rows::{ObservationRow, Row, ScoreRow, TraceColumns, TraceRow};
use crate::posthog::oversize;
use crate::posthog::person::{filled, person};
use crate::posthog::properties::{Omitted, bit};

/// A latency above this is no latency: a client left its start unset, at the year 1 or 1970.
const LONGEST_SPAN: TimeDelta = TimeDelta::days(31);
/// Version of the contract in docs/EVENTS.md.
const CONTRACT_VERSION: &str = "1.1.0";
const UNKNOWN_USER: &str = "langfuse_unknown_user";
/// Escapes all but letters, digits and `-_.!~*'()`, as JavaScript's `encodeURIComponent` does.
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

/// `"name":value,`, unless it is left out. Names need no escaping. The compiler joins them with their
/// punctuation and finds their place in the list of properties, because an event has about
/// twenty-five of them.
macro_rules! property {
    ($out:expr, $name:literal, $value:expr) => {
        member($out, const { bit($name) }, concat!("\"", $name, "\":"), $value)
    };
}

/// A body that an event is appended to.
struct Json<'a> {
    text: &'a mut Vec<u8>,
    omitted: Omitted,
}

impl Deref for Json<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        self.text
    }
}

impl DerefMut for Json<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        self.text
    }
}

/// What the events of a project have in common.
#[derive(Clone, Debug)]
pub struct ProjectContext {
    ids: EventIds,
    /// The properties that all events share, as JSON text
    constants: Vec<u8>,
    /// `{langfuse_url}/project/{project_id}`, as part of a JSON text. `None` leaves the links out.
    base_url: Option<String>,
    project_name: Option<String>,
    omitted: Omitted,
}

impl ProjectContext {
    /// For the events of one project. A name of white space counts as none.
    pub fn new(project_id: &str, project_name: Option<&str>, langfuse_url: Option<&str>) -> Self {
        let base = |url: &str| {
            let base = format!("{}/project/{}", url.trim_end_matches('/'), encode(project_id));
            serde_json::Value::from(base).to_string().trim_matches('"').to_owned()
        };
        let mut constants = Vec::new();
        let mut json = Json {
            text: &mut constants,
            omitted: Omitted::default(),
        };
        property!(&mut json, "$geoip_disable", &true);
        property!(&mut json, "$lib", LIB);
        property!(&mut json, "$lib_version", LIB_VERSION);
        property!(&mut json, "langfuse_project_id", project_id);
        property!(&mut json, "langfuse_integration_version", CONTRACT_VERSION);
        Self {
            ids: EventIds::of(project_id),
            constants,
            project_name: filled(project_name).map(str::to_owned),
            base_url: langfuse_url.map(base),
            omitted: Omitted::default(),
        }
    }

    /// The same, without these properties.
    pub fn omitting(self, omitted: Omitted) -> Self {
        Self { omitted, ..self }
    }

    /// What a link begins with; `None` when there are no links, or this one is left out.
    fn base_of(&self, link: u64) -> Option<&str> {
        self.base_url.as_deref().filter(|_| !self.omitted.has(link))
    }
}

/// Appends the row's event as JSON.
pub fn write(row: &Row, project: &ProjectContext, out: &mut Vec<u8>) {
    let start = out.len();
    let json = &mut Json {
        text: out,
        omitted: project.omitted,
    };
    match row {
        Row::Trace(row) => write_trace(row, project, json),
        Row::Generation(row) => {
            begin(
                event_name(Stream::Generation),
                &row.id,
                row.time,
                &row.trace,
                project,
                json,
            );
            property!(json, "langfuse_generation_name", &row.name.as_deref());
            write_observation(row, project, json);
        }
        Row::Score(row) => write_score(row, project, json),
        Row::Observation(row) => {
            begin(
                event_name(Stream::Observation),
                &row.id,
                row.time,
                &row.trace,
                project,
                json,
            );
            property!(json, "langfuse_observation_name", &row.name.as_deref());
            property!(json, "langfuse_type", &row.kind.as_deref());
            write_observation(row, project, json);
        }
    }
    oversize::shorten(out, start);
}

fn write_trace(row: &TraceRow, project: &ProjectContext, out: &mut Json<'_>) {
    begin(event_name(Stream::Trace), &row.id, row.time, &row.trace, project, out);
    if let Some(base) = project.base_of(const { bit("langfuse_url") }) {
        link(out, "langfuse_url", base, &[("/traces/", &row.id)]);
        out.push(b',');
    }
    property!(out, "langfuse_cost_usd", &finite(row.cost));
    property!(out, "langfuse_count_observations", &row.observations);
    property!(out, "langfuse_latency", &seconds(row.first_start, row.last_end));
    property!(out, "langfuse_version", &row.version.as_deref());
    end(&row.id, &row.trace, project, out);
}

/// What generations and other observations have in common, up to the closing brackets.
fn write_observation(row: &ObservationRow, project: &ProjectContext, out: &mut Json<'_>) {
    property!(out, "langfuse_trace_id", &row.trace_id.as_deref());
    let base = project.base_of(const { bit("langfuse_url") });
    if let (Some(base), Some(trace_id)) = (base, row.trace_id.as_deref()) {
        let path = [("/traces/", trace_id), ("?observation=", row.id.as_str())];
        link(out, "langfuse_url", base, &path);
        out.push(b',');
    }
    property!(out, "langfuse_cost_usd", &finite(row.cost));
    property!(out, "langfuse_input_units", &row.input_units);
    property!(out, "langfuse_output_units", &row.output_units);
    property!(out, "langfuse_total_units", &row.total_units);
    property!(out, "langfuse_unit", &row.unit.as_deref());
    property!(out, "langfuse_latency", &seconds(Some(row.time), row.end));
    let first_token = seconds(Some(row.time), row.completion_start);
    property!(out, "langfuse_time_to_first_token", &first_token);
    property!(out, "langfuse_version", &row.version.as_deref());
    property!(out, "langfuse_model", &row.model.as_deref());
    property!(out, "langfuse_level", &row.level.as_deref());
    end(&row.id, &row.trace, project, out);
}

fn write_score(row: &ScoreRow, project: &ProjectContext, out: &mut Json<'_>) {
    begin(event_name(Stream::Score), &row.id, row.time, &row.trace, project, out);
    property!(out, "langfuse_score_name", &row.name.as_deref());
    property!(out, "langfuse_score_value", &finite(row.value));
    property!(out, "langfuse_score_string_value", &row.string_value.as_deref());
    property!(out, "langfuse_score_data_type", &row.data_type.as_deref());
    property!(out, "langfuse_score_comment", &row.comment.as_deref());
    property!(out, "langfuse_score_source", &row.source.as_deref());
    property!(out, "langfuse_observation_id", &row.observation_id.as_deref());
    property!(out, "langfuse_trace_id", &row.trace_id.as_deref());
    end(&row.id, &row.trace, project, out);
}

/// Writes the envelope, up to the first property.
fn begin(
    event: &'static str,
    row_id: &str,
    time: NaiveDateTime,
    trace: &TraceColumns,
    project: &ProjectContext,
    out: &mut Json<'_>,
) {
    let mut buffer = Uuid::encode_buffer();
    let uuid: &str = project.ids.uuid(row_id).hyphenated().encode_lower(&mut buffer);
    let distinct_id = person(trace.posthog_distinct_id.as_deref())
        .or(person(trace.user_id.as_deref()))
        .unwrap_or(uuid);
    out.push(b'{');
    property!(out, "event", event);
    out.extend_from_slice(br#""timestamp":"#);
    out.extend_from_slice(&rfc3339(time));
    out.push(b',');
    property!(out, "uuid", uuid);
    property!(out, "distinct_id", distinct_id);
    out.extend_from_slice(br#""properties":{"#);
}

/// Writes the properties of every event, and the closing brackets.
fn end(row_id: &str, trace: &TraceColumns, project: &ProjectContext, out: &mut Json<'_>) {
    let user = person(trace.user_id.as_deref());
    if let Some(session) = filled(trace.posthog_session_id.as_deref()) {
        property!(out, "$session_id", session);
    }
    if let (Some(base), Some(user)) = (project.base_of(const { bit("langfuse_user_url") }), user) {
        out.extend_from_slice(br#""$set":{"#);
        link(out, "langfuse_user_url", base, &[("/users/", user)]);
        out.extend_from_slice(b"},");
    }
    if user.is_none() && person(trace.posthog_distinct_id.as_deref()).is_none() {
        property!(out, "$process_person_profile", &false);
    }
    property!(out, "langfuse_id", row_id);
    property!(out, "langfuse_trace_name", &trace.name.as_deref());
    // As it is stored, whoever it names.
    let stored = filled(trace.user_id.as_deref());
    property!(out, "langfuse_user_id", stored.unwrap_or(UNKNOWN_USER));
    property!(out, "langfuse_session_id", &trace.session_id.as_deref());
    property!(out, "langfuse_release", &trace.release.as_deref());
    property!(out, "langfuse_tags", &trace.tags);
    property!(out, "langfuse_project_name", &project.project_name.as_deref());
    out.extend_from_slice(&project.constants);
    out.pop();
    out.extend_from_slice(b"}}");
}

fn member<T: Serialize + ?Sized>(out: &mut Json<'_>, bit: u64, name: &'static str, value: &T) {
    if out.omitted.has(bit) {
        return;
    }
    out.extend_from_slice(name.as_bytes());
    // Strings, numbers and lists are written to memory, which cannot fail.
    let _ = serde_json::to_writer(&mut *out.text, value);
    out.push(b',');
}

/// `"name":"{base}…"`, ids percent-encoded.
fn link(out: &mut Vec<u8>, name: &'static str, base: &str, path: &[(&'static str, &str)]) {
    for text in ["\"", name, "\":\"", base] {
        out.extend_from_slice(text.as_bytes());
    }
    for (place, id) in path {
        out.extend_from_slice(place.as_bytes());
        for text in encode(id) {
            out.extend_from_slice(text.as_bytes());
        }
    }
    out.push(b'"');
}

/// `2024-06-01T09:30:00.123Z`, as a JSON text. The year always has four digits: only days that are
/// over are exported.
fn rfc3339(time: NaiveDateTime) -> [u8; 26] {
    let mut text = *b"\"0000-00-00T00:00:00.000Z\"";
    for (value, at, digits) in [
        (time.year().unsigned_abs(), 1, 4),
        (time.month(), 6, 2),
        (time.day(), 9, 2),
        (time.hour(), 12, 2),
        (time.minute(), 15, 2),
        (time.second(), 18, 2),
        (time.and_utc().timestamp_subsec_millis(), 21, 3),
    ] {
        let mut rest = value;
        for digit in text[at..at + digits].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
    }
    text
}

/// JSON has neither `NaN` nor infinities; PostgreSQL has both. They become null.
fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|n| n.is_finite())
}

/// Seconds between two moments. `None` when they are in the wrong order, or more than
/// [`LONGEST_SPAN`] apart: Langfuse's clients send such times, and one of them would spoil every
/// average.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of 31 days are far below 2^53")]
fn seconds(from: Option<NaiveDateTime>, to: Option<NaiveDateTime>) -> Option<f64> {
    let span = to? - from?;
    let is_real = (TimeDelta::zero()..=LONGEST_SPAN).contains(&span);
    is_real.then(|| span.num_milliseconds() as f64 / 1000.0)
}

fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, URI_COMPONENT)
}

#[cfg(test)]
mod tests;
