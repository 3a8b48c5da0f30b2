//! PostHog's app API, asked with a personal API key: which project it is, and what its database
//! holds. Nothing here knows what the answers are for.

mod client;
mod error;
mod keys;
mod project;
mod query;

pub(crate) use client::App;
pub(crate) use error::AppError;
pub(crate) use keys::PersonalKeys;
pub(crate) use query::{Place, Values};
