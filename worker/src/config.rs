//! The worker's settings, typed, read once. Their time limits must nest.

use std::net::SocketAddr;
use std::time::Duration;

use shared::egress::Egress;
use shared::integration::EncryptionKey;
use shared::ladder::Ladder;
use shared::settings::{BadSettings, SecretString, Settings, Shown, variables};
use shared::telemetry::LogFormat;

use crate::posthog::batch::Limits;
use crate::posthog::properties::Omitted;

/// The longest `JOB_SLICE`. The broker takes a delivery back after 30 minutes, and a slice ends
/// only at the next batch border.
const LONGEST_SLICE: Duration = Duration::from_secs(25 * 60);

/// Everything that a worker can be told.
#[derive(Clone)]
pub struct Config {
    /// `DATABASE_URL`: Langfuse's Postgres
    pub database_url: SecretString,
    /// `LEDGER_DATABASE_URL`: our own tables
    pub ledger_url: SecretString,
    /// `LEDGER_DATABASE_URL` is not set, so `DATABASE_URL` stands in for it
    pub ledger_is_source: bool,
    /// `AMQP_URL`: RabbitMQ
    pub amqp_url: SecretString,
    /// `ENCRYPTION_KEY`: Langfuse's
    pub encryption_key: EncryptionKey,
    /// `LANGFUSE_URL`: base of the links in events
    pub langfuse_url: Option<String>,
    /// Jobs of the jobs queue at once
    pub jobs: u16,
    /// Jobs of the backfill queue at once
    pub backfill: u16,
    /// Most connections to Langfuse's Postgres
    pub connections: Option<u32>,
    /// Most rows a second
    pub rows_per_second: Option<u32>,
    /// Events sent to one host a second; `None`: no limit
    pub events_per_second: Option<u32>,
    /// Rows of a page
    pub page_rows: u32,
    /// Bounds of a body
    pub limits: Limits,
    /// Bodies on their way at once
    pub sends_in_flight: usize,
    /// `SEND_TIMEOUT`: the time limit of one request
    pub send_timeout: Duration,
    /// `RETRY_BUDGET`: the time limit of all tries of one body
    pub retry_budget: Duration,
    /// The retry ladder
    pub ladder: Ladder,
    /// `JOB_SLICE`: the longest time that a worker holds a delivery
    pub slice: Duration,
    /// Length of a lease
    pub lease: Duration,
    /// `SHUTDOWN_GRACE`: the time from SIGTERM to the exit
    pub grace: Duration,
    /// Whether batches of old days are marked as historical
    pub historical: bool,
    /// `OMIT_PROPERTIES`: which properties of events never leave
    pub omitted: Omitted,
    /// Which hosts may be called
    pub egress: Egress,
    /// Certificate authorities of PostHog hosts, beside the machine's own
    pub posthog_ca: Vec<reqwest::Certificate>,
    /// Health and metrics
    pub http_addr: SocketAddr,
    /// `METRICS_INTERVAL`: how often the worker looks at queues and ledger for its metrics
    pub metrics_interval: Duration,
    /// The form of log lines
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
        let database_url = s.postgres_url(&variables::DATABASE_URL);
        let own_ledger_url = s.optional_postgres_url(&variables::LEDGER_DATABASE_URL);
        let ledger_is_source = own_ledger_url.is_none();
        let ledger_url = own_ledger_url.unwrap_or_else(|| database_url.clone());
        let amqp_url = s.amqp_url(&variables::AMQP_URL);
        let posthog_ca = s.certificates(&variables::POSTHOG_CA_FILE);
        let encryption_key = EncryptionKey::read(&mut s);
        let langfuse_url = [&variables::LANGFUSE_URL, &variables::NEXTAUTH_URL].map(|variable| s.text(variable));
        let langfuse_url = langfuse_url.into_iter().flatten().next().map(|url| web_app(&url));
        if let Some(url) = &langfuse_url
            && url::Url::parse(url).map_or(true, |u| !matches!(u.scheme(), "http" | "https"))
        {
            s.complain(format!("LANGFUSE_URL: `{url}` is no http or https URL"));
        }
        let jobs = s.number(&variables::WORKER_CONCURRENCY, 1, 64);
        let backfill = s.number(&variables::BACKFILL_CONCURRENCY, 0, 64);
        let connections = s.optional_number(&variables::DATABASE_CONNECTIONS, 1, 1_000);
        let rows_per_second = s.optional_number(&variables::ROWS_PER_SECOND, 1, 10_000_000);
        let page_rows = s.number(&variables::PAGE_ROWS, 1, 100_000);
        let events_per_second: Option<u32> = s.optional_number(&variables::EVENTS_PER_SECOND, 1, 10_000_000);
        let batch_events: usize = s.number(&variables::BATCH_MAX_EVENTS, 1, 20_000);
        // A body of more than a second's events would be a burst, followed by a pause.
        let in_a_second = events_per_second.and_then(|events| usize::try_from(events).ok());
        let limits = Limits {
            events: batch_events.min(in_a_second.unwrap_or(usize::MAX)),
            // PostHog takes bodies of 20 MiB compressed and 100 MiB uncompressed; some deployments
            // take half of that.
            bytes: s.bytes(&variables::BATCH_MAX_BYTES, 1_000, 20_000_000),
        };
        let sends_in_flight = s.number(&variables::SENDS_IN_FLIGHT, 1, 256);
        let send_timeout = s.duration(&variables::SEND_TIMEOUT);
        let retry_budget = s.duration(&variables::RETRY_BUDGET);
        let ladder = s.parsed(&variables::RETRY_RUNGS);
        let slice = s.duration(&variables::JOB_SLICE);
        let lease = s.duration(&variables::LEASE);
        let grace = s.duration(&variables::SHUTDOWN_GRACE);
        let historical = s.switch(&variables::HISTORICAL_MIGRATION);
        let omitted = Omitted::read(&mut s);
        let egress = Egress::read(&mut s);
        let http_addr = s.address(&variables::HTTP_ADDR);
        let metrics_interval = s.duration(&variables::METRICS_INTERVAL);
        let log_format = s.parsed(&variables::LOG_FORMAT).unwrap_or(LogFormat::Text);
        let log_filter = s.text(&variables::RUST_LOG).unwrap_or_default();
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
        // `finish` has returned if either of them was bad.
        let unreachable = |what: &str| BadSettings(vec![format!("{what} is not usable")]);
        let config = Self {
            database_url,
            ledger_url,
            ledger_is_source,
            amqp_url,
            encryption_key: encryption_key.ok_or_else(|| unreachable("ENCRYPTION_KEY"))?,
            langfuse_url,
            jobs,
            backfill,
            connections,
            rows_per_second,
            events_per_second,
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
            omitted,
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

/// The web app's address. Under a base path Langfuse wants `NEXTAUTH_URL` to end in `/api/auth`, and cuts it off itself.
fn web_app(url: &str) -> String {
    let url = url.trim_end_matches('/');
    url.strip_suffix("/api/auth").unwrap_or(url).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let key = "0".repeat(64);
        let base = [
            ("DATABASE_URL", "postgres://u:p@h/d"),
            ("AMQP_URL", "amqp://u:p@h/%2f"),
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
    fn links_lead_to_the_web_app_whatever_its_variable_ends_in() {
        for url in [
            "https://host/base/api/auth",
            "https://host/base/api/auth/",
            "https://host/base/",
            "https://host/base",
        ] {
            let config = read(&[("NEXTAUTH_URL", url)]).unwrap();
            assert_eq!(config.langfuse_url.as_deref(), Some("https://host/base"));
        }
        let both = [("LANGFUSE_URL", "https://a/"), ("NEXTAUTH_URL", "https://b/api/auth")];
        assert_eq!(read(&both).unwrap().langfuse_url.as_deref(), Some("https://a"));
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
            ("EGRESS_ONLY", "https://eu.i.posthog.com"),
            ("RETRY_RUNGS", "x"),
            ("LANGFUSE_URL", "x"),
        ]);
        let error = error.err().unwrap();
        for name in [
            "ENCRYPTION_KEY",
            "EGRESS_ALLOW",
            "EGRESS_ONLY",
            "RETRY_RUNGS",
            "LANGFUSE_URL",
        ] {
            assert!(error.contains(name), "{name} in {error}");
        }
    }
}
