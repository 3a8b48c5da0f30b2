//! The oracle. It derives every event that must arrive from the database alone, and finds what is
//! missing, unexpected or altered.
//!
//! It shares no code with the worker: its queries take a whole day at once, and its rules are
//! written down a second time.

mod compare;
mod event;
mod former;
mod report;
mod rows;
mod sequence;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::posthog::{FakePosthog, Kept};

use former::Former;

pub use compare::{Difference, altered};
pub use report::{DayReport, Report};
pub use sequence::{Sent, Sequence};

/// The kinds of rows that become events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `langfuse trace`
    Trace,
    /// `langfuse generation`
    Generation,
    /// `langfuse score`
    Score,
    /// `langfuse observation`, where it was asked for
    Observation,
}

impl Kind {
    /// Those that are exported unless somebody asks for others.
    pub const USUAL: [Self; 3] = [Self::Trace, Self::Generation, Self::Score];
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Trace, Self::Generation, Self::Score, Self::Observation];

    /// The name of its PostHog event.
    pub fn event(self) -> &'static str {
        match self {
            Self::Trace => "langfuse trace",
            Self::Generation => "langfuse generation",
            Self::Score => "langfuse score",
            Self::Observation => "langfuse observation",
        }
    }
}

/// What must arrive, as the database says.
#[derive(Clone)]
pub struct Oracle {
    pool: PgPool,
    langfuse_url: Option<String>,
    kinds: Vec<Kind>,
    former: Former,
}

impl Oracle {
    /// Looks into a Langfuse database; `langfuse_url` is the public URL the exporter was given, if
    /// any.
    pub fn new(pool: PgPool, langfuse_url: Option<&str>) -> Self {
        Self {
            pool,
            langfuse_url: langfuse_url.map(|url| url.trim_end_matches('/').to_owned()),
            kinds: Kind::USUAL.to_vec(),
            former: Former::default(),
        }
    }

    /// The same, of an export of these kinds.
    #[must_use]
    pub fn of(mut self, kinds: &[Kind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    /// Every event of one project's UTC day, as it should be stored (but for `$lib` and
    /// `$lib_version`).
    ///
    /// # Panics
    /// When the database cannot be read.
    pub async fn expected(&self, project: &str, day: NaiveDate) -> Vec<Value> {
        self.expected_filtered(project, day, &self.kinds, None).await
    }

    /// [`expected`](Self::expected) for some kinds only, or (with `created_after`, UTC) for rows
    /// created since then and traces with observations created since then.
    ///
    /// # Panics
    /// When the database cannot be read.
    pub async fn expected_filtered(
        &self,
        project: &str,
        day: NaiveDate,
        kinds: &[Kind],
        created_after: Option<NaiveDateTime>,
    ) -> Vec<Value> {
        let of = event::Project {
            id: project,
            name: rows::project_name(&self.pool, project).await,
            langfuse: self.langfuse_url.as_deref(),
        };
        let mut events = Vec::new();
        if kinds.contains(&Kind::Trace) {
            let rows = rows::traces(&self.pool, project, day, created_after).await;
            events.extend(rows.iter().map(|row| event::of_trace(row, &of)));
        }
        for kind in [Kind::Generation, Kind::Observation] {
            if kinds.contains(&kind) {
                let rows = rows::observations(&self.pool, kind, project, day, created_after).await;
                events.extend(rows.iter().map(|row| event::of_observation(kind, row, &of)));
            }
        }
        if kinds.contains(&Kind::Score) {
            let rows = rows::scores(&self.pool, project, day, created_after).await;
            events.extend(rows.iter().map(|row| event::of_score(row, &of)));
        }
        events
    }

    /// Notes under which distinct ids the events of a day are kept now. What an export has sent by
    /// then stays at PostHog when a row gets another user, and [`check`](Self::check) counts it
    /// apart.
    ///
    /// # Panics
    /// When the database cannot be read.
    pub async fn remember(&mut self, project: &str, day: NaiveDate) {
        let events = self.expected(project, day).await;
        self.former.note(&events);
    }

    /// Holds everything that was delivered under a key against one project's days. Anything else is
    /// unexpected.
    ///
    /// # Panics
    /// When the database cannot be read.
    pub async fn check(&self, posthog: &FakePosthog, key: &str, project: &str, days: &[NaiveDate]) -> Report {
        self.check_all(posthog, key, &[(project, days)]).await
    }

    /// [`check`](Self::check) where several projects are exported under one key.
    ///
    /// # Panics
    /// When the database cannot be read.
    pub async fn check_all(&self, posthog: &FakePosthog, key: &str, projects: &[(&str, &[NaiveDate])]) -> Report {
        let counts = posthog.counts(key);
        let mut delivered = Delivered::new(posthog.kept(key));
        let mut report = Report {
            copies_kept: counts.copies_kept,
            resent: counts.resent,
            ..Report::default()
        };
        for (project, days) in projects {
            for day in *days {
                for expected in self.expected(project, *day).await {
                    let copies = self.former.set_apart(&expected, delivered.take(&expected), &mut report);
                    report.add(project, *day, &expected, &copies);
                }
            }
        }
        for text in delivered.left() {
            report.add_unexpected(&text.parse().expect("what is stored is JSON"));
        }
        report
    }
}

/// What arrived, found by what must arrive.
struct Delivered(HashMap<(String, Uuid), Vec<Arc<str>>>);

impl Delivered {
    fn new(kept: Vec<Kept>) -> Self {
        let mut found: HashMap<_, Vec<Arc<str>>> = HashMap::new();
        for Kept { event, uuid, text } in kept {
            found.entry((event, uuid)).or_default().push(text);
        }
        Self(found)
    }

    fn take(&mut self, expected: &Value) -> Vec<Value> {
        let event = expected["event"].as_str().expect("an event has a name");
        let uuid = expected["uuid"]
            .as_str()
            .and_then(|uuid| uuid.parse().ok())
            .expect("an event has a uuid");
        let texts = self.0.remove(&(event.to_owned(), uuid)).unwrap_or_default();
        texts
            .iter()
            .map(|text| text.parse().expect("what is stored is JSON"))
            .collect()
    }

    fn left(self) -> impl Iterator<Item = Arc<str>> {
        self.0.into_values().flatten()
    }
}
