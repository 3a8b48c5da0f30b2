//! What is to be done with each tile: from what should be there, what we left there, and what
//! PostHog shows now. PURE.

use serde_json::Value;
use shared::ledger::{KnownDashboard, KnownTile};

use super::fingerprint;
use super::identity::{Found, found, is_begun};
use super::render::{Content, Tile, Wanted};
use super::shown::{Shown, ShownContent, ShownInsight, ShownTile};
use super::why::Why;

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Make what was never made.
    Create,
    /// And change what is of an earlier release.
    Update,
    /// And undo what the user did.
    Recreate,
}

/// What is done with a tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is made.
    Make,
    /// It is written anew; the number of its text, where it has one.
    Change {
        tile_id: i64,
        insight_id: Option<i64>,
        text_id: Option<i64>,
    },
    /// Its insight is put on the dashboard again.
    PutBack(i64),
    /// It is as it should be. What the ledger should know of it.
    Keep(KnownTile),
    /// It is left as it is.
    Leave(Why),
}

/// A tile, and what is done with it.
#[derive(Clone, Debug)]
pub(crate) struct Planned<'a> {
    pub(crate) tile: &'a Tile,
    /// The number of its insight, where it has one
    pub(crate) insight_id: Option<i64>,
    pub(crate) step: Step,
}

/// What is done with the dashboard itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    Make,
    Change,
    Keep,
    Leave(Why),
}

/// Decides about the dashboard itself.
pub(crate) fn whole(mode: Mode, wanted: &Wanted, known: Option<&KnownDashboard>, shown: Option<&Shown>) -> Whole {
    let Some(shown) = shown else { return Whole::Make };
    let ours = print_of(wanted);
    let is_ours = |known: &KnownDashboard| known.written.as_deref() == Some(&ours);
    let is_as_left = known.is_some_and(|known| known.shown.as_deref() == Some(&shown.print()));
    let is_current = if is_as_left {
        known.is_some_and(is_ours)
    } else {
        fingerprint::dashboard(&shown.name, &shown.description) == ours
    };
    let is_unknown = known.is_none_or(|known| known.shown.is_none());
    match mode {
        _ if is_current => Whole::Keep,
        Mode::Recreate => Whole::Change,
        _ if !is_as_left => Whole::Leave(if is_unknown { Why::Unknown } else { Why::Changed }),
        Mode::Update => Whole::Change,
        Mode::Create => Whole::Leave(Why::Older),
    }
}

/// What is done with the dashboard's date range. A user's own is left without a word: it is there to be changed.
pub(crate) fn filters(mode: Mode, wanted: &Wanted, shown: &Shown) -> Whole {
    let is_older = wanted.filters_before.contains(&shown.filters);
    match mode {
        _ if shown.filters == wanted.filters || !shown.filters.is_object() => Whole::Keep,
        Mode::Recreate => Whole::Change,
        Mode::Update if is_older => Whole::Change,
        Mode::Create if is_older => Whole::Leave(Why::Older),
        Mode::Create | Mode::Update => Whole::Keep,
    }
}

/// Fingerprint of a dashboard's own texts as they are written.
pub(crate) fn print_of(wanted: &Wanted) -> String {
    fingerprint::dashboard(&wanted.name.as_str().into(), &wanted.description.as_str().into())
}

/// Decides about each tile that should be there. `shown` has insights as they are by themselves,
/// not with the dashboard's date range; `off` are those that the user took off it.
pub(crate) fn tiles<'a>(
    mode: Mode,
    wanted: &'a Wanted,
    known: &[KnownTile],
    shown: Option<&Shown>,
    off: &[ShownInsight],
) -> Vec<Planned<'a>> {
    let plan = |tile: &'a Tile| {
        let known = known.iter().find(|known| known.tile == tile.key);
        let found = found(tile, known, shown, off);
        Planned {
            tile,
            insight_id: match found {
                Found::Tile(tile) => tile.insight_id(),
                Found::Off(insight) => Some(insight.id),
                Found::Nothing | Found::Unclear(_) => None,
            },
            step: step(mode, tile, known, found),
        }
    };
    wanted.tiles.iter().map(plan).collect()
}

/// Tiles that were made once, are still there, and belong to the dashboard no more.
pub(crate) fn retired<'a>(wanted: &Wanted, known: &'a [KnownTile], shown: Option<&Shown>) -> Vec<&'a KnownTile> {
    let is_retired = |known: &&KnownTile| wanted.tiles.iter().all(|tile| tile.key != known.tile);
    let is_there =
        |known: &&KnownTile| shown.is_some_and(|shown| shown.tile(known.tile_id, known.insight_id).is_some());
    known.iter().filter(is_retired).filter(is_there).collect()
}

fn step(mode: Mode, tile: &Tile, known: Option<&KnownTile>, found: Found<'_>) -> Step {
    let shown = match (found, mode) {
        (Found::Tile(shown), _) => shown,
        (Found::Unclear(why), _) => return Step::Leave(why),
        // What the user changed for another dashboard of theirs is theirs.
        (Found::Off(insight), Mode::Recreate) if is_elsewhere_and_changed(tile, known, insight) => return Step::Make,
        (Found::Off(insight), Mode::Recreate) => return Step::PutBack(insight.id),
        (Found::Off(_), _) => return Step::Leave(Why::TakenOff),
        (Found::Nothing, Mode::Create | Mode::Update) if known.is_some_and(|known| !is_begun(known)) => {
            return Step::Leave(Why::Deleted);
        }
        (Found::Nothing, _) => return Step::Make,
    };
    let print = shown.print();
    let is_as_left = known.is_some_and(|known| known.shown.is_some() && known.shown == print);
    let current = print.as_ref().and_then(|print| current(tile, known, print));
    if let Some(current) = current {
        return Step::Keep(KnownTile {
            tile: tile.key.clone(),
            tile_id: shown.id,
            insight_id: shown.insight_id(),
            written: Some(current),
            shown: print,
            // Without the ledger: what has no place yet was made and never placed.
            placed: known.map_or_else(|| shown.has_place(), |known| known.placed),
        });
    }
    match mode {
        Mode::Recreate => change(shown),
        _ if !is_as_left => Step::Leave(match known {
            Some(known) if known.shown.is_some() => Why::Changed,
            _ => Why::Unknown,
        }),
        Mode::Update => change(shown),
        Mode::Create => Step::Leave(Why::Older),
    }
}

fn is_elsewhere_and_changed(tile: &Tile, known: Option<&KnownTile>, insight: &ShownInsight) -> bool {
    let print = insight.print();
    let is_as_left = known.is_some_and(|known| known.shown.as_ref() == Some(&print));
    insight.is_elsewhere(None) && !is_as_left && current(tile, known, &print).is_none()
}

/// Fingerprint of the form in which a tile is as it should be: what was sent, or what is shown, says so.
pub(crate) fn current(tile: &Tile, known: Option<&KnownTile>, print: &String) -> Option<String> {
    let as_left = known.filter(|known| known.shown.as_ref() == Some(print));
    let written = as_left.and_then(|known| known.written.as_ref());
    prints(tile)
        .into_iter()
        .find(|ours| written == Some(ours) || print == ours)
}

fn change(shown: &ShownTile) -> Step {
    let text_id = match &shown.content {
        ShownContent::Text(id, _) => *id,
        _ => None,
    };
    Step::Change {
        tile_id: shown.id,
        insight_id: shown.insight_id(),
        text_id,
    }
}

/// Fingerprints of all forms of a tile, as they are written.
pub(crate) fn prints(tile: &Tile) -> Vec<String> {
    match &tile.content {
        Content::Text(body) => vec![fingerprint::text(body)],
        Content::Insight {
            name,
            description,
            forms,
        } => forms.iter().map(|form| written(name, description, form)).collect(),
    }
}

/// Fingerprint of an insight as it is written.
pub(crate) fn written(name: &str, description: &str, form: &Value) -> String {
    fingerprint::insight(&name.into(), &description.into(), form)
}

#[cfg(test)]
mod tests;
