//! `dashboards`: made in the fake PostHog, made again, changed by a user, updated, deleted, refused.

mod identity;
mod lost;
mod refused;
mod stays;

use std::sync::Arc;

use serde_json::Value;
use testkit::World;
use testkit::posthog::{Behavior, Dashboard, FakePosthog, Insight, Route, Rule, Tile};

use crate::{KEY, PROJECT, alter, json, world};

const PERSONAL_KEY: &str = "phx_writes_dashboards";
const SCOPES: [&str; 4] = ["dashboard:write", "insight:write", "query:read", "project:read"];
const NUMBER: i64 = 7;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// Tiles without a conversion event: insights and texts.
const INSIGHTS: usize = 20;
const TEXTS: usize = 6;

/// A project whose PostHog is the fake, and a key that may make dashboards there.
async fn board_world() -> Arc<World> {
    let world = world().await;
    may_make(&world);
    world
}

/// Gives the project a number in the fake's app, and the producer a key that may make dashboards.
pub(crate) fn may_make(world: &World) {
    world.posthog.app_project(NUMBER, KEY);
    world.posthog.personal_key(PERSONAL_KEY, &SCOPES);
    with_key(world, PERSONAL_KEY);
}

fn with_key(world: &World, key: &str) {
    let address = world.posthog.address();
    let file = format!("keys-{}", address.port());
    let keys = world.servers().directory().path().join(file);
    std::fs::write(&keys, format!("{address} {key}\n")).unwrap();
    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", keys.to_str().unwrap());
}

/// Runs a subcommand; its JSON, and what else it says.
async fn dashboards(world: &World, command: &str, more: &[&str]) -> Value {
    let arguments = [&["dashboards", command, "--project", PROJECT, "--json"], more].concat();
    let output = world.producer(&arguments).await;
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(!said.contains(PERSONAL_KEY) && !said.contains(KEY), "{said}");
    assert_eq!(output.code, 0, "{said}");
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Why it did not.
async fn refusal(world: &World, command: &str, more: &[&str]) -> String {
    let arguments = [&["dashboards", command, "--project", PROJECT], more].concat();
    let output = world.producer(&arguments).await;
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(!said.contains(PERSONAL_KEY) && !said.contains(KEY), "{said}");
    assert_eq!(output.code, 1, "{said}");
    output.stderr
}

/// How many tiles ended so.
fn ended(report: &Value, result: &str) -> usize {
    tiles_that(report, result).len()
}

fn tiles_that(report: &Value, result: &str) -> Vec<String> {
    let tiles = report["tiles"].as_array().unwrap().iter();
    let those = tiles.filter(|tile| tile["result"] == result);
    those.map(|tile| tile["tile"].as_str().unwrap().to_owned()).collect()
}

fn why(report: &Value, tile: &str) -> String {
    let tiles = report["tiles"].as_array().unwrap();
    let told = tiles.iter().find(|told| told["tile"] == tile).unwrap();
    told["why"].as_str().unwrap_or_default().to_owned()
}

fn only_dashboard(posthog: &FakePosthog) -> Dashboard {
    let all = posthog.dashboards(NUMBER);
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

fn insight(posthog: &FakePosthog, name: &str) -> Insight {
    let found = posthog
        .insights(NUMBER)
        .into_iter()
        .find(|insight| insight.name == name);
    found.unwrap_or_else(|| panic!("no insight {name}"))
}

fn tile_of(posthog: &FakePosthog, dashboard: i64, insight: i64) -> Tile {
    let tiles = posthog.tiles(dashboard);
    tiles.into_iter().find(|tile| tile.insight == Some(insight)).unwrap()
}

#[tokio::test]
async fn a_dashboard_is_made_with_its_tiles_in_their_places() {
    let world = board_world().await;
    let posthog = &world.posthog;
    posthog.user_dashboard(NUMBER, "AI metrics");
    let report = dashboards(&world, "create", &[]).await;
    assert_eq!(ended(&report, "made"), INSIGHTS + TEXTS, "{report}");
    let id = report["dashboard_id"].as_i64().unwrap();
    let url = format!(
        "{}/project/{NUMBER}/dashboard/{id}",
        posthog.url().trim_end_matches('/')
    );
    assert_eq!(report["url"], url);

    let all = posthog.dashboards(NUMBER);
    let ours = all.iter().find(|dashboard| dashboard.id == id).unwrap();
    assert_eq!(
        (all.len(), ours.name.as_str()),
        (2, "AI metrics"),
        "a name is nobody's mark"
    );
    assert_eq!(
        (&ours.tags, &ours.filters),
        (
            &vec!["langfuse".to_owned()],
            &serde_json::json!({"date_from": "-30dStart"})
        )
    );
    assert!(ours.description.contains("v1:project one]"), "{}", ours.description);
    let tiles = posthog.tiles(id);
    let texts = tiles.iter().filter(|tile| tile.text.is_some()).count();
    assert_eq!((tiles.len() - texts, texts), (INSIGHTS, TEXTS));
    for tile in &tiles {
        for screen in ["sm", "xs"] {
            assert!(tile.layouts[screen]["h"].as_u64() > Some(0), "{tile:?}");
        }
    }
    for insight in posthog.insights(NUMBER) {
        assert!(insight.saved && insight.name.chars().count() <= 40, "{insight:?}");
        let query = insight.query.to_string();
        assert!(
            query.contains(PROJECT) || insight.name == "Retention of all users",
            "{query}"
        );
    }
    // Each query was tried before it was stored, and exactly once.
    let tries = posthog
        .requests()
        .into_iter()
        .filter(|request| request.route == Route::Query);
    assert_eq!(tries.count(), INSIGHTS);
    let writes = posthog.board_writes();
    assert_eq!(
        writes.len(),
        1 + INSIGHTS + 1,
        "the dashboard, its insights, their places"
    );

    let shown = dashboards(&world, "show", &[]).await;
    assert_eq!(
        (&shown["url"], ended(&shown, "kept")),
        (&report["url"], INSIGHTS + TEXTS),
        "{shown}"
    );
    let text = world
        .succeeds(&["dashboards", "show", "--project", PROJECT])
        .await
        .stdout;
    assert!(text.lines().any(|line| line == url), "{text}");
    assert!(
        text.contains("20 tiles: 20 up to date. 6 headings: 6 up to date."),
        "{text}"
    );
}

#[tokio::test]
async fn run_twice_nothing_is_written() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let first = dashboards(&world, "create", &["--conversion-event", "paid"]).await;
    assert_eq!(ended(&first, "made"), INSIGHTS + TEXTS + 2, "{first}");
    let writes = posthog.board_writes().len();
    let tries = || {
        posthog
            .requests()
            .iter()
            .filter(|request| request.route == Route::Query)
            .count()
    };
    let before = tries();
    for command in ["create", "update", "create"] {
        let report = dashboards(&world, command, &[]).await;
        // The conversion event is remembered.
        assert_eq!(ended(&report, "kept"), INSIGHTS + TEXTS + 2, "{command}: {report}");
        assert_eq!(report["dashboard_id"], first["dashboard_id"]);
    }
    dashboards(&world, "update", &["--recreate"]).await;
    assert_eq!((posthog.board_writes().len(), tries()), (writes, before));
}

#[tokio::test]
async fn a_dry_run_tells_every_request_and_sends_none() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let report = dashboards(&world, "create", &["--dry-run"]).await;
    let requests = report["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 1 + 2 * INSIGHTS + 1);
    assert_eq!(
        (&requests[0]["method"], &requests[0]["path"]),
        (&"POST".into(), &"/api/projects/7/dashboards/".into())
    );
    let places = requests.last().unwrap();
    assert_eq!(
        (&places["method"], places["body"]["tiles"].as_array().unwrap().len()),
        (&"PATCH".into(), INSIGHTS + TEXTS)
    );
    let only_gets = |before: usize| {
        posthog
            .requests()
            .iter()
            .skip(before)
            .all(|request| request.method == "GET")
    };
    assert!(only_gets(0) && posthog.dashboards(NUMBER).is_empty());
    // Nothing is remembered either.
    let known: i64 = sqlx::query_scalar("select count(*) from posthog_export.dashboards")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    assert_eq!(known, 0);

    // What is told is what is sent.
    dashboards(&world, "create", &[]).await;
    let sent: Vec<(String, String)> = posthog
        .requests()
        .into_iter()
        .filter(|request| request.method != "GET")
        .map(|request| (request.method.clone(), request.path.clone()))
        .collect();
    let told: Vec<(String, String)> = requests
        .iter()
        .map(|request| {
            (
                request["method"].as_str().unwrap().to_owned(),
                request["path"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(sent[..sent.len() - 1], told[..told.len() - 1]);

    let before = posthog.requests().len();
    let text = world
        .succeeds(&["dashboards", "delete", "--project", PROJECT, "--dry-run"])
        .await
        .stdout;
    assert_eq!(text.matches("PATCH /api/projects/7/").count(), INSIGHTS + 1, "{text}");
    assert!(text.contains("dry run") && only_gets(before), "{text}");
    assert_eq!(ended(&dashboards(&world, "show", &[]).await, "kept"), INSIGHTS + TEXTS);
}

#[tokio::test]
async fn what_was_made_is_deleted_and_can_be_made_again() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let mine = posthog.user_dashboard(NUMBER, "Mine");
    posthog.user_insight(mine, "Mine", &Value::Null);
    dashboards(&world, "create", &[]).await;
    let report = dashboards(&world, "delete", &[]).await;
    assert_eq!(ended(&report, "deleted"), INSIGHTS + TEXTS, "{report}");
    assert_eq!(report["dashboard_id"], Value::Null);
    assert_eq!((only_dashboard(posthog).id, posthog.insights(NUMBER).len()), (mine, 1));
    assert!(
        dashboards(&world, "delete", &[]).await["notes"][0]
            .as_str()
            .unwrap()
            .contains("no dashboard")
    );
    let none = world.producer(&["dashboards", "show", "--project", PROJECT]).await;
    assert!(
        none.code == 1 && none.stdout.contains("no dashboard yet"),
        "{}",
        none.stdout
    );
    assert_eq!(
        ended(&dashboards(&world, "create", &[]).await, "made"),
        INSIGHTS + TEXTS
    );
}

/// Ids that mean something in SQL, in JSON, or in the definition itself.
#[tokio::test]
async fn an_id_is_no_query() {
    let world = board_world().await;
    let posthog = &world.posthog;
    let odd = ["' or 1=1 --", "{filters}", "$ours", "a\\'b\"c", "]v1:x]", "2024-01-01"];
    for id in odd {
        crate::add_project(&world, id, true).await;
        let made = json(
            &world,
            &[
                "dashboards",
                "create",
                "--project",
                id,
                "--conversion-event",
                id,
                "--json",
            ],
        )
        .await;
        assert_eq!(ended(&made, "made"), INSIGHTS + TEXTS + 2, "{made}");
        let again = json(&world, &["dashboards", "create", "--project", id, "--json"]).await;
        assert_eq!(
            (ended(&again, "kept"), &again["dashboard_id"]),
            (INSIGHTS + TEXTS + 2, &made["dashboard_id"]),
            "{again}"
        );
        let board = made["dashboard_id"].as_i64().unwrap();
        let shown: Vec<i64> = posthog.tiles(board).iter().filter_map(|tile| tile.insight).collect();
        let cost = posthog
            .insights(NUMBER)
            .into_iter()
            .find(|it| shown.contains(&it.id) && it.name == "Cost")
            .unwrap();
        let sql = cost.query["source"]["query"].as_str().unwrap();
        let written = match id {
            "$ours" => "= '$ours'",
            // It has another form in JSON.
            "a\\'b\"c" => "in (unhex('615c27622263'), unhex('615c5c27625c2263'))",
            "2024-01-01" => "= '2024-01-01'",
            _ => "= unhex('",
        };
        let property = match id {
            // PostHog may take the property for a date.
            "2024-01-01" => "JSONExtractString(properties, 'langfuse_project_id')",
            _ => "properties.langfuse_project_id",
        };
        assert!(sql.contains(&format!("{property} {written}")), "{id}: {sql}");
    }
    assert_eq!(posthog.dashboards(NUMBER).len(), odd.len(), "each project has its own");
}

#[tokio::test]
async fn two_at_a_time_make_one() {
    let world = board_world().await;
    let (one, other) = tokio::join!(dashboards(&world, "create", &[]), dashboards(&world, "create", &[]));
    assert_eq!(one["dashboard_id"], other["dashboard_id"]);
    assert_eq!(
        ended(&one, "made") + ended(&other, "made"),
        INSIGHTS + TEXTS,
        "{one}\n{other}"
    );
    assert_eq!(world.posthog.insights(NUMBER).len(), INSIGHTS);
    only_dashboard(&world.posthog);
}

/// A second run for the same dashboard says that it waits; one for another PostHog project does not.
#[tokio::test]
async fn only_runs_for_the_same_dashboard_wait_for_each_other() {
    const OTHER: &str = "phc_of_another_posthog_project";
    let world = board_world().await;
    let posthog = &world.posthog;
    posthog.app_project(8, OTHER);
    let hold = Rule::next(1, Behavior::HoldUnstored).on(Route::Dashboards);
    posthog.script(hold.of_method("POST").for_key(KEY));
    let create = ["dashboards", "create", "--project", PROJECT];
    let first = world.spawn_producer(&create, &[]).await;
    posthog.held().await;
    let second = world.spawn_producer(&create, &[]).await;
    let waits = async || second.stderr().contains("another producer is at work");
    world.wait_until("the second to wait", PATIENCE, waits).await;
    testkit::langfuse::add_integration(&world.pool(), PROJECT, &posthog.url(), OTHER, true).await;
    let report = dashboards(&world, "create", &["--posthog-project", "8"]).await;
    assert_eq!(ended(&report, "made"), INSIGHTS + TEXTS, "{report}");
    posthog.release();
    for process in [first, second] {
        assert!(process.exited_within(PATIENCE).await.is_some(), "{}", process.tail());
    }
    assert_eq!(
        (posthog.dashboards(8).len(), posthog.insights(NUMBER).len()),
        (1, INSIGHTS)
    );
    only_dashboard(posthog);
}

/// Without a key in the environment it is asked for, and not shown.
#[tokio::test]
async fn a_key_is_asked_for_at_the_terminal() {
    let world = board_world().await;
    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", "");
    crate::add_project(&world, "clx1", true).await;
    let typed = std::env::temp_dir().join(format!("typed-{}", uuid::Uuid::now_v7()));
    let arguments = ["dashboards", "create", "--project", "clx1"];
    let Some(process) = world.spawn_producer_at_terminal(&arguments, &typed).await else {
        return;
    };
    let asks = async || process.stdout().contains("Personal API key");
    world.wait_until("the question", PATIENCE, asks).await;
    std::fs::write(&typed, format!("{PERSONAL_KEY}\n")).unwrap();
    assert!(process.exited_within(PATIENCE).await.is_some(), "{}", process.tail());
    std::fs::remove_file(&typed).unwrap();
    let said = process.stdout();
    assert!(
        said.contains(&format!(
            "Personal API key (phx_…) of PostHog at {}/: ",
            world.posthog.url()
        )),
        "{said}"
    );
    assert!(
        said.contains("20 tiles: 20 made. 6 headings: 6 made.") && !said.contains(PERSONAL_KEY),
        "{said}"
    );
}

#[tokio::test]
async fn it_is_found_again_by_its_marker_among_many() {
    let world = board_world().await;
    let posthog = &world.posthog;
    for number in 0..150 {
        posthog.user_dashboard(NUMBER, &format!("Board {number}"));
    }
    posthog.page_cap(40);
    let first = dashboards(&world, "create", &[]).await;
    // Another ledger: nothing is remembered.
    alter(&world, "delete from posthog_export.dashboards").await;
    let writes = posthog.board_writes().len();
    let again = dashboards(&world, "update", &[]).await;
    assert_eq!(again["dashboard_id"], first["dashboard_id"]);
    assert_eq!(
        (ended(&again, "kept"), posthog.board_writes().len()),
        (INSIGHTS + TEXTS, writes),
        "{again}"
    );
    // Another PostHog, restored from an export: all numbers are others.
    posthog.renumber_boards();
    let again = dashboards(&world, "create", &[]).await;
    assert_ne!(again["dashboard_id"], first["dashboard_id"]);
    assert_eq!(
        (ended(&again, "kept"), posthog.board_writes().len()),
        (INSIGHTS + TEXTS, writes),
        "{again}"
    );
    // Without the ledger what is as it should be is still ours to delete.
    alter(&world, "delete from posthog_export.dashboards").await;
    assert_eq!(
        ended(&dashboards(&world, "delete", &[]).await, "deleted"),
        INSIGHTS + TEXTS
    );
    assert!(posthog.insights(NUMBER).is_empty() && posthog.dashboards(NUMBER).len() == 150);
}

/// Makes the ledger believe that we wrote what PostHog shows of an insight, and that it is of
/// another release.
async fn remember_as_shown(world: &World, tile: &str, insight: &Insight) {
    let shown = serde_json::json!([insight.name, insight.description, insight.query]);
    remember_as_written(world, tile, &shown).await;
}

async fn remember_as_written(world: &World, tile: &str, shown: &Value) {
    use sha2::{Digest as _, Sha256};
    let print = hex::encode(&Sha256::digest(shown.to_string().as_bytes())[..16]);
    sqlx::query("update posthog_export.dashboard_tiles set written = $2, shown = $2 where tile = $1")
        .bind(tile)
        .bind(print)
        .execute(&world.pool())
        .await
        .unwrap();
}
