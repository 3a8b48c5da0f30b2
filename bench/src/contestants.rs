//! Those who are measured side by side.

pub mod arrival;
pub mod copy;
pub mod posthog_node;
pub mod worker;

use std::time::Duration;

use anyhow::Result;
use testkit::World;

use crate::measure;
use crate::memory::Held;

/// What one contestant took for one piece of work.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From the word "go" until all was done
    pub wall: Duration,
    /// CPU time of its own processes; none for COPY, which has none
    pub cpu: Option<Duration>,
    /// CPU time of the PostgreSQL server meanwhile
    pub postgres_cpu: Duration,
    /// The most memory that one of its processes held
    pub peak_memory: Option<u64>,
    /// What the first of its processes held over time, where that was looked at
    pub memory: Vec<Held>,
    /// Events, by its own count
    pub events: u64,
}

/// CPU time of the world's PostgreSQL server so far.
pub fn postgres_cpu(world: &World) -> Result<Duration> {
    let pid = world.servers().postgres.pid();
    let pid = pid.ok_or_else(|| {
        anyhow::anyhow!(
            "the database server's CPU time can only be measured when it is a private process: unset TEST_DATABASE_URL, \
             or install PostgreSQL instead of using Docker"
        )
    })?;
    measure::cpu_with_children(pid)
}
