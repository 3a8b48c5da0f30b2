//! The dashboard "AI metrics": what it is made of is data (`ai_metrics.json`, and the SQL in
//! `tiles/`); here it is written out for a project, and compared with what PostHog has. PURE.

pub(crate) mod definition;
pub(crate) mod deletion;
pub(crate) mod fingerprint;
pub(crate) mod identity;
pub(crate) mod layout;
pub(crate) mod plan;
pub(crate) mod render;
pub(crate) mod request;
#[cfg(test)]
mod schema_tests;
pub(crate) mod shown;
pub(crate) mod why;
