//! What PostHog holds. A count that is too much for it is asked for in parts: by event, then by hours.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use chrono::SecondsFormat;
use futures::future::BoxFuture;
use serde_json::Value;
use shared::event_id::event_name;
use shared::job::Stream;
use uuid::Uuid;

use super::tally::{Cell, Differs, EventKey, Held, Hour, window};
use super::unknown::{Deadline, Unknown};
use crate::posthog_app::langfuse_project::{by_text, in_json, may_be_guessed};
use crate::posthog_app::{self, App, AppError, Values};

const CELLS: &str = include_str!("../posthog_app/arrival/cells.hogql");
const COUNTS: &str = include_str!("../posthog_app/arrival/counts.hogql");
const UUIDS: &str = include_str!("../posthog_app/arrival/uuids.hogql");

/// One PostHog project's events of one Langfuse project.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theirs<'a> {
    pub(super) app: &'a App,
    pub(super) place: &'a posthog_app::Place,
    pub(super) project_id: &'a str,
    pub(super) deadline: Deadline,
}

/// How a server can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Whether it can fold uuids; otherwise cells have counts alone.
    folds: bool,
    /// Whether it reads the project's id as a text, whatever it takes the property for
    by_text: bool,
}

/// What PostHog holds, by stream and cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) held: BTreeMap<Stream, BTreeMap<Cell, Held>>,
    /// Copies that are not folded yet
    pub(super) copies: u64,
}

impl<'a> Theirs<'a> {
    /// How the server is asked at first.
    pub(super) fn way(self) -> Way {
        Way {
            folds: true,
            by_text: may_be_guessed(self.project_id),
        }
    }

    /// Events by hour, and how they could be counted.
    pub(super) async fn hours(
        self,
        way: Way,
        streams: &'a [Stream],
        hours: Range<Hour>,
    ) -> Result<(Counted, Way), Unknown> {
        match self.by_hour(way, streams, hours.clone()).await {
            // Of an id that is none of what it takes the property for, ClickHouse says that it cannot be read.
            // An error without a word is none of PostHog's.
            Err(Unknown::App(AppError::Refused { detail, .. })) if !way.by_text && !detail.is_empty() => {
                self.by_hour(way.by_text(), streams, hours).await
            }
            answer => answer,
        }
    }

    async fn by_hour(self, way: Way, streams: &'a [Stream], hours: Range<Hour>) -> Result<(Counted, Way), Unknown> {
        match self.cells(way, streams, hours.clone(), 0).await {
            Err(Unknown::App(error)) if way.folds && error.lacks_a_function() => {
                let way = Way { folds: false, ..way };
                Ok((self.cells(way, streams, hours, 0).await?, way))
            }
            answer => Ok((answer?, way)),
        }
    }

    /// Events by cell, with so many digits.
    pub(super) fn cells(
        self,
        way: Way,
        streams: &'a [Stream],
        hours: Range<Hour>,
        digits: u32,
    ) -> BoxFuture<'a, Result<Counted, Unknown>> {
        Box::pin(async move {
            let Some(first) = streams.first() else {
                return Ok(Counted::default());
            };
            let mut values = self.values(&hours, digits);
            for (at, name) in ["event_1", "event_2", "event_3", "event_4"].into_iter().enumerate() {
                let stream = streams.get(at).unwrap_or(first);
                values.insert(name, event_name(*stream).into());
            }
            let hogql = way.reads(if way.folds { CELLS } else { COUNTS });
            self.deadline.check()?;
            let error = match self.app.query(self.place, &hogql, &values).await {
                Ok(rows) => return read_cells(&rows, &hours, digits).map_err(|why| self.garbled(why).into()),
                Err(error) => error,
            };
            let middle = Hour(hours.start.0 + (hours.end.0 - hours.start.0) / 2);
            let parts = match streams {
                _ if !error.asks_for_less() => return Err(error.into()),
                [_, _, ..] => streams.chunks(1).map(|stream| (stream, hours.clone())).collect(),
                _ if middle > hours.start => vec![(streams, hours.start..middle), (streams, middle..hours.end)],
                _ => return Err(error.into()),
            };
            let mut all = Counted::default();
            for (streams, hours) in parts {
                let part = self.cells(way, streams, hours, digits).await?;
                for (stream, cells) in part.held {
                    all.held.entry(stream).or_default().extend(cells);
                }
                all.copies += part.copies;
            }
            Ok(all)
        })
    }

    /// The uuids in some cells.
    pub(super) async fn keys(
        self,
        way: Way,
        stream: Stream,
        cells: &[Differs],
        digits: u32,
    ) -> Result<Vec<EventKey>, AppError> {
        let hours = window(cells);
        let mut values = self.values(&hours, digits);
        let cells: Vec<String> = cells.iter().map(|differs| differs.cell.text(digits)).collect();
        values.insert("event", event_name(stream).into());
        values.insert("cells", cells.join(",").into());
        let rows = self.app.query(self.place, &way.reads(UUIDS), &values).await?;
        read_keys(&rows).map_err(|why| self.garbled(why))
    }

    /// How errors name the server.
    pub(super) fn host(self) -> String {
        self.place.app.host_str().unwrap_or_default().to_owned()
    }

    /// What every query binds.
    fn values(self, hours: &Range<Hour>, digits: u32) -> Values {
        let moment = |hour: Hour| Value::from(hour.start().to_rfc3339_opts(SecondsFormat::Secs, true));
        Values::from([
            ("project", self.project_id.into()),
            ("project_in_json", in_json(self.project_id).into()),
            ("since", moment(hours.start)),
            ("until", moment(hours.end)),
            ("digits", digits.into()),
        ])
    }

    fn garbled(self, why: &str) -> AppError {
        AppError::Garbled {
            host: self.host(),
            why: why.to_owned(),
        }
    }
}

impl Way {
    /// Another project's id may have made PostHog take the property for a yes, a number or a date. Where
    /// this project's id is none, nothing is found unless it is read as a text.
    pub(super) fn may_overlook_all(self) -> bool {
        !self.by_text
    }

    pub(super) fn by_text(self) -> Self {
        Self { by_text: true, ..self }
    }

    /// A query, as it reads the project's id.
    fn reads(self, hogql: &str) -> Cow<'_, str> {
        if self.by_text {
            by_text(hogql).into()
        } else {
            hogql.into()
        }
    }
}

/// PURE.
fn read_cells(rows: &[Vec<Value>], hours: &Range<Hour>, digits: u32) -> Result<Counted, &'static str> {
    let mut all = Counted::default();
    for row in rows {
        let read = || {
            let event = row.first()?.as_str()?;
            let stream = Stream::ALL.into_iter().find(|stream| event_name(*stream) == event)?;
            let hour = Hour(row.get(1)?.as_i64()?);
            let count = row.get(3)?.as_u64()?;
            // As text, since JSON's numbers have 53 bits only; empty where it is not known.
            let xor = match row.get(4)?.as_str()? {
                "" => None,
                folded => Some(folded.parse().ok()?),
            };
            let copies = row.get(5)?.as_u64()?.checked_sub(count)?;
            let prefix = read_prefix(row.get(2)?.as_str()?, digits)?;
            Some((stream, Cell { prefix, hour }, Held { count, xor }, copies))
        };
        let (stream, cell, held, copies) = read().ok_or("a count has another form")?;
        if !hours.contains(&cell.hour) {
            return Err("it counts an hour that was not asked for");
        }
        all.copies += copies;
        if all.held.entry(stream).or_default().insert(cell, held).is_some() {
            return Err("an hour comes twice");
        }
    }
    Ok(all)
}

/// PURE.
fn read_prefix(text: &str, digits: u32) -> Option<u64> {
    let is_asked_for = u32::try_from(text.len()) == Ok(digits) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (is_asked_for, text) {
        (false, _) => None,
        (true, "") => Some(0),
        (true, text) => u64::from_str_radix(text, 16).ok(),
    }
}

/// PURE.
fn read_keys(rows: &[Vec<Value>]) -> Result<Vec<EventKey>, &'static str> {
    let key = |row: &Vec<Value>| Some(EventKey::of(row.first()?.as_str()?.parse::<Uuid>().ok()?));
    let keys: Option<Vec<EventKey>> = rows.iter().map(key).collect();
    keys.ok_or("a uuid is none")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(value: Value) -> Vec<Vec<Value>> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn rows_are_read_strictly() {
        let folded = u64::MAX.to_string();
        let day = Hour(0)..Hour(477_024);
        let good = rows(json!([
            ["langfuse trace", 477_000, "", 5, folded, 7],
            ["langfuse score", 477_001, "", 1, "0", 1]
        ]));
        let read = read_cells(&good, &day, 0).unwrap();
        assert_eq!(read.copies, 2);
        let held = Held {
            count: 5,
            xor: Some(u64::MAX),
        };
        let cell = |prefix, hour| Cell {
            prefix,
            hour: Hour(hour),
        };
        assert_eq!(read.held[&Stream::Trace][&cell(0, 477_000)], held);
        let counts = rows(json!([
            ["langfuse trace", 1, "0f", 5, "", 5],
            ["langfuse trace", 1, "a0", 1, "", 1]
        ]));
        let counts = read_cells(&counts, &day, 2).unwrap();
        assert_eq!(counts.held[&Stream::Trace][&cell(15, 1)], Held { count: 5, xor: None });
        assert_eq!(counts.held[&Stream::Trace].len(), 2);
        for bad in [
            json!([["another event", 1, "", 5, "0", 5]]),
            json!([["langfuse trace", "1", "", 5, "0", 5]]),
            json!([["langfuse trace", 1, "", 5, "0", 4]]),
            json!([["langfuse trace", 1, "", 5, 1.0, 5]]),
            json!([["langfuse trace", 1, "0", 5, "0", 5]]),
            json!([["langfuse trace", 1, 5, "0", 5]]),
            json!([["langfuse trace", -1, "", 5, "0", 5]]),
            json!([["langfuse trace", 477_024, "", 5, "0", 5]]),
            json!([
                ["langfuse trace", 1, "", 5, "0", 5],
                ["langfuse trace", 1, "", 5, "0", 5]
            ]),
            json!([[]]),
        ] {
            assert!(read_cells(&rows(bad.clone()), &day, 0).is_err(), "{bad}");
        }
        for bad in ["", "f", "fg", "+f", "0ff"] {
            let row = rows(json!([["langfuse trace", 1, bad, 5, "0", 5]]));
            assert!(read_cells(&row, &day, 2).is_err(), "{bad}");
        }
        assert!(read_keys(&rows(json!([["nonsense"]]))).is_err());
        assert_eq!(
            read_keys(&rows(json!([[Uuid::nil().to_string()]]))),
            Ok(vec![EventKey(0)])
        );
    }

    /// What a user may have typed stands in no query.
    #[test]
    fn everything_is_bound() {
        for hogql in [CELLS, COUNTS, UUIDS] {
            assert!(hogql.contains("in ({project}, {project_in_json})") && hogql.contains("toDateTime({since})"));
            assert!(!hogql.contains("langfuse trace"));
            let as_text = by_text(hogql);
            let condition =
                "and JSONExtractString(properties, 'langfuse_project_id') in ({project}, {project_in_json})";
            assert!(as_text.contains(condition) && !as_text.contains("properties.langfuse_project_id"));
        }
    }
}
