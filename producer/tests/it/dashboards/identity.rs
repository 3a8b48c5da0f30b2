//! Which tile is ours: what a user duplicates, writes, or takes off the dashboard.

use serde_json::json;

use super::{
    INSIGHTS, NUMBER, TEXTS, board_world, dashboards, ended, insight, only_dashboard, refusal, tile_of, tiles_that, why,
};
use crate::alter;

/// Who duplicates a tile duplicates its mark; and anybody may write a heading.
#[tokio::test]
async fn what_the_user_duplicated_is_not_taken_for_ours() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let board = only_dashboard(posthog).id;
    let ours = insight(posthog, "Traces");
    let copy = posthog.user_insight(board, "Traces (copy)", &ours.query);
    let copied = insight(posthog, "Traces (copy)").id;
    posthog.change_insight(copied, |copy| copy.description.clone_from(&ours.description));
    posthog.change_insight(ours.id, |insight| insight.deleted = true);
    let text = posthog
        .tiles(board)
        .into_iter()
        .find(|tile| tile.text.is_some())
        .unwrap();
    posthog.change_tile(text.id, |tile| tile.deleted = true);
    let mine = posthog.user_text(board, "## Volume\n\nMine");
    let of_user = || {
        let tiles = posthog.tiles(board).into_iter();
        let tiles: Vec<_> = tiles.filter(|tile| [copy, mine].contains(&tile.id)).collect();
        (tiles, insight(posthog, "Traces (copy)"))
    };
    let before = of_user();
    for command in ["create", "update"] {
        let report = dashboards(&world, command, &[]).await;
        assert_eq!(tiles_that(&report, "left"), ["text_volume", "traces"], "{report}");
        assert!(why(&report, "traces").contains("was deleted in PostHog"), "{report}");
    }
    let report = dashboards(&world, "update", &["--recreate"]).await;
    assert_eq!(tiles_that(&report, "made"), ["text_volume", "traces"], "{report}");
    assert_eq!(of_user(), before);
    let report = dashboards(&world, "delete", &[]).await;
    assert_eq!(ended(&report, "deleted"), INSIGHTS + TEXTS, "{report}");
    assert_eq!((of_user(), posthog.tiles(board).len()), (before, 2));
}

/// Where the ledger knows none of two, it does not choose.
#[tokio::test]
async fn of_two_with_one_mark_none_is_touched() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let board = only_dashboard(posthog).id;
    let ours = insight(posthog, "Traces");
    posthog.user_insight(board, "Traces (copy)", &ours.query);
    let copied = insight(posthog, "Traces (copy)").id;
    posthog.change_insight(copied, |copy| copy.description.clone_from(&ours.description));
    posthog.change_insight(ours.id, |insight| insight.name = "Ours".to_owned());
    alter(&world, "delete from posthog_export.dashboards").await;
    let writes = posthog.board_writes().len();
    let report = dashboards(&world, "update", &["--recreate"]).await;
    assert_eq!(tiles_that(&report, "left"), ["traces"], "{report}");
    assert!(why(&report, "traces").contains("more than once"), "{report}");
    assert_eq!(posthog.board_writes().len(), writes);
    // The user says which.
    posthog.change_insight(copied, |insight| insight.deleted = true);
    let report = dashboards(&world, "update", &["--recreate"]).await;
    assert_eq!(tiles_that(&report, "changed"), ["traces"], "{report}");
    assert_eq!(insight(posthog, "Traces").id, ours.id);
}

/// After an export and an import all numbers are others, and everything is what it was.
#[tokio::test]
async fn what_is_known_of_a_dashboard_moves_to_its_new_numbers() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &["--conversion-event", "paid", "--name", "Our LLM"]).await;
    let id = insight(posthog, "Traces").id;
    posthog.change_insight(id, |insight| insight.name = "Ours".to_owned());
    posthog.change_insight(insight(posthog, "Tokens in and out").id, |insight| {
        insight.deleted = true;
    });
    posthog.renumber_boards();
    let writes = posthog.board_writes().len();
    for command in ["update", "create", "update"] {
        let report = dashboards(&world, command, &[]).await;
        assert_eq!(tiles_that(&report, "left"), ["traces", "tokens"], "{report}");
        assert!(why(&report, "traces").contains("was changed in PostHog"), "{report}");
        assert!(why(&report, "tokens").contains("was deleted in PostHog"), "{report}");
        assert_eq!(ended(&report, "kept"), INSIGHTS + TEXTS, "{report}");
    }
    assert_eq!(posthog.board_writes().len(), writes);
    let report = dashboards(&world, "delete", &[]).await;
    assert_eq!(ended(&report, "deleted"), INSIGHTS + TEXTS, "{report}");
    assert_eq!(posthog.insights(NUMBER).len(), 1);
}

#[tokio::test]
async fn what_was_taken_off_the_dashboard_is_put_back_and_not_made_twice() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let board = only_dashboard(posthog).id;
    let of = |name: &str| insight(posthog, name).id;
    let take_off = |id: i64| {
        let tile = tile_of(posthog, board, id).id;
        posthog.change_tile(tile, |tile| tile.deleted = true);
    };
    let (plain, edited) = (of("Traces"), of("Cost"));
    [plain, edited].into_iter().for_each(take_off);
    posthog.change_insight(edited, |insight| insight.query["display"] = "ActionsTable".into());
    let writes = posthog.board_writes().len();
    let report = dashboards(&world, "update", &[]).await;
    assert_eq!(tiles_that(&report, "left"), ["traces", "cost_total"], "{report}");
    assert!(
        why(&report, "traces").contains("was taken off the dashboard"),
        "{report}"
    );
    let dry = dashboards(&world, "update", &["--recreate", "--dry-run"]).await;
    let requests = dry["requests"].as_array().unwrap();
    let path = format!("/api/projects/{NUMBER}/insights/{plain}/");
    let back = requests.iter().find(|request| request["path"] == path).unwrap();
    assert_eq!(back["body"], json!({"dashboards": [board]}));
    assert_eq!(posthog.board_writes().len(), writes);

    let report = dashboards(&world, "update", &["--recreate"]).await;
    assert_eq!(tiles_that(&report, "changed"), ["traces", "cost_total"], "{report}");
    assert_eq!(why(&report, "traces"), "put back on the dashboard");
    assert_eq!(
        (posthog.insights(NUMBER).len(), posthog.tiles(board).len()),
        (INSIGHTS, INSIGHTS + TEXTS)
    );
    assert_eq!(insight(posthog, "Cost").query["display"], "BoldNumber");
    let report = dashboards(&world, "create", &["--recreate"]).await;
    assert_eq!(ended(&report, "kept"), INSIGHTS + TEXTS, "{report}");

    // A deletion takes what is as it was left, wherever it is.
    [plain, edited, of("Generations")].into_iter().for_each(take_off);
    posthog.change_insight(edited, |insight| insight.name = "Ours".to_owned());
    let elsewhere = posthog.user_dashboard(NUMBER, "Mine");
    posthog.put_on(of("Generations"), elsewhere);
    let report = dashboards(&world, "delete", &[]).await;
    assert_eq!(tiles_that(&report, "left"), ["cost_total", "generations"], "{report}");
    assert!(why(&report, "generations").contains("another dashboard"), "{report}");
    let mut names: Vec<String> = posthog.insights(NUMBER).into_iter().map(|it| it.name).collect();
    names.sort();
    assert_eq!(names, ["Generations", "Ours"], "{report}");
    assert_eq!(only_dashboard(posthog).id, elsewhere, "{report}");
}

/// "Duplicate dashboard": the mark may be duplicated with it, and the copy shows the same insights.
#[tokio::test]
async fn a_copy_of_the_dashboard_is_left_alone_when_the_dashboard_is_gone() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let ours = only_dashboard(posthog);
    let copy = posthog.user_dashboard(NUMBER, "AI metrics (Copy)");
    posthog.change_dashboard(copy, |copy| copy.description.clone_from(&ours.description));
    for insight in posthog.insights(NUMBER) {
        posthog.put_on(insight.id, copy);
    }
    posthog.user_text(copy, "## Volume");
    posthog.change_dashboard(ours.id, |dashboard| dashboard.deleted = true);
    let edited = insight(posthog, "Cost").id;
    posthog.change_insight(edited, |insight| insight.query["display"] = "ActionsTable".into());
    let of_user = || {
        let insights = posthog.insights(NUMBER).into_iter();
        let edited = insights.into_iter().find(|insight| insight.id == edited);
        let board = posthog.dashboards(NUMBER).into_iter().find(|board| board.id == copy);
        (posthog.tiles(copy), edited, board)
    };
    let (before, writes) = (of_user(), posthog.board_writes().len());
    for command in ["create", "update"] {
        let said = refusal(&world, command, &[]).await;
        assert!(
            said.contains("--recreate") && said.contains("AI metrics (Copy)"),
            "{said}"
        );
    }
    let report = dashboards(&world, "delete", &["--dry-run"]).await;
    assert_eq!(ended(&report, "deleted"), 0, "{report}");
    assert_eq!(posthog.board_writes().len(), writes);
    let report = dashboards(&world, "create", &["--recreate"]).await;
    let new = report["dashboard_id"].as_i64().unwrap();
    assert!(new != ours.id && new != copy, "{report}");
    assert!(
        report["notes"][0].as_str().unwrap().contains("a copy of yours"),
        "{report}"
    );
    assert_eq!(tiles_that(&report, "made").len(), 1 + TEXTS, "{report}");
    assert_eq!(ended(&report, "changed"), INSIGHTS - 1, "{report}");
    assert_eq!(of_user(), before);
    assert_eq!(
        ended(&dashboards(&world, "update", &[]).await, "kept"),
        INSIGHTS + TEXTS
    );

    // Without the ledger nobody knows; the title says.
    posthog.change_dashboard(new, |dashboard| dashboard.deleted = true);
    alter(&world, "delete from posthog_export.dashboards").await;
    let writes = posthog.board_writes().len();
    for arguments in [&[][..], &["--recreate"]] {
        let said = refusal(&world, "create", arguments).await;
        assert!(said.contains("--name"), "{said}");
    }
    assert_eq!(posthog.board_writes().len(), writes);
    let report = dashboards(&world, "create", &["--name", "AI metrics (Copy)"]).await;
    assert_eq!(report["dashboard_id"], copy, "{report}");
}
