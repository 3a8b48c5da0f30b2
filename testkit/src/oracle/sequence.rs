//! Runs of one day, one after the other, with changes of the rows in between: what each of them has
//! to send, and what PostHog got from it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use sqlx::FromRow;
use uuid::Uuid;

use crate::posthog::{Copies, FakePosthog};

use super::event::uuid;
use super::{Kind, Oracle};

/// What was changed less than this before a run began may not have been visible to it yet.
const MARGIN: TimeDelta = TimeDelta::minutes(5);
/// How many findings of a kind are written out.
const SHOWN: usize = 5;

/// When the rows of a day were last created or changed, and what their events take from elsewhere:
/// from their trace, and a trace from its observations.
const TOUCHED: &str = r#"
-- oracle: when the rows of a day were touched
SELECT 'langfuse trace' AS event, t.id, t."timestamp" AS time,
    greatest(t.created_at, t.updated_at, max(o.created_at), max(o.updated_at)) AS touched
FROM traces t LEFT JOIN observations o ON o.trace_id = t.id AND o.project_id = t.project_id
WHERE t.project_id = $1 AND t."timestamp"::date = $2
GROUP BY t.id
UNION ALL
SELECT CASE WHEN o.type IN ('SPAN', 'EVENT') THEN 'langfuse observation' ELSE 'langfuse generation' END, o.id,
    o.start_time, greatest(o.created_at, o.updated_at, t.created_at, t.updated_at)
FROM observations o LEFT JOIN traces t ON t.id = o.trace_id AND t.project_id = o.project_id
WHERE o.project_id = $1 AND o.start_time::date = $2
UNION ALL
SELECT 'langfuse score', s.id, s."timestamp", greatest(s.created_at, s.updated_at, t.created_at, t.updated_at)
FROM scores s LEFT JOIN traces t ON t.id = s.trace_id AND t.project_id = s.project_id
WHERE s.project_id = $1 AND s."timestamp"::date = $2
"#;

/// A row that becomes an event.
#[derive(FromRow)]
struct Row {
    event: String,
    id: String,
    time: NaiveDateTime,
    touched: NaiveDateTime,
}

/// A run that has read the rows of its window.
struct Covering {
    began: NaiveDateTime,
    from: NaiveDateTime,
    until: NaiveDateTime,
}

/// A run that is on its way, and what it has to send.
struct Running {
    covering: Covering,
    must: BTreeMap<(String, Uuid), String>,
}

/// The runs of one project's day, all of the oracle's kinds and with `changed`. One is on its way
/// at a time, and nothing else is sent under the key.
pub struct Sequence {
    oracle: Oracle,
    posthog: FakePosthog,
    key: String,
    project: String,
    day: NaiveDate,
    covering: Vec<Covering>,
    running: Option<Running>,
    /// What had been taken when the last run ended
    taken: Copies,
}

/// What one run sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Events that it had to send: those that no run had sent in their present form, or where that
    /// is in doubt
    pub called_for: usize,
    /// Events that PostHog got from it
    pub sent: usize,
    /// Those of them that PostHog had got before
    pub again: usize,
    /// What was not sent, was sent twice, or for nothing
    pub findings: Vec<String>,
}

impl Sequence {
    /// Of a day of which nothing was sent yet.
    pub fn new(oracle: Oracle, posthog: &FakePosthog, key: &str, project: &str, day: NaiveDate) -> Self {
        Self {
            oracle,
            taken: posthog.copies(key),
            posthog: posthog.clone(),
            key: key.to_owned(),
            project: project.to_owned(),
            day,
            covering: Vec::new(),
            running: None,
        }
    }

    /// A run is about to be asked for; from and until are times of the day as the message has them,
    /// or nothing for the whole day. What changes from now on it may send or not. Answers how many
    /// events it has to send.
    ///
    /// # Panics
    /// When the database cannot be read.
    pub async fn begins(&mut self, window: Option<(NaiveTime, NaiveTime)>) -> usize {
        let began = sqlx::query_scalar("SELECT clock_timestamp() AT TIME ZONE 'UTC'");
        let began: NaiveDateTime = began.fetch_one(&self.oracle.pool).await.expect("ask for the time");
        let midnight = self.day.and_time(NaiveTime::MIN);
        let (from, until) = match window {
            None => (midnight, midnight + TimeDelta::days(1)),
            Some((from, until)) => (self.day.and_time(from), self.day.and_time(until)),
        };
        let rows = self.rows().await;
        let must = rows.iter().filter(|row| (from..until).contains(&row.time));
        let must = must.filter(|row| self.is_in_doubt(row));
        let must: BTreeMap<_, _> = must.map(|row| (self.identity(row), row.id.clone())).collect();
        self.oracle.remember(&self.project, self.day).await;
        let called_for = must.len();
        self.running = Some(Running {
            must,
            covering: Covering { began, from, until },
        });
        called_for
    }

    /// The run is completed: what it sent is held against what it had to send.
    ///
    /// # Panics
    /// When none began, or the database cannot be read.
    pub async fn completed(&mut self) -> Sent {
        let Running { covering, must } = self.running.take().expect("a run began");
        self.oracle.remember(&self.project, self.day).await;
        let may: BTreeSet<_> = self
            .rows()
            .await
            .iter()
            .filter(|row| row.touched >= covering.began)
            .map(|row| self.identity(row))
            .collect();
        let taken = self.posthog.copies(&self.key);
        let before = |identity: &(String, Uuid)| self.taken.get(identity).copied().unwrap_or_default();
        let mut sent = Sent {
            called_for: must.len(),
            ..Sent::default()
        };
        let mut needless = Vec::new();
        for (identity, copies) in &taken {
            let copies = copies - before(identity);
            sent.sent += usize::from(copies > 0);
            sent.again += usize::from(copies > 0 && before(identity) > 0);
            if copies > 1 {
                needless.push(format!("{copies} times: {} {}", identity.0, identity.1));
            } else if copies == 1 && !must.contains_key(identity) && !may.contains(identity) {
                needless.push(format!("for nothing: {} {}", identity.0, identity.1));
            }
        }
        let left_out = must
            .iter()
            .filter(|(identity, _)| taken.get(identity).copied().unwrap_or_default() == before(identity));
        let mut left_out: Vec<_> = left_out
            .map(|((event, _), id)| format!("not sent: {event} {id:?}"))
            .collect();
        for findings in [&mut needless, &mut left_out] {
            let count = findings.len();
            findings.truncate(SHOWN);
            if count > SHOWN {
                findings.push(format!("… and {} more", count - SHOWN));
            }
            sent.findings.append(findings);
        }
        self.covering.push(covering);
        self.taken = taken;
        sent
    }

    /// The run came to nothing: what it sent counts for nobody.
    pub fn failed(&mut self) {
        self.running = None;
        self.taken = self.posthog.copies(&self.key);
    }

    /// The oracle, which has seen all forms of the rows that a run has met.
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    fn is_in_doubt(&self, row: &Row) -> bool {
        let covering = self
            .covering
            .iter()
            .filter(|run| run.from <= row.time && row.time < run.until);
        covering
            .map(|run| run.began)
            .max()
            .is_none_or(|began| row.touched >= began - MARGIN)
    }

    fn identity(&self, row: &Row) -> (String, Uuid) {
        (row.event.clone(), uuid(&self.project, &row.id))
    }

    async fn rows(&self) -> Vec<Row> {
        let rows = sqlx::query_as(TOUCHED).bind(&self.project).bind(self.day);
        let mut rows: Vec<Row> = rows
            .fetch_all(&self.oracle.pool)
            .await
            .expect("the oracle can read the rows");
        rows.retain(|row| self.oracle.kinds.iter().any(|kind: &Kind| kind.event() == row.event));
        rows
    }
}

impl Sent {
    /// Stops the test unless the run sent what it had to send, once, and nothing else.
    ///
    /// # Panics
    /// When it did not, with the first findings.
    #[track_caller]
    pub fn assert_exact(&self, run: &str) {
        assert!(self.findings.is_empty(), "{run}: {self:?}");
    }
}
