//! What producer and worker must agree on: the message, the topology, the ledger. And what both
//! need at the edges: Langfuse's tables, a project's PostHog settings, which hosts may be called.

pub mod amqp;
pub mod coverage;
pub mod database_url;
pub mod egress;
pub mod error_code;
pub mod event_id;
pub mod freshness;
pub mod headers;
pub mod ingestion;
pub mod integration;
pub mod job;
pub mod ladder;
pub mod langfuse;
pub mod ledger;
pub mod message;
pub mod postgres;
pub mod posthog;
pub mod settings;
pub mod telemetry;
pub mod topology;
pub mod trace;
pub mod version;
