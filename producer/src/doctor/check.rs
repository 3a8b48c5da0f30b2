//! The names of the checks.

use serde::{Serialize, Serializer};

/// What the doctor looks at. The words are stable: scripts select findings by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    DatabaseReachable,
    DatabaseColumns,
    DatabaseRights,
    DatabaseIndexes,
    DatabaseTimezone,
    DatabaseTimes,
    DatabaseNewestRow,
    LedgerReachable,
    LedgerVersion,
    LedgerRights,
    BrokerReachable,
    BrokerTopology,
    BrokerConsumers,
    BrokerDeadLetters,
    BrokerManagement,
    BrokerPolicies,
    BrokerConsumerTimeout,
    BrokerWorkers,
    Clocks,
    EncryptionKey,
    Projects,
    ProjectsPaused,
    ProjectsHeldBack,
    StepsAskedFor,
    Arrival,
}

impl Check {
    /// The word in tables and JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::DatabaseReachable => "database.reachable",
            Self::DatabaseColumns => "database.columns",
            Self::DatabaseRights => "database.rights",
            Self::DatabaseIndexes => "database.indexes",
            Self::DatabaseTimezone => "database.timezone",
            Self::DatabaseTimes => "database.times",
            Self::DatabaseNewestRow => "database.newest_row",
            Self::LedgerReachable => "ledger.reachable",
            Self::LedgerVersion => "ledger.version",
            Self::LedgerRights => "ledger.rights",
            Self::BrokerReachable => "broker.reachable",
            Self::BrokerTopology => "broker.topology",
            Self::BrokerConsumers => "broker.consumers",
            Self::BrokerDeadLetters => "broker.dead_letters",
            Self::BrokerManagement => "broker.management",
            Self::BrokerPolicies => "broker.policies",
            Self::BrokerConsumerTimeout => "broker.consumer_timeout",
            Self::BrokerWorkers => "broker.workers",
            Self::Clocks => "clocks",
            Self::EncryptionKey => "encryption_key",
            Self::Projects => "projects",
            Self::ProjectsPaused => "projects.paused",
            Self::ProjectsHeldBack => "projects.held_back",
            Self::StepsAskedFor => "steps.asked_for",
            Self::Arrival => "arrival",
        }
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
