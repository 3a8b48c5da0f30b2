//! What is put in its place at the end of `create` and `update`, with the texts that are written.

use serde_json::{Value, json};
use shared::ledger::KnownTile;

use super::say::Report;
use super::wire::Wire;
use super::{Work, look};
use crate::dashboards::plan;
use crate::dashboards::render::{Content, Tile};
use crate::dashboards::request::Request;
use crate::dashboards::shown::{Shown, ShownTile};
use crate::dashboards::why::Why;
use crate::error::CommandError;

/// What waits for its place.
#[derive(Default)]
pub(super) struct Places<'a> {
    wanted: Vec<Value>,
    /// The tiles that are in their places after that
    unplaced: Vec<Unplaced<'a>>,
    /// What the ledger keeps of texts before they are made again
    begun: Vec<KnownTile>,
}

enum Unplaced<'a> {
    Known(KnownTile),
    /// Its number, where it is there already
    Text(&'a Tile, Option<i64>),
}

impl<'a> Places<'a> {
    /// A tile that is there.
    pub(super) fn put(&mut self, tile_id: &Value, layouts: &Value) {
        self.wanted.push(json!({"id": tile_id, "layouts": layouts}));
    }

    /// It is remembered as placed, after that.
    pub(super) fn then_known(&mut self, known: KnownTile) {
        self.unplaced.push(Unplaced::Known(known));
    }

    /// A text that is new; what the ledger keeps of it before, where it knows it.
    pub(super) fn make_text(&mut self, tile: &'a Tile, layouts: &Value, begun: Option<KnownTile>) {
        self.begun.extend(begun);
        if let Content::Text(body) = &tile.content {
            self.wanted.push(json!({"text": {"body": body}, "layouts": layouts}));
            self.unplaced.push(Unplaced::Text(tile, None));
        }
    }

    /// A text that is written anew; its number and that of its tile.
    pub(super) fn change_text(
        &mut self,
        tile: &'a Tile,
        (tile_id, text_id): (i64, Option<i64>),
        layouts: Option<Value>,
    ) {
        let Content::Text(body) = &tile.content else { return };
        let mut text = json!({"body": body});
        if let Some(id) = text_id {
            text["id"] = id.into();
        }
        let mut changed = json!({"id": tile_id, "text": text});
        if let Some(layouts) = layouts {
            changed["layouts"] = layouts;
        }
        self.wanted.push(changed);
        self.unplaced.push(Unplaced::Text(tile, Some(tile_id)));
    }

    /// Puts everything in its place, and remembers it.
    pub(super) async fn settle(
        mut self,
        work: &Work<'_>,
        wire: &mut Wire<'_>,
        dashboard: &Value,
        before: Option<&Shown>,
        report: &mut Report,
    ) -> Result<(), CommandError> {
        if let (Some(before), false) = (before, wire.is_dry()) {
            self.spare_touched(wire, before, report).await?;
        }
        if self.wanted.is_empty() {
            return Ok(());
        }
        for begun in self.begun.iter().filter(|_| !wire.is_dry()) {
            work.ledger.record_dashboard_tile(&work.key, begun).await?;
        }
        let answer = wire.send(Request::tiles(dashboard, &self.wanted)).await?;
        if wire.is_dry() {
            return Ok(());
        }
        let Some(shown) = Shown::read(&answer) else {
            return Err(CommandError::from(wire.garbled("a dashboard without a number")));
        };
        for unplaced in self.unplaced {
            let known = match unplaced {
                Unplaced::Known(known) => KnownTile { placed: true, ..known },
                Unplaced::Text(tile, tile_id) => {
                    let why = "a dashboard without the text that was put on it";
                    text_of(tile, tile_id, before, &shown).ok_or_else(|| wire.garbled(why))?
                }
            };
            work.ledger.record_dashboard_tile(&work.key, &known).await?;
        }
        Ok(())
    }

    /// Texts that were changed or deleted since `look` are the user's.
    async fn spare_touched(
        &mut self,
        wire: &Wire<'_>,
        before: &Shown,
        report: &mut Report,
    ) -> Result<(), CommandError> {
        let is_old = |unplaced: &Unplaced<'_>| matches!(unplaced, Unplaced::Text(_, Some(_)));
        if !self.unplaced.iter().any(is_old) {
            return Ok(());
        }
        let now = look::read(wire, before.id).await?;
        let print = |shown: &Shown, id: i64| shown.tile(id, None).and_then(ShownTile::print);
        let mut touched = Vec::new();
        self.unplaced.retain(|unplaced| match unplaced {
            Unplaced::Text(tile, Some(id)) => {
                let is_same = now.as_ref().and_then(|now| print(now, *id)) == print(before, *id);
                if !is_same {
                    touched.push(*id);
                    report.now_left(&tile.key, Why::Changed.says());
                }
                is_same
            }
            _ => true,
        });
        self.wanted
            .retain(|wanted| !touched.iter().any(|id| wanted["id"] == *id));
        Ok(())
    }
}

/// What the ledger should know of a text that was written.
fn text_of(tile: &Tile, tile_id: Option<i64>, before: Option<&Shown>, shown: &Shown) -> Option<KnownTile> {
    let Content::Text(body) = &tile.content else {
        return None;
    };
    let there = match tile_id {
        Some(id) => shown.tile(id, None),
        None => shown.new_text(before, body),
    }?;
    Some(KnownTile {
        tile: tile.key.clone(),
        tile_id: there.id,
        insight_id: None,
        written: plan::prints(tile).pop(),
        shown: there.print(),
        placed: true,
    })
}
