//! What each command reads from the environment: only what it needs, so that `declare` runs where no database is known.

use std::time::Duration;

use shared::egress::Egress;
use shared::integration::EncryptionKey;
use shared::settings::{SecretString, Settings};
use shared::telemetry::LogFormat;
use shared::topology::Ladder;

use crate::error::CommandError;

/// A server's URL, and the variable it came from: what an error names.
#[derive(Clone, Debug)]
pub struct Server {
    /// The environment variable
    pub variable: &'static str,
    /// Its value
    pub url: SecretString,
}

/// Langfuse's database.
pub fn source(settings: &mut Settings) -> Server {
    Server {
        variable: "DATABASE_URL",
        url: settings.postgres_url("DATABASE_URL"),
    }
}

/// The database of our own schema.
pub fn ledger(settings: &mut Settings) -> Server {
    or_source(settings, "LEDGER_DATABASE_URL")
}

/// Where `posthog_integrations` may be written.
pub fn writable_settings(settings: &mut Settings) -> Server {
    or_source(settings, "SETTINGS_DATABASE_URL")
}

fn or_source(settings: &mut Settings, variable: &'static str) -> Server {
    match settings.optional_postgres_url(variable) {
        Some(url) => Server { variable, url },
        None => source(settings),
    }
}

/// The broker.
pub fn broker(settings: &mut Settings) -> Server {
    Server {
        variable: "AMQP_URL",
        url: settings.amqp_url("AMQP_URL"),
    }
}

/// The retry ladder, whose queues are declared with the rest.
pub fn ladder(settings: &mut Settings) -> Option<Ladder> {
    settings.parsed("RETRY_RUNGS")
}

/// Langfuse's own key; `None` was complained of.
pub fn encryption_key(settings: &mut Settings) -> Option<EncryptionKey> {
    use shared::settings::ExposeSecret;
    let digits = settings.secret("ENCRYPTION_KEY");
    match EncryptionKey::from_hex(&digits) {
        Ok(key) => Some(key),
        Err(_) if digits.expose_secret().is_empty() => None,
        Err(error) => {
            settings.complain(error.to_string());
            None
        }
    }
}

/// Keeps the key out of `Debug`.
pub(crate) struct Key(Option<EncryptionKey>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Key {
    pub(crate) fn new(key: Option<EncryptionKey>) -> Self {
        Self(key)
    }

    /// A bad one has been complained of before any command runs.
    pub(crate) fn get(&self) -> Result<&EncryptionKey, CommandError> {
        self.0
            .as_ref()
            .ok_or(CommandError::Cipher(shared::integration::CipherError::BadKey))
    }
}

/// Which hosts may be private or plain http.
pub fn egress(settings: &mut Settings) -> Egress {
    let text = settings.text("EGRESS_ALLOW").unwrap_or_default();
    text.parse().unwrap_or_else(|error| {
        settings.complain(format!("EGRESS_ALLOW {error}"));
        Egress::default()
    })
}

/// When a day counts as over, and how far back `enqueue` goes.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// How long after its end a day counts as over
    pub lag: Duration,
    /// Days before yesterday; all when `None`
    pub backfill_days: Option<u32>,
}

/// Reads [`Horizon`].
pub fn horizon(settings: &mut Settings) -> Horizon {
    Horizon {
        lag: settings.duration("EXPORT_LAG"),
        backfill_days: settings.optional_number("BACKFILL_DAYS", 0, 36_500),
    }
}

/// How log lines look; read by every command.
pub fn logging(settings: &mut Settings) -> (LogFormat, String) {
    let format = settings.parsed("LOG_FORMAT").unwrap_or(LogFormat::Text);
    let filter = settings.parsed("RUST_LOG").unwrap_or_else(|| "info".to_owned());
    (format, filter)
}
