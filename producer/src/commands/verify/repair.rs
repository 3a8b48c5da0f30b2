//! `--repair`: exports again what days miss, as replays of the streams that miss it.

use serde::Serialize;
use shared::integration::StoredIntegration;
use shared::job::{Day, Job, Scope};
use shared::ledger::{Arrival, Ledger, Verdict};
use shared::topology::Lane;
use std::collections::BTreeMap;

use super::{Arguments, Report};
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

/// Why a day is not exported again now. `was_looked_at`: in this very call. PURE.
fn refusal(arrival: &Arrival, was_looked_at: bool, is_enabled: bool, force: bool) -> Option<String> {
    if !is_enabled {
        return Some("the project's integration is disabled or gone; enable it in Langfuse first".to_owned());
    }
    if !was_looked_at {
        return Some(
            "whether it is still missing was not looked at: no time was left, or the integration's key cannot be read"
                .to_owned(),
        );
    }
    if let Some(failure) = &arrival.failure {
        return Some(format!("whether it is still missing cannot be told: {failure}"));
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

/// Publishes a replay for each day that misses events by what was found just now; what an earlier look
/// has found may have arrived since.
pub(super) async fn repair(
    arguments: &Arguments,
    ledger: &Ledger,
    broker: &Server,
    report: &Report,
    integrations: &BTreeMap<&str, &StoredIntegration>,
) -> Result<Vec<Repaired>, CommandError> {
    let now = report.days.iter().map(|day| (day, true));
    let earlier = report.earlier.iter().map(|day| (day, false));
    let mut all = Vec::new();
    let mut jobs = Vec::new();
    for (arrival, was_looked_at) in now.chain(earlier) {
        if arrival.verdict != Verdict::Missing {
            continue;
        }
        let is_enabled = integrations
            .get(arrival.project_id.as_str())
            .is_some_and(|stored| stored.enabled);
        let refused = refusal(arrival, was_looked_at, is_enabled, arguments.force);
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
            target: None,
            looked_at: now,
            failure: None,
        };
        let limit = Arrival {
            nothing_after: Some(3),
            ..missing.clone()
        };
        let again = Arrival {
            repaired_at: Some(now),
            ..missing.clone()
        };
        let failed = Arrival {
            failure: Some("PostHog is busy".to_owned()),
            ..missing.clone()
        };
        assert_eq!(refusal(&missing, true, true, false), None);
        assert!(refusal(&failed, true, true, true).unwrap().contains("is busy"));
        assert!(refusal(&missing, false, true, true).unwrap().contains("no time"));
        assert!(refusal(&limit, true, true, false).unwrap().contains("billing limit"));
        assert!(refusal(&again, true, true, false).unwrap().contains("already"));
        assert_eq!(
            refusal(&limit, true, true, true).or(refusal(&again, true, true, true)),
            None
        );
        assert!(refusal(&missing, true, false, true).unwrap().contains("enable it"));
    }
}
