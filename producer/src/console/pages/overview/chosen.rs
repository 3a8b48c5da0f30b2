//! How the projects are sorted, and which are shown. An unknown word counts as none. PURE.

use serde::{Deserialize, Deserializer};

use crate::standing::Standing;

/// What stands in the address behind `?`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console::pages) struct Chosen {
    pub(super) state: Word<Only>,
    pub(super) sort: Word<Sort>,
    /// A part of a name or an id
    pub(super) find: String,
}

/// A word that may be none of those that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Word<T>(pub(super) T);

/// The words of a choice, in the order of its list.
pub(super) trait Words: Copy + Default + PartialEq + 'static {
    const ALL: &'static [(Self, &'static str, &'static str)];
}

impl<'de, T: Words> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = T::ALL.iter().find(|(_, word, _)| *word == text);
        Ok(Self(found.map_or_else(T::default, |(value, _, _)| *value)))
    }
}

/// An entry of a list to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) word: &'static str,
    pub(super) says: &'static str,
    pub(super) chosen: bool,
}

/// The list of a choice.
pub(super) fn entries<T: Words>(chosen: T) -> Vec<Entry> {
    let entry = |(value, word, says): &(T, &'static str, &'static str)| Entry {
        word,
        says,
        chosen: *value == chosen,
    };
    T::ALL.iter().map(entry).collect()
}

/// Only projects of this standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Only(pub(super) Option<Standing>);

impl Words for Only {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self(None), "all", "All"),
        (Self(Some(Standing::NeedsSomebody)), "needs_somebody", "Needs attention"),
        (Self(Some(Standing::Behind)), "behind", "Behind"),
        (Self(Some(Standing::Paused)), "paused", "Paused by a person"),
        (Self(Some(Standing::UpToDate)), "up_to_date", "Nothing open"),
        (Self(Some(Standing::Disabled)), "disabled", "Disabled"),
    ];
}

/// The order of the projects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Need,
    Name,
    Events,
    Open,
}

impl Words for Sort {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Need, "need", "What needs attention first"),
        (Self::Name, "name", "Name"),
        (Self::Events, "events", "Most events"),
        (Self::Open, "open", "Most open runs"),
    ];
}
