//! The operator's program: it plans which days are to be exported, publishes their jobs, and shows and mends what went
//! wrong. What the user types is in [`commands`]; what the commands share is beside it. [`plan`] decides without a
//! server, the rest is edges.

pub mod cli;
pub mod commands;
pub mod config;
pub mod day_range;
pub mod error;
mod facts;
mod key_check;
mod lock;
pub mod output;
mod pauses;
pub mod plan;
pub mod publish;
mod report;
pub mod servers;
pub mod setup;
