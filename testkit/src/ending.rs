//! How jobs ended, as a worker's log says: one JSON line for each delivery, with `outcome` and
//! `error_code`. Tests wait for these words. They never change, while sentences do.

use serde_json::{Map, Value};

/// An enum whose variants are the words of a log.
macro_rules! words {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// The word in the log.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            fn of(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    _ => panic!("testkit knows no {} {word:?}", stringify!($name)),
                }
            }
        }
    };
}

words! {
    /// What became of a delivery.
    Outcome {
        /// Every event was accepted.
        Completed = "completed",
        /// The run had ended before this delivery.
        DoneBefore = "done_before",
        /// It failed, and waits on a rung of the retry ladder. The attempt is counted.
        Retry = "retry",
        /// It waits on a rung, and nothing is counted.
        Later = "later",
        /// It is a dead letter.
        Dead = "dead",
        /// It is a step, and was given up.
        Discarded = "discarded",
        /// It is a step that came after its day was over.
        Superseded = "superseded",
        /// Its project is disabled or paused.
        Skipped = "skipped",
        /// It was published again at a checkpoint: its slice was over, or the worker was asked to
        /// stop.
        HandedBack = "handed_back",
        /// It is left to the broker, which delivers it again.
        Abandoned = "abandoned",
    }
}

words! {
    /// Why a job did not complete: the words of the error codes.
    Cause {
        /// The message is no job.
        BadMessage = "bad_message",
        /// Its day is not over.
        DayNotOver = "day_not_over",
        /// Langfuse has no such project.
        UnknownProject = "unknown_project",
        /// The project has no integration.
        NoIntegration = "no_integration",
        /// The integration is switched off.
        IntegrationDisabled = "integration_disabled",
        /// The project is paused.
        ProjectPaused = "project_paused",
        /// The stored key does not decrypt.
        KeyUndecryptable = "key_undecryptable",
        /// The host is no URL.
        BadHost = "bad_host",
        /// The host may not be called.
        HostNotAllowed = "host_not_allowed",
        /// PostHog does not know the key.
        Unauthorized = "unauthorized",
        /// PostHog answered 402.
        BillingLimit = "billing_limit",
        /// The host does not answer as PostHog does.
        EndpointRefused = "endpoint_refused",
        /// Every row was refused.
        MappingRefused = "mapping_refused",
        /// PostHog kept failing.
        PosthogUnavailable = "posthog_unavailable",
        /// Another job waits for the same host.
        HostBusy = "host_busy",
        /// Langfuse's database cannot be reached.
        DatabaseUnavailable = "database_unavailable",
        /// A statement failed.
        DatabaseError = "database_error",
        /// Langfuse's tables lack a column.
        SchemaMismatch = "schema_mismatch",
        /// The ledger cannot be reached.
        LedgerUnavailable = "ledger_unavailable",
        /// Another worker or run is at work on the same day.
        LeaseHeld = "lease_held",
        /// Workers died with this job again and again.
        KillsWorkers = "kills_workers",
        /// The broker gave the message up.
        DeliveryLimit = "delivery_limit",
        /// A fault of the exporter.
        Internal = "internal",
    }
}

/// The end of one delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// What became of it
    pub outcome: Outcome,
    /// Why it did not complete; `None` for an end without an error code
    pub cause: Option<Cause>,
    /// The whole line
    pub line: Map<String, Value>,
}

impl Ending {
    /// Reads a line of a log; `None` when it tells of no end.
    fn of(line: &str) -> Option<Self> {
        if !line.contains("\"outcome\":") {
            return None;
        }
        let Ok(Value::Object(line)) = serde_json::from_str(line) else {
            return None;
        };
        let word = |name: &str| line.get(name).and_then(Value::as_str);
        Some(Self {
            outcome: Outcome::of(word("outcome")?),
            cause: word("error_code").map(Cause::of),
            line,
        })
    }

    /// Whether it ended so; a `cause` of `None` is any, or none.
    pub fn is(&self, outcome: Outcome, cause: Option<Cause>) -> bool {
        self.outcome == outcome && (cause.is_none() || self.cause == cause)
    }

    /// Which attempt it was, from 1 on.
    pub fn attempt(&self) -> i64 {
        self.line["attempt"].as_i64().expect("an end has an attempt")
    }

    /// Whether the broker had delivered the message before.
    pub fn is_redelivered(&self) -> bool {
        self.line["redelivered"] == true
    }
}

/// Every end that a log tells of, in order.
pub fn endings(log: &str) -> Vec<Ending> {
    log.lines().filter_map(Ending::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_from_its_line() {
        let log = concat!(
            "a panic, which is no JSON, with \"outcome\": in it\n",
            r#"{"level":"INFO","message":"consuming"}"#,
            "\n",
            r#"{"outcome":"later","error_code":"lease_held","attempt":2,"redelivered":true}"#,
            "\n",
            r#"{"outcome":"completed","attempt":1,"redelivered":false}"#,
        );
        let endings = endings(log);
        let [later, completed] = endings.as_slice() else {
            panic!("{endings:?}")
        };
        assert!(later.is(Outcome::Later, Some(Cause::LeaseHeld)) && later.is(Outcome::Later, None));
        assert!(!later.is(Outcome::Later, Some(Cause::HostBusy)));
        assert!(!later.is(Outcome::Retry, Some(Cause::LeaseHeld)));
        assert_eq!((later.attempt(), later.is_redelivered()), (2, true));
        assert_eq!((completed.outcome, completed.cause), (Outcome::Completed, None));
    }

    #[test]
    #[should_panic(expected = "testkit knows no Outcome \"vanished\"")]
    fn an_end_of_an_unknown_kind_is_no_end_that_is_overlooked() {
        endings(r#"{"outcome":"vanished"}"#);
    }
}
