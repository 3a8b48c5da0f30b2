//! The operator's program. It plans which days are to be exported and publishes their jobs. It
//! shows and mends what went wrong.
//!
//! Each command that the user can type has a file or folder in [`commands`]. What they share is
//! beside it. [`plan`] decides without I/O; the other modules talk to servers and to the user.

mod advice;
mod arrival;
pub mod cli;
pub mod commands;
pub mod config;
pub mod console;
mod dashboards;
pub mod day_range;
mod dead_letters;
mod doctor;
pub mod error;
mod facts;
mod histories;
mod hosts;
mod key_check;
mod lock;
mod missing;
mod newest;
mod numbers;
pub mod output;
mod pauses;
pub mod plan;
mod posthog_app;
mod posthog_project;
pub mod publish;
mod replays;
mod report;
pub mod servers;
mod set_aside;
pub mod setup;
mod standing;
mod step_counts;
mod steps;
