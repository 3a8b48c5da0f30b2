//! What PostHog refuses, and what is said of it.

use serde_json::Value;
use testkit::posthog::{Behavior, Cut, Route, Rule};

use super::{
    INSIGHTS, NUMBER, PERSONAL_KEY, SCOPES, TEXTS, board_world, dashboards, ended, insight, refusal, tiles_that, why,
    with_key,
};
use crate::PROJECT;

#[tokio::test]
async fn a_key_that_may_not_is_told_what_it_lacks() {
    let world = board_world().await;
    let posthog = &world.posthog;
    for lacking in ["dashboard:write", "insight:write", "query:read"] {
        let scopes: Vec<&str> = SCOPES.into_iter().filter(|scope| *scope != lacking).collect();
        posthog.personal_key(PERSONAL_KEY, &scopes);
        let said = refusal(&world, "create", &[]).await;
        let scope = lacking.split_once(':').unwrap().0;
        assert!(said.contains(&format!("lacks the scope {scope}:")), "{lacking}: {said}");
    }
    assert!(posthog.insights(NUMBER).is_empty());
    // Without project:read the number has to be said.
    posthog.personal_key(PERSONAL_KEY, &["dashboard:write", "insight:write", "query:read"]);
    sqlx::query("delete from posthog_export.posthog_projects")
        .execute(&world.pool())
        .await
        .unwrap();
    assert!(
        refusal(&world, "create", &[])
            .await
            .contains("lacks the scope project:read")
    );
    let report = dashboards(&world, "create", &["--posthog-project", "7"]).await;
    assert_eq!(ended(&report, "made"), INSIGHTS + TEXTS, "{report}");
    // Some other region's key, or one that was deleted.
    posthog.forget_personal_key(PERSONAL_KEY);
    let said = refusal(&world, "update", &[]).await;
    assert!(
        said.contains("does not know the personal API key") && said.contains("regions"),
        "{said}"
    );
    with_key(&world, "phc_a_project_key");
    let output = world.producer(&["dashboards", "show", "--project", PROJECT]).await;
    assert_eq!(output.code, 2, "{}", output.stderr);
    assert!(
        output.stderr.contains("is a project API key (phc_…)"),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains("phc_a_project_key"));
    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", "");
    let output = world.producer(&["dashboards", "show", "--project", PROJECT]).await;
    assert!(
        output.code == 2 && output.stderr.contains("there is no personal API key for"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn nothing_is_made_in_a_project_that_is_not_ours() {
    let world = board_world().await;
    let posthog = &world.posthog;
    posthog.app_project(8, "phc_of_another_project");
    let said = refusal(&world, "create", &["--posthog-project", "8"]).await;
    assert!(
        said.contains("has another project API key than this integration"),
        "{said}"
    );
    let said = refusal(&world, "create", &["--posthog-project", "99"]).await;
    assert!(said.contains("knows no project 99"), "{said}");
    posthog.narrow_personal_key(PERSONAL_KEY, &[8]);
    let said = refusal(&world, "create", &["--posthog-project", "7"]).await;
    assert!(said.contains("give it access to the project"), "{said}");
    // A number that is remembered, and is another project's by now: the right one is looked for.
    posthog.personal_key(PERSONAL_KEY, &SCOPES);
    let made = dashboards(&world, "create", &[]).await;
    let forget = async || {
        sqlx::query("update posthog_export.posthog_projects set posthog_project = 8")
            .execute(&world.pool())
            .await
            .unwrap();
    };
    forget().await;
    let again = dashboards(&world, "create", &[]).await;
    assert_eq!(again["dashboard_id"], made["dashboard_id"], "{again}");
    forget().await;
    posthog.app_project(7, "phc_of_a_third_project");
    let said = refusal(&world, "create", &[]).await;
    assert!(said.contains("has another project API key"), "{said}");
    assert!(posthog.dashboards(8).is_empty());
    let output = world.producer(&["dashboards", "create", "--project", "nobody's"]).await;
    assert!(
        output.code == 1 && output.stderr.contains("no project `nobody's`"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn a_query_that_posthog_refuses_gets_simpler_or_is_left_out() {
    let world = board_world().await;
    let posthog = &world.posthog;
    posthog.old_server(true);
    posthog.tags_licence(false);
    posthog.text_tile_route(false);
    let report = dashboards(&world, "create", &[]).await;
    let left_out = tiles_that(&report, "left_out");
    assert_eq!(left_out, ["retention_llm"], "{report}");
    assert!(why(&report, "retention_llm").contains("status 400"), "{report}");
    assert!(
        why(&report, "cost_total").starts_with("in a simpler form: "),
        "{report}"
    );
    let stored = insight(posthog, "Cost").query;
    assert_eq!(
        (&stored["display"], &stored["tableSettings"]),
        (&"ActionsTable".into(), &Value::Null)
    );
    assert!(stored["source"]["query"].as_str().unwrap().contains("argMax"));
    // It stays so: nothing is written the second time, and what was left out is tried again.
    let writes = posthog.board_writes().len();
    let report = dashboards(&world, "update", &[]).await;
    assert_eq!(
        (ended(&report, "kept"), ended(&report, "left_out")),
        (INSIGHTS + TEXTS - 1, 1),
        "{report}"
    );
    assert_eq!(posthog.board_writes().len(), writes);
    posthog.old_server(false);
    let report = dashboards(&world, "update", &[]).await;
    assert_eq!(tiles_that(&report, "made"), ["retention_llm"], "{report}");
}

#[tokio::test]
async fn a_function_that_posthog_lacks_costs_its_tiles_only() {
    let world = board_world().await;
    world.posthog.lacks(&["corr", "RetentionQuery"]);
    let report = dashboards(&world, "create", &[]).await;
    assert_eq!(
        tiles_that(&report, "left_out"),
        ["activity_correlation", "retention_llm", "retention_all"],
        "{report}"
    );
}

/// PostHog answers 500 where its ClickHouse fails at a query, be it for a moment.
#[tokio::test]
async fn a_query_that_posthog_fails_at_costs_its_tile_only_and_only_this_time() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let failure = r#"{"type":"server_error","code":"error","detail":"A server error occurred.","attr":null}"#;
    posthog.script(Rule::next(1, Behavior::Status(500, failure.into(), Vec::new())).on(Route::Query));
    let report = dashboards(&world, "create", &[]).await;
    assert_eq!(tiles_that(&report, "left_out"), ["traces"], "{report}");
    assert!(why(&report, "traces").contains("status 500"), "{report}");
    assert_eq!(ended(&report, "made"), INSIGHTS + TEXTS - 1);
    let writes = posthog.board_writes().len();
    let report = dashboards(&world, "update", &[]).await;
    assert_eq!(tiles_that(&report, "made"), ["traces"], "{report}");
    assert_eq!(ended(&report, "kept"), INSIGHTS + TEXTS - 1, "{report}");
    // The insight, and its place.
    assert_eq!(posthog.board_writes().len(), writes + 2);
}

#[tokio::test]
async fn a_query_that_is_too_heavy_now_is_made_all_the_same() {
    let world = board_world().await;
    let posthog = &world.posthog;
    posthog.script(Rule::next(1, Behavior::query_too_heavy(504)).on(Route::Query));
    let report = dashboards(&world, "create", &[]).await;
    assert_eq!(ended(&report, "made"), INSIGHTS + TEXTS, "{report}");
    let slow = report["tiles"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|tile| tile["why"].as_str().is_some_and(|why| why.contains("slow")));
    assert_eq!(slow.count(), 1);
}

/// A short wait is waited for, and said; a long one ends the command.
#[tokio::test]
async fn posthog_is_waited_for_where_it_asks_for_little() {
    let world = board_world().await;
    let posthog = &world.posthog;
    posthog.script(
        Rule::next(1, Behavior::throttled(2))
            .on(Route::Insights)
            .of_method("POST"),
    );
    let output = world.producer(&["dashboards", "create", "--project", PROJECT]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stderr.contains("asks to wait 2 s; waiting"), "{}", output.stderr);
    assert_eq!(posthog.insights(NUMBER).len(), INSIGHTS);
}

#[tokio::test]
async fn what_was_begun_is_finished_by_the_next_one() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let fifth = || {
        let mut seen = 0;
        Rule::choose(move |_| {
            seen += 1;
            (seen == 5).then(|| Behavior::throttled(3_000))
        })
    };
    posthog.script(fifth().on(Route::Insights).of_method("POST"));
    let said = refusal(&world, "create", &[]).await;
    assert!(said.contains("asks to wait 50 min"), "{said}");
    assert_eq!(posthog.insights(NUMBER).len(), 4);
    posthog.behave();
    let report = dashboards(&world, "create", &[]).await;
    assert_eq!(
        (ended(&report, "made"), ended(&report, "kept")),
        (INSIGHTS + TEXTS - 4, 4),
        "{report}"
    );
    let tiles = posthog.tiles(report["dashboard_id"].as_i64().unwrap());
    assert_eq!(tiles.len(), INSIGHTS + TEXTS);
    let mut places: Vec<String> = tiles.iter().map(|tile| tile.layouts["sm"].to_string()).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), tiles.len(), "each tile has a place of its own");
}

/// Made, and the answer is lost: it is found by its marker, and not made twice.
#[tokio::test]
async fn a_lost_answer_makes_nothing_twice() {
    let world = board_world().await;
    let posthog = &world.posthog;
    for route in [Route::Dashboards, Route::Insights] {
        posthog.script(
            Rule::next(1, Behavior::StoreThenCut(Cut::Rst))
                .on(route)
                .of_method("POST"),
        );
        let said = refusal(&world, "create", &[]).await;
        assert!(said.contains("gave no answer"), "{said}");
    }
    let report = dashboards(&world, "create", &[]).await;
    assert_eq!(posthog.dashboards(NUMBER).len(), 1);
    assert_eq!(
        (posthog.insights(NUMBER).len(), ended(&report, "kept")),
        (INSIGHTS, 1),
        "{report}"
    );
    let tiles = posthog.tiles(report["dashboard_id"].as_i64().unwrap());
    assert!(
        tiles.iter().all(|tile| tile.layouts["sm"].is_object()),
        "what was found is put in its place, too"
    );
}

#[tokio::test]
async fn a_plan_that_is_used_up_and_a_project_that_is_full_are_told() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let payment = r#"{"type":"quota_limited","code":"payment_required","detail":"Quota exceeded","attr":null}"#;
    posthog.script(Rule::next(1, Behavior::Status(402, payment.into(), Vec::new())).on(Route::Query));
    let said = refusal(&world, "create", &[]).await;
    assert!(said.contains("present plan (Quota exceeded)"), "{said}");
    let board = posthog.dashboards(NUMBER)[0].id;
    posthog.vanish(board);
    posthog.most_dashboards(0);
    sqlx::query("delete from posthog_export.dashboards")
        .execute(&world.pool())
        .await
        .unwrap();
    let said = refusal(&world, "create", &[]).await;
    assert!(said.contains("maximum number of dashboards"), "{said}");
}
