//! What came of a deed. PURE.

use shared::ledger::{DeedResult, LedgerError, LeftOut};

use crate::error::CommandError;
use crate::output;

/// So many of those that were left out are named.
const NAMED: usize = 200;

/// What to do where it is not known how a deed ended.
pub(super) const LOOK: &str = "It may have been done, at least in part: look whether it was before you do it again.";

/// What came of a deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) worked: bool,
    pub(super) result: DeedResult,
}

impl Outcome {
    /// It was done, at least in part.
    pub(super) fn done(says: impl Into<String>) -> Self {
        Self::new(true, says)
    }

    /// Nothing came of it.
    pub(super) fn failed(says: impl Into<String>) -> Self {
        Self::new(false, says)
    }

    /// It is not known whether something came of it.
    pub(super) fn unsure(says: impl Into<String>) -> Self {
        let mut outcome = Self::new(false, says);
        outcome.result.unsure = true;
        outcome
    }

    /// What an error means that ended a deed. A server that gave no answer may have done what it was
    /// told to.
    pub(super) fn of(error: &CommandError) -> Self {
        match error {
            CommandError::NotRecorded { count, cause } => Self::done(format!(
                "{} published, but the ledger did not record that ({cause}). To do it again is harmless.",
                output::count(*count, "message")
            ))
            .count("published, not recorded", *count),
            CommandError::Ledger(LedgerError::Unreachable(_)) => Self::unsure(format!("{error}. {LOOK}")),
            _ => Self::failed(error.to_string()),
        }
    }

    fn new(worked: bool, says: impl Into<String>) -> Self {
        let result = DeedResult {
            says: says.into(),
            ..DeedResult::default()
        };
        Self { worked, result }
    }

    /// A number of the deed.
    pub(super) fn count(mut self, what: &str, number: usize) -> Self {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.result.counts.insert(what.to_owned(), number);
        self
    }

    /// Something that was not done, and why.
    pub(super) fn left(mut self, subject: impl Into<String>, why: impl Into<String>) -> Self {
        let left = &mut self.result.left;
        if left.len() < NAMED {
            left.push(LeftOut {
                subject: subject.into(),
                why: why.into(),
            });
        }
        *self.result.counts.entry("left out".to_owned()).or_default() += 1;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_an_answer_may_have_done_it_and_what_was_published_was_done() {
        let away = Outcome::of(&LedgerError::no_answer().into());
        assert!(!away.worked && away.result.unsure && away.result.says.contains("It may have been done"));
        let refused = Outcome::of(&CommandError::refused("no"));
        assert!(!refused.worked && !refused.result.unsure);
        let cause = LedgerError::no_answer();
        let part = Outcome::of(&CommandError::NotRecorded { count: 500, cause });
        assert!(
            part.worked && part.result.says.starts_with("500 messages published"),
            "{part:?}"
        );
        assert_eq!(part.result.counts["published, not recorded"], 500);
    }

    #[test]
    fn all_that_were_left_out_are_counted_and_the_first_are_named() {
        let all = (0..500).fold(Outcome::done("x"), |outcome, id| outcome.left(id.to_string(), "gone"));
        assert_eq!(all.result.counts["left out"], 500);
        assert_eq!(all.result.left.len(), NAMED);
    }
}
