//! The three commands that an operator runs: tables, queues, jobs.

use crate::stage::Stage;

pub(crate) async fn jobs_wait_in_the_queues(stage: &Stage) -> anyhow::Result<()> {
    for command in ["migrate", "declare", "enqueue"] {
        let output = stage.producer(&[command], &[]).await?;
        stage.quote(&format!("producer {command}"), &output);
    }
    Ok(())
}
