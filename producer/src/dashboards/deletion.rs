//! What a deletion deletes: what we made, and nobody changed. PURE.

use shared::ledger::{KnownDashboard, KnownTile};

use super::shown::{Shown, ShownInsight};
use super::why::Why;

/// What a deletion does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    /// Tiles that are as we left them
    pub(crate) tiles: Vec<KnownTile>,
    /// Tiles of ours that stay, and why
    pub(crate) left: Vec<(String, Why)>,
    /// How many of those stand on the dashboard
    pub(crate) left_on_it: usize,
    /// Tiles of ours that are gone already
    pub(crate) gone: Vec<String>,
    /// How many tiles the user added
    pub(crate) foreign: usize,
    /// Whether nothing of the user's is on the dashboard
    pub(crate) whole: bool,
}

/// Decides what is deleted. `off` are insights of ours that stand no more on the dashboard.
pub(crate) fn deletion(
    known: Option<&KnownDashboard>,
    tiles: &[KnownTile],
    shown: Option<&Shown>,
    off: &[ShownInsight],
) -> Deletion {
    let mut deletion = Deletion::default();
    let mut ours = Vec::new();
    for tile in tiles {
        let there = shown.and_then(|shown| shown.tile(tile.tile_id, tile.insight_id));
        let off = off.iter().find(|insight| tile.insight_id == Some(insight.id));
        let (print, insight) = match (there, off) {
            (Some(there), _) => (there.print(), there.insight()),
            (None, Some(off)) => (Some(off.print()), Some(off)),
            (None, None) => {
                deletion.gone.push(tile.tile.clone());
                continue;
            }
        };
        ours.extend(there.map(|there| there.id));
        let board = shown.map(|shown| shown.id);
        let why = if tile.shown.is_none() {
            Some(Why::Unknown)
        } else if insight.is_some_and(|insight| insight.is_elsewhere(board)) {
            Some(Why::Elsewhere)
        } else if insight.is_some_and(|insight| insight.has_alerts) {
            Some(Why::Alerts)
        } else {
            (tile.shown != print).then_some(Why::Changed)
        };
        match why {
            Some(why) => {
                deletion.left.push((tile.tile.clone(), why));
                deletion.left_on_it += usize::from(there.is_some());
            }
            None => deletion.tiles.push(KnownTile {
                tile_id: there.map_or(tile.tile_id, |there| there.id),
                ..tile.clone()
            }),
        }
    }
    let Some(shown) = shown else { return deletion };
    deletion.foreign = shown.tiles.iter().filter(|tile| !ours.contains(&tile.id)).count();
    let is_as_left = known.is_some_and(|known| known.shown.as_deref() == Some(&shown.print()));
    deletion.whole = is_as_left && deletion.left_on_it == 0 && deletion.foreign == 0;
    deletion
}
