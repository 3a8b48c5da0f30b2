//! What PostHog held of a day when it was last asked.

mod due;
mod posthog_projects;
mod repaired;
mod runs;
mod verdict;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::Value;

use super::Ledger;
use super::error::LedgerError;
use super::statement::{answered, reported};
use crate::job::{Day, Stream};

pub use due::Wanted;
pub use repaired::Mark;
pub use runs::CompletedRun;
pub use verdict::Verdict;

/// The columns of an [`Arrival`].
macro_rules! columns {
    () => {
        "project_id, day, run, run_completed_at, verdict, says, expected, missing, extra, late, copies, weaker,
         nothing_after, streams, sample, hours, checked_at, repaired_at, target, looked_at, failure, set_aside"
    };
}

/// How often the day was looked at since its last run was completed.
macro_rules! looks {
    ($more:literal, $completed:literal) => {
        concat!(
            $more,
            " + case when coalesce(a.seen_completed_at, a.run_completed_at) >= ",
            $completed,
            " then a.looks else 0 end"
        )
    };
}

/// A verdict on a day.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Arrival {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// The UTC day
    #[sqlx(try_from = "NaiveDate")]
    pub day: Day,
    /// The last completed run, as the verdict found it
    pub run: String,
    /// When it was completed
    pub run_completed_at: DateTime<Utc>,
    /// The verdict
    pub verdict: Verdict,
    /// The same as a sentence, or why nothing is known
    pub says: String,
    /// Events that must be there
    pub expected: i64,
    /// Those of them that are not
    pub missing: i64,
    /// Events that nothing calls for
    pub extra: i64,
    /// Rows that may be there or not: they came too late, or PostHog refused them
    pub late: i64,
    /// Copies that are not folded yet
    pub copies: i64,
    /// Whether only counts could be compared
    pub weaker: bool,
    /// The hour of the day from which on everything is missing: it looks like a billing limit
    pub nothing_after: Option<i16>,
    /// The streams that miss events
    pub streams: Vec<Stream>,
    /// Some of the missing rows, as `trace/id`
    pub sample: Vec<String>,
    /// Missing events by stream and hour: `[expected, missing]`
    pub hours: Value,
    /// When it was found; written by the database
    pub checked_at: DateTime<Utc>,
    /// When a replay of what is missing was published; written by the database
    pub repaired_at: Option<DateTime<Utc>>,
    /// Host and fingerprint of the key that it was found with
    #[serde(skip)]
    pub target: Option<String>,
    /// When the day was last looked at, also where that failed; written by the database
    pub looked_at: DateTime<Utc>,
    /// Why the last look decided nothing, where what was found before stayed; written by the database
    pub failure: Option<String>,
    /// Whether the project is switched off or gone, so that nobody is called for the day
    pub set_aside: bool,
}

/// How many days have not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct NotArrived {
    /// Days with the verdict `missing`, of projects that are switched on
    pub days: i64,
    /// The end of the oldest of them
    pub oldest: Option<DateTime<Utc>>,
}

impl Ledger {
    /// Keeps a verdict, and answers what stands from now on. That nothing could be asked replaces
    /// neither the verdict `missing`, whose alert would end by it, nor what was found of the same run:
    /// then that verdict stays, and why the look failed is kept beside it. `not_yet` does not replace
    /// `missing` either: another run ends no alert before the day is whole. `was_looked_at`: whether
    /// this look counts for when the next one is due.
    pub async fn record_arrival(&self, arrival: &Arrival, was_looked_at: bool) -> Result<Arrival, LedgerError> {
        let written = sqlx::query_as(concat!(
            "-- ledger_record_arrival
             insert into posthog_export.arrivals as a
               (project_id, day, run, run_completed_at, verdict, says, expected, missing, extra, late, copies, weaker,
                nothing_after, streams, sample, hours, target, seen_completed_at, looks)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $4, $18)
             on conflict (project_id, day) do update
             set run = excluded.run, run_completed_at = excluded.run_completed_at, verdict = excluded.verdict,
                 says = excluded.says, expected = excluded.expected, missing = excluded.missing, extra = excluded.extra,
                 late = excluded.late, copies = excluded.copies, weaker = excluded.weaker,
                 nothing_after = excluded.nothing_after, streams = excluded.streams, sample = excluded.sample,
                 hours = excluded.hours, target = excluded.target, checked_at = clock_timestamp(),
                 looked_at = clock_timestamp(), seen_completed_at = excluded.seen_completed_at, failure = null,
                 looks = ",
            looks!("excluded.looks", "excluded.seen_completed_at"),
            ",
                 repaired_at = case when a.run_completed_at = excluded.run_completed_at then a.repaired_at end
             where excluded.verdict not in ('unknown', 'not_yet') or a.verdict in ('unknown', 'not_yet')
                or a.verdict <> 'missing' and (excluded.verdict = 'not_yet' or a.run_completed_at < excluded.run_completed_at)
             returning ",
            columns!()
        ))
        .bind(&arrival.project_id)
        .bind(arrival.day.0)
        .bind(&arrival.run)
        .bind(arrival.run_completed_at)
        .bind(arrival.verdict)
        .bind(&arrival.says)
        .bind(arrival.expected)
        .bind(arrival.missing)
        .bind(arrival.extra)
        .bind(arrival.late)
        .bind(arrival.copies)
        .bind(arrival.weaker)
        .bind(arrival.nothing_after)
        .bind(&arrival.streams)
        .bind(&arrival.sample)
        .bind(&arrival.hours)
        .bind(&arrival.target)
        .bind(i32::from(was_looked_at))
        .fetch_optional(&self.pool);
        match answered(written).await? {
            Some(stands) => Ok(stands),
            None => self.record_failed_look(arrival, was_looked_at).await,
        }
    }

    async fn record_failed_look(&self, arrival: &Arrival, was_looked_at: bool) -> Result<Arrival, LedgerError> {
        let written = sqlx::query_as(concat!(
            "-- ledger_record_failed_look
             update posthog_export.arrivals a
             set looked_at = clock_timestamp(), seen_completed_at = $3, failure = $4, looks = ",
            looks!("$5", "$3"),
            "
             where project_id = $1 and day = $2
             returning ",
            columns!()
        ))
        .bind(&arrival.project_id)
        .bind(arrival.day.0)
        .bind(arrival.run_completed_at)
        .bind(&arrival.says)
        .bind(i32::from(was_looked_at))
        .fetch_one(&self.pool);
        answered(written).await
    }

    /// The verdicts on the days of some projects, or of all, by project and day.
    pub async fn arrivals(&self, projects: &[String]) -> Result<Vec<Arrival>, LedgerError> {
        let rows = sqlx::query_as(concat!(
            "-- ledger_arrivals\nselect ",
            columns!(),
            " from posthog_export.arrivals where cardinality($1::text[]) = 0 or project_id = any($1)
             order by project_id, day"
        ))
        .bind(projects)
        .fetch_all(&self.pool);
        reported(rows).await
    }

    /// The verdicts on the days that miss events, of some projects or of all, and between two days if
    /// these are given; without those that are set aside. By day and project.
    pub async fn missing_arrivals(
        &self,
        projects: &[String],
        days: Option<(Day, Day)>,
    ) -> Result<Vec<Arrival>, LedgerError> {
        let (from, to) = days.unzip();
        let rows = sqlx::query_as(concat!(
            "-- ledger_missing_arrivals\nselect ",
            columns!(),
            " from posthog_export.arrivals
             where verdict = 'missing' and not set_aside
               and (cardinality($1::text[]) = 0 or project_id = any($1))
               and ($2::date is null or day between $2 and $3)
             order by day, project_id"
        ))
        .bind(projects)
        .bind(from.map(|day| day.0))
        .bind(to.map(|day| day.0))
        .fetch_all(&self.pool);
        reported(rows).await
    }

    /// Sets the days aside that miss events where their project is not among these, and takes those
    /// back whose project is. Answers which projects' days changed: set aside or not.
    pub async fn set_aside(&self, switched_on: &[String]) -> Result<Vec<(String, bool)>, LedgerError> {
        let written = sqlx::query_as(
            "-- ledger_set_aside
             with changed as (
               update posthog_export.arrivals set set_aside = not set_aside
               where verdict = 'missing' and set_aside = (project_id = any($1))
               returning project_id, set_aside)
             select distinct project_id, set_aside from changed order by project_id",
        );
        answered(written.bind(switched_on).fetch_all(&self.pool)).await
    }

    /// How many days have not arrived, and since when.
    pub async fn not_arrived(&self) -> Result<NotArrived, LedgerError> {
        let counted = sqlx::query_as(
            "-- ledger_not_arrived
             select count(*) as days, (min(day) + 1)::timestamp at time zone 'UTC' as oldest
             from posthog_export.arrivals where verdict = 'missing' and not set_aside",
        );
        answered(counted.fetch_one(&self.pool)).await
    }
}
