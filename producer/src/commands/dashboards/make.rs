//! `create` and `update`: carries the plan out, and remembers each step before the next one.

use serde_json::Value;
use shared::ledger::KnownTile;

use super::accept::{Accepted, accepted};
use super::look::{self, There, look, wanted, was_touched};
use super::maker::Maker;
use super::place::Places;
use super::say::{Report, Told};
use super::wire::Wire;
use super::{Making, Work};
use crate::dashboards::identity::{Lookalike, begun};
use crate::dashboards::plan::{self, Mode, Planned, Step};
use crate::dashboards::render::{Content, Tile};
use crate::dashboards::request::Request;
use crate::dashboards::shown::ShownInsight;
use crate::dashboards::why::Why;
use crate::error::CommandError;

/// Executes `create` and `update`.
pub(super) async fn execute(
    work: &Work<'_>,
    wire: &mut Wire<'_>,
    making: &Making,
    mode: Mode,
) -> Result<Report, CommandError> {
    let mode = if making.recreate { Mode::Recreate } else { mode };
    let there = look(work, wire, making.name.as_deref()).await?;
    // Of a dashboard that is made again, too, what was once said of it is remembered.
    let remembered = there.dashboard().cloned();
    let remembered = remembered.as_ref();
    let conversion = conversion(making)?.or_else(|| remembered?.conversion_event.as_deref());
    if let Some(why) = refusal(&there, mode) {
        return Err(CommandError::refused(why));
    }
    let wanted = wanted(work, remembered, making.name.as_deref(), conversion);
    let mut maker = Maker {
        work,
        wire,
        mode,
        there: &there,
        wanted: &wanted,
        report: work.report(making.dry_run),
        dashboard: Value::Null,
        places: Places::default(),
    };
    maker.report.notes.extend(there.lookalike.as_ref().map(Lookalike::says));
    maker.whole(conversion).await?;
    for planned in plan::tiles(mode, &wanted, there.tiles(), there.shown.as_ref(), &there.off) {
        maker.tile(&planned).await?;
    }
    for retired in plan::retired(&wanted, there.tiles(), there.shown.as_ref()) {
        maker.report.tiles.push(Told::retired(retired));
    }
    let Maker {
        wire,
        mut report,
        dashboard,
        places,
        ..
    } = maker;
    let shown = there.shown.as_ref();
    places.settle(work, wire, &dashboard, shown, &mut report).await?;
    Ok(report)
}

/// Why no dashboard is made or changed.
fn refusal(there: &There, mode: Mode) -> Option<String> {
    let why = if there.was_deleted() && mode != Mode::Recreate {
        "the dashboard was made and then deleted in PostHog, so it is not made again; --recreate does that"
    } else if mode == Mode::Update && there.shown.is_none() {
        "there is no dashboard to update; `producer dashboards create` makes it"
    } else if there.known.is_none() && there.lookalike.is_some() {
        "the ledger knows no dashboard of this project, and it is not clear whether there is one"
    } else {
        return None;
    };
    let lookalike = there.lookalike.as_ref().map(Lookalike::says);
    let said = [Some(why.to_owned()), lookalike];
    Some(said.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

fn conversion(making: &Making) -> Result<Option<&str>, CommandError> {
    match making.conversion_event.as_deref().map(str::trim) {
        Some("") => Err(CommandError::argument(
            "--conversion-event is empty: give the name of an event",
        )),
        event => Ok(event),
    }
}

impl<'a> Maker<'a, '_> {
    async fn tile(&mut self, planned: &Planned<'a>) -> Result<(), CommandError> {
        let tile = planned.tile;
        match &planned.step {
            Step::Make => {
                let begun = self.known(tile).map(|_| begun(tile));
                match &tile.content {
                    Content::Text(_) => {
                        let layouts = self.layouts(tile);
                        self.places.make_text(tile, &layouts, begun);
                        self.report.tiles.push(Told::made(tile, None, None));
                    }
                    Content::Insight { .. } => {
                        if let Some(begun) = begun {
                            self.record(&begun).await?;
                        }
                        self.insight(tile, None).await?;
                    }
                }
            }
            Step::Change {
                tile_id,
                insight_id,
                text_id,
            } => match &tile.content {
                Content::Text(_) => {
                    let layouts = self.moved(tile, *tile_id);
                    self.places.change_text(tile, (*tile_id, *text_id), layouts);
                    self.report.tiles.push(Told::changed(tile, None, None));
                }
                Content::Insight { .. } => self.insight(tile, insight_id.map(|id| (id, *tile_id))).await?,
            },
            Step::PutBack(insight) => self.put_back(tile, *insight).await?,
            Step::Keep(kept) => {
                let moved = self.moved(tile, kept.tile_id);
                let is_told = moved.is_some();
                if let Some(layouts) = moved.or_else(|| (!kept.placed).then(|| self.layouts(tile))) {
                    self.places.put(&kept.tile_id.into(), &layouts);
                    self.places.then_known(kept.clone());
                }
                if self.known(tile) != Some(kept) {
                    self.record(kept).await?;
                }
                self.report.tiles.push(if is_told {
                    Told::changed(tile, kept.insight_id, Some("put back in its place".to_owned()))
                } else {
                    Told::kept(tile, kept.insight_id)
                });
            }
            Step::Leave(why) => {
                self.report.tiles.push(Told::left(tile, planned.insight_id, why.says()));
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
        let Some((form, note)) = self.form(tile, forms).await? else {
            return Ok(());
        };
        if let Some((insight, _)) = there
            && !self.wire.is_dry()
            && was_touched(self.wire, self.there, insight).await?
        {
            self.report
                .tiles
                .push(Told::left(tile, Some(insight), Why::Changed.says()));
            return Ok(());
        }
        let request = match there {
            None => Request::make_insight(&self.dashboard, name, description, form),
            Some((insight, _)) => Request::change_insight(insight, name, description, form),
        };
        let answer = self.wire.send(request).await?;
        let (insight_id, tile_id, layouts) = match there {
            None => (answer["id"].as_i64(), self.tile_of(&answer)?, Some(self.layouts(tile))),
            Some((insight, tile_id)) => (Some(insight), tile_id.into(), self.moved(tile, tile_id)),
        };
        self.report.tiles.push(match there {
            None => Told::made(tile, insight_id, note),
            Some(_) => Told::changed(tile, insight_id, note),
        });
        let written = plan::written(name, description, form);
        self.written(tile, &answer, (insight_id, tile_id, layouts), written)
            .await
    }

    /// Puts an insight on the dashboard again, as it should be.
    async fn put_back(&mut self, tile: &Tile, id: i64) -> Result<(), CommandError> {
        let Content::Insight {
            name,
            description,
            forms,
        } = &tile.content
        else {
            return Ok(());
        };
        // It may be on another one since `look`, which it must not be taken off.
        let Some(now) = look::insight(self.wire, id).await? else {
            self.report.tiles.push(Told::left(tile, None, Why::Deleted.says()));
            return Ok(());
        };
        let mut dashboards: Vec<Value> = now.dashboards.iter().map(|id| Value::from(*id)).collect();
        dashboards.push(self.dashboard.clone());
        let mut request = Request::put_on(id, &dashboards);
        let current = plan::current(tile, self.known(tile), &now.print());
        let (written, note) = if let Some(current) = current {
            (current, None)
        } else {
            let Some((form, note)) = self.form(tile, forms).await? else {
                return Ok(());
            };
            let Request { body, .. } = Request::change_insight(id, name, description, form);
            request.add(body);
            (plan::written(name, description, form), note)
        };
        let answer = self.wire.send(request).await?;
        let note = note.map_or_else(String::new, |note| format!(", {note}"));
        let note = format!("put back on the dashboard{note}");
        self.report.tiles.push(Told::changed(tile, Some(id), Some(note)));
        let layouts = Some(self.layouts(tile));
        let place = (Some(id), self.tile_of(&answer)?, layouts);
        self.written(tile, &answer, place, written).await
    }

    /// The first form that PostHog takes; where it takes none, that is told.
    async fn form<'f>(
        &mut self,
        tile: &Tile,
        forms: &'f [Value],
    ) -> Result<Option<(&'f Value, Option<String>)>, CommandError> {
        match accepted(self.wire, forms).await? {
            Accepted::Form(form, note) => Ok(Some((form, note))),
            Accepted::None(why) => {
                self.report.tiles.push(Told::left_out(tile, why));
                Ok(None)
            }
        }
    }

    /// Remembers an insight that was written.
    async fn written(
        &mut self,
        tile: &Tile,
        answer: &Value,
        (insight_id, tile_id, layouts): (Option<i64>, Value, Option<Value>),
        written: String,
    ) -> Result<(), CommandError> {
        if let Some(layouts) = &layouts {
            self.places.put(&tile_id, layouts);
        }
        if self.wire.is_dry() {
            return Ok(());
        }
        let (Some(tile_id), Some(shown)) = (tile_id.as_i64(), ShownInsight::read(answer)) else {
            return Err(CommandError::from(self.wire.garbled("an insight without its numbers")));
        };
        let known = KnownTile {
            tile: tile.key.clone(),
            tile_id,
            insight_id,
            written: Some(written),
            shown: Some(shown.print()),
            placed: layouts.is_none(),
        };
        self.record(&known).await?;
        if layouts.is_some() {
            self.places.then_known(known);
        }
        Ok(())
    }
}
