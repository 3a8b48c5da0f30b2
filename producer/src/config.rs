//! Reads settings from the environment. Each command reads only what it needs: `declare`, for
//! example, runs where no database is configured.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use shared::integration::EncryptionKey;
use shared::job::Stream;
use shared::ladder::Ladder;
use shared::settings::variables::{self, Variable};
use shared::settings::{SecretString, Settings, parse_duration};
use shared::telemetry::LogFormat;

use crate::error::CommandError;
use crate::steps::Steps;

/// A server's URL, and the variable it came from, which errors name.
#[derive(Clone, Debug)]
pub struct Server {
    /// The environment variable
    pub variable: &'static str,
    /// Its value
    pub url: SecretString,
    /// The variable that is not set, where this one stands in for it
    pub instead_of: Option<&'static str>,
}

/// Langfuse's database.
pub fn source(settings: &mut Settings) -> Server {
    Server {
        variable: variables::DATABASE_URL.name,
        url: settings.postgres_url(&variables::DATABASE_URL),
        instead_of: None,
    }
}

/// The database of the schema `posthog_export`.
pub fn ledger(settings: &mut Settings) -> Server {
    or_source(settings, &variables::LEDGER_DATABASE_URL)
}

/// The database for `integrations set`, with the right to write `posthog_integrations`.
pub fn writable_settings(settings: &mut Settings) -> Server {
    or_source(settings, &variables::SETTINGS_DATABASE_URL)
}

fn or_source(settings: &mut Settings, variable: &Variable) -> Server {
    match settings.optional_postgres_url(variable) {
        Some(url) => Server {
            variable: variable.name,
            url,
            instead_of: None,
        },
        None => Server {
            instead_of: Some(variable.name),
            ..source(settings)
        },
    }
}

/// The broker.
pub fn broker(settings: &mut Settings) -> Server {
    Server {
        variable: variables::AMQP_URL.name,
        url: settings.amqp_url(&variables::AMQP_URL),
        instead_of: None,
    }
}

/// The retry ladder, which decides which delay queues there are.
pub fn ladder(settings: &mut Settings) -> Option<Ladder> {
    settings.parsed(&variables::RETRY_RUNGS)
}

/// Langfuse's key, kept out of `Debug`.
pub(crate) struct Key(Option<EncryptionKey>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Key {
    pub(crate) fn read(settings: &mut Settings) -> Self {
        Self(EncryptionKey::read(settings))
    }

    /// The same, where the command can do without it.
    pub(crate) fn read_if(needed: bool, settings: &mut Settings) -> Self {
        Self(needed.then(|| EncryptionKey::read(settings)).flatten())
    }

    /// The key. A bad one has stopped the program before any command runs.
    pub(crate) fn get(&self) -> Result<&EncryptionKey, CommandError> {
        self.0
            .as_ref()
            .ok_or(CommandError::Cipher(shared::integration::CipherError::BadKey))
    }
}

/// When a day counts as over and as settled, and how far back `enqueue` goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Horizon {
    /// How long after its end a day counts as over
    pub lag: Duration,
    /// How long after its end what changed of it is sent again; `None`: never
    pub settle_after: Option<TimeDelta>,
    /// How many days before yesterday; `None`: no limit
    pub backfill_days: Option<u32>,
}

/// Reads [`Horizon`].
pub fn horizon(settings: &mut Settings) -> Horizon {
    Horizon {
        lag: settings.duration(&variables::EXPORT_LAG),
        settle_after: settings
            .parsed(&variables::SETTLE_AFTER)
            .and_then(|SettleAfter(after)| after),
        backfill_days: settings.optional_number(&variables::BACKFILL_DAYS, 0, 36_500),
    }
}

/// `SETTLE_AFTER`; `None`: off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleAfter(pub Option<TimeDelta>);

impl std::str::FromStr for SettleAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // YAML makes `false` of an `off` without quotes.
        if matches!(text, "off" | "false") {
            return Ok(Self(None));
        }
        let after = TimeDelta::from_std(parse_duration(text)?).ok();
        let allowed = TimeDelta::hours(1)..=TimeDelta::days(30);
        match after.filter(|after| allowed.contains(after)) {
            Some(after) => Ok(Self(Some(after))),
            None => Err("must be off, or from 1h to 30d".to_owned()),
        }
    }
}

/// The steps of a day, by `EXPORT_EVERY` and `STEP_LAG`; `None`: there are none.
pub fn steps(settings: &mut Settings) -> Option<Steps> {
    let every = settings.duration(&variables::EXPORT_EVERY);
    let lag = settings.duration(&variables::STEP_LAG);
    match Steps::new(every, lag) {
        Ok(steps) => steps,
        Err(why) => {
            settings.complain(why);
            None
        }
    }
}

/// `EVENTS`: which events the producer's jobs export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Whether an observation that is no generation is one of them
    pub observations: bool,
}

impl std::str::FromStr for Events {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let named: BTreeSet<Stream> = words
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|why: String| format!("cannot be read: {why}"))?;
        if !Stream::USUAL.iter().all(|stream| named.contains(stream)) {
            return Err("must name trace, generation and score, and may add observation; \
                        `producer replay --events` exports fewer"
                .to_owned());
        }
        Ok(Self {
            observations: named.contains(&Stream::Observation),
        })
    }
}

/// Whether observations that are no generations are exported, too.
pub fn observations(settings: &mut Settings) -> bool {
    settings
        .parsed::<Events>(&variables::EVENTS)
        .is_some_and(|events| events.observations)
}

/// Format and filter of the log. Every command reads them.
pub fn logging(settings: &mut Settings) -> (LogFormat, String) {
    let format = settings.parsed(&variables::LOG_FORMAT).unwrap_or(LogFormat::Text);
    let filter = settings
        .parsed(&variables::RUST_LOG)
        .unwrap_or_else(|| "info".to_owned());
    (format, filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settling_is_off_or_takes_a_time_that_makes_sense() {
        let after = |text: &str| text.parse().map(|SettleAfter(after)| after);
        assert_eq!(after("off"), Ok(None));
        assert_eq!(after("false"), Ok(None), "YAML's reading of off");
        assert_eq!(after("24h"), Ok(Some(TimeDelta::days(1))));
        for bad in ["", "0s", "59m", "31d", "none", "24"] {
            assert!(after(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_usual_events_are_always_exported() {
        let observations = |text: &str| text.parse::<Events>().map(|events| events.observations);
        assert_eq!(observations("trace,generation,score"), Ok(false));
        assert_eq!(observations(" observation, score,trace,generation,"), Ok(true));
        for few in ["trace", "observation", "trace,generation,observation", ""] {
            assert!(observations(few).unwrap_err().contains("must name"), "{few}");
        }
        assert!(
            observations("trace,generation,scores")
                .unwrap_err()
                .contains("`scores`")
        );
    }
}
