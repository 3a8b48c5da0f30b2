//! A simulation: a seeded random sequence of everything that operators, machines and networks do to
//! the exporter, against real workers and servers, judged by the oracle when all has settled. The
//! database's clock is the simulation's own: today is exported in parts, ends, and settles.

mod ambush;
mod bites;
mod cast;
mod letters;
mod settle;
mod shrink;
mod stage;
mod step;

use std::sync::Arc;

use crate::oracle::Report;
use crate::servers::Servers;

use stage::Stage;

pub use bites::Bites;
pub use cast::WORKERS;
pub use letters::Letters;
pub use shrink::shrink;
pub use step::{Mood, Step, describe, generate, parse};

/// What became of a simulation.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What the oracle found
    pub report: Report,
    /// How often each fault really bit
    pub bites: Bites,
    /// Dead letters that were found, and requeued
    pub letters: Letters,
    /// Why it failed, in words; `None` when all is well
    pub failure: Option<String>,
    /// The ends of all logs, when it failed or a fault of some kind did not bite
    pub logs: String,
}

/// Runs these steps in a world of their own on `servers`, and waits until all has settled.
pub async fn run(servers: &Arc<Servers>, steps: &[Step]) -> Verdict {
    let mut stage = Stage::set(servers).await;
    for step in steps {
        stage.play(*step).await;
    }
    let (report, failure) = stage.settle().await;
    let bites = Bites::read(&stage.world, &cast::PROJECTS.map(|(_, key)| key)).await;
    let letters = stage.letters();
    let unexplained = letters.unexplained();
    let failure = failure
        .or_else(|| (!report.is_clean()).then(|| format!("{report}\n{}", report.findings.join("\n"))))
        .or_else(|| (!unexplained.is_empty()).then(|| format!("dead letters that nothing explains: {unexplained:?}")));
    let is_telling = failure.is_some() || !bites.bit();
    Verdict {
        logs: if is_telling { stage.world.tails() } else { String::new() },
        letters,
        report,
        bites,
        failure,
    }
}
