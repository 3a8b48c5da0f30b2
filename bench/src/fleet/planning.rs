//! One command of the producer that looks at every day of every project.

use std::time::Instant;

use anyhow::{Result, ensure};
use testkit::World;

use super::measured::{Command, Planned};

/// How long it takes, its start included.
pub async fn time(world: &World, command: Command, full: bool, projects: u32, odd: bool) -> Result<Planned> {
    let began = Instant::now();
    let output = world.producer(command.words()).await;
    let wall = began.elapsed().as_secs_f64();
    ensure!(
        output.code == 0,
        "producer {:?}: {}{}",
        command.words(),
        output.stdout,
        output.stderr
    );
    // An answer about other projects would have been found in another time.
    let last = format!("\"fleet-{projects}\"");
    let expected = command == Command::Status || !full;
    ensure!(
        output.stdout.contains(&last) == expected,
        "producer {:?} says other things than it should of {last}",
        command.words()
    );
    Ok(Planned {
        command,
        full,
        odd,
        wall,
    })
}
