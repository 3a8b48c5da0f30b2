//! The dashboard of one project: the definition with the project, its conversion event and the SQL
//! written out. PURE.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::definition::{Definition, Insight, sql};
use super::layout::{Flow, Place};
use crate::posthog_app::langfuse_project::{self, in_json, may_be_guessed};

/// What the queries are about.
#[derive(Clone, Debug)]
pub(crate) struct About<'a> {
    /// Langfuse's project
    pub(crate) project: &'a str,
    /// The event that counts as a conversion; without one the tiles about it are left out
    pub(crate) conversion: Option<&'a str>,
}

impl About<'_> {
    /// The project's id as it is, and as it stands in JSON where that differs: PostHog compares a
    /// property in either form, by where it keeps it.
    fn project_forms(&self) -> Vec<String> {
        let mut forms = vec![self.project.to_owned(), in_json(self.project)];
        forms.dedup();
        forms
    }

    /// The project's id as it is compared in SQL.
    fn is_project(&self) -> String {
        match self.project_forms().as_slice() {
            [only] => format!("= {}", literal(only)),
            forms => {
                let forms: Vec<String> = forms.iter().map(|form| literal(form)).collect();
                format!("in ({})", forms.join(", "))
            }
        }
    }
}

/// What a dashboard should be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// With the marker at its end
    pub(crate) description: String,
    pub(crate) tags: Vec<String>,
    pub(crate) filters: Value,
    /// Those that a release before wrote
    pub(crate) filters_before: Vec<Value>,
    /// From top to bottom
    pub(crate) tiles: Vec<Tile>,
}

/// What a tile should be.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    pub(crate) key: String,
    pub(crate) content: Content,
    pub(crate) place: Place,
}

/// What is in a tile.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Markdown
    Text(String),
    /// A query
    Insight {
        name: String,
        /// With the marker at its end
        description: String,
        /// The query in its best form, then in simpler ones
        forms: Vec<Value>,
    },
}

impl Tile {
    /// How it is called for people.
    pub(crate) fn title(&self) -> &str {
        match &self.content {
            Content::Text(body) => heading(body),
            Content::Insight { name, .. } => name,
        }
    }
}

/// The first line of a text tile, by which it is found again where the ledger does not know it.
pub(crate) fn heading(body: &str) -> &str {
    body.lines().next().unwrap_or_default().trim_start_matches('#').trim()
}

/// What the key of a text tile begins with; no other tile's key does.
const HEADING: &str = "text_";

/// Whether a tile is a text above others, by its key.
pub(crate) fn is_heading(key: &str) -> bool {
    key.starts_with(HEADING)
}

/// What each mark begins with.
pub(crate) const MARK: &str = "[langfuse-posthog-export:ai-metrics:";

/// By this a dashboard is found again where the ledger does not know it: never by its name.
pub(crate) fn marker(project: &str) -> String {
    format!("{MARK}v1:{}]", in_json(project))
}

/// By this a tile is found again.
pub(crate) fn tile_marker(key: &str) -> String {
    format!("{MARK}{key}]")
}

/// Writes the dashboard out.
pub(crate) fn render(definition: &Definition, about: &About<'_>, name: Option<&str>) -> Wanted {
    let mut flow = Flow::default();
    let mut tiles = Vec::new();
    for group in &definition.groups {
        tiles.push(Tile {
            key: format!("{HEADING}{}", group.key),
            content: Content::Text(group.text.clone()),
            place: flow.row(2),
        });
        for insight in &group.tiles {
            if let Some(forms) = forms(definition, about, insight) {
                tiles.push(Tile {
                    key: insight.key.clone(),
                    content: Content::Insight {
                        name: insight.title.clone(),
                        description: format!(
                            "{} It does not say: {} {}",
                            insight.question,
                            lower(&insight.says_not),
                            tile_marker(&insight.key)
                        ),
                        forms,
                    },
                    place: flow.next(insight.size),
                });
            }
        }
    }
    Wanted {
        name: name.unwrap_or(&definition.name).to_owned(),
        description: format!("{} {}", definition.description, marker(about.project)),
        tags: definition.tags.clone(),
        filters: definition.filters.clone(),
        filters_before: definition.filters_before.clone(),
        tiles,
    }
}

/// The forms of a tile's query; `None` where it needs a conversion event, and there is none.
fn forms(definition: &Definition, about: &About<'_>, insight: &Insight) -> Option<Vec<Value>> {
    let mut forms = vec![(&insight.query, insight.key.as_str())];
    for simpler in &insight.simpler {
        forms.push((&simpler.query, simpler.sql.as_deref().unwrap_or(&insight.key)));
    }
    let form = |(query, sql): (&Value, &str)| Writer { definition, about, sql }.write(query);
    forms.into_iter().map(form).collect()
}

struct Writer<'a> {
    definition: &'a Definition,
    about: &'a About<'a>,
    /// Whose text `$text` is
    sql: &'a str,
}

impl Writer<'_> {
    /// What is bound is never looked at again: an id may look like a part.
    fn write(&self, value: &Value) -> Option<Value> {
        Some(match value {
            Value::String(name) => match name.as_str() {
                "$project" => self.about.project_forms().into(),
                "$conversion" => self.about.conversion?.into(),
                "$text" => self.text()?.into(),
                "$project_condition" => format!("{} {}", langfuse_project::AS_TEXT, self.about.is_project()).into(),
                "$of_project" if may_be_guessed(self.about.project) => {
                    self.write(self.definition.parts.get("$of_project_by_text")?)?
                }
                name => match self.definition.parts.get(name) {
                    Some(part) => self.write(part)?,
                    None => name.into(),
                },
            },
            Value::Array(values) => values.iter().map(|value| self.write(value)).collect::<Option<_>>()?,
            Value::Object(fields) => {
                let fields = fields.iter();
                let written = fields.map(|(name, value)| Some((name.clone(), self.write(value)?)));
                Value::Object(written.collect::<Option<Map<_, _>>>()?)
            }
            other => other.clone(),
        })
    }

    fn text(&self) -> Option<String> {
        let mut text = sql(self.sql)?.replace("in ({project}, {project_in_json})", &self.about.is_project());
        if may_be_guessed(self.about.project) {
            text = langfuse_project::by_text(&text);
        }
        if text.contains("{conversion}") {
            return Some(text.replace("{conversion}", &literal(self.about.conversion?)));
        }
        Some(text)
    }
}

/// A text of HogQL. Ids that are not plain are written as hexadecimal digits: which escapes a parser
/// knows differs by version, and a brace begins what is bound. `values` cannot be bound beside
/// `{filters}`.
fn literal(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " $-_.:/".contains(c);
    if text.chars().all(is_plain) {
        return format!("'{text}'");
    }
    let mut digits = String::new();
    for byte in text.bytes() {
        let _ = write!(digits, "{byte:02x}");
    }
    format!("unhex('{digits}')")
}

fn lower(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn wanted(project: &str, conversion: Option<&str>) -> Wanted {
        render(&Definition::ai_metrics().unwrap(), &About { project, conversion }, None)
    }

    fn forms_of(wanted: &Wanted) -> impl Iterator<Item = (&str, &Value)> {
        wanted.tiles.iter().flat_map(|tile| match &tile.content {
            Content::Insight { forms, .. } => forms.iter().map(|form| (tile.key.as_str(), form)).collect(),
            Content::Text(_) => Vec::new(),
        })
    }

    fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::String(text) => found.push(text),
            Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
            Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
            _ => {}
        }
    }

    #[test]
    fn nothing_is_left_to_be_written_out() {
        let wanted = wanted("clx1abc", Some("signed_up"));
        let (mut langfuse, mut conversions) = (0, 0);
        for (key, form) in forms_of(&wanted) {
            let mut found = Vec::new();
            texts(form, &mut found);
            for text in found {
                // PostHog's own; prefixes of money.
                let is_known = ["$pageview", "$"].contains(&text);
                assert!(is_known || !text.starts_with('$'), "{key}: {text}");
                assert!(!text.contains("{project}") && !text.contains("{conversion}"), "{key}");
                conversions += usize::from(text.contains("signed_up"));
            }
            let all = form.to_string();
            if all.contains("langfuse trace") || all.contains("langfuse generation") || all.contains("langfuse score") {
                assert!(all.contains("clx1abc"), "{key} mixes projects");
                langfuse += 1;
            }
            // Who is no user counts as none.
            if all.contains("\"dau\"") || all.contains("Retention") && all.contains("langfuse trace") {
                assert!(all.contains("distinct_id != toString(uuid)"), "{key}");
            }
            assert!(
                !["\"sum\"", "\"total\"", "\"avg\"", "\"p95\""]
                    .iter()
                    .any(|math| all.contains(&format!("\"math\":{math}"))),
                "{key} counts copies"
            );
        }
        assert!(langfuse > 20 && conversions > 3, "{langfuse} {conversions}");
    }

    #[test]
    fn a_key_tells_a_heading_from_a_tile() {
        for tile in wanted("p", Some("paid")).tiles {
            assert_eq!(
                is_heading(&tile.key),
                matches!(tile.content, Content::Text(_)),
                "{}",
                tile.key
            );
        }
    }

    #[test]
    fn without_a_conversion_event_its_tiles_are_left_out() {
        let keys = |wanted: Wanted| wanted.tiles.into_iter().map(|tile| tile.key).collect::<Vec<_>>();
        let (with, without) = (keys(wanted("p", Some("paid"))), keys(wanted("p", None)));
        let gone: Vec<_> = with.iter().filter(|key| !without.contains(key)).collect();
        assert_eq!(gone, ["conversion_funnel", "conversion_compared"]);
        assert!(without.iter().all(|key| with.contains(key)));
    }

    #[test]
    fn an_id_that_is_not_plain_cannot_leave_its_quotes() {
        assert_eq!(literal("clx1-A_b.c"), "'clx1-A_b.c'");
        assert_eq!(literal("a'b"), "unhex('612762')");
        for hostile in [
            "' or 1=1 --",
            "\\",
            "a\\'b",
            "{filters}",
            "}{",
            "a''b",
            "\u{0}",
            "$ours",
            "$text",
            "é",
            "\"",
            "\n",
        ] {
            let wanted = wanted(hostile, Some(hostile));
            let (_, form) = forms_of(&wanted)
                .find(|(key, _)| *key == "conversion_compared")
                .unwrap();
            let sql = form["source"]["query"].as_str().unwrap();
            let forms = format!("in ({}, {})", literal(hostile), literal(&in_json(hostile)));
            let quiet = sql.replace(&forms, "= 'p'");
            let is_one_form = in_json(hostile) == hostile;
            assert_eq!(is_one_form, quiet == sql, "{hostile}");
            let quiet = quiet.replace(&literal(hostile), "'p'");
            let tame = super::tests::wanted("p", Some("p"));
            let (_, form) = forms_of(&tame).find(|(key, _)| *key == "conversion_compared").unwrap();
            assert_eq!(quiet, form["source"]["query"].as_str().unwrap(), "{hostile}");
            let (_, traces) = forms_of(&wanted).find(|(key, _)| *key == "traces").unwrap();
            let value = &traces["source"]["properties"][0]["value"];
            if is_one_form {
                assert_eq!(*value, json!([hostile]));
            } else {
                assert_eq!(*value, json!([hostile, in_json(hostile)]));
            }
        }
    }

    #[test]
    fn an_id_that_posthog_may_take_for_something_else_is_read_as_a_text() {
        let as_text = |id: &str| {
            let wanted = wanted(id, Some("paid"));
            let all: Vec<bool> = forms_of(&wanted)
                .map(|(_, form)| form.to_string())
                .filter(|form| form.contains("langfuse_project_id"))
                .map(|form| {
                    let is_plain = form.contains("properties.langfuse_project_id")
                        || form.contains(r#""key":"langfuse_project_id"#);
                    let condition = format!("{} = {}", langfuse_project::AS_TEXT, literal(id));
                    assert_ne!(is_plain, form.contains(&condition), "{form}");
                    !is_plain
                })
                .collect();
            assert!(all.len() > 20 && all.iter().all(|one| *one == all[0]), "{id}: {all:?}");
            all[0]
        };
        for id in ["true", "12", "2024-01-01"] {
            assert!(as_text(id), "{id}");
        }
        assert!(!as_text("clx1abc"));
    }

    proptest! {
        #[test]
        fn a_literal_is_one_text_whatever_it_holds(text in any::<String>()) {
            let written = literal(&text);
            prop_assert_eq!(written.matches('\'').count(), 2);
            let is_tame = !written.contains(['\\', '{', '}', '\n']) && written.is_ascii();
            prop_assert!(is_tame);
        }
    }

    #[test]
    fn the_marker_of_a_project_is_no_other_projects() {
        assert_ne!(marker("a"), marker("a]"));
        assert!(!marker("ab").contains(&marker("a")));
        let wanted = wanted("a\nb", None);
        assert!(wanted.description.ends_with("v1:a\\nb]"), "{}", wanted.description);
    }
}
