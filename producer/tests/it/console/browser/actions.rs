//! The console's actions in a real browser.

use std::sync::Arc;

use testkit::{Browser, JOBS, World, axe, langfuse, wait};

use super::{AXE, found};
use crate::console::actions::audit;
use crate::console::hostile::IDS;
use crate::console::{Console, PASSWORD, PATIENCE};
use crate::{KEY, PROJECT, add_traces, alter, world, yesterday};

/// Whoever is asked for the password has typed it.
async fn signed_in(browser: &Browser, console: &Console) {
    let with_password = format!("http://me:{}@", PASSWORD.replace(' ', "%20"));
    let url = console.url.replace("http://", &with_password);
    browser.open(&format!("{url}/actions")).await;
    browser.open(&format!("{}/actions", console.url)).await;
    assert_eq!(browser.text("h1").await, "Actions");
}

async fn acting(scripts: bool) -> (Arc<World>, Console, Browser) {
    let world = world().await;
    world.posthog.known_key(KEY);
    add_traces(&world, PROJECT, &[yesterday()]).await;
    let console = Console::acting(&world, &[]).await;
    let browser = if scripts {
        Browser::start(world.servers().directory()).await
    } else {
        Browser::without_scripts(world.servers().directory()).await
    };
    signed_in(&browser, &console).await;
    (world, console, browser)
}

/// Nothing keeps people out of the page, it fits, and its security policy has refused nothing.
async fn is_sound(browser: &Browser, axe: &str, what: &str) {
    for (scheme, width) in [("light", 1400), ("dark", 1400), ("light", 360), ("dark", 360)] {
        browser.prefer(scheme).await;
        browser.resize(width, 1000).await;
        let what = format!("{what}, {scheme}, {width} px");
        assert_eq!(found(browser, axe).await, Vec::<String>::new(), "{what}");
        let wide = browser
            .run("return document.documentElement.scrollWidth - innerWidth")
            .await;
        assert!(wide.as_i64().unwrap() <= 0, "{what}: {wide} px do not fit");
    }
    browser.prefer("light").await;
    browser.resize(1400, 1000).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new(), "{what}");
}

async fn wait_at(browser: &Browser, ends: &str) {
    browser
        .wait_for(&format!(
            "return document.readyState === 'complete' && location.pathname.endsWith('{ends}')"
        ))
        .await;
}

async fn wait_done(browser: &Browser) {
    browser
        .wait_for("return /actions.[0-9]+$/.test(location.pathname) && document.querySelector('.tag.ok')?.textContent === 'done'")
        .await;
}

#[tokio::test]
async fn each_action_is_done_with_the_mouse() {
    let (world, console, browser) = acting(true).await;
    let axe = axe(AXE).await;
    let project = format!("{}/projects/project%20one", console.url);
    browser.open(&project).await;
    is_sound(&browser, &axe, "acts").await;

    browser.click("form[action$='/pause/preview'] button").await;
    wait_at(&browser, "/pause/preview").await;
    is_sound(&browser, &axe, "confirm-pause").await;
    browser.click("#reason").await;
    browser.press(" for a while").await;
    browser.click("button.main").await;
    wait_done(&browser).await;
    let says = browser.text("#says").await;
    assert!(says.starts_with("The project is paused: by hand"), "{says}");
    is_sound(&browser, &axe, "action").await;
    // A reload repeats nothing.
    browser.run("location.reload()").await;
    wait_done(&browser).await;
    assert_eq!(audit(&world).await.len(), 1);

    browser.click(".result a").await;
    wait_at(&browser, "/project%20one").await;
    browser.click("form[action$='/resume/preview'] button").await;
    wait_at(&browser, "/resume/preview").await;
    browser.click("button.main").await;
    wait_done(&browser).await;

    browser.open(&project).await;
    browser.click("form[action$='/check-key'] button").await;
    wait_done(&browser).await;
    assert!(browser.text("#says").await.ends_with("knows the key."));

    browser.open(&project).await;
    browser.click("summary").await;
    is_sound(&browser, &axe, "replay").await;
    browser.click("form[action$='/replay/preview'] button").await;
    wait_at(&browser, "/replay/preview").await;
    is_sound(&browser, &axe, "confirm-replay").await;
    browser.click("button.main").await;
    wait_done(&browser).await;
    assert!(browser.text("#says").await.starts_with("1 job published"));
    assert_eq!(world.queue_depth(JOBS).await, 1);
    is_sound(&browser, &axe, "action-replay").await;

    // Somebody else is quicker.
    browser.open(&project).await;
    browser.click("form[action$='/pause/preview'] button").await;
    wait_at(&browser, "/pause/preview").await;
    alter(
        &world,
        "insert into posthog_export.paused (project_id, error, paused_by) values ('project one', 'mine', 'human')",
    )
    .await;
    browser.click("button.main").await;
    browser
        .wait_for("return document.querySelector('.tag.bad')?.textContent === 'failed'")
        .await;
    let says = browser.text("#says").await;
    assert!(
        says.contains("has changed since it was shown") && says.contains("mine"),
        "{says}"
    );

    browser.open(&format!("{}/actions", console.url)).await;
    assert_eq!(
        browser.run("return document.querySelectorAll('tbody tr').length").await,
        5
    );
    is_sound(&browser, &axe, "actions").await;
}

#[tokio::test]
async fn a_keyboard_is_enough_to_act() {
    let (world, console, browser) = acting(true).await;
    browser.open(&format!("{}/projects/project%20one", console.url)).await;
    let reach = async |text: &str| {
        let mut places = Vec::new();
        for _ in 0..40 {
            browser.press("\u{e004}").await;
            let here = browser
                .run("return document.activeElement.textContent.slice(0, 40)")
                .await;
            let seen = browser
                .run("return getComputedStyle(document.activeElement).outlineStyle !== 'none'")
                .await;
            if here == text {
                assert_eq!(seen, true, "the focus is not seen on {text}");
                return;
            }
            places.push(here);
        }
        panic!("{text} was not reached: {places:?}");
    };
    reach("Pause…").await;
    browser.press("\u{e007}").await;
    wait_at(&browser, "/pause/preview").await;
    reach("Pause").await;
    browser.press("\u{e007}").await;
    wait_done(&browser).await;
    reach("To the project project one").await;
    browser.press("\u{e007}").await;
    wait_at(&browser, "/project%20one").await;
    reach("Resume…").await;
    browser.press("\u{e007}").await;
    wait_at(&browser, "/resume/preview").await;
    reach("Resume").await;
    browser.press("\u{e007}").await;
    wait_done(&browser).await;
    let states: Vec<String> = audit(&world)
        .await
        .iter()
        .map(|row| row["action"].to_string())
        .collect();
    assert_eq!(states, ["\"pause\"", "\"resume\""]);
}

#[tokio::test]
async fn without_scripts_a_replay_is_sent() {
    let (world, console, browser) = acting(false).await;
    browser.open(&format!("{}/projects/project%20one", console.url)).await;
    browser.click("summary").await;
    browser.click("form[action$='/replay/preview'] button").await;
    let title = browser.text("h1").await;
    assert_eq!(title, "Replay days of Name of project one");
    browser.click("button.main").await;
    // A click does not wait for an answer that takes its time.
    let at = wait::until(PATIENCE, async || {
        let url = browser.url().await;
        url.contains("/actions/").then_some(url)
    });
    let deed = at.await.unwrap();
    let said = wait::until(PATIENCE, async || {
        browser.open(&deed).await;
        let says = browser.text("#says").await;
        (!says.starts_with("It is going on")).then_some(says)
    });
    let said = said.await.unwrap();
    assert!(said.starts_with("1 job published"), "{said}");
    assert_eq!(world.queue_depth(JOBS).await, 1);
}

#[tokio::test]
async fn projects_with_ids_of_any_kind_are_paused_and_resumed() {
    let (world, console, browser) = acting(true).await;
    let (long, broken) = ("ü".repeat(250), "two\nlines \r\n and 100 % more".to_owned());
    let ids: Vec<&str> = IDS.into_iter().chain([long.as_str(), &broken, "%0A"]).collect();
    for id in &ids {
        langfuse::add_project(&world.pool(), id, "").await;
        langfuse::add_integration(&world.pool(), id, &world.posthog.url(), KEY, true).await;
    }
    browser.open(&format!("{}/?sort=name", console.url)).await;
    let links = browser
        .run("return [...document.querySelectorAll('.list tbody a')].map(a => a.getAttribute('href'))")
        .await;
    let links: Vec<String> = serde_json::from_value(links).unwrap();
    for link in links.iter().filter(|link| !link.ends_with("project%20one")) {
        for action in ["pause", "resume"] {
            browser.open(&format!("{}{link}", console.url)).await;
            browser
                .click(&format!("form[action$='/{action}/preview'] button"))
                .await;
            wait_at(&browser, &format!("/{action}/preview")).await;
            browser.click("button.main").await;
            wait_done(&browser).await;
        }
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    let mut done: Vec<String> = audit(&world)
        .await
        .iter()
        .filter(|row| row["action"] == "pause" && row["state"] == "done")
        .map(|row| row["project_id"].as_str().unwrap().to_owned())
        .collect();
    done.sort_unstable();
    let mut asked: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    asked.sort_unstable();
    assert_eq!(done, asked);
    assert_eq!(audit(&world).await.len(), ids.len() * 2);
}
