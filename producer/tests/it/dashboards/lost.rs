//! Answers that get lost, and numbers that are another's by now.

use serde_json::json;
use testkit::posthog::{Behavior, Cut, Part, Route, Rule};

use super::{INSIGHTS, NUMBER, TEXTS, board_world, dashboards, ended, insight, only_dashboard, refusal, tiles_that};
use crate::alter;

#[tokio::test]
async fn a_lost_answer_makes_no_text_twice() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let lost = Behavior::StoreThenCut(Cut::Fin);
    posthog.script(Rule::next(1, lost).on(Route::Dashboard).of_method("PATCH"));
    let said = refusal(&world, "create", &[]).await;
    assert!(said.contains("gave no answer"), "{said}");
    let report = dashboards(&world, "create", &[]).await;
    let tiles = posthog.tiles(report["dashboard_id"].as_i64().unwrap());
    let texts = tiles.iter().filter(|tile| tile.text.is_some()).count();
    assert_eq!((texts, tiles.len()), (TEXTS, INSIGHTS + TEXTS), "{report}");
}

/// A proxy that does not wait for PostHog says 503, and PostHog makes it all the same.
#[tokio::test]
async fn a_503_makes_nothing_twice() {
    let world = board_world().await;
    let posthog = &world.posthog;
    for route in [Route::Dashboards, Route::Insights] {
        posthog.script(
            Rule::next(1, Behavior::StoreThenStatus(503))
                .on(route)
                .of_method("POST"),
        );
        let said = refusal(&world, "create", &[]).await;
        assert!(said.contains("is busy"), "{said}");
    }
    dashboards(&world, "create", &[]).await;
    assert_eq!(posthog.tiles(only_dashboard(posthog).id).len(), INSIGHTS + TEXTS);
    assert_eq!(posthog.insights(NUMBER).len(), INSIGHTS);
}

/// An answer that cannot be read tells of no deletion.
#[tokio::test]
async fn a_dashboard_that_cannot_be_read_is_not_deleted() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let report = dashboards(&world, "create", &[]).await;
    let id = report["dashboard_id"].as_i64().unwrap();
    let writes = posthog.board_writes().len();
    for answer in [
        json!({}),
        json!({"id": id.to_string(), "tiles": []}),
        json!({"id": id, "tiles": null}),
        json!({"id": id, "tiles": [{"id": "x"}]}),
    ] {
        let unreadable = Behavior::Status(200, answer.to_string(), Vec::new());
        posthog.script(Rule::next(1, unreadable).on(Route::Dashboard).of_method("GET"));
        let said = refusal(&world, "create", &["--recreate"]).await;
        assert!(said.contains("cannot be read"), "{answer}: {said}");
    }
    assert_eq!(posthog.board_writes().len(), writes);
}

/// What only changes something is sent again; a deletion that was done is not found then.
#[tokio::test]
async fn a_deletion_whose_answer_is_half_goes_on() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    for route in [Route::Insight, Route::Dashboard] {
        let half = Behavior::AnswerPartially(Part::Body);
        posthog.script(Rule::next(1, half).on(route).of_method("PATCH"));
    }
    let report = dashboards(&world, "delete", &[]).await;
    assert_eq!(ended(&report, "deleted"), INSIGHTS + TEXTS, "{report}");
    assert!(posthog.dashboards(NUMBER).is_empty() && posthog.insights(NUMBER).is_empty());
}

/// A PostHog that was set up anew counts from 1 again.
#[tokio::test]
async fn a_number_that_is_another_dashboards_by_now_is_left_alone() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let report = dashboards(&world, "create", &[]).await;
    let former = report["dashboard_id"].as_i64().unwrap();
    let sales = posthog.user_dashboard(NUMBER, "Sales");
    posthog.user_insight(sales, "Revenue", &json!({"kind": "InsightVizNode"}));
    posthog.user_text(sales, "## Volume");
    let before = (posthog.dashboards(NUMBER), posthog.tiles(sales));
    for tile in posthog.tiles(former) {
        posthog.vanish(tile.insight.unwrap_or(tile.id));
    }
    posthog.vanish(former);
    let statement = format!("update posthog_export.dashboards set dashboard_id = {sales}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(&world.pool())
        .await
        .unwrap();
    for command in ["create", "update"] {
        let said = refusal(&world, command, &[]).await;
        assert!(said.contains("--recreate"), "{said}");
    }
    let report = dashboards(&world, "create", &["--recreate"]).await;
    assert_ne!(report["dashboard_id"], sales);
    assert_eq!(ended(&report, "made"), INSIGHTS + TEXTS, "{report}");
    let now = posthog.dashboards(NUMBER);
    assert!(
        now.contains(&before.0[1]) && posthog.tiles(sales) == before.1,
        "another dashboard was touched"
    );
    // Neither does a deletion touch it.
    alter(
        &world,
        "update posthog_export.dashboards set dashboard_id = dashboard_id + 100000",
    )
    .await;
    dashboards(&world, "delete", &[]).await;
    assert_eq!(posthog.tiles(sales), before.1);
}

/// Whatever is made, its answer may be the one that is lost: the next run finds it.
#[tokio::test]
async fn however_often_an_answer_is_lost_there_is_one_of_each() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let is_whole = || {
        let tiles = posthog.tiles(only_dashboard(posthog).id);
        let texts = tiles.iter().filter(|tile| tile.text.is_some()).count();
        assert_eq!(
            (posthog.insights(NUMBER).len(), texts, tiles.len()),
            (INSIGHTS, TEXTS, INSIGHTS + TEXTS)
        );
    };
    // The first that is made in each run gets lost; then all is deleted by hand, and made again.
    for arguments in [&[][..], &["--recreate"]] {
        let mut lost = 0;
        loop {
            posthog.behave();
            for route in [Route::Dashboards, Route::Insights] {
                let cut = Behavior::StoreThenCut(Cut::Fin);
                posthog.script(Rule::next(1, cut).on(route).of_method("POST"));
            }
            let run = [&["dashboards", "create", "--project", crate::PROJECT], arguments].concat();
            if world.producer(&run).await.code == 0 {
                break;
            }
            lost += 1;
        }
        assert!(lost >= INSIGHTS, "{lost}");
        is_whole();
        posthog.behave();
        for insight in posthog.insights(NUMBER) {
            posthog.change_insight(insight.id, |insight| insight.deleted = true);
        }
    }
    let report = dashboards(&world, "create", &["--recreate"]).await;
    assert_eq!(
        (ended(&report, "made"), ended(&report, "kept")),
        (INSIGHTS, TEXTS),
        "{report}"
    );
    is_whole();
}

/// A run that dies while it makes a tile again leaves no copy of the user's to be taken for it.
#[tokio::test]
async fn a_copy_is_not_taken_for_a_tile_that_was_begun() {
    let world = board_world().await;
    let posthog = &world.posthog;
    dashboards(&world, "create", &[]).await;
    let board = only_dashboard(posthog).id;
    let ours = insight(posthog, "Traces");
    posthog.user_insight(board, "Traces (copy)", &json!({"kind": "InsightVizNode"}));
    let copied = insight(posthog, "Traces (copy)").id;
    posthog.change_insight(copied, |copy| copy.description.clone_from(&ours.description));
    let copy = insight(posthog, "Traces (copy)");
    posthog.change_insight(ours.id, |insight| insight.deleted = true);
    for (dies, result) in [
        (Behavior::Status(500, String::new(), Vec::new()), "made"),
        (Behavior::StoreThenCut(Cut::Fin), "changed"),
    ] {
        posthog.script(Rule::next(1, dies).on(Route::Insights).of_method("POST"));
        refusal(&world, "update", &["--recreate"]).await;
        let report = dashboards(&world, "update", &["--recreate"]).await;
        assert!(tiles_that(&report, result).contains(&"traces".to_owned()), "{report}");
        assert_eq!(insight(posthog, "Traces (copy)"), copy);
        let made = insight(posthog, "Traces");
        assert_eq!(posthog.insights(NUMBER).len(), INSIGHTS + 1);
        posthog.change_insight(made.id, |insight| insight.deleted = true);
    }
}
