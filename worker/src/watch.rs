//! What is seen of the worker: probes, metrics.

pub mod gauges;
pub mod health;
pub mod metrics;
pub mod probe;
