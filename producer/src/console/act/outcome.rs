//! What came of a deed. PURE.

use shared::ledger::{DeedResult, LeftOut};

/// So many of those that were left out are named.
const NAMED: usize = 200;

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
    fn all_that_were_left_out_are_counted_and_the_first_are_named() {
        let all = (0..500).fold(Outcome::done("x"), |outcome, id| outcome.left(id.to_string(), "gone"));
        assert_eq!(all.result.counts["left out"], 500);
        assert_eq!(all.result.left.len(), NAMED);
    }
}
