//! What PostHog held of a day when it was last asked.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::Ledger;
use super::error::LedgerError;
use super::statement::{answered, reported};
use crate::job::{Day, Span, Stream};

/// What is known of a day in PostHog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything is there
    Arrived,
    /// Something is not there, and the export is not a day old
    NotYet,
    /// Something is not there
    Missing,
    /// Everything is there, and more
    Extra,
    /// PostHog could not be asked, or not about this day
    Unknown,
}

impl Verdict {
    const ALL: [Self; 5] = [Self::Arrived, Self::NotYet, Self::Missing, Self::Extra, Self::Unknown];

    /// Its word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::NotYet => "not_yet",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Unknown => "unknown",
        }
    }
}

impl FromStr for Verdict {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|verdict| verdict.as_str() == word);
        found.ok_or_else(|| format!("`{word}` is no verdict"))
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
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
    /// When PostHog was asked; written by the database
    pub checked_at: DateTime<Utc>,
    /// When a replay of what is missing was published
    pub repaired_at: Option<DateTime<Utc>>,
}

/// A completed run of a day, as far as it says what PostHog must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedRun {
    /// Its name
    pub run: String,
    /// Host and fingerprint of the key
    pub target: Option<String>,
    /// Whether it was of all rows of the usual streams
    pub is_full: bool,
    /// When its cursors were last at the beginning
    pub began: DateTime<Utc>,
    /// When it was completed
    pub completed_at: DateTime<Utc>,
    /// Only rows created since then
    pub created_after: Option<DateTime<Utc>>,
    /// Only this part of the day
    pub span: Option<Span>,
    /// The streams that it has read to their end
    pub done: Vec<Stream>,
}

/// How many days have not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct NotArrived {
    /// Days with the verdict `missing`
    pub days: i64,
    /// The end of the oldest of them
    pub oldest: Option<DateTime<Utc>>,
}

/// Which days to verify.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Only these projects; all when empty
    pub projects: &'a [String],
    /// First day
    pub from: Day,
    /// Last day, included
    pub to: Day,
    /// Also days whose verdict is not due to be looked at again
    pub all: bool,
}

impl Ledger {
    /// The exported days that are to be verified, oldest first. By itself a day is due an hour after
    /// its last run was completed, and while nothing is known of it, or not everything is there yet,
    /// every hour; a day that misses events also where it lies before `from`.
    pub async fn days_to_verify(&self, wanted: &Wanted<'_>) -> Result<Vec<(String, Day)>, LedgerError> {
        let rows = sqlx::query_as::<_, (String, NaiveDate)>(
            "-- ledger_days_to_verify
             with days as (
               select project_id, day, max(completed_at) filter (where state = 'completed') as completed_at,
                      bool_or(state in ('queued', 'running', 'waiting')) as moving
               from posthog_export.runs
               where (day between $1 and $2
                      or not $4 and (project_id, day) in (select m.project_id, m.day from posthog_export.arrivals m
                                                          where m.verdict = 'missing'))
                 and (cardinality($3::text[]) = 0 or project_id = any($3))
               group by project_id, day
               having bool_or(state = 'completed' and created_after is null and span_from is null
                              and coalesce(events @> array['trace', 'generation', 'score'], true)))
             select d.project_id, d.day
             from days d left join posthog_export.arrivals a on a.project_id = d.project_id and a.day = d.day
             where $4 or not d.moving and d.completed_at < clock_timestamp() - interval '1 hour'
                  and (a.verdict is null or a.run_completed_at < d.completed_at
                       or a.verdict in ('not_yet', 'unknown') and a.checked_at < clock_timestamp() - interval '1 hour')
             order by d.day, d.project_id",
        )
        .bind(wanted.from.0)
        .bind(wanted.to.0)
        .bind(wanted.projects)
        .bind(wanted.all)
        .fetch_all(&self.pool);
        let days = reported(rows).await?;
        Ok(days.into_iter().map(|(project, day)| (project, Day(day))).collect())
    }

    /// The completed runs of a day, to whatever target.
    pub async fn completed_runs(&self, project_id: &str, day: Day) -> Result<Vec<CompletedRun>, LedgerError> {
        #[derive(sqlx::FromRow)]
        struct Found {
            run: String,
            target: Option<String>,
            is_full: bool,
            started_at: DateTime<Utc>,
            completed_at: DateTime<Utc>,
            created_after: Option<DateTime<Utc>>,
            span_from: Option<DateTime<Utc>>,
            span_until: Option<DateTime<Utc>>,
            done: Vec<Stream>,
        }
        let rows = sqlx::query_as::<_, Found>(
            "-- ledger_completed_runs
             select r.run, r.target, r.started_at, r.completed_at, r.created_after, r.span_from, r.span_until,
                    r.created_after is null and r.span_from is null
                      and coalesce(r.events @> array['trace', 'generation', 'score'], true) as is_full,
                    array(select s.stream from posthog_export.streams s
                          where s.project_id = r.project_id and s.day = r.day and s.run = r.run and s.done) as done
             from posthog_export.runs r
             where r.project_id = $1 and r.day = $2 and r.state = 'completed' and r.started_at is not null
               and r.completed_at is not null",
        )
        .bind(project_id)
        .bind(day.0)
        .fetch_all(&self.pool);
        let run = |found: Found| CompletedRun {
            run: found.run,
            target: found.target,
            is_full: found.is_full,
            began: found.started_at,
            completed_at: found.completed_at,
            created_after: found.created_after,
            span: found
                .span_from
                .zip(found.span_until)
                .map(|(from, until)| Span { from, until }),
            done: found.done,
        };
        Ok(answered(rows).await?.into_iter().map(run).collect())
    }

    /// The rows of a day that PostHog has refused for good, in any run.
    pub async fn rejected_rows(&self, project_id: &str, day: Day) -> Result<Vec<(Stream, String)>, LedgerError> {
        let rows = sqlx::query_as(
            "-- ledger_rejected_rows
             select distinct stream, row_id from posthog_export.rejects where project_id = $1 and day = $2",
        )
        .bind(project_id)
        .bind(day.0)
        .fetch_all(&self.pool);
        reported(rows).await
    }

    /// Keeps a verdict. That nothing could be asked now does not replace what was found of the same
    /// run.
    pub async fn record_arrival(&self, arrival: &Arrival) -> Result<(), LedgerError> {
        let written = sqlx::query(
            "-- ledger_record_arrival
             insert into posthog_export.arrivals as a
               (project_id, day, run, run_completed_at, verdict, says, expected, missing, extra, late, copies, weaker,
                nothing_after, streams, sample, hours)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
             on conflict (project_id, day) do update
             set run = excluded.run, run_completed_at = excluded.run_completed_at, verdict = excluded.verdict,
                 says = excluded.says, expected = excluded.expected, missing = excluded.missing, extra = excluded.extra,
                 late = excluded.late, copies = excluded.copies, weaker = excluded.weaker,
                 nothing_after = excluded.nothing_after, streams = excluded.streams, sample = excluded.sample,
                 hours = excluded.hours, checked_at = clock_timestamp(),
                 repaired_at = case when a.run_completed_at = excluded.run_completed_at then a.repaired_at end
             where excluded.verdict <> 'unknown' or a.verdict in ('unknown', 'not_yet')
                or a.run_completed_at < excluded.run_completed_at",
        )
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
        .execute(&self.pool);
        answered(written).await?;
        Ok(())
    }

    /// The verdicts on the days of some projects, or of all, by project and day.
    pub async fn arrivals(&self, projects: &[String]) -> Result<Vec<Arrival>, LedgerError> {
        let rows = sqlx::query_as(
            "-- ledger_arrivals
             select project_id, day, run, run_completed_at, verdict, says, expected, missing, extra, late, copies, weaker,
                    nothing_after, streams, sample, hours, checked_at, repaired_at
             from posthog_export.arrivals where cardinality($1::text[]) = 0 or project_id = any($1)
             order by project_id, day",
        )
        .bind(projects)
        .fetch_all(&self.pool);
        reported(rows).await
    }

    /// Records that what a day misses was published again. Answers false when it was before, for
    /// the same verdict, unless `again`.
    pub async fn record_repaired(&self, project_id: &str, day: Day, again: bool) -> Result<bool, LedgerError> {
        let written = sqlx::query(
            "-- ledger_record_repaired
             update posthog_export.arrivals set repaired_at = clock_timestamp()
             where project_id = $1 and day = $2 and ($3 or repaired_at is null)",
        )
        .bind(project_id)
        .bind(day.0)
        .bind(again)
        .execute(&self.pool);
        Ok(answered(written).await?.rows_affected() == 1)
    }

    /// How many days have not arrived, and since when.
    pub async fn not_arrived(&self) -> Result<NotArrived, LedgerError> {
        let counted = sqlx::query_as(
            "-- ledger_not_arrived
             select count(*) as days, (min(day) + 1)::timestamp at time zone 'UTC' as oldest
             from posthog_export.arrivals where verdict = 'missing'",
        );
        answered(counted.fetch_one(&self.pool)).await
    }

    /// Which PostHog project this target is, if that is known.
    pub async fn posthog_project(&self, target: &str) -> Result<Option<i64>, LedgerError> {
        let known = sqlx::query_scalar(
            "-- ledger_posthog_project\nselect posthog_project from posthog_export.posthog_projects where target = $1",
        );
        answered(known.bind(target).fetch_optional(&self.pool)).await
    }

    /// Remembers which PostHog project this target is; `None` forgets it.
    pub async fn remember_posthog_project(&self, target: &str, project: Option<i64>) -> Result<(), LedgerError> {
        let written = sqlx::query(
            "-- ledger_remember_posthog_project
             with gone as (delete from posthog_export.posthog_projects where target = $1 and $2::bigint is null)
             insert into posthog_export.posthog_projects (target, posthog_project)
             select $1, $2 where $2 is not null
             on conflict (target) do update
             set posthog_project = excluded.posthog_project, found_at = clock_timestamp()",
        )
        .bind(target)
        .bind(project)
        .execute(&self.pool);
        answered(written).await?;
        Ok(())
    }
}
