//! Asks before the whole history of a project is published for the first time.

use std::collections::BTreeSet;

use serde::Serialize;
use shared::job::Day;
use sqlx::PgPool;

use super::Arguments;
use crate::error::CommandError;
use crate::facts::counts::estimate;
use crate::output::{self, count, number};
use crate::plan::{FirstExport, long_ones};

/// How many projects are named in a sentence.
const NAMED: usize = 5;

/// What was said about the long first exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    /// Nothing is published, or there is none
    #[default]
    NotAsked,
    /// A human is to be asked
    Open,
    Yes,
    No,
    NobodyThere,
}

/// The first exports that are long, and whether they are published.
#[derive(Debug, Default)]
pub(super) struct LongFirst {
    exports: Vec<FirstExport>,
    answer: Answer,
}

/// A long first export in JSON.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    project_id: &'a str,
    from: Day,
    to: Day,
    days: usize,
    events: i64,
    held_back: bool,
}

impl<'a> Line<'a> {
    fn of(export: &'a FirstExport, held_back: bool) -> Self {
        Self {
            project_id: &export.project_id,
            from: *export.range.start(),
            to: *export.range.end(),
            days: export.days,
            events: export.events,
            held_back,
        }
    }
}

impl LongFirst {
    /// Estimates the first exports. Those that are long are to be asked about.
    pub(super) async fn look(
        source: &PgPool,
        mut first: Vec<FirstExport>,
        arguments: &Arguments,
        observations: bool,
    ) -> Result<Self, CommandError> {
        if arguments.yes || first.is_empty() {
            return Ok(Self::default());
        }
        estimate(source, &mut first, observations).await?;
        let exports = long_ones(first);
        let answer = if exports.is_empty() || arguments.dry_run {
            Answer::NotAsked
        } else if arguments.unattended || !output::can_ask() {
            Answer::NobodyThere
        } else {
            Answer::Open
        };
        Ok(Self { exports, answer })
    }

    /// Whether a human is to be asked.
    pub(super) fn is_question(&self) -> bool {
        self.answer == Answer::Open
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&mut self) -> Result<(), CommandError> {
        let yes = output::confirm(&format!("{}. Publish all of it?", self.said()))?;
        self.answer = if yes { Answer::Yes } else { Answer::No };
        Ok(())
    }

    fn is_held_back(&self) -> bool {
        matches!(self.answer, Answer::No | Answer::NobodyThere)
    }

    /// The projects of which nothing is published.
    pub(super) fn held_back(&self) -> BTreeSet<&str> {
        let exports = self.exports.iter().filter(|_| self.is_held_back());
        exports.map(|export| export.project_id.as_str()).collect()
    }

    /// Whether somebody still has to say what shall be done.
    pub(super) fn is_open(&self) -> bool {
        self.answer == Answer::NobodyThere
    }

    pub(super) fn lines(&self) -> Vec<Line<'_>> {
        let held_back = self.is_held_back();
        self.exports.iter().map(|export| Line::of(export, held_back)).collect()
    }

    /// What there is to say to people, if anything.
    pub(super) fn sentence(&self) -> Option<String> {
        if self.exports.is_empty() {
            return None;
        }
        let said = self.said();
        match self.answer {
            Answer::Open | Answer::Yes => None,
            Answer::No => Some(format!("Left out, as you said: {said}.")),
            Answer::NotAsked => Some(format!("`enqueue` would ask first: {said}.")),
            Answer::NobodyThere => Some(format!(
                "{said}. There is no terminal to ask at, so nothing of it was published. Add --yes, or set \
                 BACKFILL_DAYS to how many days before yesterday shall be exported (look first with --dry-run \
                 --count)."
            )),
        }
    }

    /// What is so long. PURE.
    fn said(&self) -> String {
        let one = |export: &FirstExport| {
            format!(
                "{} ({} of data since {}, about {} events)",
                export.project_id,
                count(export.days, "day"),
                export.range.start(),
                number(export.events)
            )
        };
        let named: Vec<String> = self.exports.iter().take(NAMED).map(one).collect();
        let rest = self.exports.len().saturating_sub(NAMED);
        let more = if rest == 0 {
            String::new()
        } else {
            let events = self
                .exports
                .iter()
                .fold(0_i64, |sum, export| sum.saturating_add(export.events));
            format!(" and {rest} more, about {} events in all", number(events))
        };
        let was = if self.exports.len() == 1 {
            "project was"
        } else {
            "projects were"
        };
        format!(
            "{} {was} never exported before: {}{more}",
            self.exports.len(),
            named.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(projects: usize, answer: Answer) -> LongFirst {
        let day = |text: &str| text.parse::<Day>().unwrap();
        let export = |number: usize| FirstExport {
            project_id: format!("p{number}"),
            range: day("2023-01-01")..=day("2024-06-09"),
            days: 400,
            events: 3_000_000,
        };
        LongFirst {
            exports: (1..=projects).map(export).collect(),
            answer,
        }
    }

    #[test]
    fn what_is_held_back_says_how_long_it_is_and_what_to_do() {
        let held = long(1, Answer::NobodyThere);
        let said = held.sentence().unwrap();
        let expected =
            "1 project was never exported before: p1 (400 days of data since 2023-01-01, about 3,000,000 events).";
        assert!(said.starts_with(expected), "{said}");
        assert!(said.contains("--yes") && said.contains("BACKFILL_DAYS"), "{said}");
        assert!(held.is_open() && held.held_back().contains("p1"));
        let many = long(7, Answer::No);
        let said = many.sentence().unwrap();
        assert!(
            said.contains("p5 (400") && !said.contains("p6") && said.contains("2 more, about 21,000,000"),
            "{said}"
        );
        assert!(!many.is_open() && many.held_back().len() == 7);
    }

    #[test]
    fn what_is_published_or_only_looked_at_is_not_held_back() {
        for answer in [Answer::Yes, Answer::NotAsked] {
            let long = long(2, answer);
            assert!(long.held_back().is_empty() && !long.is_open());
            assert!(long.lines().iter().all(|line| !line.held_back));
        }
        assert_eq!(long(0, Answer::NotAsked).sentence(), None);
    }
}
