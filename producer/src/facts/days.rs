//! Finds the days that hold data. Traces and generations are found project by project. Scores are
//! harder: Langfuse's own index of their times has no project.

use std::collections::BTreeSet;

use shared::job::Day;
use shared::langfuse::{
    Days, days_with_any_scores, days_with_scores, days_with_traces, has_index, projects_with_scores, score_days,
};
use sqlx::PgPool;

use crate::error::CommandError;
use crate::output::progress;
use crate::plan::{union, without};

/// A day with more scores than this is walked only when nothing cheaper can answer.
const CHEAP_DAY: u32 = 1_000;
/// A project with more scores than this is not walked as a whole.
const CHEAP_PROJECT: u32 = 10_000;

/// A project, and the days of which it is asked whether they hold data.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) project_id: String,
    /// Ranges in order, that do not overlap. Days that were found are taken out
    open: Vec<Days>,
    pub(crate) found: BTreeSet<Day>,
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
        })
    }

    fn is_open(&self, day: Day) -> bool {
        let at = self.open.partition_point(|range| *range.end() < day);
        self.open.get(at).is_some_and(|range| range.contains(&day))
    }

    fn find(&mut self, days: impl IntoIterator<Item = Day>) {
        let open: Vec<Day> = days.into_iter().filter(|day| self.is_open(*day)).collect();
        self.found.extend(open);
    }
}

/// Finds the days that hold nothing but scores.
pub(crate) async fn of_scores(source: &PgPool, asked: &mut [Asked]) -> Result<(), CommandError> {
    if has_index(source, "scores", &["project_id", "timestamp"]).await? {
        for project in asked {
            let found = days_with_scores(source, &project.project_id, &project.open).await?;
            project.find(found);
        }
        return Ok(());
    }
    let ranges = union(asked.iter().flat_map(|project| project.open.clone()).collect());
    let mut dear = Vec::new();
    let bar = progress("looking for scores", 0);
    for day in days_with_any_scores(source, &ranges).await? {
        bar.inc(1);
        if !of_day(source, day, CHEAP_DAY, asked, |_| true).await? {
            dear.push(day);
        }
    }
    let mut large = BTreeSet::new();
    for project in asked
        .iter_mut()
        .filter(|project| dear.iter().any(|day| project.is_open(*day)))
    {
        bar.inc(1);
        let own = score_days(source, &project.project_id, CHEAP_PROJECT).await?;
        if own.complete {
            project.find(own.found);
        } else {
            large.insert(project.project_id.clone());
        }
    }
    for day in dear {
        bar.inc(1);
        of_day(source, day, u32::MAX, asked, |id| large.contains(id)).await?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Finds the projects that have a score on the day, among those that are asked. Answers whether all
/// scores of the day were looked at.
async fn of_day(
    source: &PgPool,
    day: Day,
    limit: u32,
    asked: &mut [Asked],
    wanted: impl Fn(&str) -> bool,
) -> Result<bool, CommandError> {
    let asking = asked
        .iter()
        .filter(|project| project.is_open(day) && wanted(&project.project_id));
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
