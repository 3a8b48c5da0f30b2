//! `delete`: what we made, and nobody changed.

use serde_json::{Value, json};
use shared::ledger::KnownDashboard;

use super::Work;
use super::look::{look, wanted, was_touched};
use super::say::{Report, Told};
use super::wire::Wire;
use crate::dashboards::plan::{self, Mode, Step, Whole, Why};
use crate::dashboards::render::{Tile, Wanted};
use crate::dashboards::request::Request;
use crate::dashboards::shown::Shown;
use crate::error::CommandError;
use crate::output::count;

/// Executes `delete`.
pub(super) async fn execute(work: &Work<'_>, wire: &mut Wire<'_>) -> Result<Report, CommandError> {
    let there = look(work, wire).await?;
    let mut report = work.report(wire.is_dry());
    let Some(shown) = &there.shown else {
        report.notes.push("there is no dashboard to delete".to_owned());
        if there.was_deleted() && !wire.is_dry() {
            work.ledger.forget_dashboard(&work.key).await?;
        }
        return Ok(report);
    };
    report.is_at(&Value::from(shown.id));
    let wanted = wanted(work, there.dashboard(), None, None);
    // What the ledger lost is ours where it is as it should be.
    let mut tiles = there.tiles().to_vec();
    for planned in plan::tiles(Mode::Create, &wanted, there.tiles(), Some(shown)) {
        if let Step::Keep(kept) = planned.step
            && tiles.iter().all(|tile| tile.tile != kept.tile)
        {
            tiles.push(kept);
        }
    }
    let is_as_wanted = plan::whole(Mode::Create, &wanted, there.dashboard(), Some(shown)) == Whole::Keep;
    let found = KnownDashboard {
        dashboard_id: shown.id,
        name: wanted.name.clone(),
        conversion_event: None,
        written: None,
        shown: is_as_wanted.then(|| shown.print()),
    };
    let deletion = plan::deletion(there.dashboard().unwrap_or(&found), &tiles, shown);
    let mut texts = Vec::new();
    let mut touched = 0;
    for tile in &deletion.tiles {
        match tile.insight_id {
            Some(insight) if !wire.is_dry() && was_touched(wire, &there, insight).await? => {
                touched += 1;
                let why = Why::Changed.says();
                report
                    .tiles
                    .push(Told::left_key(&tile.tile, title(&wanted, &tile.tile), why));
                continue;
            }
            Some(insight) => {
                wire.delete(Request::delete_insight(insight)).await?;
            }
            None => texts.push(json!({"id": tile.tile_id, "deleted": true})),
        }
        if tile.insight_id.is_some() && !wire.is_dry() {
            work.ledger.forget_dashboard_tile(&work.key, &tile.tile).await?;
        }
        report
            .tiles
            .push(Told::deleted(&tile.tile, title(&wanted, &tile.tile), tile.insight_id));
    }
    for (tile, why) in &deletion.left {
        report
            .tiles
            .push(Told::left_key(tile, title(&wanted, tile), why.says()));
    }
    if deletion.whole && touched == 0 {
        wire.delete(Request::delete_dashboard(shown.id)).await?;
        if !wire.is_dry() {
            work.ledger.forget_dashboard(&work.key).await?;
            report.is_at(&Value::Null);
        }
        return Ok(report);
    }
    if !texts.is_empty() {
        wire.send(Request::tiles(&shown.id.into(), &texts)).await?;
    }
    if !wire.is_dry() {
        let texts = deletion.tiles.iter().filter(|tile| tile.insight_id.is_none());
        for tile in texts.map(|tile| &tile.tile).chain(&deletion.gone) {
            work.ledger.forget_dashboard_tile(&work.key, tile).await?;
        }
    }
    report
        .notes
        .push(stays(shown, deletion.left.len() + touched, deletion.foreign));
    Ok(report)
}

/// How a tile is called for people.
fn title<'a>(wanted: &'a Wanted, key: &'a str) -> &'a str {
    let tile = wanted.tiles.iter().find(|tile| tile.key == key);
    tile.map_or(key, Tile::title)
}

/// Why the dashboard itself stays. PURE.
fn stays(shown: &Shown, changed: usize, foreign: usize) -> String {
    let mut why = Vec::new();
    if changed > 0 {
        why.push(format!("{} of it that you changed", count(changed, "tile")));
    }
    if foreign > 0 {
        why.push(format!("{} that you added", count(foreign, "tile")));
    }
    if why.is_empty() {
        why.push("a title or description that you changed".to_owned());
    }
    format!(
        "the dashboard {} stays, because there is {}; delete it in PostHog if you do not need it",
        shown.id,
        why.join(" and ")
    )
}
