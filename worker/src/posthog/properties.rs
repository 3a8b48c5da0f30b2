//! Which properties events have, and which of them are left out (`OMIT_PROPERTIES`). PURE.

use shared::settings::Settings;
use shared::settings::variables::OMIT_PROPERTIES;

/// Whether a property may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It tells which event this is, whose it is, or how PostHog must treat it.
    Identity,
    /// It says something about the row.
    Content,
}
use Kind::{Content, Identity};

/// Every name that an event is written with. A name that is missing here does not compile in
/// `event.rs`. docs/EVENTS.md tells what each one holds.
const PROPERTIES: &[(&str, Kind)] = &[
    ("event", Identity),
    ("timestamp", Identity),
    ("uuid", Identity),
    ("distinct_id", Identity),
    ("$process_person_profile", Identity),
    ("$set", Identity),
    ("$geoip_disable", Identity),
    ("$lib", Identity),
    ("$lib_version", Identity),
    ("langfuse_id", Identity),
    ("langfuse_project_id", Identity),
    ("langfuse_integration_version", Identity),
    ("langfuse_truncated", Identity),
    ("$session_id", Content),
    ("langfuse_user_url", Content),
    ("langfuse_cost_usd", Content),
    ("langfuse_count_observations", Content),
    ("langfuse_generation_name", Content),
    ("langfuse_input_units", Content),
    ("langfuse_latency", Content),
    ("langfuse_level", Content),
    ("langfuse_model", Content),
    ("langfuse_observation_id", Content),
    ("langfuse_observation_name", Content),
    ("langfuse_output_units", Content),
    ("langfuse_project_name", Content),
    ("langfuse_release", Content),
    ("langfuse_score_comment", Content),
    ("langfuse_score_data_type", Content),
    ("langfuse_score_name", Content),
    ("langfuse_score_source", Content),
    ("langfuse_score_string_value", Content),
    ("langfuse_score_value", Content),
    ("langfuse_session_id", Content),
    ("langfuse_tags", Content),
    ("langfuse_time_to_first_token", Content),
    ("langfuse_total_units", Content),
    ("langfuse_trace_id", Content),
    ("langfuse_trace_name", Content),
    ("langfuse_type", Content),
    ("langfuse_unit", Content),
    ("langfuse_url", Content),
    ("langfuse_user_id", Content),
    ("langfuse_version", Content),
];

const _: () = assert!(PROPERTIES.len() <= 64, "each property has a bit of a u64");

/// What goes with a property that is left out, because it holds the same.
const HELD_BY: [(&str, &str); 3] = [
    ("langfuse_user_id", "langfuse_user_url"),
    ("langfuse_session_id", "$session_id"),
    ("langfuse_trace_id", "langfuse_url"),
];

/// The bit of a property. For the compiler: a name that is not in the list runs past its end, which
/// does not compile.
pub const fn bit(name: &str) -> u64 {
    let mut at = 0;
    while !is_same(PROPERTIES[at].0, name) {
        at += 1;
    }
    1 << at
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The properties that are left out, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omitted(u64);

impl Omitted {
    /// Whether one of these properties ([`bit`]) is left out.
    pub const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    /// Reads `OMIT_PROPERTIES`.
    pub fn read(settings: &mut Settings) -> Self {
        let text = settings.text(&OMIT_PROPERTIES).unwrap_or_default();
        let (omitted, faults) = Self::parse(&text);
        for fault in faults {
            settings.complain(format!("{} {fault}", OMIT_PROPERTIES.name));
        }
        if omitted.has(bit("langfuse_user_id")) {
            settings.note(format!(
                "{}: langfuse_user_id is left out, but the id of a user still leaves as the `distinct_id` of the event, \
                 which cannot be left out",
                OMIT_PROPERTIES.name
            ));
        }
        omitted
    }

    fn parse(text: &str) -> (Self, Vec<String>) {
        let (mut bits, mut faults) = (0, Vec::new());
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match PROPERTIES.iter().find(|(known, _)| *known == name) {
                Some((_, Content)) => bits |= bit(name),
                Some((_, Identity)) => faults.push(format!(
                    "holds `{name}`, which belongs to the identity of an event and cannot be left out"
                )),
                None => faults.push(format!(
                    "holds `{name}`, which is no property of an event; there are {}",
                    content().collect::<Vec<_>>().join(", ")
                )),
            }
        }
        for (name, holder) in HELD_BY {
            if bits & bit(name) != 0 {
                bits |= bit(holder);
            }
        }
        (Self(bits), faults)
    }
}

fn content() -> impl Iterator<Item = &'static str> {
    let content = PROPERTIES.iter().filter(|(_, kind)| *kind == Content);
    content.map(|(name, _)| *name)
}

#[cfg(test)]
impl Omitted {
    /// Of a text that is right.
    pub(crate) fn of(text: &str) -> Self {
        let (omitted, faults) = Self::parse(text);
        assert_eq!(faults, [""; 0]);
        omitted
    }

    /// All that can be left out.
    pub(crate) fn everything() -> Self {
        Self::of(&content().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn read(text: &str) -> Result<(Omitted, Vec<String>), String> {
        let variables = BTreeMap::from([("OMIT_PROPERTIES".to_owned(), text.to_owned())]);
        let mut settings = Settings::from_map(variables);
        let omitted = Omitted::read(&mut settings);
        let shown = settings.finish().map_err(|error| error.to_string())?;
        Ok((omitted, shown.notes))
    }

    #[test]
    fn the_identity_of_an_event_and_unknown_names_are_refused_by_name() {
        for (text, parts) in [
            ("distinct_id", &["OMIT_PROPERTIES", "`distinct_id`", "identity"][..]),
            ("langfuse_tags,uuid", &["`uuid`", "identity"]),
            (
                "$process_person_profile, $set",
                &["`$process_person_profile`", "`$set`"],
            ),
            ("timestamp,langfuse_id", &["`timestamp`", "`langfuse_id`"]),
            (
                "langfuse_comment",
                &["`langfuse_comment`", "no property", "langfuse_score_comment, "],
            ),
            ("langfuse_tags langfuse_url", &["`langfuse_tags langfuse_url`"]),
        ] {
            let error = read(text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
        assert_eq!(read("").unwrap(), (Omitted::default(), vec![]));
        let (omitted, notes) = read(" langfuse_tags , langfuse_score_comment,").unwrap();
        assert_eq!(omitted, Omitted(bit("langfuse_tags") | bit("langfuse_score_comment")));
        assert!(notes.is_empty());
    }

    #[test]
    fn what_holds_the_same_goes_with_it() {
        assert!(Omitted::of("langfuse_session_id").has(bit("$session_id")));
        assert!(!Omitted::of("$session_id").has(bit("langfuse_session_id")));
        assert!(Omitted::of("langfuse_trace_id").has(bit("langfuse_url")));
        let (omitted, notes) = read("langfuse_user_id").unwrap();
        assert!(omitted.has(bit("langfuse_user_url")));
        assert!(notes[0].contains("distinct_id"), "{notes:?}");
    }

    /// The tables of docs/EVENTS.md and the list hold the same names.
    #[test]
    fn the_documentation_lists_the_same_properties() {
        let page = include_str!("../../../docs/EVENTS.md");
        let mut documented = BTreeSet::from(["$set", "langfuse_truncated"]);
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            let cell = line.split('|').nth(1).unwrap_or_default();
            for name in cell.split('`').skip(1).step_by(2) {
                let name = name.strip_prefix("properties.").unwrap_or(name);
                documented.insert(name.strip_prefix("$set.").unwrap_or(name));
            }
        }
        let is_property = |name: &&str| name.starts_with("langfuse_") || name.starts_with('$');
        documented.retain(is_property);
        let listed = PROPERTIES.iter().map(|(name, _)| *name);
        let listed: BTreeSet<&str> = listed.filter(is_property).collect();
        assert_eq!(documented, listed);
    }
}
