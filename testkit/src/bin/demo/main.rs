//! `cargo demo`: the whole line on private servers, with what goes wrong in real life, judged by
//! the oracle.
//!
//! [`scenes`] tells the story in the order of the output. [`stage`] holds what every scene uses.

#![allow(clippy::print_stdout, reason = "a command-line program")]

mod progress;
mod projects;
mod scenes;
mod stage;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use testkit::Servers;
use tokio::signal::unix::{SignalKind, signal};

use crate::stage::Stage;

const HELP: &str = "\
cargo demo: shows the exporter at work, on servers of its own that are gone afterwards

Usage: cargo demo [--keep]

  --keep   leave everything running at the end, print the URLs, and wait for Ctrl-C
  --help   this text

What is going on goes to standard error, the result to standard output.
Exit code: 0 when every event arrived once, and the retry, the dead letter, the replay, the morning of
today, the row that changed, what PostHog dropped in silence and the dashboard were really seen; 1
when not, with the ends of all logs; 2 for wrong arguments; 130 when it was stopped.";

/// The servers, for whoever ends them.
type Slot = Arc<Mutex<Option<Arc<Servers>>>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keep = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--keep"] => true,
        ["--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        eprintln!("demo: signals cannot be handled here");
        return ExitCode::FAILURE;
    };
    let slot = Slot::default();
    // In a task of its own: a panic in it is a failed demo with its logs, not a demo that hangs.
    let mut demo = tokio::spawn(demo(keep, slot.clone()));
    let ended = tokio::select! {
        ended = &mut demo => Some(ended),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let code = match ended {
        Some(Ok(Ok(()))) => 0,
        Some(Ok(Err(error))) => {
            eprintln!("demo: {error:#}");
            1
        }
        Some(Err(_)) => 1,
        None => {
            eprintln!("\nstopped; ending everything that was started");
            demo.abort();
            let _ = demo.await;
            130
        }
    };
    let servers = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(servers) = servers.and_then(Arc::into_inner) {
        servers.close().await;
    }
    // `exit` instead of a return: returning would wait for a build or a start that was
    // interrupted. The guard ends what it began.
    std::process::exit(code)
}

async fn demo(keep: bool, slot: Slot) -> anyhow::Result<()> {
    let mut stage = Stage::set(Instant::now(), |servers| {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(servers);
    })
    .await?;
    if let Err(error) = stage.within_the_deadline(scenes::play).await {
        eprintln!("{}", stage.world.tails());
        return Err(error);
    }
    if keep {
        stage.print_urls().await;
        std::future::pending::<()>().await;
    }
    Ok(())
}
