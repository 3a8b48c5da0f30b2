//! What is sent: rows become events, events become bodies, bodies go to PostHog.

pub mod batch;
pub mod capture;
pub mod event;
pub mod gzip;
pub mod hosts;
pub mod known_keys;
pub mod oversize;
pub mod person;
pub mod properties;
pub mod retry;
