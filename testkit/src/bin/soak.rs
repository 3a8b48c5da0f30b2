//! `cargo soak`: simulations one after the other, each with another seed, for as long as is asked
//! for.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use testkit::Servers;
use testkit::oracle::Report;
use testkit::simulation::{Bites, Letters, Step, describe, generate, parse, run, shrink};

/// A soak as long as this has met each kind of fault, or shows nothing.
const LONG: u64 = 10;

const HELP: &str = "\
cargo soak: kills, cuts and slows down everything at random, and checks that every event arrives once

Usage: cargo soak [--minutes N] [--seed SEED] [--steps N] [--json]
       cargo soak --run 'posthog slow; enqueue; wait 700; kill 0; …'

  --minutes N   go on with new seeds for so long [default: 5]
  --seed SEED   the first seed; the next ones follow [default: from the clock]
  --steps N     steps of one simulation [default: 60]
  --run STEPS   run these steps, as a failure printed them, and no others
  --json        answer in JSON
  --help        this text

Each simulation has three workers on private servers, and steps that are drawn from its seed; the
database's clock goes on by hours, today is exported in parts, and its rows change. Then all is left
alone, the day ends and settles, and the oracle compares what PostHog keeps with what the database
holds. A failure prints its seed and its steps, shrunk to fewer that still fail, and ends
the soak.

Exit code: 0 when all arrived, no dead letter was without a cause, and faults bit (in each simulation
sends again, deliveries again, take-overs and a settled day; in 10 minutes or more each kind of
them); 1 when not; 2 for wrong arguments.";

struct Arguments {
    minutes: u64,
    seed: u64,
    steps: usize,
    run: Option<Vec<Step>>,
    json: bool,
}

fn arguments() -> Result<Option<Arguments>, String> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut found = Arguments {
        minutes: 5,
        seed: since.map_or(1, |since| since.as_secs()),
        steps: 60,
        run: None,
        json: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| {
            text.parse::<u64>()
                .map_err(|_| format!("{word}: `{text}` is no number"))
        };
        match word.as_str() {
            "--minutes" => found.minutes = number(value()?)?,
            "--seed" => found.seed = number(value()?)?,
            "--steps" => found.steps = usize::try_from(number(value()?)?).map_err(|error| error.to_string())?,
            "--run" => found.run = Some(parse(&value()?)?),
            "--json" => found.json = true,
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("{other} is no argument")),
        }
    }
    Ok(Some(found))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let servers = Arc::new(Servers::start().await);
    let ok = soak(&arguments, &servers).await;
    if let Some(servers) = Arc::into_inner(servers) {
        servers.close().await;
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn soak(arguments: &Arguments, servers: &Arc<Servers>) -> bool {
    let deadline = Instant::now() + Duration::from_mins(arguments.minutes);
    let (mut simulations, mut total, mut bites) = (0, Report::default(), Bites::default());
    let mut letters = Letters::default();
    let mut injected = BTreeMap::<String, usize>::new();
    let mut seed = arguments.seed;
    loop {
        let steps = arguments.run.clone().unwrap_or_else(|| generate(seed, arguments.steps));
        let began = Instant::now();
        let verdict = run(servers, &steps).await;
        simulations += 1;
        for step in &steps {
            let text = step.to_string();
            let name = text.split(' ').next().unwrap_or_default();
            let name = if name == "posthog" { &text } else { name };
            *injected.entry(name.to_owned()).or_default() += 1;
        }
        bites += verdict.bites;
        eprintln!(
            "seed {seed}: {} s; {}; {}; {}",
            began.elapsed().as_secs(),
            verdict.report,
            verdict.bites,
            verdict.letters
        );
        letters += verdict.letters;
        total = total + verdict.report;
        // One sequence that was asked for is reported first.
        let is_blunt = verdict.failure.is_none() && arguments.run.is_none() && !verdict.bites.bit();
        let blunt = || format!("nothing was shown about {}", verdict.bites.never().join(", "));
        let failure = verdict.failure.or_else(|| is_blunt.then(blunt));
        if let Some(failure) = failure {
            eprintln!(
                "{}\n\nFAILED: {failure}\nseed {seed}\nsteps: {}",
                verdict.logs,
                describe(&steps)
            );
            if arguments.run.is_none() && !is_blunt {
                eprintln!("shrinking…");
                let fails = async |steps: &[Step]| run(servers, steps).await.failure.is_some();
                let fewer = shrink(&steps, 24, fails).await;
                eprintln!("fewer steps that fail: cargo soak --run '{}'", describe(&fewer));
            }
            return false;
        }
        seed += 1;
        if arguments.run.is_some() || Instant::now() >= deadline {
            break;
        }
    }
    injected.remove("wait");
    if arguments.json {
        let bites: BTreeMap<_, _> = bites.rows().into_iter().collect();
        let letters = letters.rows();
        let answer = serde_json::json!({
            "simulations": simulations, "expected": total.expected, "delivered": total.delivered, "missing": total.missing,
            "unexpected": total.unexpected, "altered": total.altered, "copies_kept": total.copies_kept,
            "former_copies": total.former_copies,
            "injected": injected, "bites": bites, "dead_letters": letters,
        });
        println!("{answer:#}");
    } else {
        println!("{simulations} simulations, seeds {} to {}", arguments.seed, seed - 1);
        println!("done to it:");
        for (name, count) in &injected {
            println!("  {count:6}  {name}");
        }
        println!("what it led to:");
        for (name, count) in bites.rows() {
            println!("  {count:6}  {name}");
        }
        println!("{letters}");
        println!("{total}, {} altered", total.altered);
    }
    // One sequence that was asked for need not show everything.
    let is_long = arguments.run.is_none() && arguments.minutes >= LONG;
    let never = bites.never();
    let shown = bites.bit() && (!is_long || never.is_empty());
    if !shown {
        eprintln!("FAILED: nothing was shown about {}", never.join(", "));
    }
    shown
}
