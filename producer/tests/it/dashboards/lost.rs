//! Answers that get lost, and numbers that are another's by now.

use serde_json::json;
use testkit::posthog::{Behavior, Cut, Part, Route, Rule};

use super::{INSIGHTS, NUMBER, TEXTS, board_world, dashboards, ended, refusal};
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
