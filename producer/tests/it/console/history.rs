//! The history of a run, on its page and in `status`.

use std::time::Duration;

use serde_json::json;
use shared::error_code::ErrorCode;
use shared::job::{Job, Stream};
use shared::ledger::{Asking, Claim, Lease, Ledger, Progress, Unsaved};
use testkit::World;

use super::Console;
use crate::{PROJECT, add_traces, alter, json, world, yesterday};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn claim(ledger: &Ledger, worker: &str) -> Lease {
    let job = Job::daily(PROJECT, yesterday().to_string().parse().unwrap(), false);
    let asking = Asking {
        worker,
        length: Duration::from_secs(60),
        target: None,
        visible_until: None,
        trace_id: Some(TRACE),
    };
    let begun = ledger.begin_claim().await.unwrap();
    match begun.claim(&job.scope, &Lease::wanted(job.key), asking).await.unwrap() {
        Claim::Run(claimed) => claimed.lease,
        other => panic!("{other:?}"),
    }
}

/// It fails twice, is handed back, and is completed.
async fn story(world: &World) -> Ledger {
    let ledger = Ledger::new(world.pool());
    let soon = |_| Some(Duration::ZERO);
    for error in ["PostHog answered 503 <img src=x>", "PostHog answered 502"] {
        let lease = claim(&ledger, "worker-1").await;
        ledger
            .retry(&lease, ErrorCode::PosthogUnavailable, error, soon)
            .await
            .unwrap();
    }
    let lease = claim(&ledger, "worker-2").await;
    ledger.release(&lease, None, "the slice is over").await.unwrap();
    let lease = claim(&ledger, "worker-3").await;
    let ended = |stream| Unsaved {
        stream,
        progress: Progress {
            done: true,
            ..Progress::default()
        },
        rejects: Vec::new(),
    };
    let all = [Stream::Trace, Stream::Generation, Stream::Score].map(ended);
    ledger.finish(&lease, &all).await.unwrap();
    ledger
}

/// The rows of the time line, without their markup.
fn rows(page: &str) -> Vec<String> {
    let (_, section) = page.split_once("id=\"history\"").unwrap();
    let (_, body) = section.split_once("<tbody>").unwrap();
    let (body, _) = body.split_once("</tbody>").unwrap();
    let text = |row: &str| {
        let words = row
            .split('<')
            .map(|part| part.split_once('>').map_or(part, |(_, text)| text));
        words.collect::<Vec<_>>().join(" ")
    };
    body.split("<tr>")
        .skip(1)
        .map(|row| text(row).split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[tokio::test]
async fn the_page_of_a_run_tells_who_had_it_and_how_that_ended() {
    let world = world().await;
    story(&world).await;
    let console = Console::start(&world, &[], &[]).await;
    let page = console
        .page(&format!("/runs/project%20one/{}/daily", yesterday()))
        .await;
    let rows = rows(&page);
    for (row, words) in rows.iter().zip([
        ["4 ", " worker-3 3 completed", TRACE],
        [
            "3 ",
            " worker-2 3 handed back, nothing counted the slice is over",
            TRACE,
        ],
        [
            "2 ",
            " worker-1 2 failed, to be tried again posthog_unavailable PostHog answered 502",
            TRACE,
        ],
        [
            "1 ",
            " worker-1 1 failed, to be tried again posthog_unavailable PostHog answered 503",
            TRACE,
        ],
    ]) {
        assert!(row.starts_with(words[0]), "{row}");
        assert!(row.contains(words[1]) && row.contains(words[2]), "{words:?} in {row}");
        assert!(row.contains(&yesterday().format("%Y-").to_string()), "{row}");
    }
    assert_eq!(rows.len(), 4);
    let advice = ErrorCode::PosthogUnavailable.advice();
    assert_eq!(page.matches(advice).count(), 1, "once for both failures");
    assert!(!page.contains("<img src=x>"));

    // A day of before the history was kept.
    alter(&world, "delete from posthog_export.claims").await;
    let page = console
        .page(&format!("/runs/project%20one/{}/daily", yesterday()))
        .await;
    assert!(page.contains("kept no history"), "{page}");
}

#[tokio::test]
async fn a_run_with_very_many_claims_has_a_small_page() {
    let world = world().await;
    let ledger = Ledger::new(world.pool());
    for _ in 0..400 {
        let lease = claim(&ledger, "worker-1").await;
        let busy = "the host fails or is slow, and another job is already waiting for it";
        ledger.release(&lease, Some(ErrorCode::HostBusy), busy).await.unwrap();
    }
    let console = Console::start(&world, &[], &[]).await;
    let page = console
        .page(&format!("/runs/project%20one/{}/daily", yesterday()))
        .await;
    assert_eq!(rows(&page).len(), 101);
    assert!(page.contains("300 claims in between are not kept"));
    assert!(page.len() < 150_000, "{}", page.len());
}

#[tokio::test]
async fn status_tells_the_history_of_a_day() {
    let world = world().await;
    add_traces(&world, PROJECT, &[yesterday()]).await;
    story(&world).await;
    let day = yesterday().to_string();
    let of_day = ["status", "--project", PROJECT, "--day", &day];
    let report = json(&world, &[&of_day[..], &["--json"]].concat()).await;
    assert_eq!(report["runs"].as_array().unwrap().len(), 1);
    let told: Vec<_> = report["claims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|claim| {
            assert!(claim["claimed_at"].as_str() <= claim["ended_at"].as_str());
            assert_eq!((&claim["project_id"], &claim["day"]), (&json!(PROJECT), &json!(day)));
            let field = |name: &str| claim[name].clone();
            json!([
                field("run"),
                field("number"),
                field("worker"),
                field("attempt"),
                field("ended_as"),
                field("error_code"),
                field("trace_id")
            ])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["daily", 1, "worker-1", 1, "waiting", "posthog_unavailable", TRACE]),
            json!(["daily", 2, "worker-1", 2, "waiting", "posthog_unavailable", TRACE]),
            json!(["daily", 3, "worker-2", 3, "handed_back", null, TRACE]),
            json!(["daily", 4, "worker-3", 3, "completed", null, TRACE]),
        ]
    );
    let said = world.producer(&of_day).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    for words in ["Who worked on these runs", "handed_back", "the slice is over", TRACE] {
        assert!(said.stdout.contains(words), "{words} in {}", said.stdout);
    }
    let before = (yesterday() - chrono::Days::new(1)).to_string();
    let other = ["status", "--project", PROJECT, "--day", &before, "--json"];
    let other = json(&world, &other).await;
    assert_eq!((&other["runs"], &other["claims"]), (&json!([]), &json!([])));
    let alone = world.producer(&["status", "--day", &day]).await;
    assert!(
        alone.code == 2 && alone.stderr.contains("--project"),
        "{}",
        alone.stderr
    );
}
