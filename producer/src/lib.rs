//! The operator's program: it plans which days are to be exported, publishes their jobs, and shows and mends what went
//! wrong. Each command is a module; `plan` decides without a server, the rest is edges.

pub mod cli;
pub mod config;
pub mod dead_letters;
pub mod doctor;
pub mod enqueue;
pub mod error;
pub mod integrations;
pub mod output;
pub mod plan;
pub mod projects;
pub mod publish;
pub mod replay;
pub mod schedule;
pub mod servers;
pub mod setup;
pub mod status;
