//! The stable words for failures. They stand in the ledger, in the `x-error-code` header, in
//! metrics and in the producer's filters.

use std::fmt;
use std::str::FromStr;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal, $advice:literal;)+) => {
        /// Why a job did not complete. A word is never renamed: alerts and scripts rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode { $($(#[doc = $doc])+ $variant,)+ }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)+];

            /// The word that stands in the ledger, headers and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $word,)+ }
            }

            /// What an operator does about it, in one sentence.
            pub const fn advice(self) -> &'static str {
                match self { $(ErrorCode::$variant => $advice,)+ }
            }
        }
    };
}

error_codes! {
    /// The body is not a job: bad JSON, an unknown or missing field, a bad date.
    BadMessage = "bad_message",
        "Publish a corrected message; the body is kept untouched in the dead letter.";
    /// The day has not ended by the database's clock.
    DayNotOver = "day_not_over",
        "Requeue it once the day is over (UTC), or discard it if the date is a mistake.";
    /// `projects` has no such row.
    UnknownProject = "unknown_project",
        "Check project_id for a typo; discard the message if the project was deleted.";
    /// `posthog_integrations` has no row for the project.
    NoIntegration = "no_integration",
        "Run `producer integrations set` for the project, then requeue.";
    /// The integration is switched off.
    IntegrationDisabled = "integration_disabled",
        "Enable the integration; the next enqueue brings the day back.";
    /// The project is paused: its key or host is wrong, or a person paused it.
    ProjectPaused = "project_paused",
        "Correct the project's PostHog settings, or `producer projects resume`; the next enqueue \
         brings the day back.";
    /// The stored API key does not decrypt with our `ENCRYPTION_KEY`.
    KeyUndecryptable = "key_undecryptable",
        "Give the worker the ENCRYPTION_KEY that Langfuse uses, or save the key anew; then \
         requeue.";
    /// The configured host is not a URL.
    BadHost = "bad_host", "Correct the host in the project's PostHog settings, then requeue.";
    /// The configured host may not be called: plain http, a private address, or not in
    /// `EGRESS_ONLY`.
    HostNotAllowed = "host_not_allowed",
        "Use a public https host, or list this one in the variable that the error names \
         (EGRESS_ALLOW, EGRESS_ONLY); then requeue.";
    /// PostHog does not know the API key.
    Unauthorized = "unauthorized",
        "Correct the project's API key (`producer integrations set`), then requeue.";
    /// PostHog answered 402.
    BillingLimit = "billing_limit", "Raise the billing limit in PostHog, then requeue.";
    /// The host answers, but not as a capture endpoint does (3xx, 403, 404, 405, …).
    EndpointRefused = "endpoint_refused",
        "Check that the host is PostHog's ingestion host and no proxy stands before it; then \
         requeue.";
    /// Every row of the run was refused: a fault of the mapping, not of the rows.
    MappingRefused = "mapping_refused",
        "Look at the last answer in the ledger; report it: the exporter sends what PostHog \
         refuses.";
    /// PostHog could not be reached or kept failing for longer than the retry budget.
    PosthogUnavailable = "posthog_unavailable",
        "Nothing while it is on the ladder; requeue the dead letter once PostHog answers again.";
    /// Too many jobs of this process are already waiting for this host.
    HostBusy = "host_busy", "Nothing: the host fails or is slow, and the job waits its turn.";
    /// Langfuse's database cannot be reached.
    DatabaseUnavailable = "database_unavailable",
        "Nothing: the job waits until the database is back.";
    /// A statement failed: timeout, permission, cancelled by a replica's recovery.
    DatabaseError = "database_error",
        "Read the error text (a timeout, a missing right, a replica's recovery), mend it, then \
         requeue.";
    /// Langfuse's tables lack a column that is read.
    SchemaMismatch = "schema_mismatch",
        "Upgrade Langfuse to a v2 release that has the named columns, then requeue.";
    /// The ledger's database cannot be reached.
    LedgerUnavailable = "ledger_unavailable", "Nothing: the job waits until the ledger is back.";
    /// The job's lease is held by another worker, or another run of the same day is at work.
    LeaseHeld = "lease_held", "Nothing: the job waits until the other is done.";
    /// The job was taken over from dead workers too often without progress.
    KillsWorkers = "kills_workers",
        "Look at the workers' ends (out of memory?), give them more memory or lower PAGE_ROWS, \
         then requeue.";
    /// The message was given up: its workers died before they could claim it.
    DeliveryLimit = "delivery_limit", "Look at the workers' ends, then requeue.";
    /// A fault of the exporter itself.
    Internal = "internal", "Report it with the log line of the job; then requeue.";
}

impl ErrorCode {
    /// [`ErrorCode::advice`] for settings that no job has failed with: nothing is there to requeue.
    pub fn mend(self) -> String {
        let advice = self.advice();
        let without = [", then requeue.", "; then requeue."]
            .iter()
            .find_map(|end| advice.strip_suffix(end));
        without.map_or_else(|| advice.to_owned(), |mend| format!("{mend}."))
    }

    /// Whether every job of the project would fail like this one, until its key or host is
    /// corrected.
    pub const fn pauses_project(self) -> bool {
        matches!(
            self,
            Self::Unauthorized | Self::EndpointRefused | Self::HostNotAllowed | Self::KeyUndecryptable | Self::BadHost
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorCode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == word)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|code| code.as_str()).collect();
                format!("unknown error code `{word}`; known are {}", known.join(", "))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mend_of_settings_speaks_of_no_job() {
        for code in ErrorCode::ALL.iter().filter(|code| code.pauses_project()) {
            let mend = code.mend();
            assert!(!mend.contains("requeue") && mend.ends_with('.'), "{mend}");
        }
    }

    #[test]
    fn every_word_reads_back_as_its_code() {
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str().parse::<ErrorCode>(), Ok(*code));
        }
    }
}
