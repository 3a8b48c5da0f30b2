//! Wiring only: arguments, signals, and the end of everything that was started.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use anyhow::Context as _;
use bench::arguments::Arguments;
use bench::plot::{Picture, Saved, pictures};
use bench::report::Report;
use bench::run::{Slot, run};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.plot.is_empty() {
        return match plot(&arguments.plot) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        };
    }
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        eprintln!("bench-export: signals cannot be handled here");
        return ExitCode::FAILURE;
    };
    let slot = Slot::default();
    // In a task of its own: a panic of the testkit is then a failed benchmark, and what was started
    // is ended all the same.
    let mut running = tokio::spawn(run(arguments.clone(), Arc::clone(&slot)));
    let ended = tokio::select! {
        ended = &mut running => Some(ended),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let code = match ended {
        Some(Ok(Ok(report))) => match write(&arguments, &report) {
            Ok(()) => 0,
            Err(error) => complain(&error),
        },
        Some(Ok(Err(error))) => complain(&error),
        Some(Err(_)) => 1,
        None => {
            eprintln!("\nstopped; ending everything that was started");
            running.abort();
            let _ = running.await;
            130
        }
    };
    let servers = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(servers) = servers.and_then(Arc::into_inner) {
        servers.close().await;
    }
    // `exit` instead of a return: returning would wait for a build or a start that was interrupted.
    // The guard ends what it began.
    std::process::exit(code)
}

fn complain(error: &anyhow::Error) -> i32 {
    eprintln!("bench-export: {error:#}");
    1
}

/// Draws the pictures of the documents.
fn plot(files: &[PathBuf]) -> anyhow::Result<()> {
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Saved::parse(&text).with_context(|| file.display().to_string())
    };
    let saved: Vec<Saved> = files.iter().map(read).collect::<anyhow::Result<_>>()?;
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
    for Picture { name, text } in pictures(&saved)? {
        std::fs::write(images.join(name), text)?;
        println!("docs/images/{name}");
    }
    Ok(())
}

fn write(arguments: &Arguments, report: &Report) -> anyhow::Result<()> {
    let tables = report.markdown();
    println!("{tables}");
    if let Some(file) = &arguments.markdown {
        std::fs::write(file, &tables)?;
    }
    if let Some(file) = &arguments.json {
        std::fs::write(file, report.json()? + "\n")?;
    }
    Ok(())
}
