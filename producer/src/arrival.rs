//! Arrival: whether PostHog holds what the database calls for. [`tally`], [`covering`], [`diff`] and
//! [`verdict`] decide without I/O; [`ours`] reads Langfuse's tables, [`theirs`] asks PostHog, and
//! [`day`] brings both together.

pub(crate) mod covering;
pub(crate) mod day;
mod diff;
mod ours;
mod tally;
mod theirs;
pub(crate) mod verdict;
