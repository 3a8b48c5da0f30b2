//! What is to be done with each tile: from what should be there, what we left there, and what
//! PostHog shows now. PURE.

use serde::Serialize;
use serde_json::Value;
use shared::ledger::{KnownDashboard, KnownTile};

use super::fingerprint;
use super::render::{Content, Tile, Wanted};
use super::shown::{Shown, ShownContent, ShownTile};

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

/// Why something is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// The user changed it.
    Changed,
    /// The user deleted it.
    Deleted,
    /// It is of another release, or other than was asked for now, and nobody asked for an update.
    Older,
    /// It is there, but nothing tells who changed it.
    Unknown,
    /// It is no part of the dashboard any more.
    Retired,
    /// The user put it on another dashboard, too.
    Elsewhere,
    /// The user set an alert on it, which PostHog would delete with it, for good.
    Alerts,
}

impl Why {
    /// As a part of a sentence about it.
    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::Changed => "was changed in PostHog; --recreate undoes that",
            Self::Deleted => "was deleted in PostHog; --recreate makes it again",
            Self::Older => "differs from what this release or you ask for; `producer dashboards update` changes it",
            Self::Unknown => {
                "differs from this release, and the ledger does not know who changed it; --recreate replaces it"
            }
            Self::Elsewhere => "stands on another dashboard, too",
            Self::Alerts => "has an alert, which PostHog would delete with it; delete the alert first",
            Self::Retired => "is no longer a part of this dashboard; delete it in PostHog if you do not need it",
        }
    }
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
    /// It is as it should be. What the ledger should know of it.
    Keep(KnownTile),
    /// It is left as it is.
    Leave(Why),
}

/// A tile, and what is done with it.
#[derive(Clone, Debug)]
pub(crate) struct Planned<'a> {
    pub(crate) tile: &'a Tile,
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

/// Fingerprint of a dashboard's own texts as they are written.
pub(crate) fn print_of(wanted: &Wanted) -> String {
    fingerprint::dashboard(&wanted.name.as_str().into(), &wanted.description.as_str().into())
}

/// Decides about each tile that should be there. `shown` has insights as they are by themselves,
/// not with the dashboard's date range.
pub(crate) fn tiles<'a>(
    mode: Mode,
    wanted: &'a Wanted,
    known: &[KnownTile],
    shown: Option<&Shown>,
) -> Vec<Planned<'a>> {
    let plan = |tile: &'a Tile| {
        let known = known.iter().find(|known| known.tile == tile.key);
        Planned {
            tile,
            step: step(mode, tile, known, found(tile, known, shown)),
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

/// By its numbers, else by its marker.
pub(crate) fn found<'a>(tile: &Tile, known: Option<&KnownTile>, shown: Option<&'a Shown>) -> Option<&'a ShownTile> {
    let shown = shown?;
    let by_number = known.and_then(|known| shown.tile(known.tile_id, known.insight_id));
    by_number.or_else(|| shown.marked(tile))
}

fn step(mode: Mode, tile: &Tile, known: Option<&KnownTile>, shown: Option<&ShownTile>) -> Step {
    let Some(shown) = shown else {
        return match (known, mode) {
            (Some(_), Mode::Create | Mode::Update) => Step::Leave(Why::Deleted),
            _ => Step::Make,
        };
    };
    let print = shown.print();
    let is_as_left = known.is_some_and(|known| known.shown.is_some() && known.shown == print);
    let written = known.and_then(|known| known.written.clone()).filter(|_| is_as_left);
    // What was sent, or what is shown: both say that it is as it should be.
    let current = prints(tile)
        .into_iter()
        .find(|ours| written.as_ref() == Some(ours) || print.as_ref() == Some(ours));
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

/// What a deletion does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    /// Tiles that are as we left them
    pub(crate) tiles: Vec<KnownTile>,
    /// Tiles of ours that stay, and why
    pub(crate) left: Vec<(String, Why)>,
    /// Tiles of ours that are gone already
    pub(crate) gone: Vec<String>,
    /// How many tiles the user added
    pub(crate) foreign: usize,
    /// Whether nothing of the user's is on the dashboard
    pub(crate) whole: bool,
}

/// Decides what is deleted: what we made, and nobody changed.
pub(crate) fn deletion(known: &KnownDashboard, tiles: &[KnownTile], shown: &Shown) -> Deletion {
    let mut deletion = Deletion::default();
    let mut ours = Vec::new();
    for tile in tiles {
        let Some(there) = shown.tile(tile.tile_id, tile.insight_id) else {
            deletion.gone.push(tile.tile.clone());
            continue;
        };
        ours.push(there.id);
        if tile.shown.is_none() {
            deletion.left.push((tile.tile.clone(), Why::Unknown));
        } else if there.is_elsewhere() {
            deletion.left.push((tile.tile.clone(), Why::Elsewhere));
        } else if there.has_alerts() {
            deletion.left.push((tile.tile.clone(), Why::Alerts));
        } else if tile.shown == there.print() {
            deletion.tiles.push(KnownTile {
                tile_id: there.id,
                ..tile.clone()
            });
        } else {
            deletion.left.push((tile.tile.clone(), Why::Changed));
        }
    }
    deletion.foreign = shown.tiles.iter().filter(|tile| !ours.contains(&tile.id)).count();
    let is_as_left = known.shown.as_deref() == Some(&shown.print());
    deletion.whole = is_as_left && deletion.left.is_empty() && deletion.foreign == 0;
    deletion
}
