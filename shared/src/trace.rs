//! W3C trace context. It connects the request for a job with the worker's log lines.

use std::fmt;
use std::str::FromStr;

use rand::Rng as _;

/// A valid `traceparent` of version 00.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traceparent {
    trace_id: String,
    parent_id: String,
    flags: String,
}

impl Traceparent {
    /// A new trace. It is marked as sampled, because its log lines are kept.
    pub fn fresh() -> Self {
        let mut random = rand::rng();
        // All zeros are not valid.
        let (trace, parent) = (random.random_range(1..=u128::MAX), random.random_range(1..=u64::MAX));
        Self {
            trace_id: format!("{trace:032x}"),
            parent_id: format!("{parent:016x}"),
            flags: "01".into(),
        }
    }

    /// The trace's id, 32 hex digits. All log lines of a trace carry it.
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }
}

impl FromStr for Traceparent {
    type Err = String;

    /// As strict as the specification. Of a later version it takes the four known fields, as the
    /// specification asks.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |field: &str, length: usize| {
            field.len() == length && field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let id = |field: &str, length| hex(field, length) && field.bytes().any(|b| b != b'0');
        let mut fields = text.splitn(5, '-');
        match (
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
        ) {
            (Some(version), Some(trace), Some(parent), Some(flags), rest)
                if hex(version, 2)
                    && version != "ff"
                    && id(trace, 32)
                    && id(parent, 16)
                    && hex(flags, 2)
                    && (rest.is_none() || version != "00") =>
            {
                Ok(Self {
                    trace_id: trace.into(),
                    parent_id: parent.into(),
                    flags: flags.into(),
                })
            }
            _ => Err("is not a W3C traceparent (00-32 hex digits-16 hex digits-2 hex digits)".into()),
        }
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{}", self.trace_id, self.parent_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_one_comes_back_as_it_was() {
        let parsed: Traceparent = VALID.parse().unwrap();
        assert_eq!(parsed.to_string(), VALID);
        assert_eq!(parsed.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn of_a_later_version_the_known_fields_are_taken() {
        let later = VALID.replacen("00", "cc", 1) + "-what-the-future-will-be-like";
        assert_eq!(later.parse::<Traceparent>().unwrap().to_string(), VALID);
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        for bad in [
            "",
            "00-ab-cd-01",
            &VALID.to_uppercase(),
            &format!("{VALID}-00"),
            &format!("{VALID}\n"),
            &format!(" {VALID}"),
            &VALID.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        ] {
            assert!(bad.parse::<Traceparent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn fresh_ones_are_valid_and_differ() {
        let (one, other) = (Traceparent::fresh(), Traceparent::fresh());
        assert_eq!(one.to_string().parse(), Ok(one.clone()));
        assert_ne!(one.trace_id(), other.trace_id());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = text.parse::<Traceparent>();
        }
    }
}
