//! Random sequences of everything, with fixed seeds; `cargo soak` goes on with others.

use std::sync::Arc;

use testkit::Servers;
use testkit::simulation::{Step, Verdict, describe, generate, parse, run};

const STEPS: usize = 50;

async fn simulate(servers: &Arc<Servers>, what: &str, steps: &[Step]) -> Verdict {
    let verdict = run(servers, steps).await;
    if let Some(failure) = &verdict.failure {
        panic!(
            "{what}\n{}\n{failure}\ncargo soak --run '{}'",
            verdict.logs,
            describe(steps)
        );
    }
    eprintln!("{what}: {}; {}; {}", verdict.report, verdict.bites, verdict.letters);
    verdict
}

#[tokio::test]
async fn seeds_that_are_always_run() {
    let servers = Arc::new(Servers::start().await);
    let (mut sessions_lost, mut steps) = (0, 0);
    for seed in [3, 5] {
        let verdict = simulate(&servers, &format!("seed {seed}"), &generate(seed, STEPS)).await;
        assert!(
            verdict.bites.bit(),
            "seed {seed}: no fault of some kind bit: {}",
            verdict.bites
        );
        assert!(verdict.report.expected > 0);
        sessions_lost += verdict.bites.sessions_lost;
        steps += verdict.bites.steps;
    }
    // Each simulation begins with an ambush, which does not touch the broker. So a lost session
    // shows that a drawn step had an effect.
    assert!(sessions_lost > 0, "nothing that was drawn bit");
    assert!(steps > 0, "no step of today was exported");
}

/// Sequences that failed once, shortened, with what was wrong.
const FORMER: &[(&str, &str)] = &[(
    "killed, paused and cut while a replay of the same day is on its way",
    "posthog slow; enqueue; wait 700; replay 0 0; kill 0; pause 1 4000; cut-broker; wait 500; start 0; duplicate 0 0; wait 4000; kill 2; \
     start 2",
)];

#[tokio::test]
async fn what_failed_once() {
    let servers = Arc::new(Servers::start().await);
    for (what, steps) in FORMER {
        let bites = simulate(&servers, what, &parse(steps).unwrap()).await.bites;
        assert!(
            bites.resent + bites.redelivered + bites.taken_over > 0,
            "{what}: no fault bit: {bites}"
        );
    }
}
