//! One project's PostHog drops a part of what it is sent, and answers 200. `verify` finds how many
//! events are missing, and where; `--repair` sends them again.

use anyhow::{Context as _, ensure};
use chrono::{Days, NaiveDate};
use serde_json::Value;
use testkit::posthog::{Behavior, Rule};

use crate::projects::{PROJECTS, SHOP};
use crate::stage::Stage;

/// Reads the company's data, so the exporter gets it in a file of its own.
const PERSONAL_KEY: &str = "phx_demo_reader";
/// The hours whose events are dropped.
const HOURS: [&str; 2] = ["T14", "T15"];

/// After the rules by which PostHog fails in the open.
pub(crate) fn posthog_drops_a_part_in_silence(stage: &Stage, day: NaiveDate) {
    let dropped = HOURS.map(|hour| format!("{day}{hour}"));
    let rule = Rule::always(Behavior::drop_events_where(move |event| {
        let time = event["timestamp"].as_str().unwrap_or_default();
        dropped.iter().any(|hour| time.starts_with(hour.as_str()))
    }));
    stage.world.posthog.script(rule.for_key(SHOP.key));
    stage.say(&format!(
        "{}'s PostHog also drops what it is sent of 14:00 to 16:00 of {day}, and answers 200 to it",
        SHOP.id
    ));
}

pub(crate) async fn verify_finds_what_is_missing(
    stage: &Stage,
    day: NaiveDate,
) -> anyhow::Result<()> {
    give_the_producer_a_key(stage, PERSONAL_KEY, &["query:read", "project:read"])?;
    // What was sent less than a day ago may still come.
    let later = stage.today + Days::new(2);
    stage.clock.set(format!("{later} 09:00")).await;
    let (arguments, day_text) = (["verify", "--project", SHOP.id, "--day"], day.to_string());
    let verify = [&arguments[..], &[&day_text]].concat();
    let output = stage.world.producer_with_env(&verify, &[]).await;
    stage.quote(
        &format!(
            "a day later, PostHog is asked what it holds: producer {}",
            verify.join(" ")
        ),
        &output.stdout,
    );
    ensure!(
        output.code == 1 && output.stdout.contains("14:00 "),
        "verify did not end with 1 and the hours: {}",
        output.stderr
    );
    let json = [&verify[..], &["--json"]].concat();
    let output = stage.world.producer_with_env(&json, &[]).await;
    let found: Value = serde_json::from_str(&output.stdout)?;
    let posthog = &stage.world.posthog;
    let report = stage
        .oracle()
        .check(posthog, SHOP.key, SHOP.id, &[day])
        .await;
    ensure!(
        report.missing > 0 && found["days"][0]["missing"] == report.missing,
        "{} events are missing, and verify found {}",
        report.missing,
        found["days"][0]
    );
    Ok(())
}

pub(crate) async fn what_is_missing_is_sent_again(
    stage: &Stage,
    day: NaiveDate,
) -> anyhow::Result<()> {
    let day_text = day.to_string();
    let verify = ["verify", "--project", SHOP.id, "--day", &day_text];
    let repair = [&verify[..], &["--repair"]].concat();
    let output = stage.world.producer_with_env(&repair, &[]).await;
    stage.quote(
        &format!(
            "PostHog keeps everything again: producer {}",
            repair.join(" ")
        ),
        &output.stdout,
    );
    let sent = async || stage.completed(SHOP.id).await;
    stage.wait("what was missing is sent again", sent).await?;
    let output = stage.producer(&verify, &[]).await?;
    stage.quote(&format!("producer {}", verify.join(" ")), &output);
    ensure!(
        output.contains("events arrived"),
        "what was sent again has not arrived"
    );
    Ok(())
}

pub(crate) fn give_the_producer_a_key(
    stage: &Stage,
    key: &str,
    scopes: &[&str],
) -> anyhow::Result<()> {
    let posthog = &stage.world.posthog;
    for (number, project) in (1..).zip(PROJECTS) {
        posthog.app_project(number, project.key);
    }
    posthog.personal_key(key, scopes);
    let file = stage.world.servers().directory().path().join("keys");
    std::fs::write(&file, format!("{} {key}\n", posthog.address()))?;
    let file = file.to_str().context("the directory's name is text")?;
    stage.world.set("POSTHOG_PERSONAL_API_KEYS_FILE", file);
    Ok(())
}
