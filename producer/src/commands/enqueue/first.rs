//! Asks before the long history of a project is published.

use serde::Serialize;
use shared::job::Day;
use sqlx::PgPool;

use super::Arguments;
use crate::error::CommandError;
use crate::facts::counts;
use crate::histories::{decide, histories};
use crate::output;
use crate::plan::{FirstExport, Planned};

/// What was said about a long history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing is published anyway
    NotAsked,
    /// A person is to be asked
    Open,
    Yes,
    No,
    NobodyThere,
}

impl Answer {
    const fn holds_back(self) -> bool {
        matches!(self, Self::Open | Self::No | Self::NobodyThere)
    }
}

/// The long histories, and whether they are published.
#[derive(Debug, Default)]
pub(super) struct LongFirst {
    exports: Vec<(FirstExport, Answer)>,
}

/// A long history in JSON.
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
            days: export.days.len(),
            events: export.events,
            held_back,
        }
    }
}

impl LongFirst {
    /// Takes what was found, for the first time or anew. Long histories that no question has named
    /// are to be asked about.
    pub(super) async fn look(
        &mut self,
        source: &PgPool,
        found: Vec<FirstExport>,
        arguments: &Arguments,
        observations: bool,
    ) -> Result<(), CommandError> {
        if arguments.yes {
            return Ok(());
        }
        let unnamed = counts::long(source, self.take_named(found), observations).await?;
        let answer = if arguments.dry_run {
            Answer::NotAsked
        } else if arguments.unattended || !output::can_ask() {
            Answer::NobodyThere
        } else {
            Answer::Open
        };
        self.exports.extend(unnamed.into_iter().map(|export| (export, answer)));
        Ok(())
    }

    /// Keeps the answers that were given, for the days as they are now. Answers what no question has
    /// named. PURE.
    fn take_named(&mut self, found: Vec<FirstExport>) -> Vec<FirstExport> {
        let answered = std::mem::take(&mut self.exports);
        let mut unnamed = Vec::new();
        for mut export in found {
            match answered.iter().find(|(named, _)| named.project_id == export.project_id) {
                Some((named, answer)) => {
                    export.events = named.events;
                    self.exports.push((export, *answer));
                }
                None => unnamed.push(export),
            }
        }
        unnamed
    }

    /// Whether a person is to be asked.
    pub(super) fn is_question(&self) -> bool {
        self.with(Answer::Open).next().is_some()
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&mut self) -> Result<(), CommandError> {
        let said = histories(self.with(Answer::Open));
        let yes = output::confirm(&format!("{said}. Publish all of it?"))?;
        for (_, answer) in self.exports.iter_mut().filter(|(_, answer)| *answer == Answer::Open) {
            *answer = if yes { Answer::Yes } else { Answer::No };
        }
        Ok(())
    }

    fn with(&self, wanted: Answer) -> impl Iterator<Item = &FirstExport> + Clone {
        let exports = self.exports.iter().filter(move |(_, answer)| *answer == wanted);
        exports.map(|(export, _)| export)
    }

    /// The histories that are not published.
    pub(super) fn held_back(&self) -> impl Iterator<Item = &FirstExport> {
        let held = self.exports.iter().filter(|(_, answer)| answer.holds_back());
        held.map(|(export, _)| export)
    }

    /// Whether this job is held back.
    pub(super) fn holds(&self, planned: &Planned) -> bool {
        self.held_back().any(|export| export.has(planned))
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let exports = self.exports.iter();
        exports.map(|(export, answer)| Line::of(export, answer.holds_back()))
    }

    /// What there is to say to people about what they have decided, or would be asked.
    pub(super) fn sentence(&self) -> Option<String> {
        let about = |answer, what: &str| {
            self.with(answer).next()?;
            Some(format!("{what}: {}.", histories(self.with(answer))))
        };
        about(Answer::No, "Left out, as you said").or_else(|| about(Answer::NotAsked, "`enqueue` would ask first"))
    }

    /// What somebody still has to decide.
    pub(super) fn undecided(&self) -> Option<String> {
        let held = self.with(Answer::NobodyThere);
        held.clone().next()?;
        Some(format!(
            "{}. There is no terminal to ask at, so nothing of it was published. {}",
            histories(held.clone()),
            decide(held)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histories::tests::history;

    fn long(projects: usize, answer: Answer) -> LongFirst {
        let export = |number: usize| (history(&format!("p{number}")), answer);
        LongFirst {
            exports: (1..=projects).map(export).collect(),
        }
    }

    fn held(long: &LongFirst) -> Vec<&str> {
        long.held_back().map(|export| export.project_id.as_str()).collect()
    }

    #[test]
    fn what_nobody_has_decided_is_held_back_and_says_what_to_do() {
        let nobody = long(1, Answer::NobodyThere);
        let said = nobody.undecided().unwrap();
        assert!(said.contains("--project p1 --yes"), "{said}");
        assert_eq!((held(&nobody), nobody.sentence()), (vec!["p1"], None));
        let no = long(2, Answer::No);
        let said = no.sentence().unwrap();
        assert!(said.starts_with("Left out, as you said: 2 projects"), "{said}");
        assert_eq!((held(&no), no.undecided()), (vec!["p1", "p2"], None));
    }

    #[test]
    fn what_is_published_or_only_looked_at_is_not_held_back() {
        for answer in [Answer::Yes, Answer::NotAsked] {
            let long = long(2, answer);
            assert_eq!((held(&long), long.undecided()), (vec![], None));
            assert!(long.lines().all(|line| !line.held_back));
        }
        assert_eq!(long(0, Answer::NotAsked).sentence(), None);
    }

    /// Read anew after the question: the answer is about the projects that it named.
    #[test]
    fn an_answer_is_about_the_projects_that_were_named() {
        let mut asked = long(2, Answer::Yes);
        asked.exports[1].1 = Answer::No;
        let unnamed = asked.take_named(vec![history("p2"), history("p3")]);
        assert_eq!(unnamed, [history("p3")]);
        assert_eq!((asked.exports.len(), held(&asked)), (1, vec!["p2"]));
        assert!(!asked.is_question());
        asked.exports.push((history("p3"), Answer::Open));
        assert!(asked.is_question());
        assert_eq!(held(&asked), ["p2", "p3"]);
    }
}
