//! Looks whether PostHog holds what it accepted, as far as anybody verifies that.

use shared::ledger::{Ledger, NotArrived};
use shared::settings::BadSettings;
use shared::settings::variables::{POSTHOG_PERSONAL_API_KEY, POSTHOG_PERSONAL_API_KEYS_FILE};

use super::check::Check;
use super::finding::Finding;
use crate::output::count;
use crate::posthog_app::PersonalKeys;

const CHECK: Check = Check::Arrival;

pub(super) async fn check(keys: Result<&PersonalKeys, &BadSettings>, ledger: &Ledger) -> Finding {
    let keys = match keys {
        Ok(keys) => keys,
        Err(BadSettings(faults)) => {
            return Finding::problem(
                CHECK,
                format!(
                    "nobody verifies that PostHog keeps what it accepts: {}",
                    faults.join("; ")
                ),
                "Mend it and start `producer schedule` again, which only enqueues until then.",
            );
        }
    };
    if keys.is_empty() {
        return Finding::unknown(
            CHECK,
            "nobody verifies that PostHog keeps what it accepts: there is no personal API key",
            format!(
                "Set {} or {}; `producer verify --help` tells what for.",
                POSTHOG_PERSONAL_API_KEY.name, POSTHOG_PERSONAL_API_KEYS_FILE.name
            ),
        );
    }
    match ledger.not_arrived().await {
        Ok(NotArrived { days: 0, .. }) => Finding::ok(CHECK, "no verified day misses events in PostHog"),
        Ok(NotArrived { days, .. }) => Finding::warning(
            CHECK,
            format!("PostHog does not hold all events of {}", count(days, "exported day")),
            "See what is missing with `producer status` and `producer verify`; docs/VERIFY.md leads to the cause.",
        ),
        Err(error) => Finding::error(CHECK, &error),
    }
}
