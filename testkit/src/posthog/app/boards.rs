//! What the app keeps of dashboards, and how a test looks at it, changes it as a user would, or
//! makes it vanish.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::{FakePosthog, Request, Route};

/// What an older app lacks.
pub(super) const TEXT_TILE: &str = "create_text_tile";

/// A dashboard, without its tiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Dashboard {
    /// Its number
    pub id: i64,
    /// The project it is in
    pub project: i64,
    /// As a user sees it
    pub name: String,
    /// As a user sees it
    pub description: String,
    /// Whether it stands at the top of the list
    pub pinned: bool,
    /// In lower case; always empty without a licence
    pub tags: Vec<String>,
    /// Its date range, among others
    pub filters: Value,
    /// Whether it was deleted: PostHog keeps it, and answers 404
    pub deleted: bool,
}

/// An insight: a query with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Insight {
    /// Its number
    pub id: i64,
    /// The project it is in
    pub project: i64,
    /// What its page is called by
    pub short_id: String,
    /// As a user sees it
    pub name: String,
    /// As a user sees it
    pub description: String,
    /// Whether it is listed by itself
    pub saved: bool,
    /// In lower case; always empty without a licence
    pub tags: Vec<String>,
    /// Never checked when it is stored
    pub query: Value,
    /// The alerts that users set on it
    pub alerts: usize,
    /// Whether it was deleted: PostHog keeps it, and answers 404
    pub deleted: bool,
}

/// A place on a dashboard: an insight's, or a text's.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// Its number
    pub id: i64,
    /// The dashboard that it is on
    pub dashboard: i64,
    /// The insight that it shows
    pub insight: Option<i64>,
    /// The text that it shows: its number and its body
    pub text: Option<(i64, String)>,
    /// By the width of the screen, `sm` and `xs`
    pub layouts: Value,
    /// Null, or its name
    pub color: Value,
    /// Whether it was taken off the dashboard
    pub deleted: bool,
}

/// Everything that is kept.
#[derive(Default)]
pub(super) struct Boards {
    last: i64,
    pub(super) dashboards: BTreeMap<i64, Dashboard>,
    pub(super) insights: BTreeMap<i64, Insight>,
    pub(super) tiles: BTreeMap<i64, Tile>,
}

impl Boards {
    /// A number that nothing else has.
    pub(super) fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    pub(super) fn dashboard(&mut self, project: i64, name: &str) -> &mut Dashboard {
        let id = self.next();
        self.dashboards.entry(id).or_insert(Dashboard {
            id,
            project,
            name: name.to_owned(),
            description: String::new(),
            pinned: false,
            tags: Vec::new(),
            filters: json!({}),
            deleted: false,
        })
    }

    pub(super) fn insight(&mut self, project: i64) -> &mut Insight {
        let id = self.next();
        self.insights.entry(id).or_insert(Insight {
            id,
            project,
            short_id: format!("short{id:03}"),
            name: String::new(),
            description: String::new(),
            saved: false,
            tags: Vec::new(),
            query: Value::Null,
            alerts: 0,
            deleted: false,
        })
    }

    pub(super) fn tile(&mut self, dashboard: i64, insight: Option<i64>, text: Option<String>) -> &mut Tile {
        let text = text.map(|body| (self.next(), body));
        let id = self.next();
        self.tiles.entry(id).or_insert(Tile {
            id,
            dashboard,
            insight,
            text,
            layouts: json!({}),
            color: Value::Null,
            deleted: false,
        })
    }

    /// What stands on a dashboard: neither taken off it, nor of an insight that was deleted.
    pub(super) fn on(&self, dashboard: i64) -> Vec<&Tile> {
        let stands = |tile: &&Tile| {
            let insight = tile.insight.map(|insight| self.insights.get(&insight));
            tile.dashboard == dashboard && !tile.deleted && insight.is_none_or(|it| it.is_some_and(|it| !it.deleted))
        };
        self.tiles.values().filter(stands).collect()
    }

    /// The tiles of an insight.
    pub(super) fn of(&self, insight: i64) -> Vec<&Tile> {
        let tiles = self.tiles.values();
        tiles
            .filter(|tile| tile.insight == Some(insight) && !tile.deleted)
            .collect()
    }

    /// Its insights stay, unless they go with it and stand nowhere else.
    pub(super) fn delete_dashboard(&mut self, id: i64, with_insights: bool) {
        let shown: Vec<i64> = self.on(id).iter().filter_map(|tile| tile.insight).collect();
        let alone = shown.into_iter().filter(|insight| self.of(*insight).len() == 1);
        let alone: Vec<i64> = alone.collect();
        for insight in alone.iter().filter(|_| with_insights) {
            self.insights.get_mut(insight).expect("a tile has an insight").deleted = true;
        }
        let tiles = self.tiles.values_mut();
        tiles
            .filter(|tile| tile.dashboard == id)
            .for_each(|tile| tile.deleted = true);
        self.dashboards.get_mut(&id).expect("it is there").deleted = true;
    }

    /// With everything that stood on it.
    pub(super) fn restore_dashboard(&mut self, id: i64) {
        for tile in self.tiles.values_mut().filter(|tile| tile.dashboard == id) {
            tile.deleted = false;
            if let Some(insight) = tile.insight {
                self.insights.get_mut(&insight).expect("a tile has an insight").deleted = false;
            }
        }
        self.dashboards.get_mut(&id).expect("it is there").deleted = false;
    }

    fn renumber(&mut self) {
        let shift = self.last + 1_000;
        self.last += shift;
        let (dashboards, insights, tiles) = (
            std::mem::take(&mut self.dashboards),
            std::mem::take(&mut self.insights),
            std::mem::take(&mut self.tiles),
        );
        for (id, it) in dashboards {
            let id = id + shift;
            self.dashboards.insert(id, Dashboard { id, ..it });
        }
        for (id, it) in insights {
            let id = id + shift;
            self.insights.insert(id, Insight { id, ..it });
        }
        for (id, it) in tiles {
            let tile = Tile {
                id: id + shift,
                dashboard: it.dashboard + shift,
                insight: it.insight.map(|id| id + shift),
                text: it.text.map(|(id, body)| (id + shift, body)),
                ..it
            };
            self.tiles.insert(tile.id, tile);
        }
    }
}

impl FakePosthog {
    /// The dashboards of a project that are not deleted.
    pub fn dashboards(&self, project: i64) -> Vec<Dashboard> {
        let all = self.state.app().boards.dashboards.clone().into_values();
        all.filter(|it| it.project == project && !it.deleted).collect()
    }

    /// The insights of a project that are not deleted.
    pub fn insights(&self, project: i64) -> Vec<Insight> {
        let all = self.state.app().boards.insights.clone().into_values();
        all.filter(|it| it.project == project && !it.deleted).collect()
    }

    /// What stands on a dashboard.
    pub fn tiles(&self, dashboard: i64) -> Vec<Tile> {
        let app = self.state.app();
        app.boards.on(dashboard).into_iter().cloned().collect()
    }

    /// The requests that changed, or would have changed, a dashboard, an insight or a tile.
    pub fn board_writes(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| {
            let is_board = matches!(
                request.route,
                Route::Dashboards | Route::Dashboard | Route::Insights | Route::Insight
            );
            is_board && request.method != "GET"
        });
        requests
    }

    /// A user makes a dashboard; its number.
    pub fn user_dashboard(&self, project: i64, name: &str) -> i64 {
        self.state.app().boards.dashboard(project, name).id
    }

    /// A user puts an insight on a dashboard; the number of the tile.
    ///
    /// # Panics
    /// When there is no such dashboard.
    pub fn user_insight(&self, dashboard: i64, name: &str, query: &Value) -> i64 {
        let mut app = self.state.app();
        let project = app.boards.dashboards[&dashboard].project;
        let insight = app.boards.insight(project);
        name.clone_into(&mut insight.name);
        query.clone_into(&mut insight.query);
        let insight = insight.id;
        app.boards.tile(dashboard, Some(insight), None).id
    }

    /// A user puts an insight that is there on a dashboard, too.
    pub fn put_on(&self, insight: i64, dashboard: i64) {
        self.state.app().boards.tile(dashboard, Some(insight), None);
    }

    /// A user puts a text on a dashboard; the number of the tile.
    pub fn user_text(&self, dashboard: i64, body: &str) -> i64 {
        let text = Some(body.to_owned());
        self.state.app().boards.tile(dashboard, None, text).id
    }

    /// A user changes a dashboard, or deletes it, or brings it back.
    ///
    /// # Panics
    /// When there is none of this number.
    pub fn change_dashboard(&self, id: i64, change: impl FnOnce(&mut Dashboard)) {
        let boards = &mut self.state.app().boards;
        let dashboard = boards.dashboards.get_mut(&id).expect("the dashboard is there");
        let before = dashboard.deleted;
        change(dashboard);
        match (before, dashboard.deleted) {
            (false, true) => boards.delete_dashboard(id, false),
            (true, false) => boards.restore_dashboard(id),
            _ => {}
        }
    }

    /// A user changes an insight, or deletes it.
    ///
    /// # Panics
    /// When there is none of this number.
    pub fn change_insight(&self, id: i64, change: impl FnOnce(&mut Insight)) {
        let insights = &mut self.state.app().boards.insights;
        change(insights.get_mut(&id).expect("the insight is there"));
    }

    /// A user moves a tile, edits its text, or takes it off its dashboard.
    ///
    /// # Panics
    /// When there is none of this number.
    pub fn change_tile(&self, id: i64, change: impl FnOnce(&mut Tile)) {
        let tiles = &mut self.state.app().boards.tiles;
        change(tiles.get_mut(&id).expect("the tile is there"));
    }

    /// A dashboard, an insight or a tile is no more, not even as a deleted one.
    pub fn vanish(&self, id: i64) {
        let boards = &mut self.state.app().boards;
        boards.dashboards.remove(&id);
        boards.insights.remove(&id);
        boards
            .tiles
            .retain(|_, tile| tile.id != id && tile.dashboard != id && tile.insight != Some(id));
    }

    /// Everything has another number from now on, as after PostHog was set up anew from an export.
    pub fn renumber_boards(&self) {
        self.state.app().boards.renumber();
    }

    /// Whether the app's licence has tags; without, they are dropped silently.
    pub fn tags_licence(&self, there: bool) {
        self.state.app().switches.has_tags = there;
    }

    /// Whether there is a `create_text_tile/`; without, it is 404.
    pub fn text_tile_route(&self, there: bool) {
        let lacking = &mut self.state.app().switches.lacking;
        lacking.retain(|name| name != TEXT_TILE);
        if !there {
            lacking.push(TEXT_TILE.to_owned());
        }
    }

    /// Lowers the most dashboards of a project from 500; one more is refused with 400.
    pub fn most_dashboards(&self, most: usize) {
        self.state.app().switches.most_dashboards = most;
    }

    /// This PostHog does not know these: kinds of query nodes, fields of them, values of `math` or
    /// `display`, or functions of HogQL. What uses one is refused by `/query/`, and stored by
    /// `/insights/` all the same.
    pub fn lacks(&self, names: &[&str]) {
        self.state.app().switches.lacking = names.iter().map(|name| (*name).to_owned()).collect();
    }
}
