//! Which dead letters a simulation may leave: those whose cause is one of its steps.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use serde_json::Value;

use crate::ending::Cause;

/// PostHog is away, statements are cut off, workers die again and again. Nobody writes bad
/// messages, changes keys, or makes PostHog refuse a row.
const EXPLAINED: [Cause; 4] = [
    Cause::PosthogUnavailable,
    Cause::DatabaseError,
    Cause::KillsWorkers,
    Cause::DeliveryLimit,
];

/// Dead letters by their cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters(BTreeMap<String, usize>);

impl Letters {
    /// From what `producer dead-letters list --group --json` says.
    pub(super) fn read(answer: &Value) -> Self {
        let groups = answer["groups"].as_array().into_iter().flatten();
        let counts = groups.filter_map(|group| {
            let count = usize::try_from(group["dead_letters"].as_u64()?).ok()?;
            Some((group["error_code"].as_str()?.to_owned(), count))
        });
        Self(counts.collect())
    }

    /// The causes that no step of a simulation explains.
    pub fn unexplained(&self) -> Vec<&str> {
        let causes = self.0.keys().map(String::as_str);
        let is_explained = |cause: &str| EXPLAINED.iter().any(|explained| explained.as_str() == cause);
        causes.filter(|cause| !is_explained(cause)).collect()
    }

    /// Causes and counts.
    pub fn rows(&self) -> &BTreeMap<String, usize> {
        &self.0
    }
}

impl AddAssign for Letters {
    fn add_assign(&mut self, other: Self) {
        for (cause, count) in other.0 {
            *self.0.entry(cause).or_default() += count;
        }
    }
}

impl fmt::Display for Letters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(out, "no dead letters");
        }
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(cause, count)| format!("{cause}: {count}"))
            .collect();
        write!(out, "dead letters: {}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nobody_did_explains_no_dead_letter() {
        let answer = |cause: &str| json!({"groups": [{"error_code": cause, "dead_letters": 2}]});
        let mut letters = Letters::read(&answer("posthog_unavailable"));
        assert_eq!(letters.unexplained(), Vec::<&str>::new());
        letters += Letters::read(&answer("internal"));
        letters += Letters::read(&answer("internal"));
        assert_eq!(letters.unexplained(), ["internal"]);
        assert_eq!(letters.to_string(), "dead letters: internal: 4, posthog_unavailable: 2");
        assert_eq!(Letters::read(&json!({"groups": []})), Letters::default());
    }
}
