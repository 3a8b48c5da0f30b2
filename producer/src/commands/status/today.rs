//! How far today is exported, where a day has steps. PURE but for what reads it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::freshness::Steps;
use shared::job::Day;
use shared::ledger::{FailedStep, Ledger, LedgerError};

/// Today, of one project. The names in its JSON are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Today {
    /// Everything before this moment is exported
    pub(super) exported_until: DateTime<Utc>,
    /// The last step that failed, if what it did not send is still missing
    pub(super) failed_step: Option<FailedStep>,
}

/// Reads it, by project.
pub(super) async fn read(ledger: &Ledger, now: DateTime<Utc>) -> Result<BTreeMap<String, Today>, LedgerError> {
    let day = Day::of(now);
    let steps = ledger.steps(day).await?;
    let failed = if steps.is_empty() {
        Vec::new()
    } else {
        ledger.failed_steps(day).await?
    };
    let mut failed: BTreeMap<String, FailedStep> =
        failed.into_iter().map(|step| (step.project_id.clone(), step)).collect();
    let today = |steps: Steps| {
        let of_project = Today::of(day, &steps, failed.remove(&steps.project_id));
        (steps.project_id, of_project)
    };
    Ok(steps.into_iter().map(today).collect())
}

impl Today {
    fn of(day: Day, steps: &Steps, failed: Option<FailedStep>) -> Self {
        let exported_until = steps.covered_until(day);
        Self {
            exported_until,
            failed_step: failed.filter(|step| step.until > exported_until),
        }
    }

    /// A few words beside the lag.
    pub(super) fn words(&self) -> String {
        let until = clock(self.exported_until);
        match &self.failed_step {
            Some(step) => format!("today until {until}, {} failed: {}", step.run, step.error_code),
            None => format!("today until {until}"),
        }
    }
}

/// The time of day, UTC.
pub(super) fn clock(moment: DateTime<Utc>) -> String {
    moment.format("%H:%M").to_string()
}
