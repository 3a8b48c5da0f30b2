//! What the integration tests and the demo stand on: a private PostgreSQL and RabbitMQ, a fake
//! PostHog, the Langfuse tables with rows in them, an oracle that knows what must arrive, and
//! control over real worker and producer processes.
//!
//! Development only. It depends on none of the product's crates: what it knows about the message,
//! the ledger or the events it knows on its own, so that a mistake there cannot hide behind the
//! same mistake here.
//!
//! A test starts with a [`World`], adds a [`Project`] to it, publishes days and waits until they
//! arrive. It waits for a job's end by its [`Outcome`] and [`Cause`]. Everything that it started is
//! gone afterwards, however it ended.

#![allow(
    unsafe_code,
    reason = "signals and sessions have no safe interface in the standard library"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "a test that cannot be set up should stop at once and say why"
)]
#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "the numbers of a test are small"
)]

pub mod browser;
pub mod clock;
pub mod directory;
mod docker;
pub mod ending;
pub mod install;
pub mod langfuse;
pub mod lines;
pub mod management;
mod messages;
pub mod oracle;
pub mod pgbouncer;
pub mod postgres;
pub mod posthog;
pub mod process;
mod project;
pub mod prometheus;
pub mod proxy;
pub mod rabbitmq;
pub mod seed;
mod server;
pub mod servers;
pub mod simulation;
pub mod template;
pub mod tls;
pub mod wait;
mod worker;
pub mod world;

pub use browser::{Browser, axe};
pub use clock::Clock;
pub use ending::{Cause, Ending, Outcome};
pub use messages::{BACKFILL, DEAD, JOBS, Message, job};
pub use pgbouncer::PgBouncer;
pub use process::{Process, program};
pub use project::{Count, Project};
pub use prometheus::Prometheus;
pub use proxy::TcpProxy;
pub use servers::Servers;
pub use tls::install_crypto;
pub use worker::Worker;
pub use world::{Output, World};
