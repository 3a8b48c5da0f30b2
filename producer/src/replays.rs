//! Exports days again, each as a new run: which days that are, what their jobs are, and what keeps
//! them from being exported.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use shared::integration;
use shared::job::{Day, Job, Scope, Stream};
use shared::ledger::{Ledger, Pause};
use shared::topology::Lane;
use sqlx::PgPool;

use crate::config::Server;
use crate::error::CommandError;
use crate::facts::{check_project, days_with_data};
use crate::pauses::paused;
use crate::plan::{Planned, Reason};
use crate::publish::{Published, publish};
use crate::servers::Broker;

/// What keeps a project's jobs from being exported now. A person can mend that before a worker
/// takes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hindrance {
    pub(crate) pause: Option<Pause>,
    /// `None`: it has no integration
    pub(crate) enabled: Option<bool>,
}

/// Looks what hinders the project's jobs. Refuses a project that does not exist.
pub(crate) async fn hindrance(source: &PgPool, ledger: &Ledger, project: &str) -> Result<Hindrance, CommandError> {
    check_project(source, project).await?;
    let integrations = integration::list(source, Some(project)).await?;
    Ok(Hindrance {
        pause: paused(ledger, &integrations).await?.remove(project),
        enabled: integrations.first().map(|found| found.enabled),
    })
}

/// The rows that are asked for; by default what `enqueue` exports. PURE.
pub(crate) fn scope(events: &[Stream], observations: bool) -> Scope {
    if events.is_empty() {
        Scope::whole(observations)
    } else {
        Scope::of(events.iter().copied().collect())
    }
}

/// Refuses a day that is not over. PURE.
pub(crate) fn must_be_over(day: Day, now: DateTime<Utc>) -> Result<(), CommandError> {
    if day.end().and_utc() > now {
        return Err(CommandError::refused(format!(
            "{day} is not over yet: by the database's clock it is {now}"
        )));
    }
    Ok(())
}

/// The days of a range that hold data, and how many do not.
pub(crate) async fn days(
    source: &PgPool,
    project: &str,
    (from, to): (Day, Day),
    scope: &Scope,
    now: DateTime<Utc>,
) -> Result<(BTreeSet<Day>, usize), CommandError> {
    let range = from.max(Day::FIRST)..=to;
    let days = days_with_data(source, project, range, scope.has_observations(), now).await?;
    let asked = (to.0 - from.0).num_days() + 1;
    let empty = usize::try_from(asked).unwrap_or(0).saturating_sub(days.len());
    Ok((days, empty))
}

/// A job for each day, the newest first. PURE.
pub(crate) fn jobs(project: &str, days: BTreeSet<Day>, scope: &Scope) -> Vec<Planned> {
    let job = |day: Day| Planned {
        job: Job::fresh(project, day, scope.clone()),
        // A person asked for it and waits for it.
        lane: Lane::Jobs,
        reason: Reason::New,
    };
    days.into_iter().rev().map(job).collect()
}

/// Publishes them.
pub(crate) async fn send(broker: &Server, ledger: &Ledger, jobs: &[Planned]) -> Result<Published, CommandError> {
    let broker = Broker::connect(broker).await?;
    let published = publish(&broker.publisher().await?, ledger, jobs).await?;
    broker.close().await;
    Ok(published)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_of_what_enqueue_exports_unless_it_says_otherwise() {
        use Stream::{Generation, Observation, Score, Trace};
        assert_eq!(scope(&[], false), Scope::default());
        assert!(scope(&[], true).streams().eq(Stream::ALL));
        assert!(scope(&[Observation], false).streams().eq([Observation]));
        assert_eq!(scope(&[Score, Trace, Generation, Trace], true), Scope::default());
    }
}
