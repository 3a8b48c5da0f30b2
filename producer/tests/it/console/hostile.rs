//! Ids are data: whatever somebody called a project or a run, pages show it and lead to it.

use chrono::Utc;
use percent_encoding::percent_decode_str;
use testkit::langfuse;

use super::Console;
use crate::{KEY, PROJECT, add_run, world, yesterday};

pub(crate) const IDS: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"quotes\" & 'more'",
    "a/b\\c?d#e%2Ff",
    "..",
    "🦀 ünï",
    "&lt;b&gt;",
];

/// The addresses that a page leads to.
pub(crate) fn links(page: &str) -> Vec<String> {
    let parts = page.split("<a ").skip(1);
    let href = |part: &str| Some(part.split_once("href=\"")?.1.split_once('"')?.0.to_owned());
    parts.filter_map(href).map(|link| link.replace("&#38;", "&")).collect()
}

#[tokio::test]
async fn ids_of_any_kind_are_shown_and_lead_to_their_pages() {
    let world = world().await;
    let long = "x".repeat(500);
    let ids: Vec<&str> = IDS.into_iter().chain([long.as_str()]).collect();
    for id in &ids {
        langfuse::add_project(&world.pool(), id, &format!("{id} called")).await;
        langfuse::add_integration(&world.pool(), id, "javascript:alert(1)", KEY, true).await;
    }
    add_run(&world, yesterday(), "daily", "dead", Some(Utc::now())).await;
    sqlx::query(
        "insert into posthog_export.runs (project_id, day, run, state, error_code, error)
         select id, $1, id, 'dead', 'internal', '<img src=x onerror=alert(1)> ' || id from unnest($2::text[]) id",
    )
    .bind(yesterday())
    .bind(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    .execute(&world.pool())
    .await
    .unwrap();
    let console = Console::start(&world, &[], &[]).await;
    let overview = console.page("/").await;
    let letters = console.page("/dead-letters").await;
    for page in [&overview, &letters] {
        assert!(
            !page.contains("<script>alert") && !page.contains("<img src=x"),
            "{page}"
        );
        for link in links(page) {
            let ours = link.starts_with('/') || link.starts_with('#');
            assert!(ours && !link.starts_with("//"), "{link}");
        }
    }
    for id in &ids {
        let leads = |page: &str, start: &str| {
            let found = links(page).into_iter().find(|link| {
                let piece = link.strip_prefix(start).unwrap_or_default();
                let decoded = percent_decode_str(piece).decode_utf8_lossy().into_owned();
                decoded.trim_start_matches('~') == *id
            });
            found.unwrap_or_else(|| panic!("no link to {id}"))
        };
        let project = console.page(&leads(&overview, "/projects/")).await;
        let runs: Vec<String> = links(&project)
            .into_iter()
            .filter(|link| link.starts_with("/runs/"))
            .collect();
        assert!(!runs.is_empty(), "{id}");
        let run = console.page(&runs[0]).await;
        assert!(run.contains("What happened when"), "{run}");
        assert!(!project.contains("href=\"javascript") && !run.contains("<img src=x"));
    }
    assert!(overview.contains(PROJECT));
}
