//! What is seen of the worker: probes, metrics, and the words for a delivery's end.

pub mod gauges;
pub mod health;
pub mod metrics;
pub mod outcome;
pub mod probe;
