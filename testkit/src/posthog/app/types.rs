//! What PostHog takes a property for. It guesses that by the first value that it sees, and converts the
//! property wherever a query names it: what is none of the kind is NULL then. What it is compared with
//! is converted, too, and has to be one.

use chrono::{DateTime, NaiveDate};

use super::super::FakePosthog;

/// What a text may be taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guessed {
    /// `true` and `false`
    Boolean,
    /// `12`, `1.5`
    Numeric,
    /// `2024-06-01`, `2024-06-01T12:00:00Z`
    DateTime,
}

impl Guessed {
    /// The value that ClickHouse makes of a text; `None` is NULL.
    pub(super) fn of(self, text: &str) -> Option<String> {
        match self {
            Self::Boolean => ["true", "false"].contains(&text).then(|| text.to_owned()),
            Self::Numeric => Some(text.parse::<f64>().ok()?.to_string()),
            Self::DateTime => {
                let moment = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros());
                let day = |_| {
                    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
                    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
                };
                moment.map_or_else(day, Some).map(|micros| micros.to_string())
            }
        }
    }
}

impl FakePosthog {
    /// What `properties.langfuse_project_id` is taken for from now on; texts are read as they are
    /// all the same where a query extracts them from the JSON.
    pub fn takes_projects_for(&self, guessed: Guessed) {
        self.state.app().switches.projects_are = Some(guessed);
    }
}
