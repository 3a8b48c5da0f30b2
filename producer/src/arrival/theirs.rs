//! What PostHog holds. A question that is too much for it is asked in parts: by event, then by
//! hours; and by the first digits of the uuids, where an answer has too many.

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use futures::future::BoxFuture;
use serde_json::Value;
use shared::event_id::event_name;
use shared::job::Stream;
use uuid::Uuid;

use super::tally::{EventKey, Held, Hour, Place, Prefix, Range};
use crate::posthog_app::{self, App, AppError, Values};

const BY_HOUR: &str = include_str!("../posthog_app/arrival/hours.hogql");
const BY_HOUR_COUNTS: &str = include_str!("../posthog_app/arrival/counts.hogql");
const BY_UUID: &str = include_str!("../posthog_app/arrival/uuids.hogql");
/// PostHog gives no more rows at once.
const MOST_ROWS: usize = 50_000;
/// So many uuids are expected of one question, which leaves room for chance.
const ROWS: u64 = 40_000;

/// One PostHog project's events of one Langfuse project.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theirs<'a> {
    pub(super) app: &'a App,
    pub(super) place: &'a posthog_app::Place,
    pub(super) project_id: &'a str,
}

/// What PostHog holds, by hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ByHour {
    pub(super) held: BTreeMap<Place, Held>,
    /// Copies that are not folded yet
    pub(super) copies: u64,
}

impl<'a> Theirs<'a> {
    /// Events by hour. From a server that cannot fold uuids: counts.
    pub(super) async fn by_hour(self, streams: &'a [Stream], hours: std::ops::Range<Hour>) -> Result<ByHour, AppError> {
        match self.hours(BY_HOUR, streams, hours.clone()).await {
            // It does not know a function.
            Err(AppError::Refused { status: 400, .. }) => self.hours(BY_HOUR_COUNTS, streams, hours).await,
            answer => answer,
        }
    }

    fn hours(
        self,
        hogql: &'static str,
        streams: &'a [Stream],
        hours: std::ops::Range<Hour>,
    ) -> BoxFuture<'a, Result<ByHour, AppError>> {
        Box::pin(async move {
            let Some(first) = streams.first() else {
                return Ok(ByHour::default());
            };
            let mut values = self.values(hours.clone());
            for (at, name) in ["event_1", "event_2", "event_3", "event_4"].into_iter().enumerate() {
                let stream = streams.get(at).unwrap_or(first);
                values.insert(name, event_name(*stream).into());
            }
            let error = match self.app.query(self.place, hogql, &values).await {
                Ok(rows) => return read_hours(&rows).map_err(|why| self.garbled(why)),
                Err(error) => error,
            };
            let middle = Hour(hours.start.0 + (hours.end.0 - hours.start.0) / 2);
            let parts = match streams {
                _ if !error.asks_for_less() => return Err(error),
                [_, _, ..] => streams.chunks(1).map(|stream| (stream, hours.clone())).collect(),
                _ if middle > hours.start => vec![(streams, hours.start..middle), (streams, middle..hours.end)],
                _ => return Err(error),
            };
            let mut all = ByHour::default();
            for (streams, hours) in parts {
                let part = self.hours(hogql, streams, hours).await?;
                all.held.extend(part.held);
                all.copies += part.copies;
            }
            Ok(all)
        })
    }

    /// How long the prefixes of uuids must be for one question to be answered.
    pub(super) fn prefix_length(held: u64) -> u32 {
        let fits = |length: &u32| held / 16_u64.pow(*length) <= ROWS;
        (0..Prefix::LONGEST).find(fits).unwrap_or(Prefix::LONGEST)
    }

    /// The uuids of a range that begin so.
    pub(super) fn keys(self, range: &'a Range, prefix: Prefix) -> BoxFuture<'a, Result<Vec<EventKey>, AppError>> {
        self.keys_within(range.stream, range.from..range.until, prefix)
    }

    fn keys_within(
        self,
        stream: Stream,
        hours: std::ops::Range<Hour>,
        prefix: Prefix,
    ) -> BoxFuture<'a, Result<Vec<EventKey>, AppError>> {
        Box::pin(async move {
            let mut values = self.values(hours.clone());
            values.insert("event", event_name(stream).into());
            values.insert("prefix", prefix.text().into());
            let error = match self.app.query(self.place, BY_UUID, &values).await {
                Ok(rows) if rows.len() < MOST_ROWS => {
                    return read_keys(&rows).map_err(|why| self.garbled(why));
                }
                Ok(_) => AppError::Cut(self.place.app.host_str().unwrap_or_default().to_owned()),
                Err(error) => error,
            };
            let middle = Hour(hours.start.0 + (hours.end.0 - hours.start.0) / 2);
            let is_cut = matches!(error, AppError::Cut(_));
            let parts: Vec<_> = if !error.asks_for_less() {
                return Err(error);
            } else if is_cut && prefix.length() < Prefix::LONGEST {
                prefix.children().map(|prefix| (hours.clone(), prefix)).collect()
            } else if !is_cut && middle > hours.start {
                vec![(hours.start..middle, prefix), (middle..hours.end, prefix)]
            } else {
                return Err(error);
            };
            let mut all = Vec::new();
            for (hours, prefix) in parts {
                all.extend(self.keys_within(stream, hours, prefix).await?);
            }
            Ok(all)
        })
    }

    /// What every query binds.
    fn values(self, hours: std::ops::Range<Hour>) -> Values {
        let moment = |hour: Hour| Value::from(hour.start().to_rfc3339_opts(SecondsFormat::Secs, true));
        Values::from([
            ("project", as_in_json(self.project_id).into()),
            ("since", moment(hours.start)),
            ("until", moment(hours.end)),
        ])
    }

    fn garbled(self, why: &str) -> AppError {
        AppError::Garbled {
            host: self.place.app.host_str().unwrap_or_default().to_owned(),
            why: why.to_owned(),
        }
    }
}

/// A text as it stands in JSON, without the quotes: PostHog compares a property so. PURE.
fn as_in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    let bare = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    bare.unwrap_or(text).to_owned()
}

/// PURE.
fn read_hours(rows: &[Vec<Value>]) -> Result<ByHour, &'static str> {
    let mut all = ByHour::default();
    for row in rows {
        let read = || {
            let event = row.first()?.as_str()?;
            let stream = Stream::ALL.into_iter().find(|stream| event_name(*stream) == event)?;
            let count = row.get(2)?.as_u64()?;
            // As text, since JSON's numbers have 53 bits only; empty where it is not known.
            let xor = match row.get(3)?.as_str()? {
                "" => None,
                folded => Some(folded.parse().ok()?),
            };
            let copies = row.get(4)?.as_u64()?.checked_sub(count)?;
            Some(((stream, Hour(row.get(1)?.as_i64()?)), Held { count, xor }, copies))
        };
        let (place, held, copies) = read().ok_or("a row of an hour has another form")?;
        all.copies += copies;
        if all.held.insert(place, held).is_some() {
            return Err("an hour comes twice");
        }
    }
    Ok(all)
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
        let good = rows(json!([
            ["langfuse trace", 477_000, 5, folded, 7],
            ["langfuse score", 477_001, 1, "0", 1]
        ]));
        let read = read_hours(&good).unwrap();
        assert_eq!(read.copies, 2);
        let held = Held {
            count: 5,
            xor: Some(u64::MAX),
        };
        assert_eq!(read.held[&(Stream::Trace, Hour(477_000))], held);
        let counts = read_hours(&rows(json!([["langfuse trace", 1, 5, "", 5]]))).unwrap();
        assert_eq!(counts.held[&(Stream::Trace, Hour(1))], Held { count: 5, xor: None });
        for bad in [
            json!([["another event", 1, 5, "0", 5]]),
            json!([["langfuse trace", "1", 5, "0", 5]]),
            json!([["langfuse trace", 1, 5, "0", 4]]),
            json!([["langfuse trace", 1, 5, 1.0, 5]]),
            json!([["langfuse trace", 1, 5, "0", 5], ["langfuse trace", 1, 5, "0", 5]]),
            json!([[]]),
        ] {
            assert!(read_hours(&rows(bad.clone())).is_err(), "{bad}");
        }
        assert!(read_keys(&rows(json!([["nonsense"]]))).is_err());
        assert_eq!(
            read_keys(&rows(json!([[Uuid::nil().to_string()]]))),
            Ok(vec![EventKey(0)])
        );
    }

    #[test]
    fn prefixes_are_as_long_as_it_takes() {
        for (held, length) in [(0, 0), (40_000, 0), (41_000, 1), (7_000_000, 2), (u64::MAX, 6)] {
            assert_eq!(Theirs::prefix_length(held), length, "{held}");
        }
    }

    /// What a user may have typed stands in no query.
    #[test]
    fn everything_is_bound() {
        for hogql in [BY_HOUR, BY_HOUR_COUNTS, BY_UUID] {
            assert!(hogql.contains("= {project}") && hogql.contains("toDateTime({since})"));
            assert!(!hogql.contains("langfuse trace"));
        }
        assert_eq!(as_in_json(r#"a"b\c{x}'é"#), r#"a\"b\\c{x}'é"#);
    }
}
