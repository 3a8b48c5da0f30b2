//! The definition as it stands in the file. PURE.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

const AI_METRICS: &str = include_str!("ai_metrics.json");
/// The SQL of the tiles: name and text of each file in `tiles/`.
const TILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/tiles.rs"));

/// A dashboard.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    /// Its title, unless the user names another
    pub(crate) name: String,
    /// For the people who look at it
    pub(crate) description: String,
    /// PostHog without a licence drops them
    pub(crate) tags: Vec<String>,
    /// The date range that it begins with
    pub(crate) filters: Value,
    /// Those of releases before, which `update` renews
    #[serde(default)]
    pub(crate) filters_before: Vec<Value>,
    /// What stands for a `$name` in queries
    pub(crate) parts: BTreeMap<String, Value>,
    /// From top to bottom
    pub(crate) groups: Vec<Group>,
}

/// Tiles that answer one kind of question.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// Its key, which never changes
    pub(crate) key: String,
    /// The text tile above the others, as Markdown; its first line is a heading
    pub(crate) text: String,
    /// From left to right
    pub(crate) tiles: Vec<Insight>,
}

/// A tile with a query.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Insight {
    /// Its key, which never changes; the name of its SQL, too
    pub(crate) key: String,
    /// At most 40 characters
    pub(crate) title: String,
    /// What it answers
    pub(crate) question: String,
    /// What must not be read from it
    pub(crate) says_not: String,
    /// Width (of 12) and height
    pub(crate) size: [u32; 2],
    /// The query as PostHog stores it, with `$names` in it
    pub(crate) query: Value,
    /// What an older PostHog may take, where it refuses the query; the first one that it takes
    #[serde(default)]
    pub(crate) simpler: Vec<Simpler>,
}

/// Another form of a query.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Simpler {
    /// As in [`Insight`]
    pub(crate) query: Value,
    /// Which SQL it takes, where that is another one
    pub(crate) sql: Option<String>,
}

impl Definition {
    /// The dashboard of this release.
    ///
    /// # Errors
    /// Never in a release: a test reads it.
    pub(crate) fn ai_metrics() -> Result<Self, serde_json::Error> {
        serde_json::from_str(AI_METRICS)
    }
}

/// The text of a tile's SQL, without the comments.
pub(crate) fn sql(name: &str) -> Option<String> {
    let (_, text) = TILES.iter().find(|(known, _)| *known == name)?;
    let lines = text.lines().filter(|line| !line.starts_with("--"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_tile_says_what_it_answers_and_what_not_and_its_title_is_short() {
        let definition = Definition::ai_metrics().unwrap();
        let tiles: Vec<&Insight> = definition.groups.iter().flat_map(|group| &group.tiles).collect();
        let keys: BTreeSet<&str> = tiles.iter().map(|tile| tile.key.as_str()).collect();
        assert_eq!(keys.len(), tiles.len(), "a key stands twice");
        let distinct: BTreeSet<&str> = tiles.iter().map(|tile| tile.title.as_str()).collect();
        assert_eq!(distinct.len(), tiles.len(), "a title stands twice");
        for tile in tiles {
            let Insight {
                key,
                title,
                question,
                says_not,
                size,
                ..
            } = tile;
            assert!(title.chars().count() <= 40 && !title.is_empty(), "{key}: {title}");
            assert!(
                question.trim_end_matches(|c| c != '?').ends_with('?'),
                "{key}: {question}"
            );
            assert!(says_not.ends_with('.'), "{key}: {says_not}");
            assert!((1..=12).contains(&size[0]) && size[1] > 1, "{key}: {size:?}");
        }
        for group in &definition.groups {
            assert!(
                group.text.starts_with("## ") && group.text.len() <= 4_000,
                "{}",
                group.key
            );
            assert!(
                group.text.contains("?**"),
                "{}: which question does it answer",
                group.key
            );
        }
    }

    /// PostHog begins `-30d` at this very second, so the first day of a chart would be a part of one.
    #[test]
    fn the_date_range_begins_with_a_whole_day() {
        let definition = Definition::ai_metrics().unwrap();
        for range in [&definition.filters, &definition.parts["$range"]] {
            assert_eq!(*range, serde_json::json!({"date_from": "-30dStart"}));
        }
    }

    #[test]
    fn every_sql_belongs_to_a_tile_and_counts_a_copy_once() {
        let definition = Definition::ai_metrics().unwrap();
        let tiles = definition.groups.iter().flat_map(|group| &group.tiles);
        let used: BTreeSet<&str> = tiles
            .flat_map(|tile| {
                let simpler = tile.simpler.iter().filter_map(|simpler| simpler.sql.as_deref());
                simpler.chain([tile.key.as_str()])
            })
            .collect();
        assert!(TILES.len() >= 10);
        for (name, text) in TILES {
            assert!(used.contains(name), "{name}.hogql belongs to no tile");
            assert!(text.starts_with(&format!("-- dashboard_{name}\n")), "{name}");
            let sql = sql(name).unwrap();
            assert!(sql.starts_with("select ") && !sql.contains("--"), "{name}");
            assert!(
                sql.contains("{filters}") && sql.contains("langfuse_project_id in ({project}, {project_in_json})"),
                "{name}"
            );
            let keys = ["group by uuid", "group by person_id", "group by event, one"];
            let once = keys.iter().any(|keys| sql.contains(keys));
            assert!(once && !sql.contains("sum(toFloat"), "{name}: copies count twice");
        }
    }
}
