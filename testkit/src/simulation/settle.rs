//! The end of a simulation: everybody works until nothing is left to do, and the oracle judges.

use std::time::Duration;

use chrono::NaiveDate;

use crate::oracle::Report;
use crate::seed::Touch;
use crate::wait;

use super::cast::{DAYS, PROJECTS, day};
use super::letters::Letters;
use super::stage::Stage;

/// How long the jobs that are published by then may take.
const SETTLED_JOBS: Duration = Duration::from_mins(2);
/// How often enqueue may plan something new at one moment.
const ROUNDS: usize = 20;
/// When today has ended.
const ENDED: &str = "2024-06-05 18:30";
/// When it has settled. And a little later: a row that was created shortly before a run began may
/// or may not have been read by that run.
const SETTLED: [&str; 2] = ["2024-06-06 01:00", "2024-06-06 01:10"];
/// How old changes say that they are which are made right after the export of their day: they are
/// older than that, and younger than the margin.
const JUST_BEFORE: u64 = 240;

impl Stage {
    /// The steps are over. All workers run, and the producer enqueues until it plans nothing more.
    pub(super) async fn settle(&mut self) -> (Report, Option<String>) {
        self.let_all_work().await;
        let failure = self.go_on_until_settled().await;
        (self.check().await, failure)
    }

    /// Today ends and is exported, its rows go on changing, and it settles.
    async fn go_on_until_settled(&mut self) -> Option<String> {
        if let Some(failure) = self.come_to_rest().await {
            return Some(failure);
        }
        self.clock.set(ENDED).await;
        if let Some(failure) = self.come_to_rest().await {
            return Some(failure);
        }
        for (project, _) in PROJECTS {
            for touch in Touch::ALL {
                self.touch(project, touch, JUST_BEFORE).await;
            }
        }
        for moment in SETTLED {
            self.clock.set(moment).await;
            if let Some(failure) = self.come_to_rest().await {
                return Some(failure);
            }
        }
        None
    }

    /// Until enqueue plans nothing more at this moment; why that did not come.
    async fn come_to_rest(&self) -> Option<String> {
        let mut planned = None;
        for _ in 0..ROUNDS {
            if let Some(failure) = self.finish_jobs().await {
                return Some(failure);
            }
            planned = self.plan().await;
            if planned == Some(0) {
                return None;
            }
        }
        Some(format!("enqueue still plans {planned:?} jobs"))
    }

    /// How many jobs `enqueue` published; `None` when it failed.
    async fn plan(&self) -> Option<u64> {
        let output = self.producer(&["enqueue", "--json"]).await?;
        let answer: serde_json::Value = serde_json::from_str(&output.stdout).ok()?;
        let planned = answer["planned"].as_object()?.values();
        (output.code == 0).then(|| planned.filter_map(serde_json::Value::as_u64).sum())
    }

    /// Waits until every run is completed and every queue empty. Dead letters are requeued, as a
    /// human would.
    async fn finish_jobs(&self) -> Option<String> {
        let finished = wait::until(SETTLED_JOBS, async || {
            // A step that could not be sent is discarded; the day's run sends what it did not.
            let open = "select count(*) from posthog_export.runs
                where state not in ('completed', 'dead') and not (state = 'discarded' and run like 'step-%')";
            let open = sqlx::query_scalar::<_, i64>(open).fetch_one(&self.pool()).await;
            if !matches!(open, Ok(0)) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                return false;
            }
            for queue in ["jobs", "backfill", "retry.1s"] {
                if self.world.queue_messages(&format!("posthog-export.{queue}")).await != Some(0) {
                    return false;
                }
            }
            if self.world.queue_messages("posthog-export.dead-letters").await != Some(0) {
                self.count_dead_letters().await;
                drop(self.producer(&["dead-letters", "requeue", "--all", "--yes"]).await);
                return false;
            }
            true
        });
        if finished.await.is_some() {
            return None;
        }
        let runs = "select coalesce(string_agg(to_jsonb(r)::text, E'\\n'), '') from posthog_export.runs r where state <> 'completed'";
        let runs = sqlx::query_scalar::<_, String>(runs).fetch_one(&self.pool()).await;
        Some(format!("not all jobs came to an end in {SETTLED_JOBS:?}: {runs:?}"))
    }

    async fn count_dead_letters(&self) {
        let output = self.producer(&["dead-letters", "list", "--group", "--json"]).await;
        if let Some(answer) = output.and_then(|output| serde_json::from_str(&output.stdout).ok()) {
            self.add_letters(Letters::read(&answer));
        }
    }

    async fn check(&self) -> Report {
        // Late observations are on the day after their trace.
        let days: Vec<NaiveDate> = DAYS.iter().chain(["2024-06-05"].iter()).map(|text| day(text)).collect();
        let mut reports = Vec::new();
        for (project, key) in PROJECTS {
            reports.push(self.oracle.check(&self.world.posthog, key, project, &days).await);
        }
        reports.into_iter().sum()
    }
}
