//! The days host by host: one question at a time to each, several hosts side by side. A host that
//! fails is told of once, and asked no further.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use indicatif::ProgressBar;
use reqwest::Url;
use shared::integration::{EncryptionKey, Integration, StoredIntegration};
use shared::job::Day;
use shared::ledger::{Arrival, CompletedRun, Ledger};
use sqlx::PgPool;
use tokio::sync::Mutex;

use super::{Report, was_judged};
use crate::arrival::covering::{NotCovered, Runs};
use crate::arrival::day::{Asked, arrival, verify};
use crate::arrival::unknown::{Deadline, Unknown};
use crate::output;
use crate::posthog_app::{App, AppError, PersonalKeys};
use crate::posthog_project;

/// So many hosts are asked side by side; each has a connection to Langfuse's database meanwhile.
const HOSTS_AT_ONCE: usize = 3;

/// A host, and the days whose events went there.
pub(super) struct Host {
    app: Url,
    /// A history has a thousand days of one project, which share its integration.
    days: VecDeque<(String, Day, Arc<Integration>)>,
    /// Why it need not be asked any more
    broken: Option<AppError>,
    has_answered: bool,
}

impl Host {
    /// Sorts days by the host that they went to, both in the order in which they are due. What has no
    /// usable integration cannot be asked about, which `status` and `doctor` say already.
    pub(super) fn of(
        due: Vec<(String, Day)>,
        integrations: &BTreeMap<&str, &StoredIntegration>,
        key: &EncryptionKey,
        personal: &PersonalKeys,
    ) -> Vec<Self> {
        let mut hosts: Vec<Self> = Vec::new();
        let mut places: BTreeMap<Url, usize> = BTreeMap::new();
        let mut opened: BTreeMap<String, Option<Arc<Integration>>> = BTreeMap::new();
        for (project, day) in due {
            let opened = opened.entry(project.clone()).or_insert_with(|| {
                let stored = integrations.get(project.as_str());
                stored.and_then(|stored| stored.open(key).ok()).map(Arc::new)
            });
            if let Some(integration) = opened.clone() {
                let app = personal.app(&integration.host);
                let place = *places.entry(app.clone()).or_insert(hosts.len());
                if place == hosts.len() {
                    hosts.push(Self {
                        app,
                        days: VecDeque::new(),
                        broken: None,
                        has_answered: false,
                    });
                }
                hosts[place].days.push_back((project, day, integration));
            }
        }
        hosts
    }
}

/// What all days share.
pub(super) struct Work<'a> {
    pub(super) source: &'a PgPool,
    pub(super) ledger: &'a Ledger,
    pub(super) app: &'a App,
    pub(super) posthog_project: Option<i64>,
    /// No day begins after that
    pub(super) until: Option<Instant>,
    /// Why PostHog need not be asked about a host and key any more
    pub(super) refused: std::sync::Mutex<BTreeMap<String, AppError>>,
}

impl Work<'_> {
    /// Verifies all days. The hosts take turns day by day: one with much to ask keeps no other waiting.
    pub(super) async fn all(&self, hosts: Vec<Host>) -> Report {
        let bar = output::progress("asking PostHog", hosts.iter().map(|host| host.days.len()).sum());
        let waiting = Mutex::new(VecDeque::from(hosts));
        let some = (0..HOSTS_AT_ONCE).map(|_| self.some(&waiting, &bar));
        let reports = futures::future::join_all(some).await;
        bar.finish_and_clear();
        let mut all = Report::default();
        for report in reports {
            all.days.extend(report.days);
            all.warnings.extend(report.warnings);
            all.left += report.left;
        }
        all.warnings.sort();
        all
    }

    /// Verifies a day of the host that has waited longest, and so on until none waits.
    async fn some(&self, waiting: &Mutex<VecDeque<Host>>, bar: &ProgressBar) -> Report {
        let mut report = Report::default();
        loop {
            let Some(mut host) = waiting.lock().await.pop_front() else {
                return report;
            };
            if self.until.is_some_and(|until| Instant::now() >= until) {
                report.left += host.days.len();
                host.days.clear();
            }
            if let Some(due) = host.days.pop_front() {
                self.next(&mut host, due, &mut report).await;
                bar.inc(1);
                waiting.lock().await.push_back(host);
            } else if host.has_answered
                && let Some(warning) = self.app.key_warning(&host.app).await
            {
                report.warnings.push(warning);
            }
        }
    }

    async fn next(&self, host: &mut Host, due: (String, Day, Arc<Integration>), report: &mut Report) {
        let (project, day, integration) = due;
        let judged = self.day(&host.app, &project, day, &integration, host.broken.as_ref());
        match judged.await {
            Ok((judged, error)) => {
                host.has_answered |= was_judged(&judged);
                report.days.push(judged);
                if let Some(error) = error.filter(AppError::is_of_host)
                    && host.broken.is_none()
                {
                    report.warnings.push(error.to_string());
                    host.broken = Some(error);
                }
            }
            Err(error) => report.warnings.push(format!("{project} {day}: {error}")),
        }
    }

    /// Verifies a day and keeps the verdict; answers what stands from now on. `broken`: why its host
    /// need not be asked.
    async fn day(
        &self,
        app: &Url,
        project: &str,
        day: Day,
        integration: &Integration,
        broken: Option<&AppError>,
    ) -> Result<(Arrival, Option<AppError>), Unknown> {
        let completed = self.ledger.completed_runs(project, day).await?;
        let Some(last) = last(&completed) else {
            return Err(NotCovered::NotExported.into());
        };
        let judged = async {
            let runs = Runs::to(&integration.target(), &completed)?;
            if let Some(error) = broken {
                return Err(Unknown::App(error.clone()));
            }
            if let Some(error) = self.refused().get(&integration.target()) {
                return Err(Unknown::App(error.clone()));
            }
            let found = posthog_project::find(self.app, self.ledger, app, integration, self.posthog_project);
            let found = found.await?.map_err(Unknown::App)?;
            let asked = Asked {
                project_id: project,
                day,
                runs: &runs,
                place: &found.place,
                deadline: Deadline(self.until),
            };
            let mut judged = verify(self.source, self.ledger, self.app, asked).await;
            if matches!(&judged, Ok((_, of_day)) if of_day.is_nothing_there()) {
                // The number may be another project's by now, as after PostHog was set up anew.
                let is_ours = found.has_key(self.app, integration).await;
                judged = is_ours.map_err(Unknown::App).and(judged);
            }
            match &judged {
                Ok(_) => found.remember(self.ledger, integration).await?,
                Err(Unknown::App(
                    AppError::NoProject { .. } | AppError::NoAccess { .. } | AppError::OtherKey { .. },
                )) => {
                    found.look_again(self.app, self.ledger, integration).await?;
                }
                Err(_) => {}
            }
            judged
        };
        let judged = judged.await;
        if let Err(Unknown::App(error)) = &judged
            && error.is_of_project()
        {
            self.refused().insert(integration.target(), error.clone());
        }
        let found = Arrival {
            target: Some(integration.target()),
            ..arrival(project, day, last, &judged)
        };
        // A host's fault costs one question, so its days need not wait longer and longer.
        let is_of_host = matches!(&judged, Err(Unknown::App(error)) if error.is_of_host());
        let stands = self.ledger.record_arrival(&found, !is_of_host).await?;
        let error = match judged {
            Err(Unknown::App(error)) => Some(error),
            _ => None,
        };
        Ok((stands, error))
    }
}

impl Work<'_> {
    fn refused(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, AppError>> {
        self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The run that was completed last, to whatever target.
fn last(runs: &[CompletedRun]) -> Option<(chrono::DateTime<chrono::Utc>, &str)> {
    let last = runs.iter().max_by_key(|run| run.completed_at)?;
    Some((last.completed_at, last.run.as_str()))
}

#[cfg(test)]
mod tests {
    use shared::settings::SecretString;

    use super::*;

    #[test]
    fn the_days_of_a_project_share_its_integration() {
        let key = EncryptionKey::from_hex(&SecretString::from("ab".repeat(32))).unwrap();
        let stored = |project: &str, encrypted: &str| StoredIntegration {
            project_id: project.to_owned(),
            project_name: project.to_owned(),
            encrypted_api_key: encrypted.to_owned(),
            host: "https://eu.i.posthog.com".to_owned(),
            enabled: true,
        };
        let one = stored("one", &key.encrypt(&SecretString::from("phc_one")).unwrap());
        let unreadable = stored("two", "of another key");
        let integrations = BTreeMap::from([("one", &one), ("two", &unreadable)]);
        let due = ["one", "two", "gone", "one", "one"].map(|project| (project.to_owned(), Day::FIRST));
        let hosts = Host::of(due.into(), &integrations, &key, &PersonalKeys::default());
        assert_eq!(hosts.len(), 1);
        let days: Vec<&Arc<Integration>> = hosts[0].days.iter().map(|(_, _, shared)| shared).collect();
        assert_eq!(days.len(), 3);
        assert!(days.iter().all(|one| Arc::ptr_eq(one, days[0])));
    }
}
