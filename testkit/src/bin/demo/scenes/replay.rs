//! A day is sent a second time, and PostHog keeps no second copy.

use anyhow::ensure;
use chrono::NaiveDate;

use crate::projects::SUPPORT;
use crate::stage::Stage;

pub(crate) async fn a_day_is_sent_again(stage: &Stage, day: NaiveDate) -> anyhow::Result<()> {
    let posthog = &stage.world.posthog;
    let before = posthog.counts(SUPPORT.key);
    let message = format!(r#"{{"project_id":"{}","day":"{day}"}}"#, SUPPORT.id);
    let routed = stage
        .world
        .publish("posthog-export", "job", message.as_bytes())
        .await;
    ensure!(routed, "no queue took the replay");
    stage.say(&format!(
        "a replay, published over the management API as a person would: {message}"
    ));
    let replayed = async || is_replayed(stage, day).await;
    stage.wait("the replay is completed", replayed).await?;

    let after = posthog.counts(SUPPORT.key);
    let sent_again = after.resent - before.resent;
    stage.say(&format!(
        "{sent_again} events were sent again; PostHog keeps {} as before, {} of them twice",
        after.stored, after.copies_kept
    ));
    let expected = stage.oracle().expected(SUPPORT.id, day).await.len();
    ensure!(
        sent_again >= expected,
        "the replay sent fewer than the {expected} events of its day"
    );
    ensure!(
        after.stored == before.stored,
        "the replay changed what is stored"
    );
    Ok(())
}

async fn is_replayed(stage: &Stage, day: NaiveDate) -> anyhow::Result<bool> {
    let count = "SELECT count(*) FROM posthog_export.runs \
        WHERE project_id = $1 AND day = $2 AND run LIKE 'replay-%' AND state = 'completed'";
    let count: i64 = sqlx::query_scalar(count)
        .bind(SUPPORT.id)
        .bind(day)
        .fetch_one(&stage.world.pool())
        .await?;
    Ok(count == 1)
}
