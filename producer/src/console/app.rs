//! What every page shares.

use std::sync::Arc;
use std::time::Duration;

use shared::integration::{self, StoredIntegration};
use shared::ledger::Ledger;
use shared::postgres::{in_words, paging_pool, reading_pool};
use shared::settings::SecretString;
use sqlx::PgPool;

use super::address::Prefix;
use super::kept::{Answer, Costly, Kept, Patience};
use super::operator::Operator;
use super::queues::Queues;
use super::rows::overview;
use crate::config::Server;
use crate::error::CommandError;

const NAME: &str = "posthog-export-console";
/// Pages read side by side.
const CONNECTIONS: u32 = 8;
/// Names and switches of projects change rarely.
const NAMES: Patience = Patience {
    fresh: Duration::from_secs(15),
    after_failure: Duration::from_secs(10),
    wait: Duration::from_secs(2),
    costly: None,
};
/// A page of the ledger, for everybody who looks at it in this moment.
const LEDGER: Patience = Patience {
    fresh: Duration::from_secs(1),
    after_failure: Duration::from_secs(2),
    wait: Duration::from_secs(5),
    costly: None,
};
/// The days of all projects and their sums. With hourly steps of 400 projects they take half a second
/// of the database; then they are read every half minute, which no page waits for.
const DAYS: Patience = Patience {
    costly: Some(Costly {
        times: 50,
        at_most: Duration::from_secs(60),
        slow: Duration::from_millis(100),
    }),
    ..LEDGER
};

/// What every page shares.
#[derive(Debug)]
pub(super) struct App {
    pub(super) prefix: Prefix,
    pub(super) ledger: Ledger,
    pub(super) queues: Queues,
    overview: Arc<Kept<overview::Rows>>,
    days: Arc<Kept<overview::Days>>,
    /// `EXPORT_LAG`
    lag: Duration,
    /// `None`: the console only shows
    pub(super) operator: Option<Arc<Operator>>,
    source: PgPool,
    integrations: Arc<Kept<Vec<StoredIntegration>>>,
}

/// The way to the ledger.
fn ledger_pool(url: &SecretString) -> Result<PgPool, sqlx::Error> {
    reading_pool(url, NAME, CONNECTIONS, LEDGER.wait)
}

impl App {
    pub(super) fn new(
        prefix: Prefix,
        ledger: &Server,
        source: &Server,
        lag: Duration,
        queues: Queues,
        operator: Option<Arc<Operator>>,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            operator,
            prefix,
            ledger: Ledger::new(ledger_pool(&ledger.url)?),
            source: paging_pool(&source.url, NAME, 2)?,
            queues,
            overview: Kept::new(LEDGER),
            days: Kept::new(DAYS),
            lag,
            integrations: Kept::new(NAMES),
        })
    }

    /// What moves, of all projects.
    pub(super) async fn overview(&self) -> Answer<overview::Rows> {
        let ask = || overview::read(self.ledger.clone());
        self.overview.get(ask).await
    }

    /// The days of all projects.
    pub(super) async fn days(&self) -> Answer<overview::Days> {
        let ask = || overview::read_days(self.ledger.clone(), self.lag);
        self.days.get(ask).await
    }

    /// The projects' names and switches, from Langfuse's database.
    pub(super) async fn integrations(&self) -> Answer<Vec<StoredIntegration>> {
        let source = self.source.clone();
        let ask = || async move {
            let found = integration::list(&source, None).await;
            found.map_err(|error| format!("Langfuse's database: {}", in_words(&error)))
        };
        self.integrations.get(ask).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_session_at_the_ledger_takes_no_writes_and_ends_what_nobody_waits_for() {
        let pool = ledger_pool(&"postgres://me@localhost/ledger".into()).unwrap();
        let options = pool.connect_options();
        let said = options.get_options().unwrap();
        assert!(said.contains("default_transaction_read_only=on"), "{said}");
        let last = said.rsplit("statement_timeout=").next().unwrap();
        assert!(last.starts_with("5000"), "{said}");
    }
}
