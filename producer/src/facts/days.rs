//! Finds the days that hold data. Traces and generations are found project by project. Scores are
//! harder: Langfuse's own index of their times has no project.
//!
//! Without an index on the project and the time, nothing but reading a day's scores of all projects
//! says whether a project has a score on it. So that is done once, by the first enqueue. After that
//! only the scores are read that were created since.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use shared::job::Day;
use shared::langfuse::{
    Days, days_with_any_scores, days_with_scores, days_with_traces, has_index, projects_with_scores, score_days,
    scores_created_between,
};
use shared::ledger::{RunRow, Sweep};
use sqlx::PgPool;

use super::Effort;
use crate::error::CommandError;
use crate::output::progress;
use crate::plan::{MARGIN, union, without};

/// A day with more scores than this is walked only when nothing cheaper can answer.
const CHEAP_DAY: u32 = 1_000;
/// A project with more scores than this is not walked as a whole.
const CHEAP_PROJECT: u32 = 10_000;
/// With [`Effort::Bounded`], what arrived since an older look is not read: the project is paused, or
/// no enqueue has run since.
const LONGEST_READ: TimeDelta = TimeDelta::days(7);

/// A project, and the days of which it is asked whether they hold data.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) project_id: String,
    /// Ranges in order, that do not overlap. Days that were found are taken out
    open: Vec<Days>,
    pub(crate) found: BTreeSet<Day>,
    /// The days that an enqueue has looked at, and since when a row may have arrived there
    looked: Option<(Days, DateTime<Utc>)>,
    /// Days that have runs. What an enqueue has looked at says nothing about them: they may have held
    /// data then, and wait for another job. Steps do not count: they are asked for whether the day
    /// holds data or not
    with_runs: BTreeSet<Day>,
    effort: Effort,
}

impl Asked {
    /// Finds the days that hold a trace or a generation, or with `observations` any observation.
    /// What is left is asked for scores.
    pub(crate) async fn of_traces(
        source: &PgPool,
        project_id: &str,
        ranges: Vec<Days>,
        observations: bool,
    ) -> Result<Self, CommandError> {
        let found: BTreeSet<Day> = days_with_traces(source, project_id, &ranges, observations)
            .await?
            .into_iter()
            .collect();
        Ok(Self {
            project_id: project_id.to_owned(),
            open: without(ranges, &found),
            found,
            looked: None,
            with_runs: BTreeSet::new(),
            effort: Effort::Whole,
        })
    }

    /// The same, for a project that an enqueue has seen before.
    pub(crate) fn after(self, sweep: Option<Sweep>, runs: &[RunRow], effort: Effort, now: DateTime<Utc>) -> Self {
        let is_read_on = |sweep: &Sweep| effort == Effort::Whole || now - sweep.until < LONGEST_READ;
        let looked = sweep.filter(is_read_on).and_then(|sweep| {
            let since = sweep.until.checked_sub_signed(TimeDelta::from_std(MARGIN).ok()?)?;
            Some((sweep.looked?, since))
        });
        Self {
            looked,
            with_runs: runs.iter().filter(|run| !run.is_step()).map(|run| run.day).collect(),
            effort,
            ..self
        }
    }

    fn is_open(&self, day: Day) -> bool {
        let at = self.open.partition_point(|range| *range.end() < day);
        self.open.get(at).is_some_and(|range| range.contains(&day)) && !self.found.contains(&day)
    }

    /// Since when a row may have arrived on a day that an enqueue has looked at. PURE.
    fn looked_at(&self, day: Day) -> Option<DateTime<Utc>> {
        let (days, since) = self.looked.as_ref()?;
        (days.contains(&day) && !self.with_runs.contains(&day)).then_some(*since)
    }

    /// Whether no enqueue has looked at the day. PURE.
    fn is_unknown(&self, day: Day) -> bool {
        self.is_open(day) && self.looked_at(day).is_none()
    }

    fn find(&mut self, days: impl IntoIterator<Item = Day>) {
        let open: Vec<Day> = days.into_iter().filter(|day| self.is_open(*day)).collect();
        self.found.extend(open);
    }
}

/// Finds the days that hold nothing but scores.
pub(crate) async fn of_scores(source: &PgPool, asked: &mut [Asked], now: DateTime<Utc>) -> Result<(), CommandError> {
    if has_index(source, "scores", &["project_id", "timestamp"]).await? {
        for project in asked {
            let found = days_with_scores(source, &project.project_id, &project.open).await?;
            project.find(found);
        }
        return Ok(());
    }
    let ranges = union(asked.iter().flat_map(|project| project.open.clone()).collect());
    let mut dear = BTreeSet::new();
    let bar = progress("looking for scores", 0);
    for day in days_with_any_scores(source, &ranges).await? {
        bar.inc(1);
        if !of_day(source, day, CHEAP_DAY, asked, Asked::is_open).await? {
            dear.insert(day);
        }
    }
    since_the_last_look(source, asked, &dear, now).await?;
    let mut large = BTreeSet::new();
    for project in asked
        .iter_mut()
        .filter(|project| dear.iter().any(|day| project.is_unknown(*day)))
    {
        bar.inc(1);
        let own = score_days(source, &project.project_id, CHEAP_PROJECT).await?;
        if own.complete {
            project.find(own.found);
        } else if project.effort == Effort::Whole || project.looked.is_some() {
            large.insert(project.project_id.clone());
        }
    }
    for day in dear {
        bar.inc(1);
        let wanted = |project: &Asked, day| large.contains(&project.project_id) && project.is_unknown(day);
        of_day(source, day, u32::MAX, asked, wanted).await?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Finds the scores of these days that were created since an enqueue has looked at them.
async fn since_the_last_look(
    source: &PgPool,
    asked: &mut [Asked],
    days: &BTreeSet<Day>,
    now: DateTime<Utc>,
) -> Result<(), CommandError> {
    let looked = |project: &Asked| {
        let open = days.iter().filter(|day| project.is_open(**day));
        open.filter_map(|day| project.looked_at(*day)).min()
    };
    let known: Vec<(String, DateTime<Utc>)> = asked
        .iter()
        .filter_map(|project| Some((project.project_id.clone(), looked(project)?)))
        .collect();
    let Some(since) = known.iter().map(|(_, since)| *since).min() else {
        return Ok(());
    };
    let ids: Vec<String> = known.into_iter().map(|(id, _)| id).collect();
    for (since, until) in steps(since, now) {
        for (id, day) in scores_created_between(source, &ids, since, until).await? {
            if days.contains(&day)
                && let Some(project) = asked.iter_mut().find(|project| project.project_id == id)
            {
                project.find([day]);
            }
        }
    }
    Ok(())
}

/// One step for each day of creation, so that each statement ends within its time limit. The last is
/// what was "created" in the future. PURE.
fn steps(since: DateTime<Utc>, now: DateTime<Utc>) -> Vec<(DateTime<Utc>, Option<DateTime<Utc>>)> {
    let mut steps = Vec::new();
    let mut from = since;
    while from < now {
        let until = from
            .checked_add_signed(TimeDelta::days(1))
            .map_or(now, |step| step.min(now));
        steps.push((from, Some(until)));
        from = until;
    }
    steps.push((from, None));
    steps
}

/// Finds the projects that have a score on the day, among those that are `wanted`. Answers whether
/// all scores of the day were looked at.
async fn of_day(
    source: &PgPool,
    day: Day,
    limit: u32,
    asked: &mut [Asked],
    wanted: impl Fn(&Asked, Day) -> bool,
) -> Result<bool, CommandError> {
    let asking = asked.iter().filter(|project| wanted(project, day));
    let ids: Vec<String> = asking.map(|project| project.project_id.clone()).collect();
    if ids.is_empty() {
        return Ok(true);
    }
    let answer = projects_with_scores(source, day, &ids, limit).await?;
    for project in asked
        .iter_mut()
        .filter(|project| answer.found.contains(&project.project_id))
    {
        project.find([day]);
    }
    Ok(answer.complete)
}
