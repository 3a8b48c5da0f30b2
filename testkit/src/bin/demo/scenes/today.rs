//! Today is exported in parts while it goes on. A row that changes afterwards is sent again, once.

use anyhow::ensure;
use chrono::{Days, NaiveDateTime, TimeDelta};
use testkit::oracle::Kind;
use testkit::seed::{Observation, Rows, Score, Trace, at};

use crate::projects::{PROJECTS, SUPPORT};
use crate::stage::Stage;

/// As many traces since eight o'clock, one each minute, with a generation and a score each.
const TRACES: i64 = 150;
/// Those of them before ten o'clock.
const UNTIL_TEN: usize = 120;
/// The export of each hour begins half an hour after its end.
const HOURLY: [(&str, &str); 1] = [("EXPORT_EVERY", "1h")];

pub(crate) async fn its_morning_arrives_before_it_is_over(stage: &Stage) -> anyhow::Result<()> {
    let posthog = &stage.world.posthog;
    posthog.behave();
    write_rows(stage).await;
    let before = posthog.counts(SUPPORT.key);
    let output = stage.producer(&["enqueue", "--steps"], &HOURLY).await?;
    stage.quote(
        &format!(
            "{} has rows of this morning: producer enqueue --steps, with EXPORT_EVERY=1h",
            SUPPORT.id
        ),
        &output,
    );
    let exported = async || all_completed(stage).await;
    stage.wait("the morning is exported", exported).await?;
    let arrived = posthog.counts(SUPPORT.key).stored - before.stored;
    let all = stage.oracle().expected(SUPPORT.id, stage.today).await.len();
    let until_ten = UNTIL_TEN * Kind::USUAL.len();
    stage.say(&format!(
        "today goes on, and {arrived} of its {all} events are in PostHog: those until ten o'clock"
    ));
    ensure!(
        arrived == until_ten && arrived > 0 && arrived < all,
        "{until_ten} events until ten o'clock should have arrived"
    );
    Ok(())
}

pub(crate) async fn what_changed_is_sent_again_and_nothing_else(
    stage: &Stage,
) -> anyhow::Result<()> {
    // As Langfuse's SDK does at the end of a generation.
    let ends = "UPDATE observations SET end_time = start_time + interval '90 seconds', \
        completion_tokens = 210, total_tokens = 210, updated_at = now() AT TIME ZONE 'UTC' \
        WHERE project_id = $1 AND id = $2";
    sqlx::query(ends)
        .bind(SUPPORT.id)
        .bind(id(stage, 0))
        .execute(&stage.world.pool())
        .await?;
    let tomorrow = stage.today + Days::new(1);
    stage.clock.set(format!("{tomorrow} 00:45")).await;
    let posthog = &stage.world.posthog;
    let before = posthog.counts(SUPPORT.key);
    let output = stage.producer(&["enqueue"], &HOURLY).await?;
    stage.quote(
        "a generation of eight o'clock ends late; then the clock goes on to 00:45, when today is \
         over and yesterday has settled: producer enqueue",
        &output,
    );
    let exported = async || all_completed(stage).await;
    stage
        .wait("the rest of the day is exported", exported)
        .await?;
    let after = posthog.counts(SUPPORT.key);
    let again = after.resent - before.resent;
    stage.say(&format!(
        "{} events of after ten o'clock were sent, and {again} again: the generation that \
         changed, and its trace, whose totals it is in",
        after.stored - before.stored
    ));
    ensure!(
        again == 2 && after.changed - before.changed == 2,
        "the generation and its trace should have been sent again, and nothing else"
    );
    Ok(())
}

async fn write_rows(stage: &Stage) {
    let mut rows = Rows::default();
    for minute in 0..TRACES {
        let (id, time) = (id(stage, minute), time(stage, minute));
        rows.traces.push(Trace {
            name: Some("chat".to_owned()),
            user_id: Some(format!("user-{}", minute % 40)),
            ..Trace::new(SUPPORT.id, &id, time)
        });
        let generation = Observation::generation(SUPPORT.id, &id, &id, time);
        rows.observations.push(generation);
        rows.scores.push(Score::new(SUPPORT.id, &id, &id, time));
    }
    rows.insert(&stage.world.pool()).await;
}

fn id(stage: &Stage, minute: i64) -> String {
    format!("{} {minute}", stage.today)
}

fn time(stage: &Stage, minute: i64) -> NaiveDateTime {
    at(stage.today, 8, 0, 0, 0) + TimeDelta::minutes(minute)
}

async fn all_completed(stage: &Stage) -> anyhow::Result<bool> {
    for project in PROJECTS {
        if !stage.completed(project.id).await? {
            return Ok(false);
        }
    }
    Ok(true)
}
