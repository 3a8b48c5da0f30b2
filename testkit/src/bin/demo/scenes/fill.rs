//! Langfuse's tables get rows, as if three teams had used it for four days.

use chrono::NaiveDate;
use testkit::{langfuse, seed};

use crate::projects::{PROJECTS, SHOP};
use crate::stage::Stage;

pub(crate) async fn langfuse_has_rows(stage: &Stage, days: &[NaiveDate]) {
    stage.say(
        "filling Langfuse's tables: three projects, four days each, \
         every ugly row we know among them",
    );
    let (posthog, pool) = (&stage.world.posthog, stage.world.pool());
    for (number, project) in (1..).zip(PROJECTS) {
        langfuse::add_project(&pool, project.id, project.id).await;
        let (host, key) = (posthog.url(), project.stored_key);
        langfuse::add_integration(&pool, project.id, &host, key, true).await;
        seed::realistic(&pool, project.id, days, project.traces_a_day, number).await;
        posthog.known_key(project.key);
    }
    seed::adversarial(&pool, SHOP.id, days[0]).await;
}
