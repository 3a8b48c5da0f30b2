//! The words for what is known of a day in PostHog. PURE.

use std::str::FromStr;

use serde::{Serialize, Serializer};

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
