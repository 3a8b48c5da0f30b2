//! `cargo demo`: the whole line on private servers, with what goes wrong in real life, judged by the oracle.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::{Days, NaiveDate, Utc};
use comfy_table::Table;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use testkit::oracle::Oracle;
use testkit::posthog::{Behavior, Rule};
use testkit::{World, langfuse, seed};
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
cargo demo: shows the exporter at work, on servers of its own that are gone afterwards

Usage: cargo demo [--keep]

  --keep   leave everything running at the end, print the URLs, and wait for Ctrl-C
  --help   this text

Exit code: 0 when every event arrived once, and the retry, the dead letter and the replay were really seen.";

const LANGFUSE_URL: &str = "https://langfuse.example.com";
/// Project, its right key, traces a day.
const PROJECTS: [(&str, &str, usize); 3] = [
    ("shop-assistant", "phc_demo_shop", 1200),
    ("support-bot", "phc_demo_support", 800),
    ("wrong-key", "phc_demo_right", 400),
];
const WRONG: usize = 2;
const WRONG_KEY: &str = "phc_demo_typo";
const PATIENCE: Duration = Duration::from_secs(150);

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
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return ExitCode::FAILURE;
    };
    // On a task of its own: a panic in it is a failed demo, with the logs, and not a hanging one.
    let demo = tokio::spawn(demo(keep));
    tokio::select! {
        ended = demo => match ended {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => {
                eprintln!("demo: {error:#}");
                ExitCode::FAILURE
            }
            Err(_) => ExitCode::FAILURE,
        },
        // The guard ends the servers as soon as this process is gone.
        _ = interrupt.recv() => stopped(),
        _ = terminate.recv() => stopped(),
    }
}

fn stopped() -> ExitCode {
    eprintln!("\nstopped; the servers are being ended");
    std::process::exit(130);
}

fn say(began: Instant, text: &str) {
    eprintln!("[{:5.1}s] {text}", began.elapsed().as_secs_f64());
}

async fn demo(keep: bool) -> anyhow::Result<()> {
    let began = Instant::now();
    say(
        began,
        "starting a private PostgreSQL, a private RabbitMQ and a fake PostHog (installing what is missing)",
    );
    let mut world = World::new().await;
    world.set("LANGFUSE_URL", LANGFUSE_URL);
    // The default is two minutes; here somebody may want to kill a worker and watch.
    world.set("LEASE", "5s");
    world.set("PAGE_ROWS", "500");
    world.set("BATCH_MAX_EVENTS", "250");
    world.set("RETRY_RUNGS", "1s×5,5s×20");

    let yesterday = Utc::now().date_naive() - Days::new(1);
    let days: Vec<NaiveDate> = (0..4).map(|back| yesterday - Days::new(back)).collect();
    say(
        began,
        "filling Langfuse's tables: three projects, four days each, ugly rows among them",
    );
    sample_data(&world, &days, yesterday).await;
    world.posthog.script(Rule::every(9, Behavior::status(503)));

    succeed(&world, &["enqueue"])
        .await
        .map(|out| say(began, &format!("producer enqueue\n{}", indent(&out))))?;
    let workers = [world.worker(&[]).await, world.worker(&[]).await];
    say(
        began,
        &format!(
            "two workers, process ids {} and {}: kill one if you like",
            workers[0].pid(),
            workers[1].pid()
        ),
    );

    progress(&world, &days).await;
    let retries = world
        .posthog
        .batches()
        .iter()
        .filter(|request| request.status == Some(503))
        .count();
    say(
        began,
        &format!("PostHog answered 503 to {retries} batches; each was sent again"),
    );
    ensure!(retries > 0, "PostHog never failed, so no retry was shown");

    mend_dead_letters(&world, began, days.len() as u64).await?;
    replay(&world, began, yesterday).await?;
    verdict(&world).await?;
    say(began, "done");
    if keep {
        println!("\nDATABASE_URL={}\nAMQP_URL={}", world.database_url, world.amqp_url);
        println!(
            "management UI: {} (virtual host {})\nfake PostHog: {}",
            world.management_url,
            world.vhost,
            world.posthog.url()
        );
        for worker in &workers {
            println!("worker {}: {}/metrics", worker.pid(), worker.url());
        }
        println!("everything goes on until Ctrl-C");
        std::future::pending::<()>().await;
    }
    Ok(())
}

async fn sample_data(world: &World, days: &[NaiveDate], ugly: NaiveDate) {
    let pool = world.pool();
    for (number, (project, key, traces)) in PROJECTS.into_iter().enumerate() {
        langfuse::add_project(&pool, project, project).await;
        let stored = if number == WRONG { WRONG_KEY } else { key };
        langfuse::add_integration(&pool, project, &world.posthog.url(), stored, true).await;
        seed::realistic(&pool, project, days, traces, number as u64 + 1).await;
        world.posthog.known_key(key);
    }
    seed::adversarial(&pool, PROJECTS[0].0, ugly).await;
}

/// Runs the producer; its standard output, or an error with what it said.
async fn succeed(world: &World, arguments: &[&str]) -> anyhow::Result<String> {
    let output = world.producer(arguments).await;
    ensure!(
        output.code == 0,
        "producer {arguments:?} ended with {}:\n{}{}",
        output.code,
        output.stdout,
        output.stderr
    );
    Ok(output.stdout)
}

fn indent(text: &str) -> String {
    text.trim_end()
        .lines()
        .map(|line| format!("         {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Until the two projects whose keys are right are through.
async fn progress(world: &World, days: &[NaiveDate]) {
    let oracle = Oracle::new(world.pool(), Some(LANGFUSE_URL));
    let bars = MultiProgress::new();
    let style =
        ProgressStyle::with_template("         {prefix:<16} {bar:40} {pos:>6} of {len} events").expect("a template");
    let mut shown: Vec<(&str, ProgressBar)> = Vec::new();
    for (project, key, _) in PROJECTS.into_iter().take(WRONG) {
        let mut total = 0;
        for day in days {
            total += oracle.expected(project, *day).await.len() as u64;
        }
        let bar = bars.add(ProgressBar::new(total).with_style(style.clone()).with_prefix(project));
        shown.push((key, bar));
    }
    world
        .wait_until("both projects are exported", PATIENCE, || async {
            for (key, bar) in &shown {
                bar.set_position(world.posthog.counts(key).stored as u64);
            }
            unfinished(world, PROJECTS[0].0).await + unfinished(world, PROJECTS[1].0).await == 0
        })
        .await;
    for (_, bar) in &shown {
        bar.finish();
    }
}

/// Runs of a project that are not completed.
async fn unfinished(world: &World, project: &str) -> i64 {
    sqlx::query_scalar("select count(*) from posthog_export.runs where project_id = $1 and state <> 'completed'")
        .bind(project)
        .fetch_one(&world.pool())
        .await
        .unwrap_or(1)
}

async fn mend_dead_letters(world: &World, began: Instant, days: u64) -> anyhow::Result<()> {
    let (project, key, _) = PROJECTS[WRONG];
    let all_dead = || async { world.queue_depth("posthog-export.dead-letters").await == days };
    world
        .wait_until("the days of the wrong key are dead letters", PATIENCE, all_dead)
        .await;
    let list = succeed(world, &["dead-letters", "list"]).await?;
    say(
        began,
        &format!(
            "one project has a wrong key; its days wait for a human: producer dead-letters list\n{}",
            indent(&list)
        ),
    );
    ensure!(list.contains("unauthorized"), "the dead letters do not say why");

    let set = ["integrations", "set", "--project", project];
    let output = world.producer_with_env(&set, &[("POSTHOG_API_KEY", key)]).await;
    ensure!(
        output.code == 0,
        "producer integrations set: {}{}",
        output.stdout,
        output.stderr
    );
    let requeued = succeed(world, &["dead-letters", "requeue", "--project", project]).await?;
    say(
        began,
        &format!(
            "the key is corrected: producer dead-letters requeue --project {project}\n{}",
            indent(&requeued)
        ),
    );
    world
        .wait_until("the mended project is exported", PATIENCE, || async {
            unfinished(world, project).await == 0
        })
        .await;
    Ok(())
}

async fn replay(world: &World, began: Instant, day: NaiveDate) -> anyhow::Result<()> {
    let (project, key, _) = PROJECTS[1];
    let before = world.posthog.counts(key);
    let message = format!(r#"{{"project_id":"{project}","day":"{day}"}}"#);
    ensure!(
        world.publish("posthog-export", "job", message.as_bytes()).await,
        "no queue took the replay"
    );
    say(
        began,
        &format!("a replay, published over the management API as a human would: {message}"),
    );
    let replayed = "select count(*) from posthog_export.runs where run like 'replay-%' and state = 'completed'";
    let look = || async {
        sqlx::query_scalar::<_, i64>(replayed)
            .fetch_one(&world.pool())
            .await
            .unwrap_or(0)
            == 1
    };
    world.wait_until("the replay is completed", PATIENCE, look).await;
    let after = world.posthog.counts(key);
    say(
        began,
        &format!(
            "{} events were sent again; PostHog keeps {} as before",
            after.resent - before.resent,
            after.stored
        ),
    );
    ensure!(after.resent > before.resent, "the replay sent nothing");
    ensure!(after.stored == before.stored, "the replay changed what is stored");
    Ok(())
}

async fn verdict(world: &World) -> anyhow::Result<()> {
    let oracle = Oracle::new(world.pool(), Some(LANGFUSE_URL));
    let mut table = Table::new();
    table.set_header(["project", "day", "expected", "delivered", "missing", "altered"]);
    let (mut expected, mut delivered, mut findings) = (0, 0, Vec::new());
    let (mut missing, mut unexpected, mut altered, mut kept) = (0, 0, 0, 0);
    for (project, key, _) in PROJECTS {
        // The ugly rows hold one of a month ago, whose day was enqueued as well.
        let days: Vec<NaiveDate> =
            sqlx::query_scalar("select distinct day from posthog_export.runs where project_id = $1 order by day")
                .bind(project)
                .fetch_all(&world.pool())
                .await?;
        let report = oracle.check(&world.posthog, key, project, &days).await;
        for ((project, day), row) in &report.by_day {
            let cells = [row.expected, row.delivered, row.missing, row.altered].map(|n| n.to_string());
            table.add_row([vec![project.clone(), day.to_string()], cells.to_vec()].concat());
        }
        expected += report.expected;
        delivered += report.delivered;
        missing += report.missing;
        unexpected += report.unexpected;
        altered += report.altered;
        kept += report.copies_kept;
        findings.extend(report.findings);
    }
    let sample = world.posthog.events(PROJECTS[1].1);
    let sample = sample
        .iter()
        .find(|event| event["event"] == "langfuse generation")
        .context("no generation arrived")?;
    println!(
        "\na sample event, as PostHog got it:\n{}",
        serde_json::to_string_pretty(sample)?
    );
    println!("\n{table}\n");
    for finding in &findings {
        eprintln!("{finding}");
    }
    println!(
        "delivered {delivered} of {expected} events, {missing} missing, {unexpected} unexpected, {kept} copies kept{}",
        if altered > 0 {
            format!(", {altered} altered")
        } else {
            String::new()
        }
    );
    ensure!(
        missing + unexpected + altered + kept == 0 && delivered == expected,
        "not every event arrived as it should"
    );
    Ok(())
}
