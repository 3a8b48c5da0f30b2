//! The words in logs and metrics for what became of a delivery, and for why a body was split.

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// PostHog accepted every event.
    Completed,
    /// An earlier delivery ended the run.
    DoneBefore,
    /// The failure was counted; the message waits on a rung.
    Retry,
    /// Nothing was counted; the message waits on a rung.
    Later,
    /// The message is a dead letter.
    Dead,
    /// A step was given up; its day's own run sends what it did not.
    Discarded,
    /// A step came after its day was over; the day's own run sends what it did not.
    Superseded,
    /// The integration is disabled, or the project is paused.
    Skipped,
    /// The message was published again at a checkpoint.
    HandedBack,
    /// The delivery was left to the broker.
    Abandoned,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 10] = [
        Outcome::Completed,
        Outcome::DoneBefore,
        Outcome::Retry,
        Outcome::Later,
        Outcome::Dead,
        Outcome::Discarded,
        Outcome::Superseded,
        Outcome::Skipped,
        Outcome::HandedBack,
        Outcome::Abandoned,
    ];

    /// Those with which a step has ended.
    pub const OF_STEPS: [Outcome; 4] = [
        Outcome::Completed,
        Outcome::Discarded,
        Outcome::Superseded,
        Outcome::Skipped,
    ];

    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::DoneBefore => "done_before",
            Outcome::Retry => "retry",
            Outcome::Later => "later",
            Outcome::Dead => "dead",
            Outcome::Discarded => "discarded",
            Outcome::Superseded => "superseded",
            Outcome::Skipped => "skipped",
            Outcome::HandedBack => "handed_back",
            Outcome::Abandoned => "abandoned",
        }
    }

    /// The log line, for people.
    pub const fn message(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::DoneBefore => "nothing to do: this run has ended before; for a replay leave `run` out",
            Outcome::Retry => "will be tried again",
            Outcome::Later => "waits; nothing is counted",
            Outcome::Dead => "dead letter",
            Outcome::Discarded => "this step is given up; the next step or the day's own run sends its rows",
            Outcome::Superseded => "this step comes after its day; the day's own run sends its rows",
            Outcome::Skipped => "skipped",
            Outcome::HandedBack => "handed back at a checkpoint",
            Outcome::Abandoned => "abandoned; the broker delivers it again",
        }
    }
}

/// Why a body is split into two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitCause {
    /// PostHog says that the body is too large.
    TooLarge,
    /// PostHog refuses one of its events, and does not say which.
    Refused,
}

impl SplitCause {
    /// Both of them.
    pub const ALL: [SplitCause; 2] = [SplitCause::TooLarge, SplitCause::Refused];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            SplitCause::TooLarge => "too_large",
            SplitCause::Refused => "refused",
        }
    }
}
