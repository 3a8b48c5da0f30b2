//! What `create` and `update` have in hand: what is there, what is wanted, and the dashboard itself.

use serde_json::Value;
use shared::ledger::{KnownDashboard, KnownTile};

use super::Work;
use super::look::There;
use super::place::Places;
use super::say::Report;
use super::wire::Wire;
use crate::dashboards::fingerprint;
use crate::dashboards::layout::Down;
use crate::dashboards::plan::{self, Mode, Whole};
use crate::dashboards::render::{Tile, Wanted};
use crate::dashboards::request::Request;
use crate::dashboards::shown::Shown;
use crate::error::CommandError;
use crate::posthog_app::AppError;

/// Carries a plan out.
pub(super) struct Maker<'a, 'w> {
    pub(super) work: &'a Work<'a>,
    pub(super) wire: &'a mut Wire<'w>,
    pub(super) mode: Mode,
    pub(super) there: &'a There,
    pub(super) wanted: &'a Wanted,
    pub(super) report: Report,
    /// Its number; words that stand for it where it is not made
    pub(super) dashboard: Value,
    pub(super) places: Places<'a>,
}

impl<'a> Maker<'a, '_> {
    /// The dashboard itself.
    pub(super) async fn whole(&mut self, conversion: Option<&str>) -> Result<(), CommandError> {
        let (known, shown) = (self.there.dashboard(), self.there.shown.as_ref());
        let whole = plan::whole(self.mode, self.wanted, known, shown);
        let ours = plan::print_of(self.wanted);
        let (written, print) = match whole {
            Whole::Make | Whole::Change => {
                let request = match shown {
                    None => Request::make_dashboard(self.wanted),
                    Some(shown) => Request::change_dashboard(&shown.id.into(), self.wanted),
                };
                let answer = self.wire.send(request).await?;
                self.dashboard = shown.map_or_else(|| answer["id"].clone(), |shown| shown.id.into());
                let print = fingerprint::dashboard(&answer["name"], &answer["description"]);
                (Some(ours), Some(print))
            }
            Whole::Keep => (Some(ours), shown.map(Shown::print)),
            Whole::Leave(_) => (
                known.and_then(|known| known.written.clone()),
                known.and_then(|known| known.shown.clone()),
            ),
        };
        if let Some(shown) = shown {
            self.dashboard = shown.id.into();
        }
        if let Whole::Leave(why) = whole {
            self.report
                .notes
                .push(format!("the dashboard's title or description {}", why.says()));
        }
        self.report.is_at(&self.dashboard);
        self.filters().await?;
        if self.wire.is_dry() {
            return Ok(());
        }
        let Some(dashboard_id) = self.dashboard.as_i64() else {
            return Err(CommandError::from(self.wire.garbled("a dashboard without a number")));
        };
        let dashboard = KnownDashboard {
            dashboard_id,
            name: self.wanted.name.clone(),
            conversion_event: conversion.map(str::to_owned),
            written,
            shown: print,
        };
        let ledger = self.work.ledger;
        if self.there.is_another || self.there.was_deleted() {
            let tiles = self.there.still();
            ledger.replace_dashboard(&self.work.key, &dashboard, &tiles).await?;
        } else if known != Some(&dashboard) {
            ledger.record_dashboard(&self.work.key, &dashboard).await?;
        }
        Ok(())
    }

    /// The dashboard's date range.
    async fn filters(&mut self) -> Result<(), CommandError> {
        let Some(shown) = &self.there.shown else { return Ok(()) };
        match plan::filters(self.mode, self.wanted, shown) {
            Whole::Change => {
                self.wire.send(Request::change_filters(shown.id, self.wanted)).await?;
                self.report
                    .notes
                    .push("the dashboard's date range was set anew".to_owned());
            }
            Whole::Leave(why) => {
                self.report
                    .notes
                    .push(format!("the dashboard's date range {}", why.says()));
            }
            Whole::Make | Whole::Keep => {}
        }
        Ok(())
    }

    pub(super) fn known(&self, tile: &Tile) -> Option<&'a KnownTile> {
        self.there.tiles().iter().find(|known| known.tile == tile.key)
    }

    /// The number of a new insight's tile.
    pub(super) fn tile_of(&self, answer: &Value) -> Result<Value, AppError> {
        let tiles = answer["dashboard_tiles"].as_array();
        let ours = tiles
            .into_iter()
            .flatten()
            .find(|tile| tile["dashboard_id"] == self.dashboard);
        let id = ours.map(|tile| tile["id"].clone()).filter(|id| !id.is_null());
        id.ok_or_else(|| self.wire.garbled("a new insight without its tile"))
    }

    /// Where a new tile goes: in its place, or below what is there.
    pub(super) fn layouts(&self, tile: &Tile) -> Value {
        // What was begun and not placed, or is to be as at first, has its own place.
        let is_full = self.there.known.is_none() || self.there.tiles().iter().any(|known| known.placed);
        let is_below = is_full && self.mode != Mode::Recreate;
        let down = self.there.shown.as_ref().filter(|_| is_below).map(Shown::bottom);
        tile.place.layouts(down.unwrap_or_default())
    }

    /// Where a tile goes that the user moved, where that is to be undone.
    pub(super) fn moved(&self, tile: &Tile, tile_id: i64) -> Option<Value> {
        let shown = self.there.shown.as_ref().filter(|_| self.mode == Mode::Recreate)?;
        let layouts = tile.place.layouts(Down::default());
        let here = shown.tiles.iter().find(|shown| shown.id == tile_id)?;
        (!here.is_at(&layouts)).then_some(layouts)
    }

    pub(super) async fn record(&self, tile: &KnownTile) -> Result<(), CommandError> {
        if !self.wire.is_dry() {
            self.work.ledger.record_dashboard_tile(&self.work.key, tile).await?;
        }
        Ok(())
    }
}
