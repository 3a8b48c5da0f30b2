//! One command makes a dashboard of what arrived, and nothing more when it runs again.

use anyhow::{Context as _, ensure};

use crate::projects::SHOP;
use crate::scenes::arrival::give_the_producer_a_key;
use crate::stage::Stage;

/// Another key than the one that reads: it may write.
const PERSONAL_KEY: &str = "phx_demo_writer";
const SCOPES: [&str; 4] = [
    "dashboard:write",
    "insight:write",
    "query:read",
    "project:read",
];

/// The link to it.
pub(crate) async fn it_is_made_in_posthog(stage: &Stage) -> anyhow::Result<String> {
    give_the_producer_a_key(stage, PERSONAL_KEY, &SCOPES)?;
    let create = ["dashboards", "create", "--project", SHOP.id];
    let output = stage.producer(&create, &[]).await?;
    stage.quote(&format!("producer {}", create.join(" ")), &output);

    let posthog = &stage.world.posthog;
    let made = posthog.board_writes().len();
    let output = stage.producer(&create, &[]).await?;
    let last = output.lines().last().context("it said nothing")?;
    stage.quote("the same again, which changes nothing", last);
    ensure!(
        made > 0 && posthog.board_writes().len() == made,
        "the second run wrote something"
    );
    let dashboard = (1..=3).find_map(|number| Some((number, posthog.dashboards(number).pop()?)));
    let (number, dashboard) = dashboard.context("PostHog has no dashboard")?;
    let link = format!(
        "{}/project/{number}/dashboard/{}",
        posthog.url(),
        dashboard.id
    );
    ensure!(
        output.contains(&link) && posthog.tiles(dashboard.id).len() > 20,
        "the dashboard is not at {link}, or has not all of its tiles"
    );
    Ok(link)
}
