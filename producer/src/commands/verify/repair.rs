//! `--repair`: exports again what days miss, as replays of the streams that miss it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Serialize;
use shared::integration::StoredIntegration;
use shared::job::{Day, Job, Scope};
use shared::ledger::{Arrival, Ledger, Verdict};
use shared::topology::Lane;

use super::Arguments;
use crate::config::Server;
use crate::error::CommandError;
use crate::output::moment;
use crate::plan::{Planned, Reason};
use crate::publish::{Published, publish};
use crate::servers::Broker;

/// What became of a day that misses events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Repaired {
    pub(super) project_id: String,
    pub(super) day: Day,
    /// The run that sends them again; `None`: none was published
    pub(super) run: Option<String>,
    /// Why none was
    pub(super) refused: Option<String>,
}

impl Repaired {
    /// Whether it is on its way.
    pub(super) fn is_well(&self) -> bool {
        self.run.is_some()
    }
}

/// Why a day is not exported again now. PURE.
fn refusal(arrival: &Arrival, is_enabled: bool, force: bool) -> Option<String> {
    if !is_enabled {
        return Some("the project's integration is disabled or gone; enable it in Langfuse first".to_owned());
    }
    if force {
        return None;
    }
    if let Some(repaired) = arrival.repaired_at {
        return Some(format!(
            "it was sent again at {} already, and no run has been completed since; look at `producer status --project`, or add --force",
            moment(repaired)
        ));
    }
    arrival.nothing_after.map(|_| {
        "it looks like PostHog's billing limit, and would be dropped again; raise the limit in PostHog, then add --force"
            .to_owned()
    })
}

/// Publishes a replay for each day of the range that misses events.
pub(super) async fn repair(
    arguments: &Arguments,
    ledger: &Ledger,
    broker: &Server,
    days: &RangeInclusive<Day>,
    integrations: &BTreeMap<&str, &StoredIntegration>,
) -> Result<Vec<Repaired>, CommandError> {
    let mut arrivals = ledger.arrivals(&arguments.projects).await?;
    arrivals.retain(|arrival| arrival.verdict == Verdict::Missing && days.contains(&arrival.day));
    let mut all = Vec::new();
    let mut jobs = Vec::new();
    for arrival in &arrivals {
        let is_enabled = integrations
            .get(arrival.project_id.as_str())
            .is_some_and(|stored| stored.enabled);
        let refused = refusal(arrival, is_enabled, arguments.force);
        let mut repaired = Repaired {
            project_id: arrival.project_id.clone(),
            day: arrival.day,
            run: None,
            refused,
        };
        if repaired.refused.is_none() {
            let scope = Scope::of(arrival.streams.iter().copied().collect());
            let job = Job::fresh(&arrival.project_id, arrival.day, scope);
            repaired.run = Some(job.key.run.clone());
            jobs.push(Planned {
                job,
                // Somebody asked for it and waits for it.
                lane: Lane::Jobs,
                reason: Reason::New,
            });
        }
        all.push(repaired);
    }
    if jobs.is_empty() {
        return Ok(all);
    }
    // Noted before it is published: a second one for the same verdict would be one too many.
    for planned in &jobs {
        let key = &planned.job.key;
        ledger.record_repaired(&key.project_id, key.day, true).await?;
    }
    let broker = Broker::connect(broker).await?;
    let Published { failed, .. } = publish(&broker.publisher().await?, ledger, &jobs).await?;
    broker.close().await;
    for repaired in &mut all {
        let Some(run) = &repaired.run else { continue };
        let id = format!("{}/{}/{run}", repaired.project_id, repaired.day);
        if let Some(failure) = failed.iter().find(|failure| failure.id == id) {
            repaired.refused = Some(format!("not confirmed by the broker: {}", failure.error));
            repaired.run = None;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    #[test]
    fn a_limit_a_second_time_and_a_project_that_is_off_are_refused() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let missing = Arrival {
            project_id: "p".to_owned(),
            day: Day::FIRST,
            run: "daily".to_owned(),
            run_completed_at: now,
            verdict: Verdict::Missing,
            says: String::new(),
            expected: 9,
            missing: 1,
            extra: 0,
            late: 0,
            copies: 0,
            weaker: false,
            nothing_after: None,
            streams: Vec::new(),
            sample: Vec::new(),
            hours: serde_json::Value::Null,
            checked_at: now,
            repaired_at: None,
        };
        let limit = Arrival {
            nothing_after: Some(3),
            ..missing.clone()
        };
        let again = Arrival {
            repaired_at: Some(now),
            ..missing.clone()
        };
        assert_eq!(refusal(&missing, true, false), None);
        assert!(refusal(&limit, true, false).unwrap().contains("billing limit"));
        assert!(refusal(&again, true, false).unwrap().contains("already"));
        assert_eq!(refusal(&limit, true, true).or(refusal(&again, true, true)), None);
        assert!(refusal(&missing, false, true).unwrap().contains("enable it"));
    }
}
