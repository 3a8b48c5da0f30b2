//! Which PostHog project is asked, and how the id of the Langfuse project is compared there.

use serde_json::json;
use testkit::posthog::Guessed;

use super::app::{NUMBER, Way};
use super::{PROJECT, exported, uuid, verify};
use crate::alter;

/// PostHog guesses the type of a property by the first value that it sees.
#[tokio::test]
async fn an_id_that_posthog_takes_for_something_else_is_read_as_a_text() {
    for (id, guessed) in [
        ("2024-01-01", Guessed::DateTime),
        ("true", Guessed::Numeric),
        // Another project's id has made PostHog take all of them for a yes or a no.
        (PROJECT, Guessed::Boolean),
    ] {
        let (world, app, mut events) = exported(id).await;
        app.fails(Way::Takes(guessed), 0);
        let (report, code, said) = verify(&world, &[]).await;
        assert_eq!(
            (code, &report["days"][0]["verdict"]),
            (0, &json!("arrived")),
            "{id}: {said}"
        );
        events.retain(|event| event.uuid != uuid(id, "t9"));
        app.holds(events);
        let (report, code, said) = verify(&world, &[]).await;
        let found = &report["days"][0];
        assert_eq!(
            (code, &found["missing"], &found["sample"]),
            (1, &json!(1), &json!(["trace/t9"])),
            "{id}: {said}"
        );
    }
}

/// Nothing at all is believed only when it was looked for in both ways.
#[tokio::test]
async fn where_nothing_arrived_it_is_looked_for_once_more_as_a_text() {
    let (world, app, _) = exported(PROJECT).await;
    app.holds(Vec::new());
    let (report, code, said) = verify(&world, &[]).await;
    assert_eq!((code, &report["days"][0]["missing"]), (1, &json!(120)), "{said}");
    let asked: Vec<bool> = app
        .queries()
        .iter()
        .map(|body| body["query"]["query"].as_str().unwrap().contains("JSONExtractString"))
        .collect();
    assert_eq!(asked, [false, true]);
}

/// A PostHog that was set up anew may have given the number to another project.
#[tokio::test]
async fn nothing_is_missing_in_a_project_of_another_key() {
    let (world, _app, _) = exported(PROJECT).await;
    assert_eq!(verify(&world, &[]).await.0["days"][0]["verdict"], "arrived");
    alter(&world, "update posthog_export.posthog_projects set posthog_project = 1").await;
    alter(&world, "delete from posthog_export.arrivals").await;
    let (report, code, said) = verify(&world, &[]).await;
    let found = &report["days"][0];
    assert_eq!((code, &found["verdict"]), (0, &json!("unknown")), "{said}");
    assert!(
        found["says"].as_str().unwrap().contains("another project API key"),
        "{said}"
    );
    let known: i64 = sqlx::query_scalar("select posthog_project from posthog_export.posthog_projects")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    assert_eq!(known, NUMBER);
    assert_eq!(verify(&world, &[]).await.0["days"][0]["verdict"], "arrived");
}

/// A PostHog may put fewer on a page than it is asked for.
#[tokio::test]
async fn a_project_on_a_short_page_is_found() {
    let (world, app, _) = exported(PROJECT).await;
    app.fails(Way::ShortPages(30), 0);
    let (report, _, said) = verify(&world, &[]).await;
    assert_eq!(report["days"][0]["verdict"], "arrived", "{said}");
}
