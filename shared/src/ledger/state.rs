//! The states of a run.

use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::job::RunKey;

/// The states of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Its message is in a queue
    Queued,
    /// A worker has it
    Running,
    /// On a rung of the retry ladder
    Waiting,
    /// Every event was accepted
    Completed,
    /// In the dead-letter queue
    Dead,
    /// The integration is disabled or the project paused. Once that ends, the day counts as not
    /// exported
    Skipped,
    /// Given up: by a person, or a step that its day's own run makes up for
    Discarded,
}

/// What a run becomes that no worker goes on with: a person decides. Nobody needs to decide about a
/// step.
pub(super) fn given_up(key: &RunKey) -> State {
    if key.is_step() { State::Discarded } else { State::Dead }
}

impl State {
    /// All of them, in the order in which tables show them.
    pub const ALL: [State; 7] = [
        State::Completed,
        State::Running,
        State::Queued,
        State::Waiting,
        State::Dead,
        State::Skipped,
        State::Discarded,
    ];

    /// Its word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Completed => "completed",
            State::Dead => "dead",
            State::Skipped => "skipped",
            State::Discarded => "discarded",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
                format!("`{word}` is not one of {}", known.join(", "))
            })
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
