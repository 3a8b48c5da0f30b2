//! `--repair`: exports again what days miss, as replays of the streams that miss it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::amqp::Publisher;
use shared::integration::{self, EncryptionKey};
use shared::job::{Day, Job, Scope};
use shared::ledger::{Arrival, Ledger, Mark, Verdict};
use shared::topology::Lane;
use sqlx::PgPool;

use super::Report;
use crate::config::Server;
use crate::error::CommandError;
use crate::output::moment;
use crate::plan::{Planned, Reason};
use crate::publish::{WINDOW, publish};
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
    /// When it was published
    #[serde(skip)]
    pub(super) at: Option<DateTime<Utc>>,
}

impl Repaired {
    fn refused(arrival: &Arrival, why: impl Into<Option<String>>) -> Self {
        Self {
            project_id: arrival.project_id.clone(),
            day: arrival.day,
            run: None,
            refused: why.into(),
            at: None,
        }
    }

    /// Whether it is on its way.
    pub(super) fn is_well(&self) -> bool {
        self.run.is_some()
    }
}

/// Where a project's events go now.
#[derive(Clone, Debug, Default)]
struct Present {
    is_enabled: bool,
    /// Host and fingerprint of the key, where they can be read
    target: Option<String>,
}

/// Why a day is not exported again now. `was_looked_at`: in this very call. PURE.
fn refusal(arrival: &Arrival, was_looked_at: bool, present: &Present, force: bool) -> Option<String> {
    if !present.is_enabled {
        return Some("the project's integration is disabled or gone; enable it in Langfuse first".to_owned());
    }
    if !was_looked_at {
        return Some(
            "this look did not reach the day: no time was left, or the integration's key cannot be read".to_owned(),
        );
    }
    if let Some(failure) = &arrival.failure {
        return Some(format!("whether it is still missing cannot be told: {failure}"));
    }
    if present.target.is_none() || arrival.target != present.target {
        return Some(
            "the project's host or key has changed since the day was exported, so a part of the day would not do; \
             `producer replay` sends the whole day to the present one"
                .to_owned(),
        );
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

/// What it needs.
pub(super) struct Repair<'a> {
    pub(super) source: &'a PgPool,
    pub(super) ledger: &'a Ledger,
    pub(super) broker: &'a Server,
    pub(super) key: &'a EncryptionKey,
    pub(super) force: bool,
}

impl Repair<'_> {
    /// Publishes a replay for each day that misses events by what was found just now; what an earlier
    /// look has found may have arrived since. Each day gets a line, whatever fails.
    pub(super) async fn all(&self, report: &Report) -> Vec<Repaired> {
        let now = report.days.iter().map(|day| (day, true));
        let earlier = report.earlier.iter().map(|day| (day, false));
        let missing = now.chain(earlier).filter(|(day, _)| day.verdict == Verdict::Missing);
        let missing: Vec<(&Arrival, bool)> = missing.collect();
        let present = if missing.is_empty() {
            Ok(BTreeMap::new())
        } else {
            self.present().await
        };
        let mut all = Vec::new();
        let mut wanted = Vec::new();
        for (arrival, was_looked_at) in missing {
            let refused = match &present {
                Ok(present) => {
                    let present = present.get(&arrival.project_id).cloned().unwrap_or_default();
                    refusal(arrival, was_looked_at, &present, self.force)
                }
                Err(error) => Some(error.to_string()),
            };
            match refused {
                Some(why) => all.push(Repaired::refused(arrival, why)),
                None => wanted.push(arrival),
            }
        }
        if !wanted.is_empty() {
            all.extend(self.send(&wanted).await);
        }
        all.sort_by(|a, b| (a.day, &a.project_id).cmp(&(b.day, &b.project_id)));
        all
    }

    /// Where all projects' events go now: it may have changed while the days were looked at.
    async fn present(&self) -> Result<BTreeMap<String, Present>, CommandError> {
        let stored = integration::list(self.source, None).await?;
        let present = stored.into_iter().map(|stored| {
            let target = stored.open(self.key).ok().map(|integration| integration.target());
            let is_enabled = stored.enabled;
            (stored.project_id, Present { is_enabled, target })
        });
        Ok(present.collect())
    }

    /// The broker first: a mark is used up only where something can be published.
    async fn send(&self, wanted: &[&Arrival]) -> Vec<Repaired> {
        let opened: Result<(Broker, Publisher), CommandError> = async {
            let broker = Broker::connect(self.broker).await?;
            let publisher = broker.publisher().await?;
            Ok((broker, publisher))
        }
        .await;
        let (broker, publisher) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let refused = wanted.iter().map(|day| Repaired::refused(day, error.to_string()));
                return refused.collect();
            }
        };
        let mut all = Vec::new();
        for days in wanted.chunks(WINDOW) {
            all.extend(self.publish(days, &publisher).await);
        }
        broker.close().await;
        all
    }

    async fn publish(&self, days: &[&Arrival], publisher: &Publisher) -> Vec<Repaired> {
        let mut all = Vec::new();
        let mut marked = Vec::new();
        for arrival in days {
            let refused = match self.ledger.mark_repaired(arrival).await {
                Ok(Mark::Set(at)) => {
                    let scope = Scope::of(arrival.streams.iter().copied().collect());
                    let planned = Planned {
                        job: Job::fresh(&arrival.project_id, arrival.day, scope),
                        // Somebody asked for it and waits for it.
                        lane: Lane::Jobs,
                        reason: Reason::New,
                    };
                    marked.push((*arrival, at, planned));
                    continue;
                }
                Ok(Mark::OnItsWay { run, state }) => {
                    format!(
                        "its run {run} is {state} and may send what is missing; verify again when that run has ended"
                    )
                }
                Ok(Mark::Taken) => {
                    "another `verify` has sent it again or looked at it meanwhile; verify again".to_owned()
                }
                Err(error) => error.to_string(),
            };
            all.push(Repaired::refused(arrival, refused));
        }
        let jobs: Vec<Planned> = marked.iter().map(|(_, _, planned)| planned.clone()).collect();
        let failed = match publish(publisher, self.ledger, &jobs).await {
            Ok(sent) => sent.failed,
            Err(error) => {
                // They are in a queue: the marks are right, although the ledger does not know the runs.
                let why = |(day, _, _): &(&Arrival, _, _)| Repaired::refused(day, error.to_string());
                all.extend(marked.iter().map(why));
                return all;
            }
        };
        for (arrival, at, planned) in marked {
            let id = planned.key().to_string();
            all.push(match failed.iter().find(|failure| failure.id == id) {
                None => Repaired {
                    run: Some(planned.job.key.run),
                    at: Some(at),
                    ..Repaired::refused(arrival, None)
                },
                Some(failure) => {
                    let mut why = format!("not confirmed by the broker: {}", failure.error);
                    if let Err(error) = self.ledger.unmark_repaired(arrival, at).await {
                        why += &format!("; and the ledger takes it for sent, so add --force ({error})");
                    }
                    Repaired::refused(arrival, why)
                }
            });
        }
        all
    }
}

#[cfg(test)]
mod tests {
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
            target: Some("here".to_owned()),
            looked_at: now,
            failure: None,
            set_aside: false,
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
        let here = Present {
            is_enabled: true,
            target: Some("here".to_owned()),
        };
        let there = Present {
            target: Some("there".to_owned()),
            ..here.clone()
        };
        let unreadable = Present {
            target: None,
            ..here.clone()
        };
        assert_eq!(refusal(&missing, true, &here, false), None);
        assert_eq!(
            refusal(&limit, true, &here, true).or(refusal(&again, true, &here, true)),
            None
        );
        for (what, arrival, looked_at, present, force, words) in [
            ("a failed look", &failed, true, &here, true, "is busy"),
            ("no look", &missing, false, &here, true, "no time"),
            ("a limit", &limit, true, &here, false, "billing limit"),
            ("a second time", &again, true, &here, false, "already"),
            ("another target", &missing, true, &there, true, "`producer replay`"),
            (
                "a key that cannot be read",
                &missing,
                true,
                &unreadable,
                true,
                "`producer replay`",
            ),
            ("no integration", &missing, true, &Present::default(), true, "enable it"),
        ] {
            let why = refusal(arrival, looked_at, present, force).unwrap();
            assert!(why.contains(words), "{what}: {why}");
        }
    }
}
