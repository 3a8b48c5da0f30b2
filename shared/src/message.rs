//! The message: the JSON that is published, decoded once into a [`Job`]. PURE.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::{DAILY, Day, Job, RunKey, STEP_PREFIX, Scope, Span, Stream, fresh_run};

/// The version of the messages that this program makes and understands. It grows with each field
/// that a program of before would take for a typo. 1: without `changed`, `from` and `until`.
pub const VERSION: u32 = 2;
/// The client property of a connection to the broker that says it. `doctor` looks at it.
pub const UNDERSTANDS: &str = "posthog_export_messages";

/// Bytes of a project's id. A longer one would not fit into an index of the ledger.
const LONGEST_ID: usize = 512;
/// Characters of a wrong value that an error repeats.
const SHOWN: usize = 100;
/// Characters of a run's name.
const LONGEST_RUN: usize = 100;

/// What is published. Unknown fields are refused: a typo in a replay must not export the wrong
/// rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Langfuse's `projects.id`.
    pub project_id: String,
    /// The UTC day.
    pub day: Day,
    /// The name of the run. The worker gives a message without one a name and publishes it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// These streams; trace, generation and score when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<BTreeSet<Stream>>,
    /// Only rows created since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_after: Option<DateTime<Utc>>,
    /// Only rows that no completed run of the day has sent in their present form.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// Only rows from this moment of the day on; together with `until`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Only rows before this moment of the day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// Why a body is not a message, in words for the person who published it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an export job: {0}")]
pub struct BadMessage(pub String);

/// The fields as they stand, so that what is wrong with one is said in words of ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    project_id: Option<Value>,
    day: Option<Value>,
    run: Option<Value>,
    events: Option<Value>,
    created_after: Option<Value>,
    changed: Option<Value>,
    from: Option<Value>,
    until: Option<Value>,
}

impl Message {
    /// Reads a message. Only the body counts, not how it was published. A byte order mark and white
    /// space around the JSON are allowed: editors and shells add them.
    pub fn decode(body: &[u8]) -> Result<Self, BadMessage> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
        // serde would take a list of the fields' values for an object.
        if body.first().is_some_and(|first| *first != b'{') && serde_json::from_slice::<Value>(body).is_ok() {
            return Err(bad(
                r#"a job is a JSON object, for example {"project_id": "clx1", "day": "2024-06-01"}"#,
            ));
        }
        let fields: Fields = serde_json::from_slice(body).map_err(|error| BadMessage(error.to_string()))?;
        let project_id = text("project_id", fields.project_id)?.ok_or_else(|| bad("`project_id` is missing"))?;
        let day = text("day", fields.day)?.ok_or_else(|| bad("`day` is missing"))?;
        let message = Self {
            project_id,
            day: day
                .parse()
                .map_err(|why| BadMessage(format!("`day`: {}", shown(&why))))?,
            run: text("run", fields.run)?,
            events: fields.events.map(events).transpose()?,
            created_after: moment("created_after", fields.created_after)?,
            changed: fields.changed.as_ref().map(switch).transpose()?.unwrap_or_default(),
            from: moment("from", fields.from)?,
            until: moment("until", fields.until)?,
        };
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), BadMessage> {
        if self.project_id.trim().is_empty() {
            return Err(bad("`project_id` is empty"));
        }
        if self.project_id.len() > LONGEST_ID {
            let length = self.project_id.len();
            return Err(BadMessage(format!(
                "`project_id` has {length} bytes; at most {LONGEST_ID} are allowed"
            )));
        }
        // No id has them, and they would reach an operator's terminal.
        if self.project_id.chars().any(char::is_control) {
            return Err(bad("`project_id` holds a control character"));
        }
        if let Some(run) = &self.run {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:+".contains(c);
            if run.is_empty() || run.len() > LONGEST_RUN || !run.chars().all(plain) {
                return Err(BadMessage(format!(
                    "`run` must be 1 to {LONGEST_RUN} letters, digits or -_.:+"
                )));
            }
        }
        if self.events.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(bad("`events` is empty; leave it out for trace, generation and score"));
        }
        self.check_span()?;
        if self.run.as_deref() == Some(DAILY) && !self.scope().is_full() {
            return Err(bad(
                "a run named `daily` is always whole, at least trace, generation and score: leave `run` out, \
                 or `events`, `created_after`, `from` and `until`",
            ));
        }
        if self.run.as_ref().is_some_and(|run| run.starts_with(STEP_PREFIX)) && self.from.is_none() {
            return Err(bad(
                "a run named `step-…` is a part of a day: add `from` and `until`, or leave `run` out",
            ));
        }
        Ok(())
    }

    fn check_span(&self) -> Result<(), BadMessage> {
        let whole = Span::of(self.day);
        match (self.from, self.until) {
            (None, None) => {}
            (Some(from), Some(until)) if whole.from <= from && from < until && until <= whole.until => {}
            (Some(_), Some(_)) => {
                return Err(BadMessage(format!(
                    "`from` must lie before `until`, and both within the UTC day {}",
                    self.day
                )));
            }
            _ => return Err(bad("`from` and `until` go together: give both, or neither")),
        }
        // What was created before is neither sent nor known to have been sent.
        if self.created_after.is_some() && (self.changed || self.from.is_some()) {
            return Err(bad(
                "`created_after` goes with neither `changed` nor `from` and `until`: leave it out",
            ));
        }
        Ok(())
    }

    fn scope(&self) -> Scope {
        Scope {
            events: self.events.clone(),
            created_after: self.created_after,
            changed: self.changed,
            span: self.from.zip(self.until).map(|(from, until)| Span { from, until }),
        }
    }

    /// The JSON that is published.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, dates and a list of words cannot fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The key of its run; `None` when it names no run.
    pub fn key(&self) -> Option<RunKey> {
        let run = self.run.as_ref()?;
        Some(RunKey::new(&self.project_id, self.day, run))
    }

    /// The job that it asks for; `None` when it names no run.
    pub fn job(&self) -> Option<Job> {
        Some(Job {
            key: self.key()?,
            scope: self.scope(),
        })
    }

    /// The same message. When it names no run, it gets a name that no other run has.
    #[must_use]
    pub fn with_run(mut self) -> Self {
        self.run.get_or_insert_with(fresh_run);
        self
    }
}

impl From<&Job> for Message {
    fn from(Job { key, scope }: &Job) -> Self {
        Self {
            project_id: key.project_id.clone(),
            day: key.day,
            run: Some(key.run.clone()),
            events: scope.events.clone(),
            created_after: scope.created_after,
            changed: scope.changed,
            from: scope.span.map(|span| span.from),
            until: scope.span.map(|span| span.until),
        }
    }
}

/// What was found, short enough for a log line and without control characters.
fn shown(found: &impl ToString) -> String {
    let found = found.to_string();
    let mut shown: String = found.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    if shown.len() < found.len() {
        shown.push('…');
    }
    shown
}

fn bad(why: &str) -> BadMessage {
    BadMessage(why.to_owned())
}

fn text(field: &str, value: Option<Value>) -> Result<Option<String>, BadMessage> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(BadMessage(format!(
            "`{field}` must be a text in quotes, and is {other}"
        ))),
    }
}

fn events(value: Value) -> Result<BTreeSet<Stream>, BadMessage> {
    let wrong = |what: &dyn std::fmt::Display| {
        BadMessage(format!(
            r#"`events` must be a list of trace, generation, score, observation, for example ["score"]: {what}"#
        ))
    };
    let Value::Array(words) = value else {
        return Err(wrong(&format!("it is {}", shown(&value))));
    };
    let stream = |word: &Value| match word {
        Value::String(word) => word.parse().map_err(|why: String| wrong(&shown(&why))),
        other => Err(wrong(&format!("it holds {}", shown(&other)))),
    };
    words.iter().map(stream).collect()
}

fn moment(field: &str, value: Option<Value>) -> Result<Option<DateTime<Utc>>, BadMessage> {
    let Some(text) = text(field, value)? else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        BadMessage(format!(
            "`{field}` must be a moment such as 2024-02-29T00:00:00Z, and is `{}`",
            shown(&text)
        ))
    })
}

fn switch(value: &Value) -> Result<bool, BadMessage> {
    value
        .as_bool()
        .ok_or_else(|| BadMessage(format!("`changed` must be true or false, and is {}", shown(value))))
}

#[cfg(test)]
mod tests {
    use chrono::{Days, NaiveDate};

    use proptest::prelude::*;

    use super::*;

    fn refused(body: &str) -> String {
        Message::decode(body.as_bytes()).expect_err(body).0
    }

    #[test]
    fn a_replay_is_two_fields() {
        let message = Message::decode(b"\xef\xbb\xbf{\"project_id\": \"clx1\", \"day\": \"2024-06-01\"}\n").unwrap();
        assert_eq!(message.project_id, "clx1");
        assert_eq!(message.day.to_string(), "2024-06-01");
        assert!(message.run.is_none() && message.job().is_none());
        let job = message.clone().with_run().job().unwrap();
        assert!(job.scope.is_full() && job.key.run.starts_with("replay-"));
        assert_ne!(message.with_run().job().unwrap().key, job.key);
    }

    #[test]
    fn every_field_is_read() {
        let body = r#"{"project_id":"p","day":"2024-06-01","run":"late-1","events":["score","trace","score"],
            "created_after":"2024-06-02T01:02:03Z"}"#;
        let message = Message::decode(body.as_bytes()).unwrap();
        let job = message.job().unwrap();
        assert_eq!(job.key, RunKey::new("p", "2024-06-01".parse().unwrap(), "late-1"));
        assert!(job.scope.streams().eq([Stream::Trace, Stream::Score]) && !job.scope.is_full());
        assert_eq!(Message::from(&job), message);
        assert_eq!(Message::decode(&message.encode()).unwrap(), message);
    }

    /// What an absent `events` means never changes, whatever the producer's setting is.
    #[test]
    fn other_observations_are_exported_only_where_they_are_named() {
        let job = |run: &str, events: &str| {
            let body = format!(r#"{{"project_id":"p","day":"2024-06-01","run":"{run}"{events}}}"#);
            Message::decode(body.as_bytes()).unwrap().job().unwrap()
        };
        assert!(job("daily", "").scope.streams().eq(Stream::USUAL));
        let all = job("daily", r#","events":["observation","trace","generation","score"]"#);
        assert!(all.scope.streams().eq(Stream::ALL) && all.scope.is_full());
        assert_eq!(all, Job::daily("p", all.key.day, true));
        let others = job("r", r#","events":["observation"]"#);
        assert!(others.scope.streams().eq([Stream::Observation]) && !others.scope.is_full());
        // A worker of before knows no observations: it gets to read the word only when it must.
        let usual = Job::daily("p", all.key.day, false);
        assert!(
            !String::from_utf8(Message::from(&usual).encode())
                .unwrap()
                .contains("events")
        );
        assert_eq!(Scope::of(Stream::USUAL.into()), Scope::default());
    }

    #[test]
    fn a_part_of_a_day_lies_within_it() {
        let with = |fields: &str| format!(r#"{{"project_id":"p","day":"2024-06-01",{fields}}}"#);
        let body =
            with(r#""run":"step-0900","changed":true,"from":"2024-06-01T09:00:00Z","until":"2024-06-01T10:00:00Z""#);
        let message = Message::decode(body.as_bytes()).unwrap();
        let scope = message.job().unwrap().scope;
        assert!(scope.changed && !scope.is_full());
        assert_eq!(scope.span.unwrap().from.to_rfc3339(), "2024-06-01T09:00:00+00:00");
        assert_eq!(Message::decode(&message.encode()).unwrap(), message);
        let whole = with(r#""run":"daily","changed":true"#);
        assert!(
            Message::decode(whole.as_bytes())
                .unwrap()
                .job()
                .unwrap()
                .scope
                .is_full()
        );

        let span = |from: &str, until: &str| refused(&with(&format!(r#""from":"{from}","until":"{until}""#)));
        for (from, until) in [
            ("2024-06-01T10:00:00Z", "2024-06-01T10:00:00Z"),
            ("2024-05-31T23:59:59Z", "2024-06-01T10:00:00Z"),
            ("2024-06-01T10:00:00Z", "2024-06-02T00:00:01Z"),
        ] {
            assert!(span(from, until).contains("within the UTC day 2024-06-01"), "{from}");
        }
        for (fields, why) in [
            (r#""from":"2024-06-01T10:00:00Z""#, "go together"),
            (r#""changed":"yes""#, "true or false"),
            (
                r#""changed":true,"created_after":"2024-06-02T00:00:00Z""#,
                "neither `changed`",
            ),
            (r#""run":"step-0900""#, "add `from` and `until`"),
            (
                r#""run":"daily","from":"2024-06-01T09:00:00Z","until":"2024-06-01T10:00:00Z""#,
                "always whole",
            ),
        ] {
            assert!(refused(&with(fields)).contains(why), "{fields}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(refused("no json").contains("expected"));
        for list in [
            r#"["p1","2024-02-29"]"#,
            r#"["p1","2024-02-29",null,null,null]"#,
            "3",
            "null",
        ] {
            assert!(refused(list).contains("JSON object"), "{list}");
        }
        let with = |field: &str| refused(&format!(r#"{{"project_id":"p","day":"2024-06-01",{field}}}"#));
        assert_eq!(
            with(r#""created_after":"2024-02-29""#),
            "`created_after` must be a moment such as 2024-02-29T00:00:00Z, and is `2024-02-29`"
        );
        assert_eq!(with(r#""run":5"#), "`run` must be a text in quotes, and is 5");
        assert!(with(r#""events":"score""#).contains(r#"it is "score""#));
        assert!(with(r#""run":"a","run":"b""#).contains("duplicate field `run`"));
        let id = |id: &str| refused(&serde_json::json!({"project_id": id, "day": "2024-06-01"}).to_string());
        assert!(id(&"x".repeat(513)).contains("513 bytes"));
        assert!(id("a\u{1b}[31m").contains("control character") && id("a\0").contains("control character"));
        assert!(refused(r#"{"day":"2024-06-01"}"#).contains("project_id"));
        assert!(refused(r#"{"project_id":"p"}"#).contains("day"));
        assert!(refused(r#"{"project_id":"p","day":"2024-06-01","dya":1}"#).contains("dya"));
        assert!(refused(r#"{"project_id":" ","day":"2024-06-01"}"#).contains("project_id"));
        assert!(refused(r#"{"project_id":"p","day":"2024-06-01","events":["traces"]}"#).contains("traces"));
        assert!(refused(r#"{"project_id":"p","day":"2024-06-01","events":[]}"#).contains("events"));
        assert!(refused(r#"{"project_id":"p","day":"2024-06-01","run":"a b"}"#).contains("run"));
        for part in [
            r#""events":["trace"]"#,
            r#""events":["observation"]"#,
            r#""events":["trace","generation","observation"]"#,
            r#""created_after":"2024-06-02T00:00:00Z""#,
        ] {
            assert!(with(&format!(r#""run":"daily",{part}"#)).contains("daily"), "{part}");
        }
        for day in [
            "2024-6-1",
            "2024-02-30",
            "01.06.2024",
            "2024-06-01T00:00:00Z",
            "",
            "20240601",
            "+12024-06-1",
        ] {
            assert!(
                refused(&format!(r#"{{"project_id":"p","day":"{day}"}}"#)).contains("YYYY-MM-DD"),
                "{day}"
            );
        }
    }

    proptest! {
        #[test]
        fn decode_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(&body);
        }

        /// Near misses get further into the decoder than noise does. What is taken reads back as
        /// the same.
        #[test]
        fn what_looks_like_a_job_never_panics(
            project in any::<String>(), day in "[0-9+T:é-]{0,12}|2024-0[1-9]-[0-3][0-9]", run in any::<String>(),
            events in proptest::collection::vec("trace|generation|score|observation|traces", 0..5), created_after in "[0-9TZ:.+-]{0,30}|2024-06-02T00:00:00Z",
            kept in 0_u8..32, cut in 0_usize..200,
        ) {
            let all = [
                ("project_id", serde_json::json!(project)), ("day", serde_json::json!(day)), ("run", serde_json::json!(run)),
                ("events", serde_json::json!(events)), ("created_after", serde_json::json!(created_after)),
            ];
            let fields = all.into_iter().enumerate().filter(|(place, _)| kept & (1 << place) != 0);
            let fields: serde_json::Map<_, _> = fields.map(|(_, (name, value))| (name.to_owned(), value)).collect();
            let body = serde_json::to_vec(&fields).unwrap();
            let _ = Message::decode(&body[..cut.min(body.len())]);
            if let Ok(message) = Message::decode(&body) {
                prop_assert_eq!(Message::decode(&message.encode()).unwrap(), message);
            }
        }

        #[test]
        fn encode_and_decode_agree(project in "\\PC*[^\\s\\p{C}]", days in 0_u64..40_000, full in any::<bool>()) {
            let day = Day(NaiveDate::from_ymd_opt(1990, 1, 1).unwrap() + Days::new(days));
            let events = (!full).then(|| [Stream::Score].into());
            let job = Job::fresh(project, day, Scope { events, ..Scope::default() });
            prop_assert_eq!(Message::decode(&Message::from(&job).encode()).unwrap().job(), Some(job));
        }
    }
}
