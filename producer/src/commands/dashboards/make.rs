//! `create` and `update`: carries the plan out, and remembers each step before the next one.

use serde_json::{Value, json};
use shared::ledger::{KnownDashboard, KnownTile};

use super::accept::{Accepted, accepted};
use super::look::{There, look, wanted, was_touched};
use super::say::{Report, Told};
use super::wire::Wire;
use super::{Making, Work};
use crate::dashboards::fingerprint;
use crate::dashboards::plan::{self, Mode, Planned, Step, Whole};
use crate::dashboards::render::{Content, Tile, Wanted};
use crate::dashboards::request::Request;
use crate::dashboards::shown::{Shown, ShownInsight};
use crate::error::CommandError;
use crate::posthog_app::AppError;

/// Executes `create` and `update`.
pub(super) async fn execute(
    work: &Work<'_>,
    wire: &mut Wire<'_>,
    making: &Making,
    mode: Mode,
) -> Result<Report, CommandError> {
    let mode = if making.recreate { Mode::Recreate } else { mode };
    let there = look(work, wire).await?;
    // Of a dashboard that is made again, too, what was once said of it is remembered.
    let remembered = there.dashboard().cloned();
    let remembered = remembered.as_ref();
    let conversion = conversion(making)?.or_else(|| remembered?.conversion_event.as_deref());
    if there.was_deleted() && mode != Mode::Recreate {
        return Err(CommandError::refused(
            "the dashboard was made and then deleted in PostHog, so it is not made again; --recreate does that",
        ));
    }
    if mode == Mode::Update && there.shown.is_none() {
        return Err(CommandError::refused(
            "there is no dashboard to update; `producer dashboards create` makes it",
        ));
    }
    // What was deleted as a whole begins anew.
    let there = if there.was_deleted() {
        There { known: None, ..there }
    } else {
        there
    };
    let wanted = wanted(work, remembered, making.name.as_deref(), conversion);
    let mut maker = Maker {
        work,
        wire,
        mode,
        there: &there,
        wanted: &wanted,
        report: work.report(making.dry_run),
        dashboard: Value::Null,
        places: Vec::new(),
        unplaced: Vec::new(),
    };
    maker.whole(conversion).await?;
    for planned in plan::tiles(mode, &wanted, there.tiles(), there.shown.as_ref()) {
        maker.tile(&planned).await?;
    }
    for retired in plan::retired(&wanted, there.tiles(), there.shown.as_ref()) {
        maker.report.tiles.push(Told::retired(retired));
    }
    maker.place().await?;
    Ok(maker.report)
}

fn conversion(making: &Making) -> Result<Option<&str>, CommandError> {
    match making.conversion_event.as_deref().map(str::trim) {
        Some("") => Err(CommandError::refused("--conversion-event: an event has a name")),
        event => Ok(event),
    }
}

struct Maker<'a, 'w> {
    work: &'a Work<'a>,
    wire: &'a mut Wire<'w>,
    mode: Mode,
    there: &'a There,
    wanted: &'a Wanted,
    report: Report,
    /// Its number; words that stand for it where it is not made
    dashboard: Value,
    /// What is put in its place at the end, with the texts that are written
    places: Vec<Value>,
    /// The tiles that are in their places after that
    unplaced: Vec<Unplaced<'a>>,
}

enum Unplaced<'a> {
    Insight(KnownTile),
    Text(&'a Tile),
}

impl<'a> Maker<'a, '_> {
    /// The dashboard itself.
    async fn whole(&mut self, conversion: Option<&str>) -> Result<(), CommandError> {
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
        if known != Some(&dashboard) {
            self.work.ledger.record_dashboard(&self.work.key, &dashboard).await?;
        }
        Ok(())
    }

    async fn tile(&mut self, planned: &Planned<'a>) -> Result<(), CommandError> {
        let tile = planned.tile;
        match &planned.step {
            Step::Make => match &tile.content {
                Content::Text(body) => {
                    self.places
                        .push(json!({"text": {"body": body}, "layouts": self.layouts(tile)}));
                    self.unplaced.push(Unplaced::Text(tile));
                    self.report.tiles.push(Told::made(tile, None, None));
                }
                Content::Insight { .. } => self.insight(tile, None).await?,
            },
            Step::Change {
                tile_id,
                insight_id,
                text_id,
            } => match &tile.content {
                Content::Text(body) => {
                    let mut text = json!({"body": body});
                    if let Some(id) = text_id {
                        text["id"] = (*id).into();
                    }
                    let mut changed = json!({"id": tile_id, "text": text});
                    if let Some(layouts) = self.moved(tile, *tile_id) {
                        changed["layouts"] = layouts;
                    }
                    self.places.push(changed);
                    self.unplaced.push(Unplaced::Text(tile));
                    self.report.tiles.push(Told::changed(tile, None, None));
                }
                Content::Insight { .. } => self.insight(tile, insight_id.map(|id| (id, *tile_id))).await?,
            },
            Step::Keep(kept) => {
                let known = self.there.tiles().iter().find(|known| known.tile == tile.key);
                let mut is_told = false;
                if let Some(layouts) = self.moved(tile, kept.tile_id) {
                    self.places.push(json!({"id": kept.tile_id, "layouts": layouts}));
                    self.unplaced.push(Unplaced::Insight(kept.clone()));
                    is_told = true;
                } else if !kept.placed {
                    self.places
                        .push(json!({"id": kept.tile_id, "layouts": self.layouts(tile)}));
                    self.unplaced.push(Unplaced::Insight(kept.clone()));
                }
                if known != Some(kept) {
                    self.record(kept).await?;
                }
                self.report.tiles.push(if is_told {
                    Told::changed(tile, kept.insight_id, Some("put back in its place".to_owned()))
                } else {
                    Told::kept(tile, kept.insight_id)
                });
            }
            Step::Leave(why) => {
                self.report.tiles.push(Told::left(tile, None, why.says()));
            }
        }
        Ok(())
    }

    /// Makes an insight, or writes one anew, in the first form that PostHog takes.
    async fn insight(&mut self, tile: &Tile, there: Option<(i64, i64)>) -> Result<(), CommandError> {
        let Content::Insight {
            name,
            description,
            forms,
        } = &tile.content
        else {
            return Ok(());
        };
        let (form, note) = match accepted(self.wire, forms).await? {
            Accepted::Form(form, note) => (form, note),
            Accepted::None(why) => {
                self.report.tiles.push(Told::left_out(tile, why));
                return Ok(());
            }
        };
        if let Some((insight, _)) = there
            && !self.wire.is_dry()
            && was_touched(self.wire, self.there, insight).await?
        {
            let why = plan::Why::Changed.says();
            self.report.tiles.push(Told::left(tile, Some(insight), why));
            return Ok(());
        }
        let request = match there {
            None => Request::make_insight(&self.dashboard, name, description, form),
            Some((insight, _)) => Request::change_insight(insight, name, description, form),
        };
        let answer = self.wire.send(request).await?;
        let layouts = self.layouts(tile);
        let tile_id = match there {
            Some((_, tile_id)) => Value::from(tile_id),
            None => self.tile_of(&answer)?,
        };
        let layouts = match there {
            Some((_, tile_id)) => self.moved(tile, tile_id),
            None => Some(layouts),
        };
        let is_placed = layouts.is_none();
        if let Some(layouts) = layouts {
            self.places.push(json!({"id": tile_id, "layouts": layouts}));
        }
        let insight_id = there.map(|(insight, _)| insight).or_else(|| answer["id"].as_i64());
        self.report.tiles.push(match there {
            None => Told::made(tile, insight_id, note),
            Some(_) => Told::changed(tile, insight_id, note),
        });
        if self.wire.is_dry() {
            return Ok(());
        }
        let (Some(tile_id), Some(shown)) = (tile_id.as_i64(), ShownInsight::read(&answer)) else {
            return Err(CommandError::from(self.wire.garbled("an insight without its numbers")));
        };
        let known = KnownTile {
            tile: tile.key.clone(),
            tile_id,
            insight_id,
            written: Some(plan::written(name, description, form)),
            shown: Some(shown.print()),
            placed: is_placed,
        };
        self.record(&known).await?;
        if !is_placed {
            self.unplaced.push(Unplaced::Insight(known));
        }
        Ok(())
    }

    /// The number of a new insight's tile.
    fn tile_of(&self, answer: &Value) -> Result<Value, AppError> {
        let tiles = answer["dashboard_tiles"].as_array();
        let ours = tiles
            .into_iter()
            .flatten()
            .find(|tile| tile["dashboard_id"] == self.dashboard);
        let id = ours.map(|tile| tile["id"].clone()).filter(|id| !id.is_null());
        id.ok_or_else(|| self.wire.garbled("a new insight without its tile"))
    }

    /// Where a new tile goes: in its place, or below what is there.
    fn layouts(&self, tile: &Tile) -> Value {
        // What was begun and not placed, or is to be as at first, has its own place.
        let is_full = self.there.known.is_none() || self.there.tiles().iter().any(|known| known.placed);
        let is_below = is_full && self.mode != Mode::Recreate;
        let down = self.there.shown.as_ref().filter(|_| is_below).map(Shown::bottom);
        tile.place.layouts(down.unwrap_or_default())
    }

    /// Where a tile goes that the user moved, where that is to be undone.
    fn moved(&self, tile: &Tile, tile_id: i64) -> Option<Value> {
        let shown = self.there.shown.as_ref().filter(|_| self.mode == Mode::Recreate)?;
        let layouts = tile.place.layouts(crate::dashboards::layout::Down::default());
        let here = shown.tiles.iter().find(|shown| shown.id == tile_id)?;
        (!here.is_at(&layouts)).then_some(layouts)
    }

    /// Puts everything in its place.
    async fn place(&mut self) -> Result<(), CommandError> {
        if self.places.is_empty() {
            return Ok(());
        }
        let request = Request::tiles(&self.dashboard, &std::mem::take(&mut self.places));
        let answer = self.wire.send(request).await?;
        if self.wire.is_dry() {
            return Ok(());
        }
        let Some(shown) = Shown::read(&answer) else {
            return Err(CommandError::from(self.wire.garbled("a dashboard without a number")));
        };
        for unplaced in std::mem::take(&mut self.unplaced) {
            let known = match unplaced {
                Unplaced::Insight(known) => KnownTile { placed: true, ..known },
                Unplaced::Text(tile) => {
                    let Some(there) = shown.marked(tile) else {
                        return Err(CommandError::from(
                            self.wire.garbled("a dashboard without the text that was put on it"),
                        ));
                    };
                    KnownTile {
                        tile: tile.key.clone(),
                        tile_id: there.id,
                        insight_id: None,
                        written: plan::prints(tile).pop(),
                        shown: there.print(),
                        placed: true,
                    }
                }
            };
            self.record(&known).await?;
        }
        Ok(())
    }

    async fn record(&self, tile: &KnownTile) -> Result<(), CommandError> {
        if !self.wire.is_dry() {
            self.work.ledger.record_dashboard_tile(&self.work.key, tile).await?;
        }
        Ok(())
    }
}
