//! The console in a real browser. With UPDATE_IMAGES=1 it takes the pictures of docs/images/ anew.

mod actions;
mod letters;
mod sample;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use testkit::{Browser, TcpProxy, World, axe, langfuse, wait};

use super::Console;
use super::hostile::IDS;
use crate::{KEY, PROJECT, add_run, alter, world, yesterday};

const AXE: &str = "4.14.1";

/// The pages of the sample, and the names of their pictures.
fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("overview", "/".to_owned()),
        ("project", format!("/projects/{}", sample::BUSY)),
        ("run", format!("/runs/{}/{}/daily", sample::BUSY, yesterday())),
        ("dead-letters", "/dead-letters".to_owned()),
        ("doctor", "/doctor".to_owned()),
        ("actions", "/actions".to_owned()),
        ("nowhere", "/nowhere".to_owned()),
    ]
}

async fn sampled() -> (std::sync::Arc<World>, Console, Browser) {
    let world = world().await;
    sample::fill(&world).await;
    let console = Console::start(&world, &[], &[]).await;
    let browser = Browser::start(world.servers().directory()).await;
    (world, console, browser)
}

/// What axe-core finds, as `rule: element`.
async fn found(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(axe).await;
    let violations = browser
        .run_async("const done = arguments[arguments.length - 1]; axe.run().then(found => done(found.violations));")
        .await;
    let lines = |violation: &Value| {
        let rule = violation["id"].as_str().unwrap_or_default().to_owned();
        let nodes = violation["nodes"].as_array().cloned().unwrap_or_default();
        let line = move |node: Value| format!("{rule}: {} {}", node["html"], node["failureSummary"]);
        nodes.into_iter().map(line).collect::<Vec<_>>()
    };
    violations.as_array().unwrap().iter().flat_map(lines).collect()
}

fn keep(name: &str, picture: &str) {
    if std::env::var_os("UPDATE_IMAGES").is_some() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
        std::fs::create_dir_all(&folder).unwrap();
        let bytes = BASE64_STANDARD.decode(picture).unwrap();
        std::fs::write(folder.join(format!("console-{name}.png")), bytes).unwrap();
    }
}

#[tokio::test]
async fn every_page_in_light_and_dark_wide_and_narrow() {
    let (_world, console, browser) = sampled().await;
    let axe = axe(AXE).await;
    for (name, path) in pages() {
        for (scheme, width) in [("light", 1400), ("dark", 1400), ("light", 360), ("dark", 3840)] {
            browser.prefer(scheme).await;
            browser.resize(width, 1000).await;
            browser.open(&format!("{}{path}", console.url)).await;
            browser
                .wait_for("return document.querySelector('#tools select') !== null")
                .await;
            let what = format!("{name}, {scheme}, {width} px");
            assert_eq!(found(&browser, &axe).await, Vec::<String>::new(), "{what}");
            let wide = browser
                .run("return document.documentElement.scrollWidth - innerWidth")
                .await;
            assert!(wide.as_i64().unwrap() <= 0, "{what}: {wide} px do not fit");
            let missing = |line: &String| !(name == "nowhere" && line.contains("404"));
            let complaints: Vec<String> = browser.complaints().await.into_iter().filter(missing).collect();
            assert!(complaints.is_empty(), "{what}: {complaints:?}");
            let picture = browser.picture().await;
            match width {
                1400 if !["doctor", "actions", "nowhere"].contains(&name) => {
                    keep(&format!("{name}-{scheme}"), &picture);
                }
                360 if name == "overview" => keep("overview-phone", &picture),
                _ => {}
            }
        }
    }
    // The switch goes before the system, and is kept.
    browser.run("localStorage.setItem('theme', 'dark')").await;
    browser.prefer("light").await;
    browser.open(&format!("{}/", console.url)).await;
    let ground = browser
        .run("return getComputedStyle(document.body).backgroundColor")
        .await;
    assert_eq!(ground, "rgb(17, 21, 27)");
}

#[tokio::test]
async fn the_live_region_moves_but_not_while_somebody_chooses() {
    let (world, console, browser) = sampled().await;
    let run = format!("{}/runs/{}/{}/daily", console.url, sample::BUSY, yesterday());
    browser.open(&run).await;
    let shows = |events: &str| format!("return document.getElementById('live').textContent.includes('{events}')");
    browser.wait_for(&shows("401,234")).await;
    browser.run("const box = document.querySelector('#tools select'); box.value = '2'; box.dispatchEvent(new Event('change'))").await;
    alter(
        &world,
        "update posthog_export.streams set sent = 777777 where sent = 401234",
    )
    .await;
    browser.wait_for(&shows("777,777")).await;

    // A text that is marked stays.
    browser
        .run("getSelection().selectAllChildren(document.querySelector('#live .lead')); window.marked = document.querySelector('#live .lead')")
        .await;
    alter(
        &world,
        "update posthog_export.streams set sent = 888888 where sent = 777777",
    )
    .await;
    // Longer than the pace: two answers of the clock, not of the page.
    browser
        .run_async("const done = arguments[arguments.length - 1]; setTimeout(() => done(), 5000)")
        .await;
    assert_eq!(browser.run("return window.marked.isConnected").await, true);
    browser.run("getSelection().removeAllRanges()").await;
    browser.wait_for(&shows("888,888")).await;

    // Without an answer the page says so, and stays.
    console.process.kill();
    browser
        .wait_for("return document.querySelector('.silent').textContent.startsWith('No answer since')")
        .await;
    assert_eq!(browser.run(&shows("888,888")).await, true);
}

#[tokio::test]
async fn a_refresh_takes_nothing_away_that_somebody_has_chosen_and_says_trouble_once() {
    let world = world().await;
    add_run(&world, yesterday(), "daily", "completed", Some(chrono::Utc::now())).await;
    let console = Console::start(&world, &[], &[]).await;
    let browser = Browser::start(world.servers().directory()).await;
    browser.open(&format!("{}/", console.url)).await;
    browser
        .wait_for("return document.querySelector('#tools select') !== null")
        .await;
    browser
        .run(
            "document.querySelector('[name=state]').value = 'behind'; document.querySelector('[name=find]').value = 'one';
             const box = document.querySelector('#tools select'); box.value = '2'; box.dispatchEvent(new Event('change'))",
        )
        .await;
    alter(
        &world,
        "update posthog_export.runs set state = 'dead', completed_at = null",
    )
    .await;
    browser
        .wait_for("return document.getElementById('live').textContent.includes('1 dead letter')")
        .await;
    let chosen =
        "return document.querySelector('[name=state]').value + ' ' + document.querySelector('[name=find]').value";
    assert_eq!(browser.run(chosen).await, "behind one");

    // What is wrong is not said aloud anew with each refresh: no region that speaks is replaced.
    browser.open(&format!("{}/projects/project%20one", console.url)).await;
    browser
        .wait_for("return document.querySelector('.spoken[role=status]') !== null")
        .await;
    alter(&world, "alter table posthog_export.streams rename to streams_gone").await;
    browser
        .wait_for("return document.querySelector('.spoken').textContent === 'The ledger does not answer.'")
        .await;
    let speaking =
        "return document.querySelectorAll('#live [role=alert], #live [role=status], #live [aria-live]').length";
    assert_eq!(browser.run(speaking).await, 0);
}

#[tokio::test]
async fn a_finger_finds_each_day_and_reads_what_became_of_it() {
    let (_world, console, browser) = sampled().await;
    let path = format!("/projects/{}?day={}", sample::BUSY, yesterday());
    browser.touch().await;
    browser.resize(360, 900).await;
    browser.open(&format!("{}{path}", console.url)).await;
    let small = browser
        .run(
            "return [...document.querySelectorAll('a.day, .years a, nav.pages a')].map(one => one.getBoundingClientRect())
               .filter(box => box.width < 24 || box.height < 24).length",
        )
        .await;
    assert_eq!(small, 0, "targets of less than 24 px");
    // No finger hovers: the words of the day stand above its runs.
    let words = browser.text("#runs + p").await;
    assert!(words.starts_with(&format!("{}: on its way", yesterday())), "{words}");
    // Whoever has a keyboard need not walk through a year.
    let skips = "const link = document.querySelector('.skip.here'); return document.querySelector(link.getAttribute('href')) !== null";
    assert_eq!(browser.run(skips).await, true);
}

#[tokio::test]
async fn the_page_of_somebody_in_between_is_no_answer() {
    let world = world().await;
    add_run(&world, yesterday(), "daily", "completed", Some(chrono::Utc::now())).await;
    let console = Console::start(&world, &[], &[]).await;
    let browser = Browser::start(world.servers().directory()).await;
    browser.open(&format!("{}/", console.url)).await;
    browser
        .wait_for("return document.querySelector('#tools select') !== null")
        .await;
    console.process.kill();
    console.process.exited_within(super::PATIENCE).await.unwrap();
    // What an ingress says while nothing is behind it.
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let ingress = axum::Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let page = axum::response::Html("<h1>Service unavailable</h1>");
        (axum::http::StatusCode::SERVICE_UNAVAILABLE, page)
    });
    let address = console.url.trim_start_matches("http://");
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let ingress = tokio::spawn(async move { axum::serve(listener, ingress).await });
    browser.run("const box = document.querySelector('#tools select'); box.value = '2'; box.dispatchEvent(new Event('change'))").await;
    let twice = wait::until(super::PATIENCE, async || {
        (asked.load(Ordering::Relaxed) >= 2).then_some(())
    });
    twice.await.expect("the page asks again");
    browser
        .wait_for("return document.querySelector('.silent').textContent.startsWith('No answer since')")
        .await;
    let shown = browser.run("return document.getElementById('live').textContent").await;
    assert!(shown.as_str().unwrap().contains(PROJECT), "{shown}");
    ingress.abort();
}

#[tokio::test]
async fn a_keyboard_is_enough() {
    let (_world, console, browser) = sampled().await;
    browser.open(&format!("{}/", console.url)).await;
    let focus = async |what: &str| browser.run(&format!("return document.activeElement.{what}")).await;
    browser.press("\u{e004}").await;
    assert_eq!(focus("textContent").await, "Skip to the content");
    browser.press("\u{e007}").await;
    browser.wait_for("return document.activeElement.id === 'main'").await;
    let mut places = Vec::new();
    for _ in 0..60 {
        browser.press("\u{e004}").await;
        let href = focus("getAttribute('href')").await;
        places.push(format!("{}", focus("outerHTML.slice(0, 80)").await));
        let visible = browser
            .run("return getComputedStyle(document.activeElement).outlineStyle !== 'none' || document.activeElement === document.body")
            .await;
        assert_eq!(visible, true, "the focus is not seen: {places:?}");
        if href == format!("/projects/{}", sample::BUSY) {
            browser.press("\u{e007}").await;
            browser
                .wait_for("return location.pathname.startsWith('/projects/')")
                .await;
            return;
        }
    }
    panic!("the project was not reached: {places:#?}");
}

/// Waits for the page whose address has this part: a click may be answered before the next page is.
async fn comes_to(browser: &Browser, part: &str) {
    let there = wait::until(super::PATIENCE, async || {
        browser.url().await.contains(part).then_some(())
    });
    assert!(there.await.is_some(), "{part} is not in {}", browser.url().await);
}

#[tokio::test]
async fn without_scripts_everything_is_shown() {
    let world = world().await;
    sample::fill(&world).await;
    let console = Console::start(&world, &[], &[]).await;
    let browser = Browser::without_scripts(world.servers().directory()).await;
    browser.open(&format!("{}/?state=disabled", console.url)).await;
    assert_eq!(browser.text("h1").await, "Overview");
    assert!(browser.text(".shown").await.starts_with("1 of "));
    browser.click(".choose button").await;
    comes_to(&browser, "state=disabled&sort=need&find=").await;
    browser.click("tbody th a").await;
    comes_to(&browser, "/projects/").await;
    assert!(browser.text("#calendar").await.starts_with("Days of "));
    browser.click("nav.pages a:nth-child(2)").await;
    comes_to(&browser, "/dead-letters").await;
    assert_eq!(browser.text("h1").await, "Dead letters");
    browser.click("tbody th a").await;
    comes_to(&browser, "?cause=").await;
}

#[tokio::test]
async fn ids_of_any_kind_lead_to_their_pages() {
    let world = world().await;
    for id in IDS {
        langfuse::add_project(&world.pool(), id, id).await;
        langfuse::add_integration(&world.pool(), id, "javascript:alert(1)", KEY, true).await;
    }
    sqlx::query(
        "insert into posthog_export.runs (project_id, day, run, state, error_code, error)
         select id, $1, id, 'dead', 'internal', '<script>alert(1)</script>' from unnest($2::text[]) id",
    )
    .bind(yesterday())
    .bind(IDS.map(str::to_owned).to_vec())
    .execute(&world.pool())
    .await
    .unwrap();
    let console = Console::start(&world, &[], &[]).await;
    let browser = Browser::start(world.servers().directory()).await;
    for id in IDS {
        browser.open(&format!("{}/?sort=name", console.url)).await;
        let found = browser
            .run("return [...document.querySelectorAll('.list tbody a')].map(a => a.textContent)")
            .await;
        let index = found.as_array().unwrap().iter().position(|text| text == id);
        let index = index.unwrap_or_else(|| panic!("{id} in {found}"));
        browser
            .run(&format!("document.querySelectorAll('.list tbody a')[{index}].click()"))
            .await;
        browser
            .wait_for("return document.readyState === 'complete' && location.pathname.startsWith('/projects/')")
            .await;
        assert_eq!(browser.run("return document.querySelector('h1').textContent").await, id);
        browser.click("section[aria-labelledby=unfinished] tbody th a").await;
        browser.wait_for("return location.pathname.startsWith('/runs/')").await;
        assert_eq!(
            browser.run("return document.querySelector('h1').textContent").await,
            format!("{} {id}", yesterday())
        );
        assert_eq!(
            browser
                .run("return document.querySelector('.path a:nth-child(2)').textContent")
                .await,
            id
        );
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_outage_of_the_database_and_the_broker_is_said_and_ends() {
    let world = world().await;
    add_run(&world, yesterday(), "daily", "completed", Some(chrono::Utc::now())).await;
    let postgres = TcpProxy::start(world.servers().postgres.address()).await;
    let rabbitmq = TcpProxy::start(world.servers().rabbitmq.address()).await;
    let overrides = [
        ("DATABASE_URL", world.database_url_via(&postgres)),
        ("AMQP_URL", world.amqp_url_via(&rabbitmq)),
    ];
    let overrides: Vec<(&str, &str)> = overrides.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let console = Console::start(&world, &[], &overrides).await;
    let browser = Browser::start(world.servers().directory()).await;
    browser.open(&format!("{}/", console.url)).await;
    let says = |text: &str| format!("return document.getElementById('live').textContent.includes('{text}')");
    browser.wait_for(&says(&format!("Name of {PROJECT}"))).await;
    browser.run("const box = document.querySelector('#tools select'); box.value = '2'; box.dispatchEvent(new Event('change'))").await;
    for proxy in [&postgres, &rabbitmq] {
        proxy.refuse();
        proxy.cut();
    }
    browser.wait_for(&says("The ledger does not answer")).await;
    browser.wait_for(&says("The broker does not answer")).await;
    // What was known before is shown all the same.
    assert_eq!(browser.run(&says(&format!("Name of {PROJECT}"))).await, true);
    assert_eq!(browser.run(&says("posthog-export.backfill")).await, true);
    postgres.pass();
    rabbitmq.pass();
    browser
        .wait_for("return !document.getElementById('live').textContent.includes('does not answer')")
        .await;
}
