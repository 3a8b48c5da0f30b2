//! What every job of the process shares. It knows no step of the line.

use std::sync::Arc;

use shared::ledger::Ledger;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::langfuse::source::Source;
use crate::posthog::capture::Capture;
use crate::posthog::hosts::Hosts;
use crate::posthog::known_keys::KnownKeys;
use crate::watch::health::Health;

/// What every job of the process shares.
pub struct App {
    /// Settings
    pub config: Config,
    /// This worker's name: in leases, connections and logs
    pub worker: String,
    /// Langfuse's tables
    pub source: Source,
    /// How many pages may be packed into bodies at once: as many as there are cores, since each
    /// takes megabytes
    pub packing: Arc<Semaphore>,
    /// Our tables, on a pool of their own
    pub ledger: Ledger,
    /// Sending
    pub capture: Capture,
    /// PostHog hosts
    pub hosts: Hosts,
    /// Keys that their hosts know
    pub keys: KnownKeys,
    /// Read by the probes
    pub health: Health,
}
