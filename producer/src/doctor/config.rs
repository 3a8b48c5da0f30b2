//! What the checks read from the environment.

use std::time::Duration;

use shared::egress::Egress;
use shared::ladder::Ladder;
use shared::settings::{BadSettings, SecretString, Settings, variables};

use crate::config::{self, Horizon, Key, Server};
use crate::posthog_app::PersonalKeys;
use crate::steps::Steps;

/// What `doctor` reads from the environment.
#[derive(Debug)]
pub struct Config {
    pub(super) source: Server,
    pub(super) ledger: Server,
    pub(super) broker: Server,
    pub(super) management: Option<SecretString>,
    pub(super) amqp_ca: Vec<reqwest::Certificate>,
    pub(super) ladder: Option<Ladder>,
    pub(super) slice: Duration,
    pub(super) horizon: Horizon,
    pub(super) steps: Option<Steps>,
    pub(super) observations: bool,
    pub(super) key: Key,
    pub(super) egress: Egress,
    /// Or what is wrong with them, which hinders no other check
    pub(super) keys: Result<PersonalKeys, BadSettings>,
    pub(super) posthog_ca: Vec<reqwest::Certificate>,
    /// The ledger's role is that of a console that may act
    pub(super) is_operator: bool,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            source: config::source(settings),
            ledger: config::ledger(settings),
            broker: config::broker(settings),
            management: settings.optional_secret_url(&variables::AMQP_MANAGEMENT_URL, &["http", "https"]),
            amqp_ca: settings.certificates(&variables::AMQP_CA_FILE),
            ladder: config::ladder(settings),
            slice: settings.duration(&variables::JOB_SLICE),
            horizon: config::horizon(settings),
            steps: config::steps(settings),
            observations: config::observations(settings),
            key: Key::read(settings),
            egress: Egress::read(settings),
            keys: settings.apart(PersonalKeys::read),
            posthog_ca: settings.certificates(&variables::POSTHOG_CA_FILE),
            is_operator: false,
        }
    }

    /// The same for the console, whose role must not have the rights of a worker.
    pub(crate) fn of_console(settings: &mut Settings) -> Self {
        Self {
            is_operator: true,
            ..Self::read(settings)
        }
    }
}
