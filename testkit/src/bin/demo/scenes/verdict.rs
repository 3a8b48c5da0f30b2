//! Everything that PostHog keeps is compared with everything that it should keep. The last line is
//! the oracle's.

use anyhow::{Context as _, ensure};
use chrono::NaiveDate;
use comfy_table::{CellAlignment, Table, presets};
use testkit::oracle::Report;

use crate::projects::{PROJECTS, SHOP, SUPPORT};
use crate::stage::Stage;

pub(crate) async fn every_event_is_compared(stage: &Stage, dashboard: &str) -> anyhow::Result<()> {
    stage.say("comparing every event that PostHog keeps with the database");
    let (table, total) = compare(stage).await?;
    let events = stage.world.posthog.events(SUPPORT.key);
    let sample = events
        .iter()
        .find(|event| event["event"] == "langfuse generation")
        .context("no generation arrived")?;
    let sample = serde_json::to_string_pretty(sample)?;
    println!("\n{table}\n");
    println!("one of the events, as PostHog got it:\n{sample}\n");
    for finding in &total.findings {
        eprintln!("{finding}");
    }
    println!(
        "the dashboard of {}, in the fake PostHog: {dashboard}",
        SHOP.id
    );
    println!("{total}");
    ensure!(
        total.is_clean() && total.expected > 0 && total.delivered == total.expected,
        "not every event arrived as it should"
    );
    Ok(())
}

/// A row for each day, a row for each project, and the sum of all.
async fn compare(stage: &Stage) -> anyhow::Result<(Table, Report)> {
    let oracle = stage.oracle();
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "project",
        "day",
        "expected",
        "delivered",
        "sent again",
        "kept twice",
    ]);
    let mut total = Report::default();
    for project in PROJECTS {
        let days = enqueued_days(stage, project.id).await?;
        let posthog = &stage.world.posthog;
        let report = oracle.check(posthog, project.key, project.id, &days).await;
        for ((project, day), row) in &report.by_day {
            let counts = [row.expected, row.delivered].map(|count| count.to_string());
            table.add_row([&[project.clone(), day.to_string()][..], &counts].concat());
        }
        let counts = [
            report.expected,
            report.delivered,
            report.resent,
            report.copies_kept,
        ];
        let counts = counts.map(|count| count.to_string());
        table.add_row([&[project.id.to_owned(), "all".to_owned()][..], &counts].concat());
        total = total + report;
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok((table, total))
}

/// One of the ugly rows is of a year ago, so there are more than four.
async fn enqueued_days(stage: &Stage, project: &str) -> anyhow::Result<Vec<NaiveDate>> {
    let days = "SELECT DISTINCT day FROM posthog_export.runs WHERE project_id = $1 ORDER BY day";
    Ok(sqlx::query_scalar(days)
        .bind(project)
        .fetch_all(&stage.world.pool())
        .await?)
}
