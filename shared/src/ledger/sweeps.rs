//! Until when the producer looked for late rows of a project, and which days it had looked at by
//! then.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use chrono::{DateTime, NaiveDate, Utc};

use super::Ledger;
use super::error::LedgerError;
use super::statement::reported;
use crate::job::Day;

/// What the last whole enqueue has seen of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Every row that was created before this moment, by a clock that is right, was visible to it
    pub until: DateTime<Utc>,
    /// The days that it looked at. Each of them that held data has a run. `None`: not known, because
    /// a program of before has recorded the sweep
    pub looked: Option<RangeInclusive<Day>>,
}

impl Ledger {
    /// What the last whole enqueue has seen, by project.
    pub async fn sweeps(&self) -> Result<BTreeMap<String, Sweep>, LedgerError> {
        type Row = (String, DateTime<Utc>, Option<NaiveDate>, Option<NaiveDate>);
        let rows = sqlx::query_as(
            "-- ledger_sweeps\nselect project_id, swept_until, looked_from, looked_to from posthog_export.sweeps",
        )
        .fetch_all(&self.pool);
        let sweep = |(project_id, until, from, to): Row| {
            let looked = from.zip(to).map(|(from, to)| Day(from)..=Day(to));
            (project_id, Sweep { until, looked })
        };
        Ok(reported(rows).await?.into_iter().map(sweep).collect())
    }

    /// Records until when late rows of each of these projects were looked for, which days were looked
    /// at after that moment, and that their jobs were confirmed.
    pub async fn record_swept(
        &self,
        swept: &[(String, DateTime<Utc>)],
        looked: &RangeInclusive<Day>,
    ) -> Result<(), LedgerError> {
        let (projects, until): (Vec<&str>, Vec<DateTime<Utc>>) =
            swept.iter().map(|(project, until)| (project.as_str(), *until)).unzip();
        let written = sqlx::query(
            "-- ledger_record_swept
             insert into posthog_export.sweeps (project_id, swept_until, looked_from, looked_to)
             select p, until, $3, $4 from unnest($1::text[], $2::timestamptz[]) as s (p, until)
             on conflict (project_id) do update
             set swept_until = greatest(sweeps.swept_until, excluded.swept_until),
                 looked_from = case when excluded.swept_until >= sweeps.swept_until then excluded.looked_from end,
                 looked_to = case when excluded.swept_until >= sweeps.swept_until then excluded.looked_to end",
        )
        .bind(&projects)
        .bind(&until)
        .bind((!looked.is_empty()).then_some(looked.start().0))
        .bind((!looked.is_empty()).then_some(looked.end().0))
        .execute(&self.pool);
        reported(written).await?;
        Ok(())
    }
}
