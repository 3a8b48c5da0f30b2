//! The days host by host: one question at a time to each, several hosts side by side. A host that
//! fails is told of once, and asked no further.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::StreamExt as _;
use indicatif::ProgressBar;
use reqwest::Url;
use shared::ingestion::app_url;
use shared::integration::{EncryptionKey, Integration, StoredIntegration};
use shared::job::Day;
use shared::ledger::{Arrival, CompletedRun, Ledger};
use sqlx::PgPool;

use super::{Report, was_judged};
use crate::arrival::covering::{NotCovered, Runs};
use crate::arrival::day::{Asked, arrival, verify};
use crate::arrival::unknown::Unknown;
use crate::output;
use crate::posthog_app::{App, AppError, Place};
use crate::posthog_project;

/// So many hosts are asked side by side; each has a connection to Langfuse's database meanwhile.
const HOSTS_AT_ONCE: usize = 3;

/// A host, and the days whose events went there.
pub(super) struct Host {
    app: Url,
    days: Vec<(String, Day, Integration)>,
}

impl Host {
    /// Sorts days by the host that they went to. What has no usable integration cannot be asked
    /// about, which `status` and `doctor` say already.
    pub(super) fn of(
        due: Vec<(String, Day)>,
        integrations: &BTreeMap<&str, &StoredIntegration>,
        key: &EncryptionKey,
    ) -> Vec<Self> {
        let mut hosts: BTreeMap<Url, Vec<_>> = BTreeMap::new();
        for (project, day) in due {
            let opened = integrations
                .get(project.as_str())
                .and_then(|stored| stored.open(key).ok());
            if let Some(integration) = opened {
                let days = hosts.entry(app_url(&integration.host)).or_default();
                days.push((project, day, integration));
            }
        }
        hosts.into_iter().map(|(app, days)| Self { app, days }).collect()
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
}

impl Work<'_> {
    /// Verifies all days.
    pub(super) async fn all(&self, hosts: Vec<Host>) -> Report {
        let bar = output::progress("asking PostHog", hosts.iter().map(|host| host.days.len()).sum());
        let reports = futures::stream::iter(hosts).map(|host| self.host(host, &bar));
        let reports: Vec<Report> = reports.buffer_unordered(HOSTS_AT_ONCE).collect().await;
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

    async fn host(&self, Host { app, days }: Host, bar: &ProgressBar) -> Report {
        let mut report = Report::default();
        let mut broken: Option<AppError> = None;
        for (project, day, integration) in days {
            if self.until.is_some_and(|until| Instant::now() >= until) {
                report.left += 1;
                continue;
            }
            let judged = self.day(&app, &project, day, &integration, broken.as_ref()).await;
            bar.inc(1);
            match judged {
                Ok((judged, error)) => {
                    report.days.push(judged);
                    if let Some(error) = error.filter(AppError::is_of_host)
                        && broken.is_none()
                    {
                        report.warnings.push(error.to_string());
                        broken = Some(error);
                    }
                }
                Err(error) => report.warnings.push(format!("{project} {day}: {error}")),
            }
        }
        if report.days.iter().any(was_judged)
            && let Some(warning) = self.app.key_warning(&app).await
        {
            report.warnings.push(warning);
        }
        report
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
            let place = self.place(app, integration).await?;
            let asked = Asked {
                project_id: project,
                day,
                runs: &runs,
                place: &place,
                until: self.until,
            };
            verify(self.source, self.ledger, self.app, asked).await
        };
        let judged = judged.await;
        if let Err(Unknown::App(AppError::NoProject { .. } | AppError::NoAccess { .. })) = &judged {
            // It may be another project by now.
            let target = integration.target();
            self.ledger.remember_posthog_project(&target, None).await?;
        }
        let found = Arrival {
            target: Some(integration.target()),
            ..arrival(project, day, last, &judged)
        };
        let stands = self.ledger.record_arrival(&found).await?;
        let error = match judged {
            Err(Unknown::App(error)) => Some(error),
            _ => None,
        };
        Ok((stands, error))
    }

    /// Which PostHog project it is. It is remembered.
    async fn place(&self, app: &Url, integration: &Integration) -> Result<Place, Unknown> {
        let asked = posthog_project::find(self.app, self.ledger, app, integration, self.posthog_project);
        let found = asked.await?.map_err(Unknown::App)?;
        found.remember(self.ledger, integration).await?;
        Ok(found.place)
    }
}

/// The run that was completed last, to whatever target.
fn last(runs: &[CompletedRun]) -> Option<(chrono::DateTime<chrono::Utc>, &str)> {
    let last = runs.iter().max_by_key(|run| run.completed_at)?;
    Some((last.completed_at, last.run.as_str()))
}
