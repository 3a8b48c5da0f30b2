//! What PostHog shows of a dashboard. PURE.

use serde_json::Value;

use super::fingerprint;
use super::layout::Down;
use super::render::{MARK, heading, marker};

/// A dashboard as PostHog shows it.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) id: i64,
    pub(crate) name: Value,
    pub(crate) description: Value,
    /// Its date range, among others
    pub(crate) filters: Value,
    pub(crate) tiles: Vec<ShownTile>,
}

/// A tile as PostHog shows it.
#[derive(Clone, Debug)]
pub(crate) struct ShownTile {
    pub(crate) id: i64,
    pub(crate) content: ShownContent,
    layouts: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum ShownContent {
    /// Number and Markdown
    Text(Option<i64>, String),
    Insight(ShownInsight),
    /// Something that a newer PostHog has
    Other,
}

/// An insight as PostHog shows it.
#[derive(Clone, Debug)]
pub(crate) struct ShownInsight {
    pub(crate) id: i64,
    pub(crate) name: Value,
    pub(crate) description: Value,
    /// On a dashboard with its date range in place of the insight's own
    pub(crate) query: Value,
    /// The dashboards that it stands on
    pub(crate) dashboards: Vec<i64>,
    /// Whether a user has set an alert on it; an older PostHog does not tell
    pub(crate) has_alerts: bool,
}

impl Shown {
    /// Reads an answer; `None` where it is none, or the dashboard was deleted. Each tile has to be one
    /// that can be read: what is not seen would count as deleted.
    pub(crate) fn read(answer: &Value) -> Option<Self> {
        if is_deleted(answer) {
            return None;
        }
        let tiles = answer["tiles"].as_array()?.iter().filter(|tile| !is_gone(tile));
        Some(Self {
            id: answer["id"].as_i64()?,
            name: answer["name"].clone(),
            description: answer["description"].clone(),
            filters: fingerprint::said(&answer["filters"]),
            tiles: tiles.map(ShownTile::read).collect::<Option<_>>()?,
        })
    }

    /// Whether it may be the dashboard of this project: a number alone does not tell, since a PostHog that
    /// was set up anew gives it to another one. The user may have written another description.
    pub(crate) fn is_of(&self, project: &str) -> bool {
        let said = self.description.as_str().unwrap_or_default();
        let mut insights = self.tiles.iter().filter_map(ShownTile::insight);
        said.contains(&marker(project)) || !said.contains(MARK) && insights.any(ShownInsight::is_marked)
    }

    /// Fingerprint of what is the dashboard's own.
    pub(crate) fn print(&self) -> String {
        fingerprint::dashboard(&self.name, &self.description)
    }

    /// Below everything.
    pub(crate) fn bottom(&self) -> Down {
        let bottom = |screen: &str| {
            let ends = self.tiles.iter().filter_map(|tile| {
                let place = &tile.layouts[screen];
                u32::try_from(place["y"].as_u64()? + place["h"].as_u64()?).ok()
            });
            ends.max().unwrap_or_default()
        };
        Down {
            wide: bottom("sm"),
            narrow: bottom("xs"),
        }
    }

    /// The tile that has this number, or shows this insight.
    pub(crate) fn tile(&self, tile_id: i64, insight_id: Option<i64>) -> Option<&ShownTile> {
        self.tiles.iter().find(|tile| match (&tile.content, insight_id) {
            (ShownContent::Insight(insight), Some(id)) => insight.id == id,
            (_, None) => tile.id == tile_id,
            _ => false,
        })
    }

    /// An insight that it shows.
    pub(crate) fn insight(&self, id: i64) -> Option<&ShownInsight> {
        let mut insights = self.tiles.iter().filter_map(ShownTile::insight);
        insights.find(|insight| insight.id == id)
    }

    /// The text that was put there since: of several that are new the one with these words.
    pub(crate) fn new_text(&self, before: Option<&Shown>, body: &str) -> Option<&ShownTile> {
        let is_new = |tile: &&ShownTile| before.is_none_or(|before| before.tiles.iter().all(|it| it.id != tile.id));
        let new = || self.tiles.iter().filter(is_new);
        let exact = new().find(|tile| tile.text() == Some(body));
        exact.or_else(|| new().find(|tile| tile.text().is_some_and(|text| heading(text) == heading(body))))
    }
}

impl ShownTile {
    fn read(answer: &Value) -> Option<Self> {
        let content = if answer["insight"].is_object() {
            ShownContent::Insight(ShownInsight::read(&answer["insight"])?)
        } else if let Some(body) = answer["text"]["body"].as_str() {
            ShownContent::Text(answer["text"]["id"].as_i64(), body.to_owned())
        } else {
            ShownContent::Other
        };
        Some(Self {
            id: answer["id"].as_i64()?,
            content,
            layouts: answer["layouts"].clone(),
        })
    }

    /// Whether it was ever put somewhere.
    pub(crate) fn has_place(&self) -> bool {
        self.layouts["sm"].is_object()
    }

    /// Whether it stands there; its least sizes, which PostHog adds, do not matter.
    pub(crate) fn is_at(&self, layouts: &Value) -> bool {
        let same = |screen: &str| {
            let (here, there) = (&self.layouts[screen], &layouts[screen]);
            ["x", "y", "w", "h"].iter().all(|side| here[side] == there[side])
        };
        same("sm") && same("xs")
    }

    /// Fingerprint of what it shows.
    pub(crate) fn print(&self) -> Option<String> {
        match &self.content {
            ShownContent::Text(_, body) => Some(fingerprint::text(body)),
            ShownContent::Insight(insight) => Some(insight.print()),
            ShownContent::Other => None,
        }
    }

    /// Its words, where it is a text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            ShownContent::Text(_, body) => Some(body),
            _ => None,
        }
    }

    pub(crate) fn insight(&self) -> Option<&ShownInsight> {
        match &self.content {
            ShownContent::Insight(insight) => Some(insight),
            _ => None,
        }
    }

    pub(crate) fn insight_id(&self) -> Option<i64> {
        self.insight().map(|insight| insight.id)
    }
}

impl ShownInsight {
    /// Reads an answer; `None` where it is none, or the insight was deleted.
    pub(crate) fn read(answer: &Value) -> Option<Self> {
        (!is_deleted(answer)).then_some(())?;
        Some(Self {
            id: answer["id"].as_i64()?,
            name: answer["name"].clone(),
            description: answer["description"].clone(),
            query: answer["query"].clone(),
            has_alerts: answer["alerts"].as_array().is_some_and(|all| !all.is_empty()),
            dashboards: {
                let all = answer["dashboards"].as_array();
                all.into_iter().flatten().filter_map(Value::as_i64).collect()
            },
        })
    }

    /// Whether it stands on another dashboard than this one.
    pub(crate) fn is_elsewhere(&self, board: Option<i64>) -> bool {
        self.dashboards.iter().any(|id| Some(*id) != board)
    }

    /// Whether it has the marker of one of ours.
    pub(crate) fn is_marked(&self) -> bool {
        self.description.as_str().is_some_and(|said| said.contains(MARK))
    }

    pub(crate) fn print(&self) -> String {
        fingerprint::insight(&self.name, &self.description, &self.query)
    }
}

/// Whether an answer is about something that was deleted.
pub(crate) fn is_deleted(answer: &Value) -> bool {
    answer["deleted"] == true
}

/// Whether a tile was taken off, or shows an insight that was deleted.
fn is_gone(tile: &Value) -> bool {
    is_deleted(tile) || is_deleted(&tile["insight"])
}
