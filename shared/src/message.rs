//! The message: the JSON that is published, decoded once into a [`Job`]. PURE.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::job::{DAILY, Day, Job, RunKey, Scope, Stream, fresh_run};

/// What is published. Unknown fields are refused: a typo in a replay must not export the wrong thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
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

impl Message {
    /// Reads a message. Only the body counts, not how it was published. A byte order mark and white
    /// space around the JSON are allowed: editors and shells add them.
    pub fn decode(body: &[u8]) -> Result<Self, BadMessage> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let message: Self = serde_json::from_slice(body).map_err(|e| BadMessage(e.to_string()))?;
        message.check()?;
        Ok(message)
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

    /// The key of its run; none when it names no run.
    pub fn key(&self) -> Option<RunKey> {
        let run = self.run.as_ref()?;
        Some(RunKey::new(&self.project_id, self.day, run))
    }

    /// The job that it asks for; none when it names no run.
    pub fn job(&self) -> Option<Job> {
        Some(Job {
            key: self.key()?,
            scope: Scope {
                events: self.events.clone(),
                created_after: self.created_after,
            },
        })
    }

    /// The same message; one that names no run is given a name that no other run has.
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
        }
    }
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

    proptest! {
        #[test]
        fn decode_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(&body);
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
            let _ = Message::decode(&body[..cut.min(body.len())]);
            if let Ok(message) = Message::decode(&body) {
                prop_assert_eq!(Message::decode(&message.encode()).unwrap(), message);
            }
        }

        #[test]
        fn encode_and_decode_agree(project in "\\PC*[^\\s\\p{C}]", days in 0_u64..40_000, full in any::<bool>()) {
            let day = Day(NaiveDate::from_ymd_opt(1990, 1, 1).unwrap() + Days::new(days));
            let events = (!full).then(|| [Stream::Score].into());
            let job = Job::fresh(project, day, Scope { events, created_after: None });
            prop_assert_eq!(Message::decode(&Message::from(&job).encode()).unwrap().job(), Some(job));
        }
    }
}
