//! What a user did stays.

use serde_json::{Value, json};
use testkit::posthog::{Behavior, Route, Rule};

use super::{
    INSIGHTS, NUMBER, TEXTS, board_world, dashboards, ended, insight, only_dashboard, refusal, tile_of, tiles_that, why,
};
use crate::alter;

#[tokio::test]
async fn what_the_user_did_stays_until_it_is_to_be_undone() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let board = only_dashboard(posthog);
    let of = |name: &str| insight(posthog, name).id;
    let (renamed, edited, deleted, moved) = (of("Traces"), of("Cost"), of("Tokens in and out"), of("Generations"));
    posthog.change_insight(renamed, |insight| insight.name = "Our traces".to_owned());
    posthog.change_insight(edited, |insight| insight.query["display"] = "ActionsTable".into());
    posthog.change_insight(deleted, |insight| insight.deleted = true);
    let place = json!({"sm": {"x": 0, "y": 90, "w": 12, "h": 9}, "xs": {"x": 0, "y": 200, "w": 1, "h": 9}});
    posthog.change_tile(tile_of(posthog, board.id, moved).id, |tile| {
        tile.layouts = place.clone();
    });
    let text = posthog
        .tiles(board.id)
        .into_iter()
        .find(|tile| tile.text.is_some())
        .unwrap();
    posthog.change_tile(text.id, |tile| {
        tile.text.as_mut().unwrap().1 = "## Volume\n\nOur words".to_owned();
    });
    let removed = posthog
        .tiles(board.id)
        .into_iter()
        .rfind(|tile| tile.text.is_some())
        .unwrap();
    posthog.change_tile(removed.id, |tile| tile.deleted = true);
    posthog.user_text(board.id, "Our own text");
    posthog.change_dashboard(board.id, |dashboard| dashboard.name = "Ours".to_owned());

    let (before, writes) = (posthog.insights(NUMBER), posthog.board_writes().len());
    for command in ["update", "create"] {
        let report = dashboards(&world, command, &[]).await;
        assert_eq!(
            tiles_that(&report, "left"),
            ["text_volume", "traces", "cost_total", "tokens", "text_who"],
            "{report}"
        );
        assert!(why(&report, "traces").contains("was changed in PostHog"));
        assert!(why(&report, "tokens").contains("was deleted in PostHog"));
        assert!(
            report["notes"][0]
                .as_str()
                .unwrap()
                .contains("title or description was changed"),
            "{report}"
        );
    }
    assert_eq!(
        (posthog.insights(NUMBER), posthog.board_writes().len()),
        (before, writes)
    );

    let report = dashboards(&world, "update", &["--recreate"]).await;
    assert_eq!(tiles_that(&report, "made"), ["tokens", "text_who"], "{report}");
    assert_eq!(
        tiles_that(&report, "changed"),
        ["text_volume", "traces", "generations", "cost_total"],
        "{report}"
    );
    assert_eq!(insight(posthog, "Traces").id, renamed);
    assert_eq!(only_dashboard(posthog).name, "AI metrics");
    assert_ne!(tile_of(posthog, board.id, moved).layouts, place);
    // The user's own text is nobody's.
    let texts: Vec<String> = posthog
        .tiles(board.id)
        .into_iter()
        .filter_map(|tile| Some(tile.text?.1))
        .collect();
    assert!(
        texts.contains(&"Our own text".to_owned()) && !texts.iter().any(|text| text.contains("Our words")),
        "{texts:?}"
    );
    let writes = posthog.board_writes().len();
    dashboards(&world, "update", &["--recreate"]).await;
    assert_eq!(posthog.board_writes().len(), writes);
}

#[tokio::test]
async fn an_update_changes_only_tiles_that_were_left_as_they_were() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let board = only_dashboard(posthog);
    // What an older release made: other queries, which PostHog shows as they were written.
    for (tile, name, is_edited) in [("latency", "Latency of generations", false), ("traces", "Traces", true)] {
        let id = insight(posthog, name).id;
        posthog.change_insight(id, |insight| {
            insight.query = json!({"kind": "OfBefore", "edited": false});
        });
        super::remember_as_shown(&world, tile, &insight(posthog, name)).await;
        if is_edited {
            posthog.change_insight(id, |insight| insight.query["edited"] = true.into());
        }
    }
    let place = json!({"sm": {"x": 6, "y": 70, "w": 6, "h": 6}, "xs": {"x": 0, "y": 70, "w": 1, "h": 6}});
    let moved = tile_of(posthog, board.id, insight(posthog, "Latency of generations").id);
    posthog.change_tile(moved.id, |tile| tile.layouts = place.clone());
    // A tile that an older release did not have.
    let new = insight(posthog, "Warnings and errors");
    posthog.vanish(new.id);
    alter(
        &world,
        "delete from posthog_export.dashboard_tiles where tile = 'errors_by_level'",
    )
    .await;

    let report = dashboards(&world, "create", &[]).await;
    assert!(
        why(&report, "latency").contains("differs from what this release or you ask for"),
        "{report}"
    );
    assert_eq!(tiles_that(&report, "made"), ["errors_by_level"], "{report}");
    let report = dashboards(&world, "update", &[]).await;
    assert_eq!(tiles_that(&report, "changed"), ["latency"], "{report}");
    assert_eq!(tiles_that(&report, "left"), ["traces"], "{report}");
    assert_eq!(ended(&report, "kept"), INSIGHTS + TEXTS - 2);
    assert_eq!(
        insight(posthog, "Latency of generations").query["kind"],
        "DataVisualizationNode"
    );
    assert_eq!(insight(posthog, "Traces").query["edited"], true);
    let tile = tile_of(posthog, board.id, insight(posthog, "Latency of generations").id);
    assert_eq!(tile.layouts, place, "its place is the user's");
    // What is new goes below everything.
    let tile = tile_of(posthog, board.id, insight(posthog, "Warnings and errors").id);
    assert!(tile.layouts["sm"]["y"].as_u64() >= Some(76), "{tile:?}");
    alter(
        &world,
        "update posthog_export.dashboard_tiles set written = 'of before' where tile = 'users'",
    )
    .await;
    // As shown, it is as it should be.
    assert_eq!(ended(&dashboards(&world, "update", &[]).await, "changed"), 0);
}

#[tokio::test]
async fn a_dashboard_that_the_user_deleted_is_not_made_again() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let first = dashboards(&world, "create", &[]).await;
    let id = first["dashboard_id"].as_i64().unwrap();
    posthog.change_dashboard(id, |dashboard| dashboard.deleted = true);
    let writes = posthog.board_writes().len();
    for command in ["create", "update"] {
        let said = refusal(&world, command, &[]).await;
        assert!(
            said.contains("deleted in PostHog") && said.contains("--recreate"),
            "{said}"
        );
    }
    let shown = world
        .producer(&["dashboards", "show", "--project", crate::PROJECT])
        .await;
    assert!(
        shown.code == 1 && shown.stdout.contains("was deleted"),
        "{}",
        shown.stdout
    );
    assert_eq!(posthog.board_writes().len(), writes);
    // PostHog leaves the insights of a deleted dashboard: they are put on the new one.
    let again = dashboards(&world, "create", &["--recreate"]).await;
    assert_eq!(
        (ended(&again, "changed"), ended(&again, "made")),
        (INSIGHTS, TEXTS),
        "{again}"
    );
    assert_ne!(again["dashboard_id"], first["dashboard_id"]);
    assert_eq!(posthog.insights(NUMBER).len(), INSIGHTS);
    let writes = posthog.board_writes().len();
    dashboards(&world, "create", &["--recreate"]).await;
    assert_eq!(posthog.board_writes().len(), writes);
    // A deletion deletes those that nobody needs.
    let id = again["dashboard_id"].as_i64().unwrap();
    posthog.change_dashboard(id, |dashboard| dashboard.deleted = true);
    let edited = insight(posthog, "Traces").id;
    posthog.change_insight(edited, |insight| insight.name = "Ours".to_owned());
    let gone = dashboards(&world, "delete", &[]).await;
    assert_eq!(
        (ended(&gone, "deleted"), tiles_that(&gone, "left")),
        (INSIGHTS - 1, vec!["traces".to_owned()]),
        "{gone}"
    );
    assert_eq!(posthog.insights(NUMBER).len(), 1);
}

#[tokio::test]
async fn a_deletion_leaves_what_the_user_changed_or_added() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let board = only_dashboard(posthog).id;
    posthog.change_insight(insight(posthog, "Traces").id, |insight| {
        insight.name = "Our traces".to_owned();
    });
    posthog.user_insight(board, "Mine", &Value::Null);
    let report = dashboards(&world, "delete", &[]).await;
    assert_eq!(
        (ended(&report, "deleted"), tiles_that(&report, "left")),
        (INSIGHTS + TEXTS - 1, vec!["traces".to_owned()])
    );
    let note = report["notes"][0].as_str().unwrap();
    assert!(
        note.contains("1 tile of it that you changed and 1 tile that you added"),
        "{note}"
    );
    let mut names: Vec<String> = posthog
        .insights(NUMBER)
        .into_iter()
        .map(|insight| insight.name)
        .collect();
    names.sort();
    assert_eq!(
        (names, posthog.tiles(board).len()),
        (vec!["Mine".to_owned(), "Our traces".to_owned()], 2)
    );
    // Made again, on the same dashboard.
    let report = dashboards(&world, "create", &[]).await;
    assert_eq!(
        (report["dashboard_id"].as_i64(), ended(&report, "made")),
        (Some(board), INSIGHTS + TEXTS - 1),
        "{report}"
    );
}

/// PostHog numbers the form of each node of a query, and rewrites what is stored when a form changes.
#[tokio::test]
async fn what_posthog_rewrites_by_itself_is_no_edit() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    for insight in posthog.insights(NUMBER) {
        posthog.change_insight(insight.id, |insight| {
            insight.query["version"] = 2.into();
            insight.query["source"]["version"] = 1.into();
            insight.query["source"]["tags"] = Value::Null;
        });
    }
    let writes = posthog.board_writes().len();
    for command in ["create", "update"] {
        let report = dashboards(&world, command, &[]).await;
        assert_eq!(ended(&report, "kept"), INSIGHTS + TEXTS, "{report}");
    }
    assert_eq!(posthog.board_writes().len(), writes);
    let report = dashboards(&world, "delete", &[]).await;
    assert_eq!(ended(&report, "deleted"), INSIGHTS + TEXTS, "{report}");
    assert_eq!(report["url"], Value::Null, "it leads nowhere: {report}");
}

/// PostHog deletes alerts with their insight, and does not bring them back with it.
#[tokio::test]
async fn a_tile_with_an_alert_is_not_deleted() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let id = insight(posthog, "Traces").id;
    posthog.change_insight(id, |insight| insight.alerts = 1);
    let report = dashboards(&world, "delete", &[]).await;
    assert_eq!(tiles_that(&report, "left"), ["traces"], "{report}");
    assert!(why(&report, "traces").contains("alert"), "{report}");
    assert_eq!(insight(posthog, "Traces").alerts, 1);
    assert_eq!(posthog.dashboards(NUMBER).len(), 1);
}

#[tokio::test]
async fn a_dashboard_that_is_made_again_is_as_it_was_asked_for_once() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let first = ["--conversion-event", "paid", "--name", "Our LLM"];
    let report = dashboards(&world, "create", &first).await;
    let id = report["dashboard_id"].as_i64().unwrap();
    let all = ended(&report, "made");
    assert!(all > INSIGHTS + TEXTS, "{report}");
    posthog.change_dashboard(id, |dashboard| dashboard.deleted = true);
    let report = dashboards(&world, "create", &["--recreate"]).await;
    assert_eq!(
        (ended(&report, "changed"), ended(&report, "made")),
        (all - TEXTS, TEXTS),
        "{report}"
    );
    assert_eq!(only_dashboard(posthog).name, "Our LLM");
    // And it is still remembered.
    assert_eq!(ended(&dashboards(&world, "create", &[]).await, "kept"), all);
}

/// An edit between the look and the change is the user's, too.
#[tokio::test]
async fn what_is_edited_while_the_command_runs_stays() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let id = insight(posthog, "Traces").id;
    posthog.change_insight(id, |insight| insight.query = json!({"kind": "OfBefore"}));
    super::remember_as_shown(&world, "traces", &insight(posthog, "Traces")).await;
    let board = only_dashboard(posthog).id;
    let texts = || posthog.tiles(board).into_iter().filter(|tile| tile.text.is_some());
    let (edited, old) = (texts().next().unwrap().id, texts().nth(1).unwrap().id);
    let says = |tile: i64, words: &str| {
        posthog.change_tile(tile, |tile| words.clone_into(&mut tile.text.as_mut().unwrap().1));
    };
    for (key, tile) in [("text_volume", edited), ("text_cost", old)] {
        says(tile, "## Of before");
        super::remember_as_written(&world, key, &json!(["## Of before"])).await;
    }
    posthog.script(Rule::next(1, Behavior::HoldUnstored).on(Route::Query));
    let edit = async {
        posthog.held().await;
        posthog.change_insight(id, |insight| insight.query["edited"] = true.into());
        says(edited, "## Ours");
        posthog.release();
    };
    let (report, ()) = tokio::join!(dashboards(&world, "update", &[]), edit);
    assert_eq!(tiles_that(&report, "left"), ["text_volume", "traces"], "{report}");
    assert_eq!(tiles_that(&report, "changed"), ["text_cost"], "{report}");
    assert_eq!(insight(posthog, "Traces").query["edited"], true);
    let words: Vec<String> = texts().take(2).filter_map(|tile| Some(tile.text?.1)).collect();
    assert!(words[0] == "## Ours" && words[1].starts_with("## Cost"), "{words:?}");
    // A deletion asks before each tile, and looks at the dashboard before its texts and before itself.
    super::remember_as_shown(&world, "traces", &insight(posthog, "Traces")).await;
    super::remember_as_written(&world, "text_volume", &json!(["## Ours"])).await;
    posthog.script(
        Rule::next(1, Behavior::HoldUnstored)
            .on(Route::Insight)
            .of_method("PATCH"),
    );
    let edit = async {
        posthog.held().await;
        posthog.change_insight(id, |insight| insight.description.push_str(" Ours."));
        says(old, "## Ours, too");
        posthog.release();
    };
    let (report, ()) = tokio::join!(dashboards(&world, "delete", &[]), edit);
    assert_eq!(tiles_that(&report, "left"), ["traces", "text_cost"], "{report}");
    let words: Vec<String> = texts().filter_map(|tile| Some(tile.text?.1)).collect();
    assert_eq!(words, ["## Ours, too"], "{report}");
    assert_eq!(posthog.dashboards(NUMBER).len(), 1, "{report}");
}

/// What is put on the dashboard while it is deleted is not deleted with it.
#[tokio::test]
async fn a_dashboard_that_gets_a_tile_while_it_is_deleted_stays() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let board = only_dashboard(posthog).id;
    posthog.script(
        Rule::next(1, Behavior::HoldUnstored)
            .on(Route::Insight)
            .of_method("PATCH"),
    );
    let add = async {
        posthog.held().await;
        posthog.user_text(board, "Ours");
        posthog.release();
    };
    let (report, ()) = tokio::join!(dashboards(&world, "delete", &[]), add);
    assert_eq!(ended(&report, "deleted"), INSIGHTS + TEXTS, "{report}");
    assert_eq!((only_dashboard(posthog).id, posthog.tiles(board).len()), (board, 1));
}

/// Builds before let the date range begin at this time of the day.
#[tokio::test]
async fn the_date_range_of_a_build_before_is_renewed_and_the_users_own_is_not() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let board = only_dashboard(posthog).id;
    let range = || only_dashboard(posthog).filters;
    let set = |filters: Value| posthog.change_dashboard(board, |board| board.filters = filters);
    let (ours, before) = (json!({"date_from": "-30dStart"}), json!({"date_from": "-30d"}));
    set(before.clone());
    let report = dashboards(&world, "create", &[]).await;
    assert!(
        report["notes"][0]
            .as_str()
            .unwrap()
            .contains("`producer dashboards update` changes it"),
        "{report}"
    );
    assert_eq!(range(), before);
    let dry = dashboards(&world, "update", &["--dry-run"]).await;
    assert_eq!(dry["requests"][0]["body"], json!({"filters": ours}), "{dry}");
    let report = dashboards(&world, "update", &[]).await;
    assert_eq!(
        (range(), ended(&report, "kept")),
        (ours.clone(), INSIGHTS + TEXTS),
        "{report}"
    );
    let own = json!({"date_from": "-7d", "date_to": null});
    set(own.clone());
    for command in ["create", "update"] {
        let report = dashboards(&world, command, &[]).await;
        assert_eq!((range(), &report["notes"]), (own.clone(), &json!([])), "{report}");
    }
    dashboards(&world, "update", &["--recreate"]).await;
    assert_eq!(range(), ours);
}
