//! Two workers export the days while PostHog fails now and then.

use anyhow::ensure;
use testkit::posthog::{Behavior, Rule};

use crate::progress::Progress;
use crate::projects::{PROJECTS, SHOP, SUPPORT};
use crate::stage::Stage;

pub(crate) async fn two_workers_start(stage: &mut Stage) {
    let posthog = &stage.world.posthog;
    posthog.script(Rule::every(9, Behavior::status(503)));
    posthog.script(Rule::every(14, Behavior::StoreThenStatus(503)));
    for _ in 0..2 {
        stage.workers.push(stage.world.worker(&[]).await);
    }
    stage.say(&format!(
        "two workers, process ids {} and {}; PostHog answers every ninth batch with a 503. \
         Feel free to `kill -9` one of them",
        stage.workers[0].pid(),
        stage.workers[1].pid()
    ));
}

pub(crate) async fn projects_with_the_right_key_are_exported(
    stage: &Stage,
    progress: &Progress,
) -> anyhow::Result<()> {
    let exported = async || {
        progress.show(stage);
        Ok(stage.completed(SHOP.id).await? && stage.completed(SUPPORT.id).await?)
    };
    let what = "the two projects whose keys are right are exported";
    stage.wait(what, exported).await?;
    progress.show_now(stage);
    stage.say(what);
    Ok(())
}

pub(crate) fn failed_requests_were_sent_again(stage: &Stage) -> anyhow::Result<()> {
    let posthog = &stage.world.posthog;
    let batches = posthog.batches();
    let refused = batches
        .iter()
        .filter(|request| request.status == Some(503))
        .count();
    let got_twice: usize = PROJECTS
        .iter()
        .map(|project| posthog.counts(project.key).resent)
        .sum();
    stage.say(&format!(
        "PostHog answered {refused} of {} batches with a 503, and each was sent again; \
         some it had kept all the same, so it got {got_twice} events twice and keeps them once",
        batches.len()
    ));
    ensure!(
        refused > 0 && got_twice > 0,
        "PostHog never failed, so no retry was shown"
    );
    Ok(())
}
