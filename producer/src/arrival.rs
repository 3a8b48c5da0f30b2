//! Arrival: whether PostHog holds what the database calls for. [`tally`], [`covering`], [`diff`] and
//! [`verdict`] decide without I/O; [`ours`] reads Langfuse's tables, [`theirs`] asks PostHog,
//! [`day`] brings both together by hour, and [`by_uuid`] where hours differ.

mod by_uuid;
pub(crate) mod covering;
pub(crate) mod day;
mod diff;
mod ours;
mod tally;
mod theirs;
pub(crate) mod unknown;
pub(crate) mod verdict;
