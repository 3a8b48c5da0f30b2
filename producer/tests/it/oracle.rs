//! What `verify` finds missing and extra is what the oracle finds, of what a real worker has sent to
//! a PostHog that loses, doubles, hides and hinders.

use std::sync::Arc;

use serde_json::Value;
use testkit::oracle::{Oracle, Report};
use testkit::posthog::{Behavior, Part, Route, Rule};
use testkit::world::LANGFUSE_URL;
use testkit::{Project, World};

use crate::{KEY, PROJECT, alter, day, world};

const DAY: &str = "2024-06-01";
const NUMBER: i64 = 7;

/// A world whose PostHog has an app, and a day of 60 traces that is exported once a rule is in force.
async fn exported(rule: Option<Rule>, limit: Option<usize>) -> (Arc<World>, testkit::Worker) {
    let world = world().await;
    world.posthog.app_project(NUMBER, KEY);
    world
        .posthog
        .personal_key("phx_reader", &["query:read", "project:read"]);
    let keys = world
        .servers()
        .directory()
        .path()
        .join(format!("keys-{}", world.posthog.address().port()));
    std::fs::write(&keys, format!("{} phx_reader\n", world.posthog.address())).unwrap();
    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", keys.to_str().unwrap());
    let project = Project::of(&world, PROJECT, KEY);
    project.seed(&[day(DAY)], 60, 1).await;
    if let Some(rule) = rule {
        world.posthog.script(rule);
    }
    if let Some(events) = limit {
        world.posthog.billing_limit_after(KEY, events);
    }
    let worker = world.ready_worker(&[("BATCH_MAX_EVENTS", "20")]).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    world.posthog.behave();
    grow_old(&world).await;
    (world, worker)
}

/// For a day after an export, what is not there may still come.
async fn grow_old(world: &World) {
    alter(
        world,
        "update posthog_export.runs set completed_at = completed_at - interval '2 days'",
    )
    .await;
}

async fn seen(world: &World) -> Report {
    let oracle = Oracle::new(world.pool(), Some(LANGFUSE_URL));
    oracle.check(&world.posthog, KEY, PROJECT, &[day(DAY)]).await
}

async fn verify(world: &World) -> (Value, i32) {
    let output = world.producer(&["verify", "--day", DAY, "--json"]).await;
    let report: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
    (report["days"][0].clone(), output.code)
}

/// What `verify` says, once it has found what the oracle finds.
async fn agree(world: &World, what: &str) -> Value {
    let (report, (found, code)) = (seen(world).await, verify(world).await);
    assert_eq!(
        (found["missing"].as_u64(), found["extra"].as_u64()),
        (
            u64::try_from(report.missing).ok(),
            u64::try_from(report.unexpected).ok()
        ),
        "{what}: {found}\n{report}"
    );
    let verdict = match (report.missing, report.unexpected) {
        (0, 0) => "arrived",
        (0, _) => "extra",
        _ => "missing",
    };
    assert_eq!(
        (&found["verdict"], code),
        (&verdict.into(), i32::from(report.missing > 0)),
        "{what}"
    );
    found
}

/// Drops about one event in twelve.
fn lossy() -> Rule {
    Rule::always(Behavior::drop_events_where(|event| {
        let first = event["uuid"]
            .as_str()
            .and_then(|uuid| u8::from_str_radix(&uuid[..2], 16).ok());
        first.is_some_and(|first| first % 12 == 0)
    }))
}

#[tokio::test]
async fn verify_and_the_oracle_agree_whatever_posthog_does() {
    let (world, _worker) = exported(Some(lossy()), None).await;
    let posthog = world.posthog.clone();
    let lost = agree(&world, "dropped").await["missing"].as_u64().unwrap();
    assert!(lost > 3, "{lost}");
    // Rows that went away after they were sent, and rows that moved: within the day, and out of it.
    for change in [
        "delete from scores where id in (select id from scores order by id limit 3)",
        "update observations set start_time = start_time + interval '1 day'
         where id in (select id from observations where type = 'GENERATION' order by id limit 2)",
        "update traces set timestamp = case when timestamp < '2024-06-01 12:00'
             then timestamp + interval '5 hours' else timestamp - interval '5 hours' end
         where id in (select id from traces order by id limit 4)",
    ] {
        alter(&world, change).await;
    }
    let changed = agree(&world, "deleted and moved").await;
    assert!(changed["extra"].as_u64().unwrap() > 0, "{changed}");

    posthog.unfolded(KEY, true);
    agree(&world, "unfolded").await;
    posthog.project_zone(NUMBER, "Asia/Kolkata", 330);
    agree(&world, "in another zone").await;
    posthog.old_server(true);
    assert_eq!(agree(&world, "on an old server").await["weaker"], true);
    posthog.old_server(false);
    for status in [504, 512] {
        posthog.too_heavy(40, status);
        agree(&world, "too heavy").await;
    }
    posthog.too_heavy(usize::MAX, 504);
    for behavior in [
        Behavior::throttled(1),
        Behavior::AnswerPartially(Part::Body),
        Behavior::at_capacity(),
    ] {
        let what = format!("{behavior:?}");
        posthog.script(Rule::next(1, behavior).on(Route::Query));
        agree(&world, &what).await;
    }
    let queries = posthog.queries();
    assert!(
        queries.windows(2).all(|two| two[0].ended.unwrap() <= two[1].at),
        "one query at a time"
    );
}

#[tokio::test]
async fn a_limit_that_was_reached_is_told_by_both_and_what_is_repaired_arrives() {
    let (world, _worker) = exported(None, Some(100)).await;
    let found = agree(&world, "over the limit").await;
    assert!(found["missing"].as_u64().unwrap() > 0, "{found}");
    world.posthog.billing_limit(KEY, false);
    let output = world
        .producer(&["verify", "--day", DAY, "--repair", "--force", "--json"])
        .await;
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let run = report["repaired"][0]["run"].as_str().unwrap().to_owned();
    Project::of(&world, PROJECT, KEY)
        .wait_state(DAY, &run, "completed")
        .await;
    // Copies that PostHog has not folded yet are a number, and nothing that is wrong.
    world.posthog.unfolded(KEY, true);
    let found = agree(&world, "sent again").await;
    assert_eq!(found["verdict"], "arrived");
    assert!(found["copies"].as_u64().unwrap() > 0, "{found}");
    seen(&world).await.assert_delivered();
}

#[tokio::test]
async fn what_is_not_shown_yet_is_not_missing_yet() {
    let (world, _worker) = exported(None, None).await;
    agree(&world, "whole").await;
    world.posthog.reset();
    world.posthog.hold_back(KEY);
    let run = Project::of(&world, PROJECT, KEY);
    run.publish(DAY, "again").await;
    run.wait_state(DAY, "again", "completed").await;
    let (found, code) = verify(&world).await;
    assert_eq!((&found["verdict"], code), (&"not_yet".into(), 0), "{found}");
    assert_eq!(
        found["missing"].as_u64(),
        u64::try_from(seen(&world).await.expected).ok()
    );
    world.posthog.show(KEY);
    assert_eq!(agree(&world, "shown").await["verdict"], "arrived");
}
