//! Typed settings, read once, with time limits that nest.

use std::net::SocketAddr;
use std::time::Duration;

use shared::egress::Egress;
use shared::integration::EncryptionKey;
use shared::settings::{BadSettings, SecretString, Settings};
use shared::telemetry::LogFormat;
use shared::topology::Ladder;

use crate::posthog::batch::Limits;

/// The longest slice: the broker's consumer timeout is 30 min, and a slice ends at a batch's border.
const LONGEST_SLICE: Duration = Duration::from_secs(25 * 60);

/// Names and values to print at start, secrets redacted.
pub type Shown = Vec<(&'static str, String)>;

/// Everything a worker is told.
#[derive(Clone)]
pub struct Config {
    /// Langfuse's Postgres
    pub database_url: SecretString,
    /// Our own tables
    pub ledger_url: SecretString,
    /// RabbitMQ
    pub amqp_url: SecretString,
    /// Langfuse's
    pub encryption_key: EncryptionKey,
    /// Base of the links in events
    pub langfuse_url: Option<String>,
    /// Jobs of the jobs queue at once
    pub jobs: u16,
    /// Jobs of the backfill queue at once
    pub backfill: u16,
    /// Most connections to Langfuse's Postgres
    pub connections: Option<u32>,
    /// Most rows a second
    pub rows_per_second: Option<u32>,
    /// Rows of a page
    pub page_rows: u32,
    /// Bounds of a body
    pub limits: Limits,
    /// Bodies on their way at once
    pub sends_in_flight: usize,
    /// For one answer
    pub send_timeout: Duration,
    /// For one body
    pub retry_budget: Duration,
    /// The retry ladder
    pub ladder: Ladder,
    /// Longest hold of a delivery
    pub slice: Duration,
    /// Length of a lease
    pub lease: Duration,
    /// From SIGTERM to the exit
    pub grace: Duration,
    /// Mark batches of old days
    pub historical: bool,
    /// Which hosts may be called
    pub egress: Egress,
    /// Certificate authorities of PostHog hosts, beside the machine's own
    pub posthog_ca: Vec<reqwest::Certificate>,
    /// Health and metrics
    pub http_addr: SocketAddr,
    /// How often queues and ledger are looked at for metrics
    pub metrics_interval: Duration,
    /// Log lines
    pub log_format: LogFormat,
    /// Which log lines
    pub log_filter: String,
}

impl Config {
    /// Reads everything; the second value is what to print at start.
    ///
    /// # Errors
    /// All bad variables at once.
    pub fn read(mut s: Settings) -> Result<(Self, Shown), BadSettings> {
        let database_url = s.postgres_url("DATABASE_URL");
        let ledger_url = s
            .optional_postgres_url("LEDGER_DATABASE_URL")
            .unwrap_or(database_url.clone());
        let amqp_url = s.amqp_url("AMQP_URL");
        let posthog_ca = s.certificates("POSTHOG_CA_FILE");
        let key = s.secret("ENCRYPTION_KEY");
        let langfuse_url = s.text("LANGFUSE_URL").or(s.text("NEXTAUTH_URL"));
        if let Some(url) = &langfuse_url
            && url::Url::parse(url).map_or(true, |u| !matches!(u.scheme(), "http" | "https"))
        {
            s.complain(format!("LANGFUSE_URL: `{url}` is no http or https URL"));
        }
        let encryption_key = EncryptionKey::from_hex(&key);
        if let Err(error) = &encryption_key
            && !shared::settings::ExposeSecret::expose_secret(&key).is_empty()
        {
            s.complain(error.to_string());
        }
        let jobs = s.number("WORKER_CONCURRENCY", 1, 64);
        let backfill = s.number("BACKFILL_CONCURRENCY", 0, 64);
        let connections = s.optional_number("DATABASE_CONNECTIONS", 1, 1_000);
        let rows_per_second = s.optional_number("ROWS_PER_SECOND", 1, 10_000_000);
        let page_rows = s.number("PAGE_ROWS", 1, 100_000);
        let limits = Limits {
            events: s.number("BATCH_MAX_EVENTS", 1, 20_000),
            // PostHog takes 20 MiB on the wire and 100 MiB uncompressed; some deployments half of it.
            bytes: s.bytes("BATCH_MAX_BYTES", 1_000, 20_000_000),
        };
        let sends_in_flight = s.number("SENDS_IN_FLIGHT", 1, 256);
        let send_timeout = s.duration("SEND_TIMEOUT");
        let retry_budget = s.duration("RETRY_BUDGET");
        let ladder = s.parsed("RETRY_RUNGS");
        let slice = s.duration("JOB_SLICE");
        let lease = s.duration("LEASE");
        let grace = s.duration("SHUTDOWN_GRACE");
        let historical = s.switch("HISTORICAL_MIGRATION");
        let egress = s
            .text("EGRESS_ALLOW")
            .map_or(Ok(Egress::default()), |text| text.parse());
        let egress = egress.unwrap_or_else(|error: String| {
            s.complain(format!("EGRESS_ALLOW {error}"));
            Egress::default()
        });
        let http_addr = s.address("HTTP_ADDR");
        let metrics_interval = s.duration("METRICS_INTERVAL");
        let log_format = s.parsed("LOG_FORMAT").unwrap_or(LogFormat::Text);
        let log_filter = s.text("RUST_LOG").unwrap_or_default();
        for (shorter, short, longer, long) in [
            ("SEND_TIMEOUT", send_timeout, "RETRY_BUDGET", retry_budget),
            ("RETRY_BUDGET", retry_budget, "JOB_SLICE", slice),
            (
                "JOB_SLICE",
                slice,
                "the longest slice (25m; RabbitMQ gives up after 30m)",
                LONGEST_SLICE + Duration::from_millis(1),
            ),
        ] {
            if short >= long {
                s.complain(format!("{shorter} must be shorter than {longer}"));
            }
        }
        if metrics_interval < Duration::from_secs(1) {
            s.complain("METRICS_INTERVAL must be at least 1s".into());
        }
        if lease < Duration::from_secs(3) {
            s.complain("LEASE must be at least 3s: it is renewed every third of it".into());
        }
        let shown = s.finish()?;
        // Both were complained about if they were bad, and `finish` has returned.
        let unreachable = |what: &str| BadSettings(vec![format!("{what} is not usable")]);
        let config = Self {
            database_url,
            ledger_url,
            amqp_url,
            encryption_key: encryption_key.map_err(|_| unreachable("ENCRYPTION_KEY"))?,
            langfuse_url,
            jobs,
            backfill,
            connections,
            rows_per_second,
            page_rows,
            limits,
            sends_in_flight,
            send_timeout,
            retry_budget,
            ladder: ladder.ok_or_else(|| unreachable("RETRY_RUNGS"))?,
            slice,
            lease,
            grace,
            historical,
            egress,
            posthog_ca,
            http_addr,
            metrics_interval,
            log_format,
            log_filter,
        };
        Ok((config, shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let key = "0".repeat(64);
        let base = [
            ("DATABASE_URL", "postgres://u:p@h/d"),
            ("AMQP_URL", "amqp://u:p@h/"),
            ("ENCRYPTION_KEY", key.as_str()),
        ];
        let all = base
            .iter()
            .chain(pairs)
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Config::read(Settings::from_map(all))
            .map(|(config, _)| config)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_nest() {
        let config = read(&[]).unwrap();
        assert_eq!(config.lease, Duration::from_secs(120));
        assert!(config.send_timeout < config.retry_budget && config.retry_budget < config.slice);
    }

    #[test]
    fn limits_that_do_not_nest_are_refused() {
        for (name, value) in [
            ("JOB_SLICE", "26m"),
            ("SEND_TIMEOUT", "3m"),
            ("RETRY_BUDGET", "10m"),
            ("LEASE", "1s"),
            ("METRICS_INTERVAL", "500ms"),
        ] {
            assert!(read(&[(name, value)]).err().unwrap().contains(name), "{name}={value}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let error = read(&[
            ("ENCRYPTION_KEY", "abc"),
            ("EGRESS_ALLOW", "a b"),
            ("RETRY_RUNGS", "x"),
            ("LANGFUSE_URL", "x"),
        ]);
        let error = error.err().unwrap();
        for name in ["ENCRYPTION_KEY", "EGRESS_ALLOW", "RETRY_RUNGS", "LANGFUSE_URL"] {
            assert!(error.contains(name), "{name} in {error}");
        }
    }
}
