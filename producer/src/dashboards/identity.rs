//! Which of PostHog's tiles is which of ours. PURE.
//!
//! A number tells. A mark does only where the ledger knows no number: who duplicates a tile
//! duplicates its mark, and a heading is nobody's.

use serde_json::Value;
use shared::ledger::KnownTile;

use super::render::{Content, Tile, Wanted, heading, tile_marker};
use super::shown::{Shown, ShownInsight, ShownTile};
use super::why::Why;

/// The number of what is nowhere.
const NOWHERE: i64 = 0;

/// What the ledger keeps of a tile before it is made again. Where the answer is lost, it is found by
/// what it is made of.
pub(crate) fn begun(tile: &Tile) -> KnownTile {
    KnownTile {
        tile: tile.key.clone(),
        tile_id: NOWHERE,
        insight_id: matches!(tile.content, Content::Insight { .. }).then_some(NOWHERE),
        written: None,
        shown: None,
        placed: false,
    }
}

/// Whether that is all that the ledger knows of a tile.
pub(crate) fn is_begun(known: &KnownTile) -> bool {
    known.tile_id == NOWHERE && known.written.is_none() && known.shown.is_none()
}

/// What there is of a tile.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'a> {
    /// Nothing
    Nothing,
    /// The tile
    Tile(&'a ShownTile),
    /// Its insight, which the user took off the dashboard
    Off(&'a ShownInsight),
    /// What may be it, and may be the user's
    Unclear(Why),
}

/// Finds a tile: by its numbers, or where the ledger knows none by its mark.
pub(crate) fn found<'a>(
    tile: &Tile,
    known: Option<&KnownTile>,
    shown: Option<&'a Shown>,
    off: &'a [ShownInsight],
) -> Found<'a> {
    let Some(known) = known else {
        return shown.map_or(Found::Nothing, |shown| by_mark(tile, shown));
    };
    if is_begun(known) {
        return shown.map_or(Found::Nothing, |shown| as_made(tile, shown));
    }
    if let Some(shown) = shown.and_then(|shown| shown.tile(known.tile_id, known.insight_id)) {
        return Found::Tile(shown);
    }
    let off = off.iter().find(|insight| known.insight_id == Some(insight.id));
    off.map_or(Found::Nothing, Found::Off)
}

fn by_mark<'a>(tile: &Tile, shown: &'a Shown) -> Found<'a> {
    let (those, else_): (Vec<_>, _) = match &tile.content {
        Content::Insight { .. } => (marked(&tile.key, shown), Found::Nothing),
        // A text has no mark of its own. With other words below the same heading it may be the user's.
        Content::Text(body) => {
            let texts = || shown.tiles.iter().filter_map(|tile| Some((tile, tile.text()?)));
            let is_like = texts().any(|(_, text)| heading(text) == heading(body));
            let exact = texts().filter(|(_, text)| text == body).map(|(tile, _)| tile);
            let like = if is_like {
                Found::Unclear(Why::Whose)
            } else {
                Found::Nothing
            };
            (exact.collect(), like)
        }
    };
    one_of(&those, else_)
}

/// Of a tile that was begun: only what is as it is made. What a user duplicated has another name.
fn as_made<'a>(tile: &Tile, shown: &'a Shown) -> Found<'a> {
    let is_it = |there: &&ShownTile| match (&tile.content, there.insight()) {
        (Content::Text(body), None) => there.text() == Some(body),
        (Content::Insight { name, description, .. }, Some(insight)) => {
            insight.name == name.as_str() && insight.description == description.as_str()
        }
        _ => false,
    };
    let those: Vec<&ShownTile> = shown.tiles.iter().filter(is_it).collect();
    one_of(&those, Found::Nothing)
}

fn one_of<'a>(those: &[&'a ShownTile], else_: Found<'a>) -> Found<'a> {
    match those {
        [] => else_,
        [one] => Found::Tile(one),
        _ => Found::Unclear(Why::Twice),
    }
}

/// The insights that have the mark of a tile.
fn marked<'a>(key: &str, shown: &'a Shown) -> Vec<&'a ShownTile> {
    let is_marked = |tile: &&ShownTile| tile.insight().is_some_and(|insight| is_of(insight, key));
    shown.tiles.iter().filter(is_marked).collect()
}

/// Whether an insight has the mark of a tile: a PostHog that was set up anew gives its number to another one.
pub(crate) fn is_of(insight: &ShownInsight, key: &str) -> bool {
    let said = insight.description.as_str().unwrap_or_default();
    said.contains(&tile_marker(key))
}

/// A dashboard that has the mark of a project's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookalike {
    id: i64,
    title: String,
}

/// Which of the dashboards with the mark is the one that the ledger does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Titled {
    /// Its number
    Ours(i64),
    /// It may be a copy that a user made: PostHog gives that another title.
    Other(Lookalike),
    Nothing,
}

impl Lookalike {
    /// Reads it from a list.
    pub(crate) fn read(listed: &Value) -> Option<Self> {
        Some(Self {
            id: listed["id"].as_i64()?,
            title: listed["name"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// A sentence about it.
    pub(crate) fn says(&self) -> String {
        let Self { id, title } = self;
        format!(
            "the dashboard {id}, \"{title}\", has the mark of this project's dashboard and another title: it is taken for a \
             copy of yours, and left alone; if it is the dashboard itself, name its title with --name"
        )
    }
}

/// The first one of those with this title.
pub(crate) fn titled(mut marked: Vec<Lookalike>, title: &str) -> Titled {
    marked.sort_by_key(|one| (one.title != title, one.id));
    match marked.into_iter().next() {
        Some(first) if first.title == title => Titled::Ours(first.id),
        Some(other) => Titled::Other(other),
        None => Titled::Nothing,
    }
}

/// Whether everything has another number than the ledger knows, as after an export and an import.
pub(crate) fn is_renumbered(dashboard_id: i64, known: &[KnownTile], shown: &Shown) -> bool {
    let is_same = dashboard_id == shown.id;
    let is_there = |known: &KnownTile| {
        let there = shown.tile(known.tile_id, known.insight_id);
        let is_ours = |tile: &ShownTile| tile.insight().is_some_and(|insight| is_of(insight, &known.tile));
        there.is_some_and(|there| is_same || is_ours(there))
    };
    if known.iter().any(is_there) {
        return false;
    }
    // One that was emptied by hand has few marks, those of duplicates.
    let marks = known.iter().filter(|known| !marked(&known.tile, shown).is_empty());
    !is_same || marks.count() * 2 > known.len()
}

/// What the ledger knows, with the numbers that everything has now. PostHog's text of a tile stays as it was
/// when its numbers change. What is there twice is not known any more.
pub(crate) fn renumbered(wanted: &Wanted, known: &[KnownTile], shown: &Shown) -> Vec<KnownTile> {
    let now = |known: &KnownTile| {
        if is_begun(known) {
            return Some(known.clone());
        }
        let those = if known.insight_id.is_some() {
            marked(&known.tile, shown)
        } else {
            let texts = shown.tiles.iter().filter(|tile| tile.text().is_some());
            texts.filter(|tile| tile.print() == known.shown).collect()
        };
        let tile = wanted.tiles.iter().find(|tile| tile.key == known.tile);
        let is_unclear = || tile.is_some_and(|tile| !matches!(by_mark(tile, shown), Found::Nothing));
        let (tile_id, insight_id) = match those.as_slice() {
            [one] => (one.id, one.insight_id()),
            [] if !is_unclear() => (NOWHERE, known.insight_id.map(|_| NOWHERE)),
            _ => return None,
        };
        Some(KnownTile {
            tile_id,
            insight_id,
            ..known.clone()
        })
    };
    known.iter().filter_map(now).collect()
}
