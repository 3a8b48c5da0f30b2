//! What the console reads of all projects at once. A ledger of 400 projects over three years has half
//! a million runs, so each statement reads the unfinished runs, or a few days of each project, by an
//! index.

use chrono::NaiveDate;

use super::Ledger;
use super::error::LedgerError;
use super::reports::RunRow;
use super::reports::run_rows;
use super::state::State;
use super::statement::reported;
use crate::job::Day;

/// Days of a project, with the runs that say what became of them. Steps are left out: there are up to
/// 96 a day, and none of them satisfies its day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectDays {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// By day
    pub runs: Vec<DayRun>,
    /// The days that have steps
    pub in_steps: Vec<Day>,
}

/// A run, as far as it says what became of its day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayRun {
    /// The UTC day
    pub day: Day,
    /// The run's name
    pub run: String,
    /// Its state
    pub state: State,
    /// Whether it exports all rows of the usual streams
    pub full: bool,
}

/// What a project sent of some days.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Sent {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// Events of the days before the last one
    pub before: i64,
    /// Events of the last day
    pub last_day: i64,
    /// Rows refused for good, of all these days
    pub rejected: i64,
}

/// The runs of a project that are in one state, and not completed.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Unfinished {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// The state
    pub state: State,
    /// How many
    pub runs: i64,
    /// The oldest day of them
    #[sqlx(try_from = "NaiveDate")]
    pub oldest: Day,
}

/// What is known of a project's days in PostHog.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct ArrivalCounts {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// Days with the verdict `missing`, of all time
    pub not_arrived: i64,
    /// Days of the asked ones with a verdict other than `unknown`
    pub verified: i64,
}

impl Ledger {
    /// Every project that has a run. Reads one entry of the index for each.
    pub async fn projects(&self) -> Result<Vec<String>, LedgerError> {
        let ids = sqlx::query_scalar(
            "-- ledger_projects
             with recursive ids as (
               (select project_id from posthog_export.runs order by project_id limit 1)
               union all
               select (select r.project_id from posthog_export.runs r
                       where r.project_id > ids.project_id order by r.project_id limit 1)
               from ids where ids.project_id is not null)
             select project_id from ids where project_id is not null",
        );
        reported(ids.fetch_all(&self.pool)).await
    }

    /// The runs of these days, for each of these projects.
    pub async fn runs_of_days(&self, projects: &[String], from: Day, to: Day) -> Result<Vec<ProjectDays>, LedgerError> {
        // A row for each project: of 25,000 rows, most of the time would go into their columns. Sorted
        // once: each `array_agg (… order by …)` would sort by itself.
        type Row = (
            String,
            Vec<NaiveDate>,
            Vec<String>,
            Vec<State>,
            Vec<bool>,
            Vec<NaiveDate>,
        );
        let rows = sqlx::query_as::<_, Row>(
            "-- ledger_runs_of_days
             select p.id, r.days, r.names, r.states, r.fulls, r.steps
             from unnest($1::text[]) as p (id)
             cross join lateral (
               select coalesce(array_agg(day) filter (where not step), '{}') as days,
                      coalesce(array_agg(run) filter (where not step), '{}') as names,
                      coalesce(array_agg(state) filter (where not step), '{}') as states,
                      coalesce(array_agg(\"full\") filter (where not step), '{}') as fulls,
                      coalesce(array_agg(distinct day) filter (where step), '{}') as steps
               from (select day, run, state, run like 'step-%' as step,
                            created_after is null and span_from is null
                              and coalesce(events @> array['trace', 'generation', 'score'], true) as \"full\"
                     from posthog_export.runs where project_id = p.id and day between $2 and $3 order by day) d) r",
        )
        .bind(projects)
        .bind(from.0)
        .bind(to.0);
        let days = |(project_id, days, names, states, fulls, steps): Row| ProjectDays {
            project_id,
            runs: day_runs(days, names, states, fulls),
            in_steps: steps.into_iter().map(Day).collect(),
        };
        Ok(reported(rows.fetch_all(&self.pool))
            .await?
            .into_iter()
            .map(days)
            .collect())
    }

    /// The runs of every day before this one that has a full run which is neither completed nor
    /// discarded, by project.
    pub async fn runs_of_open_days(&self, before: Day) -> Result<Vec<ProjectDays>, LedgerError> {
        type Row = (String, Vec<NaiveDate>, Vec<String>, Vec<State>, Vec<bool>);
        // `lateral` with an aggregate: however many days are open, each is read by the index.
        let rows = sqlx::query_as::<_, Row>(
            "-- ledger_runs_of_open_days
             with open as (
               select distinct project_id, day from posthog_export.runs
               where state in ('running', 'queued', 'waiting', 'dead', 'skipped') and state <> 'completed' and day < $1
                 and created_after is null and span_from is null
                 and coalesce(events @> array['trace', 'generation', 'score'], true))
             select o.project_id, r.days, r.names, r.states, r.fulls from open o
             cross join lateral (
               select array_agg(day) as days, array_agg(run) as names, array_agg(state) as states,
                      array_agg(created_after is null and span_from is null
                        and coalesce(events @> array['trace', 'generation', 'score'], true)) as fulls
               from posthog_export.runs where project_id = o.project_id and day = o.day and run not like 'step-%') r
             order by o.project_id, o.day",
        )
        .bind(before.0);
        let mut found: Vec<ProjectDays> = Vec::new();
        for (project_id, days, names, states, fulls) in reported(rows.fetch_all(&self.pool)).await? {
            let runs = day_runs(days, names, states, fulls);
            match found.last_mut() {
                Some(last) if last.project_id == project_id => last.runs.extend(runs),
                _ => found.push(ProjectDays {
                    project_id,
                    runs,
                    in_steps: Vec::new(),
                }),
            }
        }
        Ok(found)
    }

    /// What these projects sent of these days; the last one for itself.
    pub async fn sent_of_days(&self, projects: &[String], from: Day, to: Day) -> Result<Vec<Sent>, LedgerError> {
        let rows = sqlx::query_as(
            "-- ledger_sent_of_days
             select p.id as project_id, s.before, s.last_day, s.rejected
             from unnest($1::text[]) as p (id)
             cross join lateral (
               select coalesce(sum(sent) filter (where day < $3), 0)::bigint as before,
                      coalesce(sum(sent) filter (where day = $3), 0)::bigint as last_day,
                      coalesce(sum(rejected), 0)::bigint as rejected
               from posthog_export.streams where project_id = p.id and day between $2 and $3) s",
        )
        .bind(projects)
        .bind(from.0)
        .bind(to.0);
        reported(rows.fetch_all(&self.pool)).await
    }

    /// How many runs of each project are neither completed nor discarded, by state.
    pub async fn unfinished(&self) -> Result<Vec<Unfinished>, LedgerError> {
        let rows = sqlx::query_as(
            "-- ledger_unfinished
             select project_id, state, count(*) as runs, min(day) as oldest from posthog_export.runs
             where state in ('running', 'queued', 'waiting', 'dead', 'skipped') and state <> 'completed'
             group by project_id, state",
        );
        reported(rows.fetch_all(&self.pool)).await
    }

    /// What is known in PostHog of these projects: of these days, and whatever is missing.
    pub async fn arrivals_of_days(
        &self,
        projects: &[String],
        from: Day,
        to: Day,
    ) -> Result<Vec<ArrivalCounts>, LedgerError> {
        let rows = sqlx::query_as(
            "-- ledger_arrivals_of_days
             with missing as (select project_id, count(*) as days from posthog_export.arrivals
                              where verdict = 'missing' and not set_aside group by project_id)
             select p.id as project_id, coalesce(m.days, 0) as not_arrived, a.verified
             from unnest($1::text[]) as p (id)
             cross join lateral (
               select count(*) filter (where verdict <> 'unknown') as verified from posthog_export.arrivals
               where project_id = p.id and day between $2 and $3) a
             left join missing m on m.project_id = p.id",
        )
        .bind(projects)
        .bind(from.0)
        .bind(to.0);
        reported(rows.fetch_all(&self.pool)).await
    }

    /// The runs that workers hold, those that began first before the others.
    pub async fn at_work(&self, limit: i64) -> Result<Vec<RunRow>, LedgerError> {
        let rows = sqlx::query_as(run_rows!(
            "-- ledger_at_work",
            "r.state = 'running' and r.state <> 'completed' order by r.started_at, r.project_id, r.day, r.run limit $1"
        ));
        reported(rows.bind(limit).fetch_all(&self.pool)).await
    }
}

fn day_runs(days: Vec<NaiveDate>, names: Vec<String>, states: Vec<State>, fulls: Vec<bool>) -> Vec<DayRun> {
    let columns = days.into_iter().zip(names).zip(states).zip(fulls);
    let run = |(((day, run), state), full)| DayRun {
        day: Day(day),
        run,
        state,
        full,
    };
    columns.map(run).collect()
}
