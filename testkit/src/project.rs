//! A project of a world: what a test asks to be exported, and what became of it.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::NaiveDate;

use crate::messages::job;
use crate::oracle::{Kind, Oracle};
use crate::wait::{self, PATIENCE};
use crate::world::{LANGFUSE_URL, World};
use crate::{langfuse, seed};

/// A project whose integration leads to the world's PostHog, unless a test says otherwise. Days are
/// given as dates or as text, `2024-06-01`.
#[derive(Clone)]
pub struct Project {
    world: Arc<World>,
    id: String,
    key: String,
}

/// What the ledger counts of a run, over its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Events that PostHog accepted
    Sent,
    /// Rows that PostHog refused for good
    Rejected,
    /// Requests that were accepted
    Batches,
}

impl Project {
    /// A project that is there already, and whose key is this one.
    pub fn of(world: &Arc<World>, id: &str, key: &str) -> Self {
        Self {
            world: Arc::clone(world),
            id: id.to_owned(),
            key: key.to_owned(),
        }
    }

    /// Adds a project with an integration. PostHog knows its key.
    pub async fn add(world: &Arc<World>, id: &str, key: &str) -> Self {
        let project = Self::of(world, id, key);
        langfuse::add_project(&world.pool(), id, &format!("Name of {id}")).await;
        project.leads_to(&world.posthog.url()).await;
        world.posthog.known_key(key);
        project
    }

    /// Changes the host in its integration, and enables it.
    pub async fn leads_to(&self, host: &str) {
        langfuse::add_integration(&self.world.pool(), &self.id, host, &self.key, true).await;
    }

    /// Gives each of these days so many traces, with generations and scores, drawn from `seed`.
    pub async fn seed(&self, days: &[NaiveDate], traces: usize, seed: u64) {
        seed::realistic(&self.world.pool(), &self.id, days, traces, seed).await;
    }

    /// The message that asks for a run of a day.
    pub fn message(&self, day: impl Display, run: &str) -> Vec<u8> {
        job(&self.id, day, Some(run))
    }

    /// The message that asks for a replay of a day, as a human writes it: without a run.
    pub fn replay(&self, day: impl Display) -> Vec<u8> {
        job(&self.id, day, None)
    }

    /// Asks for a run of a day.
    pub async fn publish(&self, day: impl Display, run: &str) {
        self.world.publish_job(&self.message(day, run)).await;
    }

    /// Asks for the daily run of each of these days.
    pub async fn publish_all(&self, days: &[impl Display]) {
        for day in days {
            self.publish(day, "daily").await;
        }
    }

    /// Waits until that run of the ledger is in that state.
    pub async fn wait_state(&self, day: impl Display, run: &str, state: &str) {
        let day = day.to_string();
        let seen = Mutex::new(String::new());
        let look = async || {
            let now = self.state(&day, run).await;
            let reached = now == state;
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = now;
            reached
        };
        if wait::until(PATIENCE, look).await.is_none() {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            panic!(
                "waited {PATIENCE:?} in vain until {}/{day}/{run} is {state}; it is: {seen}\n{}",
                self.id,
                self.world.tails()
            );
        }
    }

    /// The state of a run in the ledger, or what else there is to say of it.
    pub async fn state(&self, day: impl Display, run: &str) -> String {
        let state = "SELECT state::text FROM posthog_export.runs
            WHERE project_id = $1 AND day = $2::text::date AND run = $3";
        let state = sqlx::query_scalar::<_, String>(state)
            .bind(&self.id)
            .bind(day.to_string())
            .bind(run);
        match state.fetch_optional(&self.world.pool()).await {
            Ok(found) => found.unwrap_or_else(|| "no such run".to_owned()),
            // The database may be away for a while; that is the test's own doing.
            Err(error) => error.to_string(),
        }
    }

    /// Waits until the daily run of its only day is completed, and holds what arrived against the
    /// database.
    pub async fn arrives(&self, day: impl Display) {
        self.all_arrive(&[day]).await;
    }

    /// Waits until the daily runs of all its days are completed, and holds what arrived against the
    /// database.
    pub async fn all_arrive(&self, days: &[impl Display]) {
        for day in days {
            self.wait_state(day, "daily", "completed").await;
        }
        self.assert_delivered(days).await;
    }

    /// Each event of these days has arrived once, as it should, and no other event.
    pub async fn assert_delivered(&self, days: &[impl Display]) {
        let days: Vec<NaiveDate> = days.iter().map(date).collect();
        let oracle = Oracle::new(self.world.pool(), Some(LANGFUSE_URL));
        let report = oracle.check(&self.world.posthog, &self.key, &self.id, &days).await;
        report.assert_delivered();
    }

    /// The same of an export of all kinds of events.
    pub async fn assert_all_kinds_delivered(&self, days: &[impl Display]) {
        let days: Vec<NaiveDate> = days.iter().map(date).collect();
        let oracle = Oracle::new(self.world.pool(), Some(LANGFUSE_URL)).of(&Kind::ALL);
        let report = oracle.check(&self.world.posthog, &self.key, &self.id, &days).await;
        report.assert_delivered();
    }

    /// A column of a run's row in the ledger, as text.
    pub async fn field(&self, run: &str, column: &str) -> Option<String> {
        let field = "SELECT to_jsonb(r) ->> $3 FROM posthog_export.runs r
            WHERE project_id = $1 AND run = $2";
        let field = sqlx::query_scalar::<_, Option<String>>(field)
            .bind(&self.id)
            .bind(run)
            .bind(column);
        let found = field.fetch_optional(&self.world.pool()).await;
        found.expect("read the ledger").flatten()
    }

    /// What the ledger counts of a run, all streams together.
    pub async fn count(&self, run: &str, count: Count) -> i64 {
        let counts = "SELECT coalesce(sum(sent), 0)::bigint, coalesce(sum(rejected), 0)::bigint,
                coalesce(sum(batches), 0)::bigint
            FROM posthog_export.streams WHERE project_id = $1 AND run = $2";
        let (sent, rejected, batches) = sqlx::query_as::<_, (i64, i64, i64)>(counts)
            .bind(&self.id)
            .bind(run)
            .fetch_one(&self.world.pool())
            .await
            .expect("read the ledger");
        match count {
            Count::Sent => sent,
            Count::Rejected => rejected,
            Count::Batches => batches,
        }
    }

    /// Waits until PostHog keeps so many of its events.
    pub async fn stored(&self, events: usize) {
        let posthog = &self.world.posthog;
        posthog
            .until(|posthog| posthog.counts(&self.key).stored >= events)
            .await;
    }
}

fn date(day: impl Display) -> NaiveDate {
    let day = day.to_string();
    day.parse().unwrap_or_else(|error| panic!("{day:?} is no day: {error}"))
}
