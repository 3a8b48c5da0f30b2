//! Ten thousand dead letters make no page of megabytes.

use testkit::DEAD;

use super::super::Console;
use super::super::actions::{hidden, with};
use super::see;
use crate::dead_letters::add_dead_letters;
use crate::{alter, world};

const LARGEST: usize = 200_000;

#[tokio::test]
async fn all_of_a_cause_takes_a_thousand_at_most_and_says_so() {
    let world = world().await;
    alter(
        &world,
        "insert into posthog_export.runs (project_id, day, run, state, error_code, error, first_failed_at)
         select 'clx' || lpad(n::text, 22, '0'), '2024-06-01', 'daily', 'dead', 'internal', repeat('x', 500), now()
         from generate_series(1, 10000) n",
    )
    .await;
    let console = Console::acting(&world, &[]).await;
    let page = see(&console, "/dead-letters?cause=internal").await;
    assert!(page.len() < LARGEST, "{} bytes", page.len());
    assert_eq!(page.matches("type=\"checkbox\"").count(), 100);
    for part in [
        "100 of 10,000 are on this page",
        "Requeue the first 1,000 of this cause…",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let next = page.split("href=\"").find(|link| link.contains("behind=")).unwrap();
    let next = next.split_once('"').unwrap().0.replace("&#38;", "&");
    let second = see(&console, &next).await;
    assert!(
        second.contains("Mark clx0000000000000000000101 ") && !second.contains("Mark clx0000000000000000000100 "),
        "{second}"
    );

    let asked = console
        .preview("/dead-letters/discard/preview", &[("all", "internal")])
        .await;
    assert!(asked.len() < LARGEST, "{} bytes", asked.len());
    for part in ["Discard 1,000 dead letters", "These are the first 1,000 of 10,000"] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    let fields = hidden(&asked);
    let done = console.act("/dead-letters/discard", &with(&fields, &[])).await;
    assert!(
        done.contains("1,000 of 1,000 dead letters were discarded") && done.len() < LARGEST,
        "{done}"
    );
    let left: i64 = sqlx::query_scalar("select count(*) from posthog_export.runs where state = 'dead'")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    assert_eq!(left, 9_000);
}

#[tokio::test]
async fn ten_thousand_messages_are_counted_and_the_first_are_listed() {
    let world = world().await;
    let bodies: Vec<String> = (0..10_000).map(|number| format!("no job {number}")).collect();
    let headers = [("x-error-code", "bad_message"), ("x-error", &"x".repeat(500))];
    add_dead_letters(&world, &bodies, &headers).await;
    let console = Console::acting(&world, &[]).await;
    let page = console.preview("/dead-letters/queue", &[]).await;
    assert!(page.len() < LARGEST, "{} bytes", page.len());
    assert!(page.contains("Of 10,000 messages") && page.contains("100 of 10,000 are listed"));
    assert_eq!(world.queue_depth(DEAD).await, 10_000);

    let asked = console
        .preview("/dead-letters/discard/preview", &[("all_in_queue", "bad_message")])
        .await;
    assert!(asked.len() < LARGEST, "{} bytes", asked.len());
    assert!(asked.contains("These are the first 1,000 of 10,000"), "{asked}");
    let fields = hidden(&asked);
    console.act("/dead-letters/discard", &with(&fields, &[])).await;
    assert_eq!(world.queue_depth(DEAD).await, 9_000);
}

/// The most that the console ever held, in bytes.
#[cfg(target_os = "linux")]
fn peak(console: &Console) -> u64 {
    let path = format!("/proc/{}/status", console.process.pid());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// All are taken out of the queue for a look, and little is kept of those that nobody named.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_look_keeps_little_of_messages_with_long_headers() {
    const MESSAGES: usize = 6_000;
    const HEADER: usize = 20_000;
    let world = world().await;
    let bodies: Vec<String> = (0..MESSAGES).map(|number| format!("no job {number}")).collect();
    let long = "x".repeat(HEADER);
    add_dead_letters(&world, &bodies, &[("x-error-code", "bad_message"), ("x-long", &long)]).await;
    let console = Console::acting(&world, &[]).await;
    see(&console, "/dead-letters").await;
    let before = peak(&console);
    let page = console.preview("/dead-letters/queue", &[]).await;
    assert!(page.contains("Of 6,000 messages"), "{page}");
    let grown = usize::try_from(peak(&console) - before).unwrap();
    assert!(grown < MESSAGES * HEADER / 2, "{} MB", grown / 1_000_000);
}
