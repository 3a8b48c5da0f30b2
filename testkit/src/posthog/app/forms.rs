//! The queries that the fake understands, each in one form only: a query with a slip in it is
//! refused here, as PostHog would refuse it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::super::answer::Answer;
use super::errors::invalid;

/// What a query asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By event and cell, with the XOR of the uuids.
    Cells,
    /// By event and cell, counts only.
    Counts,
    /// Uuids of some cells.
    Uuids,
}

const AS_PROPERTY: &str = "properties.langfuse_project_id";
const AS_TEXT: &str = "JSONExtractString(properties, 'langfuse_project_id')";

const FROM_EVENTS: &str = "from ( \
    select event, uuid, intDiv(toUnixTimestamp(timestamp), 3600) as h, \
    substring(toString(uuid), 1, {digits}) as p, count() as c \
    from events \
    where event in ({event_1}, {event_2}, {event_3}, {event_4}) \
    and timestamp >= toDateTime({since}) \
    and timestamp < toDateTime({until}) \
    and properties.langfuse_project_id in ({project}, {project_in_json}) \
    group by event, uuid, h, p \
    ) \
    group by event, h, p \
    order by event, h, p \
    limit 10000";

const FOLDED: &str =
    "toString(groupBitXor(reinterpretAsUInt64(unhex(substring(replaceAll(toString(uuid), '-', ''), 1, 16)))))";

const UUIDS: &str = "select distinct toString(uuid) as id, intDiv(toUnixTimestamp(timestamp), 3600) as h \
    from events \
    where event = {event} \
    and timestamp >= toDateTime({since}) \
    and timestamp < toDateTime({until}) \
    and properties.langfuse_project_id in ({project}, {project_in_json}) \
    and has(splitByChar(',', {cells}), \
    concat(toString(intDiv(toUnixTimestamp(timestamp), 3600)), substring(toString(uuid), 1, {digits}))) \
    limit 50000";

impl Form {
    fn text(self) -> String {
        let by_cell = |folded: &str| {
            format!("select event, h, p, count() as n, {folded} as folded, sum(c) as copies {FROM_EVENTS}")
        };
        match self {
            Self::Cells => by_cell(FOLDED),
            Self::Counts => by_cell("''"),
            Self::Uuids => UUIDS.to_owned(),
        }
    }

    /// Which one a query is, and whether it reads the project's id as a text.
    pub(super) fn of(query: &str) -> Result<(Self, bool), Answer> {
        let query = bare(query);
        let as_property = query.replacen(AS_TEXT, AS_PROPERTY, 1);
        let form = [Self::Cells, Self::Counts, Self::Uuids]
            .into_iter()
            .find(|form| form.text() == as_property)
            .ok_or_else(|| invalid(&format!("Syntax error: the fake PostHog knows no such query: {query}")))?;
        Ok((form, as_property != query))
    }

    /// Names and types of what it selects.
    pub(super) fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Cells | Self::Counts => &[
                ("event", "String"),
                ("h", "UInt32"),
                ("p", "String"),
                ("n", "UInt64"),
                ("folded", "String"),
                ("copies", "UInt64"),
            ],
            Self::Uuids => &[("id", "String"), ("h", "UInt32")],
        }
    }

    pub(super) fn limit(self) -> usize {
        match self {
            Self::Cells | Self::Counts => 10_000,
            Self::Uuids => 50_000,
        }
    }

    fn placeholders(self) -> &'static [&'static str] {
        match self {
            Self::Cells | Self::Counts => &[
                "event_1",
                "event_2",
                "event_3",
                "event_4",
                "since",
                "until",
                "project",
                "project_in_json",
                "digits",
            ],
            Self::Uuids => &[
                "event",
                "since",
                "until",
                "project",
                "project_in_json",
                "digits",
                "cells",
            ],
        }
    }

    /// What is bound to its names.
    pub(super) fn bind(self, values: &Map<String, Value>) -> Result<HashMap<&'static str, String>, Answer> {
        let mut bound = HashMap::new();
        for name in self.placeholders() {
            let value = values
                .get(*name)
                .ok_or_else(|| invalid(&format!("Unresolved placeholder: {{{name}}}")))?;
            let text = match (*name, value) {
                ("digits", Value::Number(digits)) if digits.is_u64() => digits.to_string(),
                ("digits", _) => return Err(invalid("Illegal type of argument {digits}")),
                (_, Value::String(text)) => text.clone(),
                _ => return Err(invalid(&format!("Illegal type of argument {{{name}}}"))),
            };
            bound.insert(*name, text);
        }
        Ok(bound)
    }
}

/// Without comments, and with one space between words.
fn bare(query: &str) -> String {
    let code = query.lines().map(|line| line.split("--").next().unwrap_or_default());
    let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
    words.join(" ")
}
