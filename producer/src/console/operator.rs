//! What actions need: a ledger that takes writes, and what the commands read from the environment.
//! A console that only shows has none of it.

use std::sync::Arc;

use reqwest::Certificate;
use shared::egress::Egress;
use shared::ledger::Ledger;
use shared::postgres::{paging_pool, writing_pool};
use shared::settings::{BadSettings, Settings, variables};
use sqlx::PgPool;

use super::deeds::{AT_ONCE, Deeds};
use crate::config::{self, Key, Server};
use crate::doctor;
use crate::error::CommandError;

const NAME: &str = "posthog-export-console-actions";

/// What a console with actions reads from the environment besides its servers.
#[derive(Debug)]
pub struct ForActions {
    key: Key,
    egress: Egress,
    ca: Vec<Certificate>,
    observations: bool,
    doctor: Result<doctor::Config, BadSettings>,
}

impl ForActions {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            key: Key::read(settings),
            egress: Egress::read(settings),
            ca: settings.certificates(&variables::POSTHOG_CA_FILE),
            observations: config::observations(settings),
            doctor: settings.apart(doctor::Config::of_console),
        }
    }
}

/// What every action shares.
#[derive(Debug)]
pub(super) struct Operator {
    /// Takes writes
    pub(super) ledger: Ledger,
    /// Langfuse's database
    pub(super) source: PgPool,
    pub(super) broker: Server,
    /// Opens the projects' keys
    pub(super) key: Key,
    pub(super) egress: Egress,
    /// Authorities of PostHog's certificates
    pub(super) ca: Vec<Certificate>,
    /// Whether other observations are exported, too
    pub(super) observations: bool,
    /// What the doctor needs, or what is wrong with it, which hinders nothing else
    pub(super) doctor: Result<doctor::Config, BadSettings>,
    pub(super) deeds: Deeds,
}

impl Operator {
    pub(super) fn new(
        read: ForActions,
        ledger: &Server,
        source: &Server,
        broker: Server,
    ) -> Result<Arc<Self>, CommandError> {
        let ForActions {
            key,
            egress,
            ca,
            observations,
            doctor,
        } = read;
        Ok(Arc::new(Self {
            ledger: Ledger::new(writing_pool(&ledger.url, NAME, AT_ONCE * 2 + 2)?),
            source: paging_pool(&source.url, NAME, AT_ONCE)?,
            broker,
            key,
            egress,
            ca,
            observations,
            doctor,
            deeds: Deeds::default(),
        }))
    }

    /// Warns of a ledger's role that may not write down what is done, as the viewer of a console that
    /// only shows. A ledger that is away is no reason to end; each action asks it anew.
    pub(super) async fn look_at_rights(&self) {
        match self.ledger.audit_rights().await {
            Ok(rights) if rights.may_write => {}
            Ok(rights) => tracing::warn!(
                role = rights.role,
                "--allow-actions: the role of LEDGER_DATABASE_URL may not write posthog_export.audit, so no action \
                 can be done. Use posthog_export_operator, which deploy/sql/operator.sql makes"
            ),
            Err(error) => tracing::warn!(
                %error,
                "--allow-actions: could not see whether the role of LEDGER_DATABASE_URL may write posthog_export.audit"
            ),
        }
    }
}
