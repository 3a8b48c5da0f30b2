//! One whole benchmark: servers, rows, a verifying run of each contestant, then the rounds.

#![allow(clippy::print_stderr, reason = "progress of a command-line program")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use testkit::{Servers, World, langfuse, program};

use crate::arguments::{Arguments, Part};
use crate::console;
use crate::contestants::posthog_node::PosthogNode;
use crate::contestants::{Outcome, arrival, copy, worker};
use crate::database::{self, API_KEY, BIG, Day, LANGFUSE_URL, QUARTERS, Wanted};
use crate::fleet;
use crate::fresh;
use crate::machine;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::sample::{Case, PACED, Sample, as_f64};
use crate::targets::{Compressed, IdleWorker};
use crate::verify::{self, Depth, Seen};

/// How long a worker without work is watched: the kernel counts in hundredths of a second, and one
/// of them should not decide.
const WATCH: Duration = Duration::from_secs(30);

/// The servers, for whoever ends them.
pub type Slot = Arc<Mutex<Option<Arc<Servers>>>>;

/// Measures what was asked for.
pub async fn run(arguments: Arguments, slot: Slot) -> Result<Report> {
    let began = Instant::now();
    let say = |text: &str| eprintln!("[{:6.1}s] {text}", began.elapsed().as_secs_f64());
    say("building the programs");
    tokio::task::spawn_blocking(|| program("worker")).await?;
    say("starting a private PostgreSQL and a private RabbitMQ");
    let kept = arguments.keep.as_deref();
    let servers = Arc::new(Servers::start_with_postgres(&database::POSTGRES_SETTINGS, kept).await);
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&servers));

    for program in arguments.worker.iter().chain(&arguments.against) {
        ensure!(program.is_file(), "there is no file {}", program.display());
    }
    if arguments.console {
        let (circumstances, console) = console::run(arguments.runs, &servers, &say).await?;
        return Ok(Report {
            circumstances,
            console: Some(console),
            ..Report::default()
        });
    }
    let receiver = Receiver::start()?;
    if arguments.fleet {
        let (circumstances, fleet) = fleet::run(&arguments, &servers, &receiver, &say).await?;
        return Ok(Report {
            circumstances,
            fleet: Some(fleet),
            ..Report::default()
        });
    }
    let usual = database::usual_days(arguments.traces(), arguments.bare);
    let mut bench = Bench {
        world: world(&servers, &usual).await?,
        report: Report::default(),
        digests: Vec::new(),
        peer: None,
        run: 0,
        arguments,
        receiver,
        began,
    };
    bench.usual(&usual).await?;
    if bench.arguments.large {
        // In a database of its own: ten times the rows in the same tables would change how long the
        // small day takes.
        let days = database::bare_days(bench.arguments.traces());
        bench.world = world(&servers, &days).await?;
        bench.large(&days).await?;
    }
    Ok(bench.report)
}

/// A database for those days and a virtual host, ready for a worker.
async fn world(servers: &Arc<Servers>, days: &[Wanted]) -> Result<World> {
    let world = World::in_database(Arc::clone(servers), &database::name(days)).await;
    world.set("LANGFUSE_URL", LANGFUSE_URL);
    for command in ["migrate", "declare"] {
        let output = world.producer(&[command]).await;
        ensure!(
            output.code == 0,
            "producer {command}: {}{}",
            output.stdout,
            output.stderr
        );
    }
    Ok(world)
}

struct Bench {
    arguments: Arguments,
    world: World,
    receiver: Receiver,
    peer: Option<PosthogNode>,
    report: Report,
    /// What the events of the measured day say, by whom
    digests: Vec<(Case, u64)>,
    /// The last run's number
    run: u32,
    began: Instant,
}

impl Bench {
    fn say(&self, text: &str) {
        eprintln!("[{:6.1}s] {text}", self.began.elapsed().as_secs_f64());
    }

    async fn usual(&mut self, days: &[Wanted]) -> Result<()> {
        self.fill(days).await?;
        self.report.circumstances = machine::circumstances(&self.world).await?;
        if self.arguments.wants(Part::PosthogNode) {
            self.say("installing posthog-node");
            let peer = PosthogNode::install(&self.world).await?;
            self.report.circumstances.push(("peer", peer.version.clone()));
            self.peer = Some(peer);
        }
        let size = format!(
            "{:.1} GB of tables and indexes",
            as_f64(database::size(&self.world).await?) / 1e9
        );
        self.report.circumstances.push(("rows", size));
        if self.arguments.wants(Part::Idle) {
            self.say("watching a worker without work");
            let idle = worker::idle(&self.world, WATCH).await?;
            self.report.idle = Some(IdleWorker {
                memory: idle.memory,
                cpu: idle.cpu.as_secs_f64(),
                watched: idle.watched.as_secs_f64(),
            });
        }
        self.measure(&cases(&self.arguments), Depth::Contents).await
    }

    async fn large(&mut self, days: &[Wanted]) -> Result<()> {
        self.fill(days).await?;
        let mut cases = Vec::new();
        if self.arguments.wants(Part::Worker) {
            cases.extend([Case::BareDay, Case::LargeDay]);
        }
        if self.arguments.wants(Part::Arrival) {
            cases.extend([Case::LargeArrival, Case::LargeMissing]);
        }
        self.measure(&cases, Depth::Uuids).await
    }

    async fn fill(&self, days: &[Wanted]) -> Result<()> {
        if database::is_filled(&self.world).await? {
            self.say("the rows are there already");
        } else {
            let traces: u32 = days.iter().map(|wanted| wanted.traces).sum();
            self.say(&format!("generating {} days with {traces} traces in all", days.len()));
            database::fill(&self.world, days).await?;
        }
        database::connect_projects(&self.world, self.receiver.url(), days).await;
        Ok(())
    }

    /// Verifies each contestant, then measures all of them in turn, round after round.
    async fn measure(&mut self, cases: &[Case], depth: Depth) -> Result<()> {
        let mut verified: Vec<Case> = Vec::new();
        for case in cases {
            // A case with late answers is the same contestant, and is verified once.
            if !verified
                .iter()
                .any(|other| std::mem::discriminant(other) == std::mem::discriminant(case))
            {
                verified.push(*case);
                self.verify(*case, depth).await?;
            }
        }
        for round in 1..=self.arguments.runs {
            for case in cases {
                self.sample(*case, round).await?;
            }
        }
        Ok(())
    }

    /// Makes ledger and rows ready for a case, untimed.
    async fn prepare(&mut self, case: Case) -> Result<()> {
        if !matches!(case, Case::Steps | Case::Settled) && case.verifies().is_none() {
            return Ok(());
        }
        for day in days(case) {
            fresh::forget(&self.world, day).await?;
            if let Some(misses) = case.verifies() {
                arrival::prepare(&self.world, day, misses).await?;
            }
            if case == Case::Settled {
                self.run += 1;
                worker::export(&self.world, &[day], 1, 1, &format!("bench-{}", self.run)).await?;
                fresh::touch(&self.world, day).await?;
            }
        }
        Ok(())
    }

    /// Undoes what was done to the rows.
    async fn leave(&self, case: Case) -> Result<()> {
        if case == Case::Settled {
            for day in days(case) {
                fresh::lie_still(&self.world, day).await?;
            }
        }
        if case.verifies().is_some() {
            for day in days(case) {
                langfuse::add_integration(&self.world.pool(), day.project, self.receiver.url(), API_KEY, true).await;
            }
        }
        Ok(())
    }

    async fn expected(&self, case: Case) -> Result<Vec<u128>> {
        let mut expected = Vec::new();
        for day in days(case) {
            expected.extend(match case {
                Case::Settled => fresh::expected(&self.world, day).await?,
                _ => database::expected(&self.world, day).await?,
            });
        }
        Ok(expected)
    }

    /// How many events a second [`Case::Paced`] asks for. Each of its days has a quarter's events.
    fn pace(&self) -> f64 {
        f64::from(self.arguments.traces() / 4) * 3.5 * 2.0 / PACED
    }

    /// An untimed run whose every event is looked at; the servers are warm after it.
    async fn verify(&mut self, case: Case, depth: Depth) -> Result<()> {
        let expected = self.expected(case).await?;
        self.prepare(case).await?;
        let (seen, outcome) = if let Case::Copy(connections) = case {
            let (outcome, uuids) = copy::read(&self.world, Day::of(BIG, 0), connections, true).await?;
            let seen = Seen {
                uuids,
                ..Seen::default()
            };
            (seen, outcome)
        } else if case.verifies().is_some() {
            // Its own numbers are looked at each time; no event is sent.
            let outcome = self.perform(case).await?;
            let seen = Seen {
                uuids: expected.clone(),
                ..Seen::default()
            };
            (seen, outcome)
        } else {
            let bodies = self.receiver.expect_and_hand_on();
            let looking = tokio::task::spawn_blocking(move || verify::look(&bodies, depth));
            let outcome = self.perform(case).await;
            self.receiver.hand_on_no_more();
            (looking.await??, outcome?)
        };
        self.leave(case).await?;
        let verdict = verify::compare(&expected, &seen.uuids);
        self.say(&format!("verified {case}: {} events arrived", verdict.arrived));
        ensure!(verdict.is_good(), "{case}: not every event arrived once: {verdict:?}");
        ensure!(
            outcome.events == expected.len() as u64,
            "{case}: counts {} events",
            outcome.events
        );
        self.report.verdicts.push((case, verdict));
        if let Case::Worker(_) | Case::Other(_) | Case::PosthogNode(_) = case
            && depth == Depth::Contents
        {
            self.digests.push((case, seen.digest));
            if self.digests.iter().any(|(_, digest)| *digest != seen.digest) {
                bail!("the events of {case} say other things than the worker's");
            }
        }
        if let Case::Worker(_) = case {
            self.report.compressed = Some(Compressed {
                json: seen.json_bytes,
                worker: seen.bytes,
                gzip_6: seen.gzip_6_bytes,
            });
        }
        Ok(())
    }

    async fn sample(&mut self, case: Case, round: u32) -> Result<()> {
        let latency = match case {
            Case::Worker(latency) | Case::Other(latency) | Case::PosthogNode(latency) => latency,
            _ => 0,
        };
        self.prepare(case).await?;
        self.receiver.expect(Duration::from_millis(latency));
        let receiver_before = self.receiver.cpu()?;
        let outcome = self
            .perform(case)
            .await
            .with_context(|| format!("{case}, round {round}"))?;
        let received = self.receiver.received();
        self.leave(case).await?;
        let verdicts = &self.report.verdicts;
        let verdict = verdicts
            .iter()
            .find(|(other, _)| std::mem::discriminant(other) == std::mem::discriminant(&case));
        let expected = verdict.map_or(0, |(_, verdict)| verdict.expected);
        ensure!(
            outcome.events == expected as u64,
            "{case}: {} of {expected} events in round {round}",
            outcome.events
        );
        self.say(&format!(
            "round {round} of {}: {case}: {:.2} s, PostgreSQL {:.2} s",
            self.arguments.runs,
            outcome.wall.as_secs_f64(),
            outcome.postgres_cpu.as_secs_f64()
        ));
        self.report.samples.push(Sample {
            case,
            round,
            wall: outcome.wall.as_secs_f64(),
            cpu: outcome.cpu.map(|cpu| cpu.as_secs_f64()),
            postgres_cpu: outcome.postgres_cpu.as_secs_f64(),
            peak_memory: outcome.peak_memory,
            // One round is enough for a picture, and five would make a file of 18,000 lines.
            memory: if round == 1 { outcome.memory } else { Vec::new() },
            events: outcome.events,
            batches: received.batches,
            bytes: received.bytes,
            sending: received.span.as_secs_f64(),
            receiver_cpu: self.receiver.cpu()?.saturating_sub(receiver_before).as_secs_f64(),
        });
        Ok(())
    }

    async fn perform(&mut self, case: Case) -> Result<Outcome> {
        self.run += 1;
        let (run, days) = (format!("bench-{}", self.run), days(case));
        match case {
            Case::Worker(_) | Case::ProjectsInTurn | Case::BareDay | Case::LargeDay => {
                worker::export(&self.world, &days, 1, 1, &run).await
            }
            Case::Other(_) => {
                let program = self.arguments.against.as_deref().context("--against is not given")?;
                worker::export_by(&self.world, program, &days, &run).await
            }
            Case::Steps => {
                let messages = days.iter().flat_map(|day| fresh::in_steps(*day, &run));
                worker::export_messages(&self.world, &messages.collect::<Vec<_>>(), &run).await
            }
            Case::Settled => {
                let messages = days.iter().map(|day| fresh::changed(*day, &run));
                worker::export_messages(&self.world, &messages.collect::<Vec<_>>(), &run).await
            }
            Case::Paced => worker::export_paced(&self.world, &days, self.pace(), &run).await,
            Case::Arrival | Case::Missing | Case::LargeArrival | Case::LargeMissing => {
                let expected = self.expected(case).await?;
                let misses = case.verifies().unwrap_or_default();
                let day = days.first().context("a case without a day")?;
                arrival::verify(&self.world, *day, &expected, misses).await
            }
            Case::Projects => worker::export(&self.world, &days, 1, days.len(), &run).await,
            Case::Workers => worker::export(&self.world, &days, days.len(), 1, &run).await,
            Case::Copy(connections) => Ok(copy::read(&self.world, Day::of(BIG, 0), connections, false).await?.0),
            Case::PosthogNode(_) => {
                let peer = self.peer.as_ref().context("posthog-node is not installed")?;
                peer.export(&self.world, self.receiver.url(), Day::of(BIG, 0)).await
            }
        }
    }
}

/// The days that a case exports.
fn days(case: Case) -> Vec<Day> {
    match case {
        Case::Worker(_)
        | Case::Other(_)
        | Case::PosthogNode(_)
        | Case::Copy(_)
        | Case::BareDay
        | Case::Steps
        | Case::Settled
        | Case::Arrival
        | Case::Missing => {
            vec![Day::of(BIG, 0)]
        }
        Case::Paced => QUARTERS[..2].iter().map(|project| Day::of(project, 2)).collect(),
        Case::LargeDay | Case::LargeArrival | Case::LargeMissing => vec![Day::of(BIG, 1)],
        Case::Projects | Case::ProjectsInTurn => QUARTERS.map(|project| Day::of(project, 2)).to_vec(),
        Case::Workers => vec![Day::of(BIG, 0), Day::of(BIG, 1)],
    }
}

/// What is measured in the usual rows, those that are compared next to each other.
fn cases(arguments: &Arguments) -> Vec<Case> {
    let mut cases = Vec::new();
    for latency in &arguments.latency {
        if arguments.wants(Part::Worker) {
            cases.push(Case::Worker(*latency));
        }
        if arguments.against.is_some() {
            cases.push(Case::Other(*latency));
        }
        if arguments.wants(Part::PosthogNode) && arguments.peer_latency.contains(latency) {
            cases.push(Case::PosthogNode(*latency));
        }
    }
    let others = [
        (Part::Copy, Case::Copy(3)),
        (Part::Copy, Case::Copy(1)),
        (Part::Projects, Case::Projects),
        (Part::Projects, Case::ProjectsInTurn),
        (Part::Workers, Case::Workers),
        (Part::Fresh, Case::Steps),
        (Part::Fresh, Case::Settled),
        (Part::Fresh, Case::Paced),
        (Part::Arrival, Case::Arrival),
        (Part::Arrival, Case::Missing),
    ];
    let wanted = others.into_iter().filter(|(part, _)| arguments.wants(*part));
    cases.extend(wanted.map(|(_, case)| case));
    cases
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn cases_of(words: &str) -> Vec<Case> {
        let words = std::iter::once("bench-export").chain(words.split_whitespace());
        cases(&Arguments::try_parse_from(words).unwrap())
    }

    #[test]
    fn the_peer_stands_next_to_the_worker_and_only_where_asked_for() {
        let all = cases_of("");
        assert_eq!(
            all[..5],
            [
                Case::Worker(0),
                Case::PosthogNode(0),
                Case::Worker(50),
                Case::PosthogNode(50),
                Case::Worker(200)
            ]
        );
        assert_eq!(
            cases_of("--only worker,copy --latency 0"),
            [Case::Worker(0), Case::Copy(3), Case::Copy(1)]
        );
        assert_eq!(
            cases_of("--only posthog-node --peer-latency 200"),
            [Case::PosthogNode(200)]
        );
        assert_eq!(
            cases_of("--only worker --latency 0,50 --against there/worker"),
            [Case::Worker(0), Case::Other(0), Case::Worker(50), Case::Other(50)]
        );
        assert!(cases_of("--only idle").is_empty());
    }

    #[test]
    fn four_projects_export_a_day_each() {
        let days = days(Case::Projects);
        assert_eq!(days.len(), 4);
        assert!(days.iter().all(|day| day.date == days[0].date));
    }
}
