//! Rows to events, as EVENTS.md says; written a second time, on purpose.

use chrono::NaiveDateTime;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Kind;
use super::rows::{ObservationRow, ScoreRow, TraceColumns, TraceRow};

const NAMESPACE: Uuid = Uuid::from_u128(0x0f6c_91df_d035_4813_b838_9741_ba38_ef0b);
const CONTRACT: &str = "1.1.0";
const NO_USER: &str = "langfuse_unknown_user";
/// What programs send in place of a user they do not know.
const PLACEHOLDERS: &str = "0 anonymous anonymous-user backend distinct_id distinctid email false guest id nan none \
    not_authenticated null system true undefined user 00000000-0000-0000-0000-000000000000";

/// What the events of a project have in common.
pub(super) struct Project<'a> {
    pub(super) id: &'a str,
    pub(super) name: Option<String>,
    /// The public URL of Langfuse, without a trailing slash
    pub(super) langfuse: Option<&'a str>,
}

impl Project<'_> {
    /// The address of a page of the project.
    fn page(&self, path: &str) -> Option<String> {
        Some(format!("{}/project/{}/{path}", self.langfuse?, encode(self.id)))
    }
}

pub(super) fn of_trace(row: &TraceRow, project: &Project<'_>) -> Value {
    let latency = row.first.zip(row.last).and_then(|(first, last)| seconds(first, last));
    let mut properties = json!({
        "langfuse_trace_name": row.trace.trace_name,
        "langfuse_id": row.id,
        "langfuse_cost_usd": dollars(row.cost.as_deref()),
        "langfuse_count_observations": row.observations,
        "langfuse_session_id": row.trace.session_id,
        "langfuse_user_id": row.trace.user().unwrap_or(NO_USER),
        "langfuse_latency": latency,
        "langfuse_release": row.trace.release,
        "langfuse_version": row.version,
        "langfuse_tags": row.trace.tags(),
    });
    if let Some(page) = project.page(&format!("traces/{}", encode(&row.id))) {
        properties["langfuse_url"] = page.into();
    }
    envelope(Kind::Trace, project, &row.id, row.timestamp, &row.trace, properties)
}

/// A generation, or another observation.
pub(super) fn of_observation(kind: Kind, row: &ObservationRow, project: &Project<'_>) -> Value {
    let mut properties = json!({
        "langfuse_trace_name": row.trace.trace_name,
        "langfuse_trace_id": row.trace_id,
        "langfuse_id": row.id,
        "langfuse_cost_usd": dollars(row.cost.as_deref()),
        "langfuse_input_units": row.prompt_tokens,
        "langfuse_output_units": row.completion_tokens,
        "langfuse_total_units": row.total_tokens,
        "langfuse_unit": row.unit,
        "langfuse_session_id": row.trace.session_id,
        "langfuse_user_id": row.trace.user().unwrap_or(NO_USER),
        "langfuse_latency": row.end_time.and_then(|end| seconds(row.start_time, end)),
        "langfuse_time_to_first_token": row.completion_start_time.and_then(|first| seconds(row.start_time, first)),
        "langfuse_release": row.trace.release,
        "langfuse_version": row.version,
        "langfuse_model": row.model,
        "langfuse_level": row.level,
        "langfuse_tags": row.trace.tags(),
    });
    if kind == Kind::Generation {
        properties["langfuse_generation_name"] = row.name.as_deref().into();
    } else {
        properties["langfuse_observation_name"] = row.name.as_deref().into();
        properties["langfuse_type"] = row.kind.as_str().into();
    }
    let page = |trace| project.page(&format!("traces/{}?observation={}", encode(trace), encode(&row.id)));
    if let Some(page) = row.trace_id.as_deref().and_then(page) {
        properties["langfuse_url"] = page.into();
    }
    envelope(kind, project, &row.id, row.start_time, &row.trace, properties)
}

pub(super) fn of_score(row: &ScoreRow, project: &Project<'_>) -> Value {
    let properties = json!({
        "langfuse_score_name": row.name,
        "langfuse_score_value": row.value.filter(|value| value.is_finite()),
        "langfuse_score_string_value": row.string_value,
        "langfuse_score_data_type": row.data_type,
        "langfuse_score_comment": row.comment,
        "langfuse_score_source": row.source,
        "langfuse_observation_id": row.observation_id,
        "langfuse_trace_name": row.trace.trace_name,
        "langfuse_trace_id": row.trace_id,
        "langfuse_id": row.id,
        "langfuse_session_id": row.trace.session_id,
        "langfuse_user_id": row.trace.user().unwrap_or(NO_USER),
        "langfuse_release": row.trace.release,
        "langfuse_tags": row.trace.tags(),
    });
    envelope(Kind::Score, project, &row.id, row.timestamp, &row.trace, properties)
}

/// The uuid of a row's event.
pub(super) fn uuid(project: &str, row_id: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{project}-{row_id}").as_bytes())
}

fn envelope(
    kind: Kind,
    project: &Project<'_>,
    row_id: &str,
    time: NaiveDateTime,
    trace: &TraceColumns,
    mut properties: Value,
) -> Value {
    let uuid = uuid(project.id, row_id).to_string();
    let chosen_id = json_text(trace.distinct_id_json.as_deref()).filter(|id| is_person(id));
    let person = trace.user().filter(|user| is_person(user));
    if let Some(session) = json_text(trace.session_id_json.as_deref()) {
        properties["$session_id"] = session.into();
    }
    if let Some(page) = person.and_then(|user| project.page(&format!("users/{}", encode(user)))) {
        properties["$set"] = Value::Object(Map::from_iter([("langfuse_user_url".to_owned(), page.into())]));
    }
    if person.is_none() && chosen_id.is_none() {
        properties["$process_person_profile"] = false.into();
    }
    properties["langfuse_project_id"] = project.id.into();
    properties["langfuse_project_name"] = project.name.as_deref().into();
    properties["langfuse_integration_version"] = CONTRACT.into();
    properties["$geoip_disable"] = true.into();
    properties["$lib"] = "oracle".into();
    properties["$lib_version"] = "0".into();
    json!({
        "event": kind.event(),
        "uuid": uuid,
        "timestamp": time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        "distinct_id": chosen_id.or_else(|| person.map(str::to_owned)).unwrap_or(uuid),
        "properties": properties,
    })
}

impl TraceColumns {
    fn user(&self) -> Option<&str> {
        self.user_id.as_deref().filter(|user| !is_empty(user))
    }

    fn tags(&self) -> Option<Vec<&str>> {
        Some(self.tags.as_ref()?.iter().flatten().map(String::as_str).collect())
    }
}

/// Empty, as EVENTS.md has it: nothing but white space.
fn is_empty(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// Whether PostHog takes an id for a person's.
fn is_person(id: &str) -> bool {
    let id = id.trim().to_ascii_lowercase();
    let is_quoted = id.len() > 1
        && ['\'', '"']
            .iter()
            .any(|quote| id.starts_with(*quote) && id.ends_with(*quote));
    let id = if is_quoted { &id[1..id.len() - 1] } else { &id };
    id != "[object object]" && !PLACEHOLDERS.split_whitespace().any(|placeholder| placeholder == id)
}

/// The non-empty string that a JSON text is, or the number as it stands there.
fn json_text(json: Option<&str>) -> Option<String> {
    let json = json?;
    if json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Some(json.to_owned());
    }
    let Ok(Value::String(text)) = json.parse() else {
        return None;
    };
    (!is_empty(&text)).then_some(text)
}

/// Below zero, or over 31 days, it is no span.
fn seconds(from: NaiveDateTime, to: NaiveDateTime) -> Option<f64> {
    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds of any span in a database fit 53 bits"
    )]
    let milliseconds = (to - from).num_milliseconds() as f64;
    let seconds = milliseconds / 1000.0;
    (from <= to && to - from <= chrono::TimeDelta::days(31)).then_some(seconds)
}

/// The nearest f64 of a decimal text; `None` for `NaN`.
fn dollars(cost: Option<&str>) -> Option<f64> {
    cost?.parse().ok().filter(|cost: &f64| cost.is_finite())
}

/// JavaScript's `encodeURIComponent`.
fn encode(id: &str) -> String {
    let mut encoded = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_encoded_as_javascript_does() {
        assert_eq!(encode("aZ09-_.!~*'()"), "aZ09-_.!~*'()");
        assert_eq!(encode("a b/c?d=é&🦀\n"), "a%20b%2Fc%3Fd%3D%C3%A9%26%F0%9F%A6%80%0A");
    }

    #[test]
    fn only_a_number_or_a_string_that_is_not_blank_counts() {
        assert_eq!(json_text(Some(r#""a\u0020""#)).as_deref(), Some("a "));
        for number in ["7", "-1.50", "12345678901234567890"] {
            assert_eq!(json_text(Some(number)).as_deref(), Some(number));
        }
        for json in [
            None,
            Some("null"),
            Some("true"),
            Some("[7]"),
            Some("{}"),
            Some(r#""""#),
            Some(r#"" \t""#),
        ] {
            assert_eq!(json_text(json), None, "{json:?}");
        }
    }

    #[test]
    fn placeholders_are_no_person() {
        for id in ["null", "'NaN'", " \"Guest\" ", "[object Object]", "0"] {
            assert!(!is_person(id), "{id}");
        }
        for id in ["'null", "nulls", "''guest''", "\"", "00", ""] {
            assert!(is_person(id), "{id}");
        }
    }

    #[test]
    fn money_is_the_nearest_double() {
        assert_eq!(dollars(Some("0.100000000000000000000000000000")), Some(0.1));
        assert_eq!(dollars(Some("0.000000000000000000000000000001")), Some(1e-30));
        assert_eq!(dollars(Some("NaN")), None);
    }
}
