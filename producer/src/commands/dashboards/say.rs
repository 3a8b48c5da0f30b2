//! What `dashboards` tells people and programs.

use serde::Serialize;
use serde_json::Value;
use shared::ledger::{DashboardKey, KnownTile};

use crate::dashboards::render::{Tile, is_heading};
use crate::dashboards::request::Request;
use crate::dashboards::why::Why;
use crate::output::{self, count, line};

/// What became of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Made,
    Changed,
    Deleted,
    Kept,
    Left,
    LeftOut,
    Missing,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Kept => "up to date",
            Self::Left => "left alone",
            Self::LeftOut => "left out",
            Self::Missing => "not made yet",
        }
    }
}

/// A tile with a query, or a text above such tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Tile,
    Heading,
}

impl Kind {
    fn of(key: &str) -> Self {
        if is_heading(key) { Self::Heading } else { Self::Tile }
    }
}

/// What is told of a tile.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    tile: String,
    kind: Kind,
    title: String,
    insight_id: Option<i64>,
    result: Outcome,
    why: Option<String>,
}

impl Told {
    fn new(tile: &Tile, insight_id: Option<i64>, result: Outcome, why: Option<String>) -> Self {
        Self {
            tile: tile.key.clone(),
            kind: Kind::of(&tile.key),
            title: tile.title().to_owned(),
            insight_id,
            result,
            why,
        }
    }

    pub(super) fn made(tile: &Tile, insight_id: Option<i64>, why: Option<String>) -> Self {
        Self::new(tile, insight_id, Outcome::Made, why)
    }

    pub(super) fn changed(tile: &Tile, insight_id: Option<i64>, why: Option<String>) -> Self {
        Self::new(tile, insight_id, Outcome::Changed, why)
    }

    pub(super) fn kept(tile: &Tile, insight_id: Option<i64>) -> Self {
        Self::new(tile, insight_id, Outcome::Kept, None)
    }

    pub(super) fn left(tile: &Tile, insight_id: Option<i64>, why: &str) -> Self {
        Self::new(tile, insight_id, Outcome::Left, Some(why.to_owned()))
    }

    pub(super) fn left_out(tile: &Tile, why: String) -> Self {
        Self::new(tile, None, Outcome::LeftOut, Some(why))
    }

    pub(super) fn missing(tile: &Tile) -> Self {
        Self::new(tile, None, Outcome::Missing, None)
    }

    pub(super) fn deleted(key: &str, title: &str, insight_id: Option<i64>) -> Self {
        Self {
            tile: key.to_owned(),
            kind: Kind::of(key),
            title: title.to_owned(),
            insight_id,
            result: Outcome::Deleted,
            why: None,
        }
    }

    pub(super) fn left_key(key: &str, title: &str, why: &str) -> Self {
        Self {
            result: Outcome::Left,
            why: Some(why.to_owned()),
            ..Self::deleted(key, title, None)
        }
    }

    pub(super) fn retired(tile: &KnownTile) -> Self {
        let why = Why::Retired.says();
        Self {
            insight_id: tile.insight_id,
            ..Self::left_key(&tile.tile, &tile.tile, why)
        }
    }
}

/// What was done.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    project_id: String,
    posthog_project: i64,
    pub(super) dashboard_id: Option<i64>,
    url: Option<String>,
    dry_run: bool,
    pub(super) tiles: Vec<Told>,
    pub(super) notes: Vec<String>,
    #[serde(skip)]
    app: String,
}

impl Report {
    pub(super) fn new(key: &DashboardKey, dry_run: bool) -> Self {
        Self {
            project_id: key.project_id.clone(),
            posthog_project: key.posthog_project,
            dashboard_id: None,
            url: None,
            dry_run,
            tiles: Vec::new(),
            notes: Vec::new(),
            app: key.app.clone(),
        }
    }

    pub(super) fn is_told(&self, key: &str) -> bool {
        self.tiles.iter().any(|told| told.tile == key)
    }

    /// A tile that was to be changed, and is left alone after all.
    pub(super) fn now_left(&mut self, key: &str, why: &str) {
        for told in self.tiles.iter_mut().filter(|told| told.tile == key) {
            (told.result, told.why) = (Outcome::Left, Some(why.to_owned()));
        }
    }

    /// The dashboard's number, where it has one.
    pub(super) fn is_at(&mut self, id: &Value) {
        self.dashboard_id = id.as_i64();
        let url = |id| format!("{}/project/{}/dashboard/{id}", self.app, self.posthog_project);
        self.url = self.dashboard_id.map(url);
    }
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Vec<JsonRequest<'a>>>,
}

/// A request as it would have been sent.
#[derive(Serialize)]
struct JsonRequest<'a> {
    method: &'a str,
    path: String,
    body: &'a Value,
}

pub(super) fn say(as_json: bool, report: &Report, requests: &[Request]) {
    let path = |request: &Request| format!("/api/projects/{}/{}", report.posthog_project, request.path);
    if as_json {
        let listed = requests.iter().map(|request| JsonRequest {
            method: request.word(),
            path: path(request),
            body: &request.body,
        });
        let requests = report.dry_run.then(|| listed.collect());
        output::json(&Json { report, requests });
        return;
    }
    for request in requests {
        line(format!("{} {}", request.word(), path(request)));
        output::json(&request.body);
    }
    for told in &report.tiles {
        if told.result == Outcome::Kept && told.why.is_none() {
            continue;
        }
        let why = told.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let name = match told.kind {
            Kind::Tile => told.title.clone(),
            Kind::Heading => format!("Heading \"{}\"", told.title),
        };
        line(format!("{name}: {}{why}", told.result.word()));
    }
    for note in &report.notes {
        line(note);
    }
    if !report.tiles.is_empty() {
        line(summary(report));
    }
    if let Some(url) = &report.url {
        line(url);
    }
}

/// `20 tiles: 18 made, 2 left out. 6 headings: 6 made.` PURE.
fn summary(report: &Report) -> String {
    let of_kind = |kind, noun| {
        let told = report.tiles.iter().filter(|told| told.kind == kind);
        let mut outcomes: Vec<Outcome> = told.map(|told| told.result).collect();
        let all = outcomes.len();
        outcomes.sort_unstable();
        let parts: Vec<String> = outcomes
            .chunk_by(|a, b| a == b)
            .filter_map(|same| Some(format!("{} {}", same.len(), same.first()?.word())))
            .collect();
        (all > 0).then(|| format!("{}: {}.", count(all, noun), parts.join(", ")))
    };
    let dry = report
        .dry_run
        .then(|| "Nothing was sent: this is a dry run.".to_owned());
    let said = [of_kind(Kind::Tile, "tile"), of_kind(Kind::Heading, "heading"), dry];
    said.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_is_no_tile() {
        let key = DashboardKey {
            project_id: "p".to_owned(),
            app: "https://eu.posthog.com".to_owned(),
            posthog_project: 7,
        };
        let mut report = Report::new(&key, false);
        report.tiles = vec![
            Told::deleted("text_cost", "Cost", None),
            Told::deleted("cost_total", "Cost", Some(1)),
            Told::left_key("traces", "Traces", "was changed in PostHog"),
        ];
        assert_eq!(
            summary(&report),
            "2 tiles: 1 deleted, 1 left alone. 1 heading: 1 deleted."
        );
        let told = serde_json::to_value(&report.tiles).unwrap();
        assert_eq!(
            (&told[0]["kind"], &told[1]["kind"]),
            (&"heading".into(), &"tile".into())
        );
    }
}
