//! A worker dies in the window in which it hurts most: PostHog has stored a body of its and has not
//! answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;

use crate::posthog::{Behavior, FakePosthog, Rule};
use crate::wait;
use crate::worker::Worker;

use super::cast::PROJECTS;

/// How long a job may take to begin, if there is one.
const PATIENCE: Duration = Duration::from_secs(20);

/// Holds PostHog's answers until a worker waits for one, and kills that worker. When no worker
/// sends anything, none is killed. The rules of `posthog` are forgotten.
///
/// What follows is certain. The body is sent again, since no cursor was saved. The broker makes the
/// delivery again. The run is taken over, since a dead worker holds its lease.
pub(super) async fn ambush(posthog: &FakePosthog, ledger: &PgPool, workers: &mut [Option<Worker>]) {
    let held = Arc::new(Mutex::new(None));
    let first = Arc::clone(&held);
    posthog.behave();
    posthog.script(Rule::choose(move |seen| {
        let event = seen.events.first()?;
        let day = event["timestamp"].as_str()?.get(..10)?.to_owned();
        let key = seen.key?.to_owned();
        first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert((key, day));
        Some(Behavior::Hold)
    }));
    let slot = wait::until(PATIENCE, async || {
        let (key, day) = held.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (project, _) = PROJECTS.iter().find(|(_, its)| *its == key)?;
        let slot = holder(ledger, project, &day, workers).await?;
        // A paused worker cannot settle the job between this look at the ledger and its death.
        let worker = workers[slot].as_ref()?;
        worker.pause();
        if holder(ledger, project, &day, workers).await == Some(slot) {
            return Some(slot);
        }
        worker.resume();
        None
    });
    match slot.await.and_then(|slot| workers[slot].take()) {
        Some(worker) => worker.kill(),
        None => eprintln!("an ambush found nobody at work"),
    }
    posthog.behave();
}

/// Which of the workers holds the lease of a run of that day.
async fn holder(ledger: &PgPool, project: &str, day: &str, workers: &[Option<Worker>]) -> Option<usize> {
    let names = "select worker from posthog_export.runs
        where project_id = $1 and day = $2::date and state = 'running' and lease_expires_at > now()";
    let names: Vec<Option<String>> = sqlx::query_scalar(names)
        .bind(project)
        .bind(day)
        .fetch_all(ledger)
        .await
        .ok()?;
    let is_it = |worker: &Worker| {
        let its_end = format!("-{}", worker.pid());
        names.iter().flatten().any(|name| name.ends_with(&its_end))
    };
    workers.iter().position(|worker| worker.as_ref().is_some_and(is_it))
}
