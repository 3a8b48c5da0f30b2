//! `/api/projects/:id/insights/`: the list, a new one, and one of them. Queries are stored as they
//! come: they are looked at when they run.

use serde_json::{Map, Value, json};

use super::super::answer::Answer;
use super::errors::{error_at, invalid_at, not_found};
use super::{App, fields};

/// Longest name.
const NAME: usize = 400;

/// Every insight of a project that is not deleted, or the one of a short id.
pub(super) fn list(app: &App, project: i64, short_id: Option<&str>) -> Vec<Value> {
    let insights = app.boards.insights.values();
    insights
        .filter(|it| it.project == project && !it.deleted)
        .filter(|it| short_id.is_none_or(|short_id| it.short_id == short_id))
        .map(|it| shown(app, it.id))
        .collect()
}

pub(super) fn create(app: &mut App, project: i64, body: &Map<String, Value>) -> Result<Answer, Answer> {
    check(app, project, body)?;
    let id = app.boards.insight(project).id;
    change(app, id, body)?;
    Ok(Answer::json_with(201, &shown(app, id)))
}

pub(super) fn read(app: &App, project: i64, id: i64) -> Result<Answer, Answer> {
    known(app, project, id, false)?;
    Ok(Answer::json(&shown(app, id)))
}

/// A PATCH. A deleted one is found only by what brings it back: a deletion sent again is 404.
pub(super) fn update(app: &mut App, project: i64, id: i64, body: &Map<String, Value>) -> Result<Answer, Answer> {
    known(app, project, id, fields::brings_back(body))?;
    check(app, project, body)?;
    change(app, id, body)?;
    Ok(Answer::json(&shown(app, id)))
}

fn known(app: &App, project: i64, id: i64, or_deleted: bool) -> Result<(), Answer> {
    let insight = app.boards.insights.get(&id).filter(|it| it.project == project);
    match insight.filter(|it| or_deleted || !it.deleted) {
        Some(_) => Ok(()),
        None => Err(not_found("Not found.")),
    }
}

fn check(app: &App, project: i64, body: &Map<String, Value>) -> Result<(), Answer> {
    fields::text(body, "name", NAME)?;
    fields::text(body, "description", usize::MAX)?;
    fields::boolean(body, "saved")?;
    fields::boolean(body, "deleted")?;
    fields::tags(body)?;
    match body.get("query") {
        None | Some(Value::Object(_) | Value::Null) => {}
        Some(_) => return Err(invalid_at("query", "Query must be a valid JSON object.")),
    }
    let Some(dashboards) = body.get("dashboards") else {
        return Ok(());
    };
    let dashboards = dashboards
        .as_array()
        .ok_or_else(|| invalid_at("dashboards", "Expected a list of items."))?;
    for id in dashboards {
        let dashboard = id.as_i64().and_then(|id| app.boards.dashboards.get(&id));
        if !dashboard.is_some_and(|it| it.project == project && !it.deleted) {
            let detail = format!("Invalid pk \"{id}\" - object does not exist.");
            return Err(error_at(
                400,
                "validation_error",
                "does_not_exist",
                &detail,
                "dashboards",
            ));
        }
    }
    Ok(())
}

fn change(app: &mut App, id: i64, body: &Map<String, Value>) -> Result<(), Answer> {
    let has_tags = app.switches.has_tags;
    let insight = app.boards.insights.get_mut(&id).expect("it is known");
    for (name, field) in [("name", &mut insight.name), ("description", &mut insight.description)] {
        if let Some(text) = body.get(name) {
            text.as_str().unwrap_or_default().clone_into(field);
        }
    }
    for (name, field) in [("saved", &mut insight.saved), ("deleted", &mut insight.deleted)] {
        if let Some(set) = body.get(name).and_then(Value::as_bool) {
            *field = set;
        }
    }
    // They are not brought back with it.
    if insight.deleted {
        insight.alerts = 0;
    }
    if let Some(query) = body.get("query") {
        query.clone_into(&mut insight.query);
    }
    if let (true, Some(tags)) = (has_tags, fields::tags(body)?) {
        insight.tags = tags;
    }
    if let Some(dashboards) = body.get("dashboards").and_then(Value::as_array) {
        let wanted: Vec<i64> = dashboards.iter().filter_map(Value::as_i64).collect();
        let mut missing = wanted.clone();
        for tile in app.boards.tiles.values_mut().filter(|tile| tile.insight == Some(id)) {
            tile.deleted = !wanted.contains(&tile.dashboard);
            missing.retain(|dashboard| *dashboard != tile.dashboard);
        }
        for dashboard in missing {
            app.boards.tile(dashboard, Some(id), None);
        }
    }
    Ok(())
}

/// As lists, dashboards and its own page show it.
pub(super) fn shown(app: &App, id: i64) -> Value {
    let it = &app.boards.insights[&id];
    let tiles = app.boards.of(id);
    let dashboards: Vec<i64> = tiles.iter().map(|tile| tile.dashboard).collect();
    let tiles: Vec<Value> = tiles
        .iter()
        .map(|tile| json!({"id": tile.id, "dashboard_id": tile.dashboard, "deleted": null}))
        .collect();
    json!({
        "id": it.id,
        "short_id": it.short_id,
        "name": it.name,
        "derived_name": null,
        "description": it.description,
        "saved": it.saved,
        "tags": it.tags,
        "query": it.query,
        "alerts": (0..it.alerts).map(|id| json!({"id": id})).collect::<Vec<_>>(),
        "filters": {},
        "deleted": it.deleted,
        "dashboards": dashboards,
        "dashboard_tiles": tiles,
        "result": null,
    })
}
