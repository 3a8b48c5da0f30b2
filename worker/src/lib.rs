//! The worker: one delivery after the other walks the line.
//!
//! 1. [`job::consumer`]: a delivery arrives; decode; a message without a run is given one
//! 2. [`job::export`]: claim ▶ pages, events, batches, sends, checkpoints ▶ complete, as one
//!    function
//! 3. [`langfuse::source`], [`langfuse::rows`]: keyset pages of the streams, at the
//!    operator's [`pace`]; [`langfuse::recent`]: traces in memory
//! 4. [`posthog::event`]: PURE row → event ([`posthog::oversize`] shortens what is too large)
//! 5. [`posthog::batch`]: PURE events → bodies, compressed by [`posthog::gzip`]
//! 6. [`posthog::capture`]: `POST /batch/`, halve, bisect; [`posthog::retry`]: PURE what an answer
//!    means
//! 7. [`job::settle`]: what the job's end ([`job::error`]) means for its delivery; [`job::ending`]:
//!    the line it leaves in the log; [`job::lease`]: kept meanwhile, given back after

pub mod app;
pub mod cli;
pub mod config;
pub mod job;
pub mod langfuse;
pub mod pace;
pub mod posthog;
pub mod service;
pub mod watch;
