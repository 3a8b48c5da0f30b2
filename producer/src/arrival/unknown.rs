//! Why a day has no verdict.

use std::time::Instant;

use shared::ledger::LedgerError;

use super::covering::NotCovered;
use crate::posthog_app::AppError;

/// Why nothing is known of a day.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unknown {
    /// No run says what must be there.
    #[error(transparent)]
    NotCovered(#[from] NotCovered),
    /// PostHog cannot count the day's hours.
    #[error("PostHog counts hours from 1970 on")]
    BeforeHours,
    /// The day would have taken longer than `--at-most` left.
    #[error(
        "the time for this (--at-most) was over before the day was compared; verify it by itself: \
         `producer verify --project ID --day DAY`"
    )]
    OutOfTime,
    /// PostHog did not answer.
    #[error(transparent)]
    App(#[from] AppError),
    /// Langfuse's database did not answer.
    #[error("Langfuse's database: {}", shared::postgres::in_words(.0))]
    Source(#[from] sqlx::Error),
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Until when a day may be compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(pub(crate) Option<Instant>);

impl Deadline {
    /// An error once it is over. Asked before each question, and after each page of rows.
    pub(super) fn check(self) -> Result<(), Unknown> {
        match self.0 {
            Some(until) if Instant::now() >= until => Err(Unknown::OutOfTime),
            _ => Ok(()),
        }
    }
}
