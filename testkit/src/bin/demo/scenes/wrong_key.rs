//! One project's key is wrong. Its first day becomes a dead letter, the others are skipped, and
//! all come back when a human corrects the key.

use anyhow::ensure;

use crate::progress::Progress;
use crate::projects::WRONG_KEY;
use crate::stage::Stage;

const DEAD_LETTERS: &str = "posthog-export.dead-letters";

pub(crate) async fn its_days_wait_for_a_human(stage: &Stage, days: u64) -> anyhow::Result<()> {
    // The first failure pauses the project, so that its other days are skipped instead of dead.
    // A worker that was killed at the wrong moment leaves a second letter of the same run.
    let all_stopped = async || {
        let dead = stage.runs(WRONG_KEY.id, "dead").await?;
        let skipped = stage.runs(WRONG_KEY.id, "skipped").await?;
        let letters = stage.world.queue_depth(DEAD_LETTERS).await;
        Ok(dead >= 1 && dead + skipped == days && letters >= dead)
    };
    stage
        .wait(
            "the days of the wrong key are dead letters, or skipped",
            all_stopped,
        )
        .await?;
    let list = stage.producer(&["dead-letters", "list"], &[]).await?;
    stage.quote(
        "one project has a wrong key, so its days wait for a person: producer dead-letters list",
        &list,
    );
    ensure!(
        list.contains("unauthorized"),
        "the dead letters do not say why"
    );
    Ok(())
}

pub(crate) async fn the_key_is_corrected(stage: &Stage) -> anyhow::Result<()> {
    let set = ["integrations", "set", "--project", WRONG_KEY.id];
    let output = stage
        .producer(&set, &[("POSTHOG_API_KEY", WRONG_KEY.key)])
        .await?;
    stage.quote(
        &format!("the key is corrected: producer {}", set.join(" ")),
        &output,
    );

    let requeue = [
        "dead-letters",
        "requeue",
        "--project",
        WRONG_KEY.id,
        "--yes",
    ];
    let output = stage.producer(&requeue, &[]).await?;
    stage.quote(&format!("producer {}", requeue.join(" ")), &output);

    let output = stage.producer(&["enqueue"], &[]).await?;
    stage.quote(
        "the days that were skipped meanwhile: producer enqueue",
        &output,
    );
    Ok(())
}

pub(crate) async fn its_days_are_exported(
    stage: &Stage,
    progress: &Progress,
) -> anyhow::Result<()> {
    let exported = async || {
        progress.show(stage);
        stage.completed(WRONG_KEY.id).await
    };
    stage
        .wait("the project with the corrected key is exported", exported)
        .await?;
    progress.show_now(stage);
    let left = stage.world.queue_depth(DEAD_LETTERS).await;
    ensure!(
        left == 0,
        "{left} dead letters are left after they were requeued"
    );
    Ok(())
}
