//! The doctor's checks in the console.

use reqwest::StatusCode;
use testkit::posthog::{Behavior, Route, Rule};
use testkit::{langfuse, wait};

use super::actions::audit;
use super::{Console, PASSWORD, PATIENCE};
use crate::{KEY, world};

async fn see(console: &Console, path: &str) -> String {
    let answer = console.get(path).basic_auth("anybody", Some(PASSWORD)).send().await;
    answer.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn the_checks_are_run_and_what_they_found_is_kept_with_its_age() {
    let world = world().await;
    langfuse::add_project(&world.pool(), "typed", "Typed").await;
    let typed = "https://me:hunter2@127.0.0.1:1/";
    langfuse::add_integration(&world.pool(), "typed", typed, KEY, true).await;
    let console = Console::acting(&world, &[]).await;
    let before = see(&console, "/doctor").await;
    assert!(
        before.contains("Nobody has run it from a console yet") && before.contains("Run now"),
        "{before}"
    );

    let done = console.act("/doctor/run", &[]).await;
    assert!(done.contains("warning"), "{done}");
    assert!(done.contains("href=\"/doctor\""), "{done}");
    let page = see(&console, "/doctor").await;
    for part in [
        "<code>broker.consumers</code>",
        "Start a worker. If one runs, its `/readyz` says why",
        "<code>database.columns</code>",
        "typed at https://127.0.0.1:1",
        "s ago</span>",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let places = ["td class=\"bad\"", "td class=\"wait\"", "td class=\"ok\""].map(|part| page.find(part));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
    let rows = audit(&world).await;
    assert_eq!(
        (&rows[0]["action"], &rows[0]["state"]),
        (&"doctor".into(), &"done".into())
    );
    assert!(!format!("{page}{done}{rows:?}{}", console.process.log()).contains("hunter2"));
    // Every other console shows it, also one that only shows; the pages of actions do not carry it.
    console.process.terminate();
    let other = Console::start(&world, &[], &[]).await;
    let shown = other.page("/doctor").await;
    assert!(
        shown.contains("<code>broker.consumers</code>") && shown.contains("ago</span>"),
        "{shown}"
    );
    assert!(!other.page("/actions/1").await.contains("broker.consumers"));
}

#[tokio::test]
async fn one_run_at_a_time_calls_hosts() {
    let world = world().await;
    world.posthog.script(Rule::always(Behavior::Hold).on(Route::Flags));
    let console = Console::acting(&world, &[]).await;
    let first = console.form("/doctor/run", &[]);
    let first = tokio::spawn(first.send());
    world.posthog.held_requests(1).await;
    let second = console.form("/doctor/run", &[]).send().await.unwrap();
    assert_eq!(second.status(), StatusCode::CONFLICT);
    let said = second.text().await.unwrap();
    assert!(said.contains("is running, since 20"), "{said}");
    world.posthog.behave();
    let see_other = first.await.unwrap().unwrap();
    assert_eq!(see_other.status(), StatusCode::SEE_OTHER);
    let free = async || {
        let third = console.form("/doctor/run", &[]).send().await.unwrap();
        (third.status() == StatusCode::SEE_OTHER).then_some(())
    };
    assert!(wait::until(PATIENCE, free).await.is_some());
}

#[tokio::test]
async fn settings_that_only_the_doctor_needs_hinder_nothing_else() {
    let world = world().await;
    let console = Console::acting(&world, &[("EXPORT_EVERY", "nonsense")]).await;
    let page = see(&console, "/doctor").await;
    assert!(
        page.contains("until these settings of the console are mended") && page.contains("EXPORT_EVERY"),
        "{page}"
    );
    assert!(!page.contains("Run now"), "{page}");
    let refused = console.form("/doctor/run", &[]).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(audit(&world).await.is_empty());
}
