//! PostHog's app API, asked with a personal API key: which project it is, what its database holds,
//! and what stands in it. Nothing here knows what the answers are for.

mod call;
mod client;
mod error;
mod keys;
pub(crate) mod langfuse_project;
mod project;
mod query;

pub(crate) use call::Call;
pub(crate) use client::App;
pub(crate) use error::AppError;
pub(crate) use keys::PersonalKeys;
pub(crate) use query::{Place, Values, failure};
