//! The story, scene by scene, in the order of the output.

mod arrival;
mod dashboard;
mod enqueue;
mod export;
mod fill;
mod replay;
mod today;
mod verdict;
mod wrong_key;

use chrono::{Days, NaiveDate};

use crate::progress::Progress;
use crate::stage::Stage;

/// Plays all scenes. The first one that does not show what it should is the demo's failure.
pub(crate) async fn play(stage: &mut Stage) -> anyhow::Result<()> {
    let yesterday = stage.today - Days::new(1);
    let days: Vec<NaiveDate> = (0..4).map(|back| yesterday - Days::new(back)).collect();
    let lossy = days[1];

    fill::langfuse_has_rows(stage, &days).await;
    enqueue::jobs_wait_in_the_queues(stage).await?;
    export::two_workers_start(stage).await;
    arrival::posthog_drops_a_part_in_silence(stage, lossy);
    let progress = Progress::new(stage).await?;
    export::projects_with_the_right_key_are_exported(stage, &progress).await?;
    export::failed_requests_were_sent_again(stage)?;
    wrong_key::its_days_wait_for_a_human(stage, days.len() as u64).await?;
    wrong_key::the_key_is_corrected(stage).await?;
    wrong_key::its_days_are_exported(stage, &progress).await?;
    progress.finish();
    replay::a_day_is_sent_again(stage, yesterday).await?;
    today::its_morning_arrives_before_it_is_over(stage).await?;
    today::what_changed_is_sent_again_and_nothing_else(stage).await?;
    arrival::verify_finds_what_is_missing(stage, lossy).await?;
    arrival::what_is_missing_is_sent_again(stage, lossy).await?;
    let link = dashboard::it_is_made_in_posthog(stage).await?;
    verdict::every_event_is_compared(stage, &link).await
}
