//! The message: one run of one project's one UTC day. PURE.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name of the producer's run of a day.
pub const DAILY: &str = "daily";
/// The prefix of a run that sweeps up late rows.
pub const LATE_PREFIX: &str = "late-";

/// One of the three kinds of rows a job exports, each with a cursor of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// `traces`
    Trace,
    /// `observations` of type `GENERATION`
    Generation,
    /// `scores`
    Score,
}

impl Stream {
    /// All three, in the order in which they are documented.
    pub const ALL: [Stream; 3] = [Stream::Trace, Stream::Generation, Stream::Score];

    /// The word in messages, in the ledger and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stream::Trace => "trace",
            Stream::Generation => "generation",
            Stream::Score => "score",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stream {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.as_str() == word)
            .ok_or_else(|| format!("`{word}` is none of trace, generation, score"))
    }
}

/// One UTC day, `[00:00, next 00:00)`; written `2024-06-01` and in no other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(pub NaiveDate);

impl Day {
    /// The day a moment falls into.
    pub fn of(moment: DateTime<Utc>) -> Self {
        Self(moment.date_naive())
    }

    /// The first moment of the day, as Langfuse stores it: UTC without a zone.
    pub fn start(self) -> NaiveDateTime {
        self.0.and_time(chrono::NaiveTime::MIN)
    }

    /// The first moment after the day.
    pub fn end(self) -> NaiveDateTime {
        self.next().start()
    }

    /// The day after.
    pub fn next(self) -> Self {
        Self(self.0.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX))
    }

    /// The day before.
    pub fn previous(self) -> Self {
        Self(self.0.checked_sub_days(Days::new(1)).unwrap_or(NaiveDate::MIN))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

impl FromStr for Day {
    type Err = String;

    /// Strict: chrono alone would take `2024-6-1`, and a typo must not export the wrong day.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()
            .filter(|_| well_formed)
            .map(Day)
            .ok_or_else(|| format!("`{text}` is no day; write it as YYYY-MM-DD, for example 2024-06-01"))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The message. JSON; unknown fields are refused, so that a typo in a replay does not export the wrong thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportJob {
    /// Langfuse's `projects.id`.
    pub project_id: String,
    /// The UTC day.
    pub day: Day,
    /// Which run of the day; a message without one is given a fresh one by the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Only these streams; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<BTreeSet<Stream>>,
    /// Only rows created since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_after: Option<DateTime<Utc>>,
}

/// A body that is no job, with the reason for the one who published it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an export job: {0}")]
pub struct BadMessage(pub String);

impl ExportJob {
    /// The producer's job of a day.
    pub fn daily(project_id: impl Into<String>, day: Day) -> Self {
        Self {
            project_id: project_id.into(),
            day,
            run: Some(DAILY.into()),
            events: None,
            created_after: None,
        }
    }

    /// A job with a run of its own, as a replay is.
    pub fn fresh(project_id: impl Into<String>, day: Day) -> Self {
        Self {
            project_id: project_id.into(),
            day,
            run: Some(fresh_run()),
            events: None,
            created_after: None,
        }
    }

    /// Reads a message, however it was published: only the body counts; a byte order mark and white space around the
    /// JSON are let pass (editors and shells add them).
    pub fn decode(body: &[u8]) -> Result<Self, BadMessage> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let job: Self = serde_json::from_slice(body).map_err(|e| BadMessage(e.to_string()))?;
        job.check()?;
        Ok(job)
    }

    fn check(&self) -> Result<(), BadMessage> {
        let bad = |why: &str| Err(BadMessage(why.into()));
        if self.project_id.trim().is_empty() {
            return bad("`project_id` is empty");
        }
        // Postgres text cannot hold it, so no project can have it.
        if self.project_id.contains('\0') {
            return bad("`project_id` holds a NUL character");
        }
        if let Some(run) = &self.run {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:+".contains(c);
            if run.is_empty() || run.len() > 100 || !run.chars().all(plain) {
                return bad("`run` must be 1 to 100 letters, digits or -_.:+");
            }
        }
        if self.events.as_ref().is_some_and(BTreeSet::is_empty) {
            return bad("`events` is empty; leave it out for all of trace, generation, score");
        }
        if self.run.as_deref() == Some(DAILY) && (self.events.is_some() || self.created_after.is_some()) {
            return bad("a run named `daily` is always whole: leave `run` out, or `events` and `created_after`");
        }
        Ok(())
    }

    /// The JSON that is published.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, dates and a list of words: nothing that can fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether this stream is part of the job.
    pub fn includes(&self, stream: Stream) -> bool {
        self.events.as_ref().is_none_or(|events| events.contains(&stream))
    }

    /// A completed full run of any name satisfies the day.
    pub fn is_full(&self) -> bool {
        self.events.is_none() && self.created_after.is_none()
    }

    /// `created_after` as Langfuse stores moments: UTC without a zone.
    pub fn created_after_naive(&self) -> Option<NaiveDateTime> {
        self.created_after.map(|moment| moment.naive_utc())
    }
}

/// A run name that no other run has.
pub fn fresh_run() -> String {
    format!("replay-{}", uuid::Uuid::now_v7().simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(body: &str) -> String {
        ExportJob::decode(body.as_bytes()).expect_err(body).0
    }

    #[test]
    fn a_replay_is_two_fields() {
        let job = ExportJob::decode(b"\xef\xbb\xbf{\"project_id\": \"clx1\", \"day\": \"2024-06-01\"}\n").unwrap();
        assert_eq!(job.project_id, "clx1");
        assert_eq!(job.day.to_string(), "2024-06-01");
        assert!(job.run.is_none() && job.is_full());
    }

    #[test]
    fn every_field_is_read() {
        let body = r#"{"project_id":"p","day":"2024-06-01","run":"late-1","events":["score","trace","score"],
            "created_after":"2024-06-02T01:02:03Z"}"#;
        let job = ExportJob::decode(body.as_bytes()).unwrap();
        assert_eq!(job.events, Some([Stream::Trace, Stream::Score].into()));
        assert!(!job.includes(Stream::Generation) && !job.is_full());
        assert_eq!(ExportJob::decode(&job.encode()).unwrap(), job);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(refused("no json").contains("expected"));
        assert!(refused(r#"{"day":"2024-06-01"}"#).contains("project_id"));
        assert!(refused(r#"{"project_id":"p"}"#).contains("day"));
        assert!(refused(r#"{"project_id":"p","day":"2024-06-01","dya":1}"#).contains("dya"));
        assert!(refused(r#"{"project_id":" ","day":"2024-06-01"}"#).contains("project_id"));
        assert!(refused(r#"{"project_id":"p","day":"2024-06-01","events":["traces"]}"#).contains("traces"));
        assert!(refused(r#"{"project_id":"p","day":"2024-06-01","events":[]}"#).contains("events"));
        assert!(refused(r#"{"project_id":"p","day":"2024-06-01","run":"a b"}"#).contains("run"));
        assert!(refused(r#"{"project_id":"p","day":"2024-06-01","run":"daily","events":["trace"]}"#).contains("daily"));
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

    #[test]
    fn a_day_is_half_open() {
        let day: Day = "2024-02-29".parse().unwrap();
        assert_eq!(day.end().to_string(), "2024-03-01 00:00:00");
        assert_eq!(day.next().previous(), day);
    }

    proptest! {
        #[test]
        fn decode_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ExportJob::decode(&body);
        }

        /// Near misses get further into the decoder than noise does. What is taken reads back as the same.
        #[test]
        fn what_looks_like_a_job_never_panics(
            project in any::<String>(), day in "[0-9+T:é-]{0,12}|2024-0[1-9]-[0-3][0-9]", run in any::<String>(),
            events in proptest::collection::vec("trace|generation|score|traces", 0..4), created_after in "[0-9TZ:.+-]{0,30}|2024-06-02T00:00:00Z",
            kept in 0_u8..32, cut in 0_usize..200,
        ) {
            let all = [
                ("project_id", serde_json::json!(project)), ("day", serde_json::json!(day)), ("run", serde_json::json!(run)),
                ("events", serde_json::json!(events)), ("created_after", serde_json::json!(created_after)),
            ];
            let fields = all.into_iter().enumerate().filter(|(place, _)| kept & (1 << place) != 0);
            let fields: serde_json::Map<_, _> = fields.map(|(_, (name, value))| (name.to_owned(), value)).collect();
            let body = serde_json::to_vec(&fields).unwrap();
            let _ = ExportJob::decode(&body[..cut.min(body.len())]);
            if let Ok(job) = ExportJob::decode(&body) {
                prop_assert_eq!(ExportJob::decode(&job.encode()).unwrap(), job);
            }
        }

        #[test]
        fn encode_and_decode_agree(project in "\\PC*[^\\s\\p{C}]", days in 0_u64..40_000, full in any::<bool>()) {
            let day = Day(NaiveDate::from_ymd_opt(1990, 1, 1).unwrap() + Days::new(days));
            let mut job = ExportJob::fresh(project, day);
            if !full { job.events = Some([Stream::Score].into()); }
            prop_assert_eq!(ExportJob::decode(&job.encode()).unwrap(), job);
        }
    }
}
