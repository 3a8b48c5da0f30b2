//! What is there: in the ledger, and in PostHog.

use serde_json::Value;
use shared::ledger::{KnownDashboard, KnownTile};

use super::Work;
use super::say::{Report, Told};
use super::wire::Wire;
use crate::dashboards::identity::{self, Lookalike, Titled};
use crate::dashboards::plan::{self, Mode, Step};
use crate::dashboards::render::{About, Wanted, marker, render};
use crate::dashboards::shown::{Shown, ShownContent, ShownInsight, is_deleted};
use crate::error::CommandError;
use crate::posthog_app::AppError;

/// Dashboards on a page of the list.
const PAGE: usize = 100;
/// No project has more: PostHog allows 500 dashboards.
const PAGES: usize = 100;

/// What is there.
pub(super) struct There {
    /// What the ledger knows
    pub(super) known: Option<(KnownDashboard, Vec<KnownTile>)>,
    /// What PostHog shows, insights as they are by themselves
    pub(super) shown: Option<Shown>,
    /// Insights of ours that are there, and stand on it no more
    pub(super) off: Vec<ShownInsight>,
    /// Whether the ledger knows another dashboard, or other numbers
    pub(super) is_another: bool,
    /// What has its mark and not its title, where it is not there itself
    pub(super) lookalike: Option<Lookalike>,
}

impl There {
    pub(super) fn dashboard(&self) -> Option<&KnownDashboard> {
        self.known.as_ref().map(|(dashboard, _)| dashboard)
    }

    pub(super) fn tiles(&self) -> &[KnownTile] {
        self.known
            .as_ref()
            .map(|(_, tiles)| tiles.as_slice())
            .unwrap_or_default()
    }

    /// What is remembered of another dashboard than before: what has a number on it, and what is to be
    /// put on it.
    pub(super) fn still(&self) -> Vec<KnownTile> {
        let is_off = |tile: &KnownTile| self.off.iter().any(|insight| tile.insight_id == Some(insight.id));
        let tiles = self.tiles().iter();
        tiles
            .filter(|tile| self.shown.is_some() || is_off(tile))
            .cloned()
            .collect()
    }

    /// Whether one was made that is there no more.
    pub(super) fn was_deleted(&self) -> bool {
        self.known.is_some() && self.shown.is_none()
    }
}

/// By the ledger's number, else by its mark and its title, which may be said. Who duplicates a
/// dashboard duplicates its mark; the copy has another title.
pub(super) async fn look(work: &Work<'_>, wire: &Wire<'_>, title: Option<&str>) -> Result<There, CommandError> {
    let known = work.ledger.dashboard(&work.key).await?;
    let there = look_at(work, wire, known, title).await;
    Ok(there?)
}

async fn look_at(
    work: &Work<'_>,
    wire: &Wire<'_>,
    mut known: Option<(KnownDashboard, Vec<KnownTile>)>,
    title: Option<&str>,
) -> Result<There, AppError> {
    let mut shown = match &known {
        Some((dashboard, _)) => read(wire, dashboard.dashboard_id).await?,
        None => None,
    };
    shown = shown.filter(|shown| shown.is_of(&work.key.project_id));
    let mut lookalike = None;
    if shown.is_none() {
        let known = known.as_ref().map(|(dashboard, _)| dashboard);
        let title = wanted(work, known, title, None).name;
        match identity::titled(marked(work, wire).await?, &title) {
            Titled::Ours(id) => shown = read(wire, id).await?,
            Titled::Other(other) => lookalike = Some(other),
            Titled::Nothing => {}
        }
    }
    let mut off = Vec::new();
    let mut is_another = false;
    if let Some(shown) = &mut shown {
        let tiles = known.as_ref().map(|(_, tiles)| tiles.as_slice()).unwrap_or_default();
        undress(wire, shown, tiles).await?;
    }
    if let Some((dashboard, tiles)) = &mut known {
        if let Some(shown) = &shown {
            is_another = dashboard.dashboard_id != shown.id;
            if identity::is_renumbered(dashboard.dashboard_id, tiles, shown) {
                is_another = true;
                *tiles = identity::renumbered(&wanted(work, Some(dashboard), None, None), tiles, shown);
            }
        }
        off = taken_off(wire, shown.as_ref(), tiles).await?;
    }
    Ok(There {
        known,
        shown,
        off,
        is_another,
        lookalike,
    })
}

/// A dashboard; `None` where it was deleted. What cannot be read is an error: it would count as deleted.
pub(super) async fn read(wire: &Wire<'_>, id: i64) -> Result<Option<Shown>, AppError> {
    match wire.get_if_there(&format!("dashboards/{id}/")).await? {
        Some(answer) if !is_deleted(&answer) => {
            let shown = Shown::read(&answer);
            let why = "a dashboard without its number or those of its tiles";
            Ok(Some(shown.ok_or_else(|| wire.garbled(why))?))
        }
        _ => Ok(None),
    }
}

/// An insight as it is stored; `None` where it was deleted.
pub(super) async fn insight(wire: &Wire<'_>, id: i64) -> Result<Option<ShownInsight>, AppError> {
    match wire.get_if_there(&format!("insights/{id}/")).await? {
        Some(answer) if !is_deleted(&answer) => {
            let shown = ShownInsight::read(&answer);
            Ok(Some(
                shown.ok_or_else(|| wire.garbled("an insight without its number"))?,
            ))
        }
        _ => Ok(None),
    }
}

/// Insights of ours that a user took off the dashboard, or that were left when it was deleted.
async fn taken_off(wire: &Wire<'_>, shown: Option<&Shown>, known: &[KnownTile]) -> Result<Vec<ShownInsight>, AppError> {
    let mut off = Vec::new();
    for tile in known {
        let id = tile.insight_id.filter(|id| *id > 0);
        let id = id.filter(|id| shown.is_none_or(|shown| shown.insight(*id).is_none()));
        if let Some(id) = id
            && let Some(insight) = insight(wire, id).await?
            && identity::is_of(&insight, &tile.tile)
        {
            off.push(insight);
        }
    }
    Ok(off)
}

/// The dashboards that have the mark.
async fn marked(work: &Work<'_>, wire: &Wire<'_>) -> Result<Vec<Lookalike>, AppError> {
    let marker = marker(&work.key.project_id);
    let (mut found, mut seen) = (Vec::new(), 0);
    for _ in 0..PAGES {
        // A page may have fewer than were asked for.
        let query = format!("limit={PAGE}&offset={seen}");
        let answer = wire.get("dashboards/", Some(query)).await?;
        let Some(listed) = answer["results"].as_array() else {
            return Err(wire.garbled("a list of dashboards without `results`"));
        };
        let those = listed.iter().filter(|dashboard| {
            let said = dashboard["description"].as_str().unwrap_or_default();
            said.contains(&marker) && dashboard["deleted"] != true
        });
        found.extend(those.filter_map(Lookalike::read));
        seen += listed.len();
        // Its `next` is a URL, which is never followed: it could lead elsewhere.
        if answer["next"].is_null() || listed.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// On a dashboard PostHog shows an insight with the dashboard's date range; by itself as it is
/// stored. Those that are not ours do not matter.
async fn undress(wire: &Wire<'_>, shown: &mut Shown, known: &[KnownTile]) -> Result<(), AppError> {
    let mut tiles = Vec::with_capacity(shown.tiles.len());
    for mut tile in std::mem::take(&mut shown.tiles) {
        let is_known = known
            .iter()
            .any(|known| known.insight_id.is_some() && known.insight_id == tile.insight_id());
        if let ShownContent::Insight(insight) = &mut tile.content
            && (is_known || insight.is_marked())
        {
            match self::insight(wire, insight.id).await? {
                Some(stored) => *insight = stored,
                None => continue,
            }
        }
        tiles.push(tile);
    }
    shown.tiles = tiles;
    Ok(())
}

/// Whether an insight was changed or deleted since `look`: queries are tried and waited for in between.
pub(super) async fn was_touched(wire: &Wire<'_>, there: &There, id: i64) -> Result<bool, AppError> {
    let now = insight(wire, id).await?.map(|now| now.print());
    let shown = there.shown.as_ref().and_then(|shown| shown.insight(id));
    let before = shown.or_else(|| there.off.iter().find(|insight| insight.id == id));
    Ok(now.is_none() || now != before.map(ShownInsight::print))
}

/// The dashboard as it should be, with what is remembered of it.
pub(super) fn wanted(
    work: &Work<'_>,
    known: Option<&KnownDashboard>,
    name: Option<&str>,
    conversion: Option<&str>,
) -> Wanted {
    let about = About {
        project: &work.key.project_id,
        conversion: conversion.or_else(|| known?.conversion_event.as_deref()),
    };
    render(work.definition, &about, name.or_else(|| Some(known?.name.as_str())))
}

/// Executes `show`.
pub(super) async fn execute(work: &Work<'_>, wire: &Wire<'_>) -> Result<Report, CommandError> {
    let there = look(work, wire, None).await?;
    let mut report = work.report(false);
    let Some(shown) = &there.shown else {
        report.notes.push(if there.was_deleted() {
            "the dashboard was deleted in PostHog; `producer dashboards create --recreate` makes it again".to_owned()
        } else {
            "there is no dashboard yet; `producer dashboards create` makes it".to_owned()
        });
        report.notes.extend(there.lookalike.as_ref().map(Lookalike::says));
        return Ok(report);
    };
    report.is_at(&Value::from(shown.id));
    let wanted = wanted(work, there.dashboard(), None, None);
    for planned in plan::tiles(Mode::Create, &wanted, there.tiles(), Some(shown), &there.off) {
        let insight = planned.insight_id;
        report.tiles.push(match planned.step {
            Step::Keep(_) => Told::kept(planned.tile, insight),
            Step::Leave(why) => Told::left(planned.tile, insight, why.says()),
            _ => Told::missing(planned.tile),
        });
    }
    for retired in plan::retired(&wanted, there.tiles(), Some(shown)) {
        report.tiles.push(Told::retired(retired));
    }
    Ok(report)
}
