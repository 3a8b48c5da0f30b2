//! Answers that get lost, and numbers that are another's by now.

use serde_json::json;
use testkit::posthog::{Behavior, Cut, Part, Route, Rule};

use super::{INSIGHTS, NUMBER, TEXTS, board_world, dashboards, ended, only_dashboard, refusal};
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
