//! The worker: one delivery after the other walks the line.
//!
//! 1. [`consumer`]: a delivery arrives; decode; a message without a run is given one
//! 2. [`export`]: claim ▶ pages, events, batches, sends, checkpoints ▶ complete, as one function
//! 3. [`source`], [`rows`]: keyset pages of the three streams, at the operator's [`pace`]; [`recent`]: traces in memory
//! 4. [`event`]: PURE row → event ([`oversize`] shortens what is too large)
//! 5. [`batch`]: PURE events → bodies, compressed by [`gzip`]
//! 6. [`capture`]: `POST /batch/`, halve, bisect; [`retry`]: PURE what an answer means
//! 7. [`settle`]: what the job's end ([`error`]) means for its delivery; [`ending`]: the line it leaves in the log;
//!    [`lease`]: kept meanwhile, given back after

pub mod app;
pub mod batch;
pub mod capture;
pub mod cli;
pub mod config;
pub mod consumer;
pub mod ending;
pub mod error;
pub mod event;
pub mod export;
pub mod gauges;
pub mod gzip;
pub mod health;
pub mod hosts;
pub mod lease;
pub mod metrics;
pub mod oversize;
pub mod pace;
pub mod pause;
pub mod probe;
pub mod recent;
pub mod retry;
pub mod rows;
pub mod settle;
pub mod source;
