//! `/api/projects/:id/dashboards/`: the list, a new one, one of them, and its texts.

use serde_json::{Map, Value, json};

use super::super::answer::Answer;
use super::boards::{TEXT_TILE, Tile};
use super::errors::{invalid, invalid_at, not_found};
use super::insights::shown as insight_shown;
use super::{App, fields};

/// Longest name.
const NAME: usize = 400;
/// Longest text of a tile.
const BODY: usize = 4_000;

/// Every dashboard of a project that is not deleted, without its tiles. A search, which an older
/// app does not know, is for a part of the name.
pub(super) fn list(app: &App, project: i64, search: Option<&str>) -> Vec<Value> {
    let search = search.filter(|_| !app.switches.is_old).map(str::to_lowercase);
    let dashboards = app.boards.dashboards.values();
    dashboards
        .filter(|it| it.project == project && !it.deleted)
        .filter(|it| search.as_ref().is_none_or(|part| it.name.to_lowercase().contains(part)))
        .map(|it| shown(app, it.id, false))
        .collect()
}

pub(super) fn create(app: &mut App, project: i64, body: &Map<String, Value>) -> Result<Answer, Answer> {
    let there = app.boards.dashboards.values();
    if there.filter(|it| it.project == project && !it.deleted).count() >= app.switches.most_dashboards {
        return Err(invalid(
            "You have reached the maximum number of dashboards for this project.",
        ));
    }
    check(body)?;
    let id = app.boards.dashboard(project, "").id;
    change(app, id, body)?;
    Ok(Answer::json_with(201, &shown(app, id, true)))
}

pub(super) fn read(app: &App, project: i64, id: i64) -> Result<Answer, Answer> {
    known(app, project, id, false)?;
    Ok(Answer::json(&shown(app, id, true)))
}

/// A PATCH. A deleted one is found only by what brings it back: a deletion sent again is 404.
pub(super) fn update(app: &mut App, project: i64, id: i64, body: &Map<String, Value>) -> Result<Answer, Answer> {
    known(app, project, id, fields::brings_back(body))?;
    check(body)?;
    change(app, id, body)?;
    Ok(Answer::json(&shown(app, id, true)))
}

/// `create_text_tile/`, which an older app lacks.
pub(super) fn create_text(app: &mut App, project: i64, id: i64, body: &Map<String, Value>) -> Result<Answer, Answer> {
    if app.switches.is_old || app.switches.lacking.iter().any(|name| name == TEXT_TILE) {
        return Err(not_found("Endpoint not found."));
    }
    known(app, project, id, false)?;
    let text = text_of(body)?;
    let tile = app.boards.tile(id, None, Some(text));
    place(tile, body);
    let tile = tile.clone();
    Ok(Answer::json_with(201, &tile_shown(app, &tile)))
}

fn known(app: &App, project: i64, id: i64, or_deleted: bool) -> Result<(), Answer> {
    let dashboard = app.boards.dashboards.get(&id).filter(|it| it.project == project);
    match dashboard.filter(|it| or_deleted || !it.deleted) {
        Some(_) => Ok(()),
        None => Err(not_found("Not found.")),
    }
}

fn check(body: &Map<String, Value>) -> Result<(), Answer> {
    fields::text(body, "name", NAME)?;
    fields::text(body, "description", usize::MAX)?;
    fields::boolean(body, "pinned")?;
    fields::boolean(body, "deleted")?;
    fields::tags(body)?;
    match body.get("filters") {
        None | Some(Value::Object(_)) => {}
        Some(_) => return Err(invalid_at("filters", "Filters must be a dictionary")),
    }
    match body.get("tiles") {
        None | Some(Value::Array(_)) => Ok(()),
        Some(_) => Err(invalid_at("tiles", "Expected a list of items.")),
    }
}

/// Changes what the body says. Members that PostHog does not know are ignored.
fn change(app: &mut App, id: i64, body: &Map<String, Value>) -> Result<(), Answer> {
    let has_tags = app.switches.has_tags;
    let boards = &mut app.boards;
    let dashboard = boards.dashboards.get_mut(&id).expect("it is known");
    for (name, field) in [
        ("name", &mut dashboard.name),
        ("description", &mut dashboard.description),
    ] {
        if let Some(text) = body.get(name) {
            text.as_str().unwrap_or_default().clone_into(field);
        }
    }
    if let Some(pinned) = body.get("pinned").and_then(Value::as_bool) {
        dashboard.pinned = pinned;
    }
    if let (true, Some(tags)) = (has_tags, fields::tags(body)?) {
        dashboard.tags = tags;
    }
    if let Some(filters) = body.get("filters") {
        filters.clone_into(&mut dashboard.filters);
    }
    let with_insights = body.get("delete_insights") == Some(&Value::Bool(true));
    match (dashboard.deleted, body.get("deleted").and_then(Value::as_bool)) {
        (false, Some(true)) => boards.delete_dashboard(id, with_insights),
        (true, Some(false)) => boards.restore_dashboard(id),
        _ => {}
    }
    for tile in body.get("tiles").and_then(Value::as_array).into_iter().flatten() {
        change_tile(app, id, tile)?;
    }
    Ok(())
}

/// A text is made, or changed by its own number. Anything else changes how a tile looks; a number that no
/// tile has is skipped silently.
fn change_tile(app: &mut App, dashboard: i64, wanted: &Value) -> Result<(), Answer> {
    let Some(wanted) = wanted.as_object() else {
        return Err(invalid_at("tiles", "Invalid data. Expected a dictionary."));
    };
    let number = wanted.get("id").and_then(Value::as_i64);
    if let Some(text) = wanted.get("text").and_then(Value::as_object) {
        let body = text_of(text)?;
        let texts = app.boards.tiles.values_mut().filter(|tile| tile.dashboard == dashboard);
        let tile = match text.get("id").and_then(Value::as_i64) {
            None => app.boards.tile(dashboard, None, Some(body)),
            Some(text) => {
                let mut texts = texts.filter(|tile| tile.text.as_ref().is_some_and(|own| own.0 == text));
                let tile = texts
                    .next()
                    .ok_or_else(|| invalid_at("text", "Text tile not found in this team."))?;
                tile.text = Some((text, body));
                tile
            }
        };
        place(tile, wanted);
        return Ok(());
    }
    let tile = number.and_then(|number| app.boards.tiles.get_mut(&number));
    if let Some(tile) = tile.filter(|tile| tile.dashboard == dashboard) {
        place(tile, wanted);
    }
    Ok(())
}

fn text_of(text: &Map<String, Value>) -> Result<String, Answer> {
    fields::text(text, "body", BODY)?;
    let body = text.get("body").and_then(Value::as_str);
    let body = body.filter(|body| !body.trim().is_empty());
    body.map(str::to_owned)
        .ok_or_else(|| invalid_at("body", "This field is required."))
}

fn place(tile: &mut Tile, wanted: &Map<String, Value>) {
    if let Some(layouts) = wanted.get("layouts") {
        layouts.clone_into(&mut tile.layouts);
    }
    if let Some(color) = wanted.get("color") {
        color.clone_into(&mut tile.color);
    }
    if let Some(deleted) = wanted.get("deleted").and_then(Value::as_bool) {
        tile.deleted = deleted;
    }
}

fn shown(app: &App, id: i64, with_tiles: bool) -> Value {
    let it = &app.boards.dashboards[&id];
    let mut shown = json!({
        "id": it.id,
        "name": it.name,
        "description": it.description,
        "pinned": it.pinned,
        "created_at": "2026-11-01T09:00:00Z",
        "deleted": it.deleted,
        "creation_mode": "default",
        "tags": it.tags,
        "restriction_level": 21,
        "team_id": it.project,
    });
    if with_tiles {
        shown["filters"] = it.filters.clone();
        let tiles = app.boards.on(id);
        shown["tiles"] = tiles.into_iter().map(|tile| tile_shown(app, tile)).collect();
    }
    shown
}

/// On a dashboard an insight is shown with the dashboard's date range in place of its own.
fn in_range(mut insight: Value, filters: &Value) -> Value {
    let range = json!({"date_from": filters["date_from"], "date_to": filters["date_to"]});
    let source = insight.pointer_mut("/query/source").filter(|source| source.is_object());
    if let (false, Some(source)) = (filters["date_from"].is_null(), source) {
        match source["kind"].as_str() {
            Some("HogQLQuery") => source["filters"]["dateRange"] = range,
            _ => source["dateRange"] = range,
        }
    }
    insight
}

fn tile_shown(app: &App, tile: &Tile) -> Value {
    let text = tile.text.as_ref();
    let filters = &app.boards.dashboards[&tile.dashboard].filters;
    json!({
        "id": tile.id,
        "layouts": tile.layouts,
        "color": tile.color,
        "insight": tile.insight.map(|insight| in_range(insight_shown(app, insight), filters)),
        "text": text.map(|(id, body)| json!({"id": id, "body": body, "team": app.boards.dashboards[&tile.dashboard].project})),
        "is_cached": false,
    })
}
