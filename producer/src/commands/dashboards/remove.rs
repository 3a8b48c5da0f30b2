//! `delete`: what we made, and nobody changed.

use serde_json::{Value, json};
use shared::ledger::{KnownDashboard, KnownTile};

use super::Work;
use super::look::{self, There, look, wanted, was_touched};
use super::say::{Report, Told};
use super::wire::Wire;
use crate::dashboards::deletion::{Deletion, deletion};
use crate::dashboards::identity::{self, Lookalike};
use crate::dashboards::plan::{self, Mode, Step, Whole};
use crate::dashboards::render::{Tile, Wanted};
use crate::dashboards::request::Request;
use crate::dashboards::shown::Shown;
use crate::dashboards::why::Why;
use crate::error::CommandError;
use crate::output::count;

/// Executes `delete`.
pub(super) async fn execute(work: &Work<'_>, wire: &mut Wire<'_>) -> Result<Report, CommandError> {
    let there = look(work, wire, None).await?;
    let mut report = work.report(wire.is_dry());
    if there.shown.is_none() && there.off.is_empty() {
        report.notes.push("there is no dashboard to delete".to_owned());
        report.notes.extend(there.lookalike.as_ref().map(Lookalike::says));
        if there.was_deleted() && !wire.is_dry() {
            work.ledger.forget_dashboard(&work.key).await?;
        }
        return Ok(report);
    }
    if let Some(shown) = &there.shown {
        report.is_at(&Value::from(shown.id));
    }
    let wanted = wanted(work, there.dashboard(), None, None);
    let mut ours = Ours::of(&there, &wanted);
    let planned = ours.deletion(there.shown.as_ref(), &there);
    let mut left = planned.left_on_it;
    for tile in &planned.tiles {
        let Some(insight) = tile.insight_id else { continue };
        let title = title(&wanted, &tile.tile);
        if !wire.is_dry() && was_touched(wire, &there, insight).await? {
            left += 1;
            report
                .tiles
                .push(Told::left_key(&tile.tile, title, Why::Changed.says()));
            continue;
        }
        wire.delete(Request::delete_insight(insight)).await?;
        if !wire.is_dry() {
            work.ledger.forget_dashboard_tile(&work.key, &tile.tile).await?;
        }
        ours.tiles.retain(|ours| ours.tile != tile.tile);
        report.tiles.push(Told::deleted(&tile.tile, title, Some(insight)));
    }
    for (tile, why) in &planned.left {
        report
            .tiles
            .push(Told::left_key(tile, title(&wanted, tile), why.says()));
    }
    // The rest is decided by what the dashboard is now.
    let now = match &there.shown {
        Some(shown) if !wire.is_dry() => look::read(wire, shown.id).await?,
        _ => there.shown.clone(),
    };
    let rest = if wire.is_dry() {
        planned
    } else {
        ours.deletion(now.as_ref(), &there)
    };
    for (tile, why) in rest.left.iter().filter(|(key, _)| ours.is_text(key)) {
        if !report.is_told(tile) {
            left += 1;
            report
                .tiles
                .push(Told::left_key(tile, title(&wanted, tile), why.says()));
        }
    }
    let texts: Vec<&KnownTile> = rest.tiles.iter().filter(|tile| tile.insight_id.is_none()).collect();
    for text in &texts {
        report
            .tiles
            .push(Told::deleted(&text.tile, title(&wanted, &text.tile), None));
    }
    if left == 0 && (rest.whole || now.is_none()) {
        if let Some(now) = &now {
            wire.delete(Request::delete_dashboard(now.id)).await?;
        }
        if !wire.is_dry() {
            work.ledger.forget_dashboard(&work.key).await?;
            report.is_at(&Value::Null);
        }
        return Ok(report);
    }
    if let Some(now) = now.as_ref().filter(|_| !texts.is_empty()) {
        let texts: Vec<Value> = texts
            .iter()
            .map(|text| json!({"id": text.tile_id, "deleted": true}))
            .collect();
        wire.send(Request::tiles(&now.id.into(), &texts)).await?;
    }
    if !wire.is_dry() {
        let texts = texts.iter().map(|text| &text.tile);
        for tile in texts.chain(&rest.gone) {
            work.ledger.forget_dashboard_tile(&work.key, tile).await?;
        }
    }
    let now = now.as_ref().map(|now| stays(now, left, rest.foreign));
    report.notes.extend(now);
    Ok(report)
}

/// What is ours: what the ledger knows, and where it lost something, what is as it should be.
struct Ours {
    dashboard: Option<KnownDashboard>,
    tiles: Vec<KnownTile>,
}

impl Ours {
    fn of(there: &There, wanted: &Wanted) -> Self {
        let shown = there.shown.as_ref();
        let mut tiles = there.tiles().to_vec();
        for planned in plan::tiles(Mode::Create, wanted, there.tiles(), shown, &there.off) {
            let Step::Keep(kept) = planned.step else { continue };
            match tiles.iter_mut().find(|tile| tile.tile == kept.tile) {
                Some(known) if identity::is_begun(known) => *known = kept,
                Some(_) => {}
                None => tiles.push(kept),
            }
        }
        let is_as_wanted = plan::whole(Mode::Create, wanted, there.dashboard(), shown) == Whole::Keep;
        let found = shown.map(|shown| KnownDashboard {
            dashboard_id: shown.id,
            name: wanted.name.clone(),
            conversion_event: None,
            written: None,
            shown: is_as_wanted.then(|| shown.print()),
        });
        Self {
            dashboard: there.dashboard().cloned().or(found),
            tiles,
        }
    }

    fn deletion(&self, shown: Option<&Shown>, there: &There) -> Deletion {
        deletion(self.dashboard.as_ref(), &self.tiles, shown, &there.off)
    }

    fn is_text(&self, key: &str) -> bool {
        self.tiles
            .iter()
            .any(|tile| tile.tile == key && tile.insight_id.is_none())
    }
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
