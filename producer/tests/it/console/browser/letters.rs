//! Dead letters and the doctor in a browser.

use std::sync::Arc;

use testkit::{Browser, DEAD, World, axe, wait};

use super::super::{Console, PASSWORD, PATIENCE};
use super::{AXE, found};
use crate::dead_letters::{add_dead_letter, some_dead_letters};
use crate::ledger;

/// The browser has been asked for the password.
async fn signed_in(console: &Console, browser: &Browser) {
    let with_password = console
        .url
        .replace("http://", &format!("http://anybody:{}@", PASSWORD.replace(' ', "%20")));
    browser.open(&with_password).await;
    browser.open(&format!("{}/dead-letters", console.url)).await;
}

/// The page that stands there is good-looking to everybody: axe finds nothing, and nothing is wider
/// than a phone.
async fn looked_at(browser: &Browser, axe: &str, what: &str) {
    for (scheme, width) in [("light", 1400), ("dark", 360)] {
        browser.prefer(scheme).await;
        browser.resize(width, 1000).await;
        let what = format!("{what}, {scheme}, {width} px");
        assert_eq!(found(browser, axe).await, Vec::<String>::new(), "{what}");
        let wide = browser
            .run("return document.documentElement.scrollWidth - innerWidth")
            .await;
        assert!(wide.as_i64().unwrap() <= 0, "{what}: {wide} px do not fit");
    }
    browser.resize(1400, 1000).await;
}

async fn shown(browser: &Browser, title: &str) {
    browser
        .wait_for(&format!(
            "return document.readyState === 'complete' && document.querySelector('h1').textContent.includes('{title}')"
        ))
        .await;
}

async fn ended(browser: &Browser, says: &str) {
    browser
        .wait_for(&format!(
            "return document.getElementById('says')?.textContent.includes('{says}') === true"
        ))
        .await;
}

#[tokio::test]
async fn some_are_requeued_all_of_a_cause_are_discarded_and_a_body_is_looked_at() {
    let world = some_dead_letters().await;
    let hostile = "</code></pre><script>window.hit = 1</script><img src=x onerror=\"window.hit = 1\">";
    add_dead_letter(&world, hostile, &[("x-error-code", "bad_message")]).await;
    let console = Console::acting(&world, &[]).await;
    let browser = Browser::start(world.servers().directory()).await;
    let axe = axe(AXE).await;
    signed_in(&console, &browser).await;
    looked_at(&browser, &axe, "dead letters").await;

    browser.click("input[value$='2024-06-02/daily']").await;
    browser.click("form .act button:nth-of-type(1)").await;
    shown(&browser, "Requeue 1 dead letter").await;
    looked_at(&browser, &axe, "requeue").await;
    browser.click("button.main").await;
    ended(&browser, "The dead letter was requeued.").await;
    looked_at(&browser, &axe, "deed").await;

    browser.click("section .act a").await;
    browser.click("tbody th a[href*='unauthorized']").await;
    browser
        .wait_for("return location.search === '?cause=unauthorized'")
        .await;
    browser.click("button[name=all][formaction*=discard]").await;
    shown(&browser, "Discard 2 dead letters").await;
    browser.click("button.danger").await;
    ended(&browser, "2 of 2 dead letters were discarded.").await;
    let rows = ledger(&world).await;
    assert!(
        rows.contains("project one/2024-06-01/daily discarded") && rows.contains("project one/2024-06-02/daily queued"),
        "{rows:?}"
    );

    browser.open(&format!("{}/dead-letters", console.url)).await;
    browser.click("form[action$='/queue'] button").await;
    shown(&browser, "In the queue only").await;
    looked_at(&browser, &axe, "queue").await;
    browser.click("tbody tr:last-child button[name=message]").await;
    shown(&browser, "raw/").await;
    assert!(browser.text("pre").await.contains("<script>window.hit = 1</script>"));
    assert_eq!(browser.run("return window.hit ?? 0").await, 0);
    looked_at(&browser, &axe, "message").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    assert_eq!(world.queue_depth(DEAD).await, 3);
}

/// A world with dead letters, and a console that acts.
async fn acting() -> (Arc<World>, Console) {
    let world = some_dead_letters().await;
    let console = Console::acting(&world, &[]).await;
    (world, console)
}

#[tokio::test]
async fn a_keyboard_is_enough_to_requeue() {
    let (world, console) = acting().await;
    let browser = Browser::start(world.servers().directory()).await;
    signed_in(&console, &browser).await;
    let until = async |what: &str| {
        for _ in 0..60 {
            browser.press("\u{e004}").await;
            let is_there = browser
                .run(&format!("return document.activeElement.matches(\"{what}\")"))
                .await;
            if is_there == true {
                return;
            }
        }
        panic!("{what} was not reached");
    };
    // The space bar marks it, and Enter sends the form to its first button.
    until("input[type=checkbox]").await;
    browser.press(" \u{e007}").await;
    shown(&browser, "Requeue 1 dead letter").await;
    until("button.main").await;
    browser.press("\u{e007}").await;
    ended(&browser, "The dead letter was requeued.").await;
    assert_eq!(world.queue_depth(DEAD).await, 4);
}

#[tokio::test]
async fn without_scripts_all_of_a_cause_are_discarded() {
    let (world, console) = acting().await;
    let browser = Browser::without_scripts(world.servers().directory()).await;
    signed_in(&console, &browser).await;
    browser.click("tbody th a[href*='unauthorized']").await;
    assert!(browser.url().await.ends_with("?cause=unauthorized"));
    browser.click("button[name=all][formaction*=discard]").await;
    assert_eq!(browser.text("h1").await, "Discard 3 dead letters");
    browser.click("button.danger").await;
    // Without scripts the page of the action refreshes itself until the end.
    let says = async || browser.source().await.contains("3 of 3 dead letters were discarded.");
    assert!(wait::until(PATIENCE, says).await.is_some());
    assert_eq!(world.queue_depth(DEAD).await, 2);
}

#[tokio::test]
async fn the_doctor_is_run_and_its_findings_stand_side_by_side() {
    let world = crate::world().await;
    let console = Console::acting(&world, &[]).await;
    let browser = Browser::start(world.servers().directory()).await;
    let axe = axe(AXE).await;
    signed_in(&console, &browser).await;
    browser.open(&format!("{}/doctor", console.url)).await;
    looked_at(&browser, &axe, "doctor before").await;
    browser.click("button.main").await;
    ended(&browser, "warning").await;
    browser.click("section .act a").await;
    shown(&browser, "Doctor").await;
    looked_at(&browser, &axe, "doctor").await;
    assert!(browser.text("#findings").await.starts_with("What it found"));
    assert!(browser.text("tbody").await.contains("Start a worker"));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
