//! `POST /api/projects/:id/query/`: the body's shape, the cache, and the rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::answer::Answer;
use super::super::store::Shown;
use super::errors::{error, invalid, too_heavy};
use super::forms::Form;
use super::nodes::Age;
use super::types::Guessed;
use super::{App, Project};

const REQUEST: [&str; 8] = [
    "async",
    "client_query_id",
    "filters_override",
    "limit_context",
    "name",
    "query",
    "refresh",
    "variables_override",
];

/// Answers a query about what `stored` gives of a project key: each copy that is not folded is one.
pub(super) fn run<'a>(
    app: &mut App,
    number: i64,
    project: &Project,
    body: Map<String, Value>,
    stored: impl Fn(&str) -> Vec<Shown<'a>>,
) -> Result<Answer, Answer> {
    let body = Value::Object(body);
    app.asked.push(body.clone());
    only(&body, &REQUEST)?;
    if app.switches.is_old && body.get("name").is_some() {
        return Err(invalid("name: Extra inputs are not permitted"));
    }
    let age = Age {
        is_old: app.switches.is_old,
        lacking: &app.switches.lacking,
    };
    age.check(&body["query"])?;
    let is_forced = is_forced(&body["refresh"])?;
    let mut query = &body["query"];
    while let Some(source) = query.get("source") {
        query = source;
    }
    let nothing = Map::new();
    let values = match &query["values"] {
        Value::Null => &nothing,
        Value::Object(values) => values,
        _ => return Err(invalid("values: Input should be a valid dictionary")),
    };
    let text = query["query"].as_str().unwrap_or_default();
    if query["kind"] != "HogQLQuery" || text.contains("{filters}") {
        unresolved(text, values)?;
        return Ok(Answer::json(&empty(project)));
    }
    let (form, by_text) = Form::of(text)?;
    if app.switches.is_old && form == Form::Cells {
        return Err(invalid(
            "Unsupported function call 'groupBitXor(...)'. Perhaps you meant 'groupBitOr(...)'?",
        ));
    }
    let bound = form.bind(values)?;
    let cached = format!("{number} {query}");
    if let (false, Some(answer)) = (is_forced, app.cache.get(&cached)) {
        let mut answer = answer.clone();
        answer["is_cached"] = true.into();
        return Ok(Answer::json(&answer));
    }

    // Times without a zone are the project's, unless the modifier switches that off.
    let is_project_time = query["modifiers"]["convertToProjectTimezone"] != false;
    let ahead = if is_project_time { project.ahead_minutes } else { 0 };
    let range = time(&bound["since"], ahead).zip(time(&bound["until"], ahead));
    let events: Vec<&str> = ["event", "event_1", "event_2", "event_3", "event_4"]
        .iter()
        .filter_map(|name| bound.get(name).map(String::as_str))
        .collect();
    // What a condition on event and time leaves is read, whatever else is asked.
    let read: Vec<Shown<'_>> = stored(&project.api_key)
        .into_iter()
        .filter(|row| events.contains(&row.event))
        .filter(|row| range.is_some_and(|(since, until)| (since..until).contains(&row.time)))
        .collect();
    if let Some((most, status)) = app.switches.too_heavy
        && read.len() > most
    {
        return Err(too_heavy(status));
    }
    let projects = ["project", "project_in_json"].map(|name| bound[name].as_str());
    let guessed = app.switches.projects_are.filter(|_| !by_text);
    let is_ours = ours(projects, by_text, guessed)?;
    let ours = read.into_iter().filter(|row| row.project.is_some_and(&is_ours));
    let digits = bound["digits"].parse().unwrap_or(0);
    let mut results = match form {
        Form::Cells => cells(ours, digits, true),
        Form::Counts => cells(ours, digits, false),
        Form::Uuids => uuids(ours, digits, &bound["cells"]),
    };
    let cap = if form == Form::Uuids {
        app.switches.row_cap
    } else {
        usize::MAX
    };
    results.truncate(form.limit().min(cap));
    let now = Utc::now().to_rfc3339();
    let answer = json!({
        "cache_key": format!("cache_{number}"),
        "columns": form.columns().iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "error": null,
        // Only where a query has no limit of its own does PostHog look for more.
        "hasMore": null,
        "hogql": text,
        "is_cached": app.switches.is_stale,
        "last_refresh": now,
        "limit": null,
        "offset": null,
        "query_status": null,
        "results": results,
        "timezone": project.zone,
        "types": form.columns(),
    });
    app.cache.insert(cached, answer.clone());
    Ok(Answer::json(&answer))
}

/// Whether a row, as it has `properties.langfuse_project_id`, is of a project that is asked about. An id
/// that is none of what all ids are taken for fails the query: ClickHouse converts it, too.
fn ours(asked: [&str; 2], by_text: bool, guessed: Option<Guessed>) -> Result<impl Fn(&str) -> bool, Answer> {
    let convert = move |text: &str| match guessed {
        None => Some(text.to_owned()),
        Some(guessed) => guessed.of(text),
    };
    let asked = asked.map(convert);
    if asked.contains(&None) {
        return Err(error(500, "server_error", "error", "A server error occurred."));
    }
    Ok(move |project: &str| {
        // What stands in JSON, less the quotes.
        let unescaped = || serde_json::from_str(&format!("\"{project}\"")).ok();
        let project = if by_text { unescaped() } else { convert(project) };
        project.is_some() && asked.contains(&project)
    })
}

/// Whether the answer must not come from the cache.
fn is_forced(refresh: &Value) -> Result<bool, Answer> {
    match refresh {
        Value::Null | Value::Bool(false) => Ok(false),
        Value::Bool(true) => Ok(true),
        Value::String(mode) => match mode.as_str() {
            "force_blocking" => Ok(true),
            "blocking" => Ok(false),
            "async" | "async_except_on_cache_miss" | "force_async" | "force_cache" | "lazy_async" => Err(invalid(
                "the fake PostHog answers at once only: refresh is blocking or force_blocking",
            )),
            _ => Err(invalid(
                "refresh: Input should be 'async', 'blocking', 'force_blocking', …",
            )),
        },
        _ => Err(invalid("refresh: Input should be a valid string")),
    }
}

/// What stands in braces has to be `filters`, or one of the values.
fn unresolved(hogql: &str, values: &Map<String, Value>) -> Result<(), Answer> {
    let code: String = hogql.lines().filter_map(|line| line.split("--").next()).collect();
    for part in code.split('{').skip(1) {
        let name = part.split('}').next().unwrap_or_default().trim();
        if name != "filters" && !values.contains_key(name) {
            return Err(invalid(&format!("Unresolved placeholder: {{{name}}}")));
        }
    }
    Ok(())
}

/// The fake computes no dashboard.
fn empty(project: &Project) -> Value {
    json!({
        "error": null,
        "hasMore": false,
        "is_cached": false,
        "last_refresh": Utc::now().to_rfc3339(),
        "query_status": null,
        "results": [],
        "timezone": project.zone,
    })
}

/// PostHog's models forbid fields that they do not know.
fn only(object: &Value, names: &[&str]) -> Result<(), Answer> {
    let fields = object.as_object().ok_or_else(|| invalid("query: Field required"))?;
    match fields.keys().find(|field| !names.contains(&field.as_str())) {
        None => Ok(()),
        Some(field) => Err(error(
            400,
            "validation_error",
            "invalid_input",
            &format!("{field}: Extra inputs are not permitted"),
        )),
    }
}

/// As `toDateTime` reads a text; what it cannot read is NULL, and nothing is before or after that.
fn time(text: &str, ahead_minutes: i32) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.with_timezone(&Utc));
    }
    let local = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    Some(local.and_utc() - chrono::Duration::minutes(ahead_minutes.into()))
}

fn hour(row: &Shown<'_>) -> i64 {
    row.time.timestamp().div_euclid(3_600)
}

/// The first digits of a uuid.
fn prefix(uuid: Uuid, digits: usize) -> String {
    uuid.to_string().chars().take(digits).collect()
}

fn cells<'a>(rows: impl Iterator<Item = Shown<'a>>, digits: usize, is_folded: bool) -> Vec<Value> {
    let mut distinct: HashMap<(&str, i64, Uuid), u64> = HashMap::new();
    for row in rows {
        *distinct.entry((row.event, hour(&row), row.uuid)).or_default() += 1;
    }
    let mut by_cell: BTreeMap<(&str, i64, String), (u64, u64, u64)> = BTreeMap::new();
    for ((event, hour, uuid), copies) in distinct {
        let of = by_cell.entry((event, hour, prefix(uuid, digits))).or_default();
        let first = uuid.as_bytes().first_chunk().expect("a uuid has sixteen bytes");
        *of = (of.0 + 1, of.1 ^ u64::from_le_bytes(*first), of.2 + copies);
    }
    let row = |((event, hour, prefix), (n, xor, copies))| {
        let xor = if is_folded { u64::to_string(&xor) } else { String::new() };
        json!([event, hour, prefix, n, xor, copies])
    };
    by_cell.into_iter().map(row).collect()
}

fn uuids<'a>(rows: impl Iterator<Item = Shown<'a>>, digits: usize, cells: &str) -> Vec<Value> {
    let cells: BTreeSet<&str> = cells.split(',').collect();
    let distinct: BTreeSet<(String, i64)> = rows
        .filter(|row| cells.contains(&*format!("{}{}", hour(row), prefix(row.uuid, digits))))
        .map(|row| (row.uuid.to_string(), hour(&row)))
        .collect();
    distinct.into_iter().map(|(uuid, hour)| json!([uuid, hour])).collect()
}
