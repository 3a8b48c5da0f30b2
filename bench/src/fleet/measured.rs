//! PURE: what was measured of a fleet, its tables and its targets.

use std::fmt;

use serde::{Serialize, Serializer};

use super::rows::{DAYS, PLANNED_DAYS};
use crate::sample::{Spread, as_f64};
use crate::table::{align_right, seconds, table};
use crate::targets::Bound::{AtLeast, AtMost};
use crate::targets::{Target, number, times};
use crate::verify::Verdict;

/// Whose worker it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This commit's
    Ours,
    /// That of `--against`
    Other,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "worker, many small days",
            Self::Other => "the other commit's worker",
        })
    }
}

impl Serialize for Whose {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the jobs of a fleet took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Done {
    /// Jobs
    pub jobs: u32,
    /// Seconds from the first job's begin to the last one's end
    pub wall: f64,
    /// CPU seconds of the worker, its start included
    pub cpu: f64,
    /// CPU seconds of PostgreSQL
    pub postgres_cpu: f64,
    /// Transactions that PostgreSQL committed
    pub transactions: u64,
    /// The most memory that the worker held, in bytes
    pub peak_memory: u64,
}

impl Done {
    /// Jobs a second.
    pub fn rate(&self) -> f64 {
        f64::from(self.jobs) / self.wall
    }

    /// Transactions a job.
    pub fn transactions_a_job(&self) -> f64 {
        as_f64(self.transactions) / f64::from(self.jobs)
    }

    /// The worker's CPU time a job, in milliseconds.
    pub fn cpu_a_job(&self) -> f64 {
        1000.0 * self.cpu / f64::from(self.jobs)
    }

    /// PostgreSQL's CPU time a job, in milliseconds.
    pub fn postgres_a_job(&self) -> f64 {
        1000.0 * self.postgres_cpu / f64::from(self.jobs)
    }

    fn peak(&self) -> f64 {
        as_f64(self.peak_memory) / (1024.0 * 1024.0)
    }
}

/// A command that looks at every day of every project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Command {
    /// `enqueue --dry-run`
    Enqueue,
    /// `status`
    Status,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Enqueue, Self::Status];

    /// As it is typed.
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Enqueue => &["enqueue", "--dry-run", "--no-setup", "--json"],
            Self::Status => &["status", "--json"],
        }
    }
}

/// What planning took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Planned {
    /// What was asked
    pub command: Command,
    /// Whether every day is completed in the ledger; else it is empty
    pub full: bool,
    /// Whether some rows are at odd times
    pub odd: bool,
    /// Seconds
    pub wall: f64,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = match self.command {
            Command::Enqueue => "enqueue --dry-run",
            Command::Status => "status",
        };
        let ledger = if self.full { "full" } else { "empty" };
        write!(f, "{command}, {ledger} ledger, ")?;
        f.write_str(if self.odd { "odd rows" } else { "no odd rows" })?;
        write!(f, ": {:.2} s", self.wall)
    }
}

/// Everything that was measured of a fleet, with the number of its round.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fleet {
    /// Whether every event arrived once
    pub verdicts: Vec<(Whose, Verdict)>,
    /// The jobs
    pub rounds: Vec<(u32, Whose, Done)>,
    /// Planning
    pub plans: Vec<(u32, Planned)>,
}

impl Fleet {
    fn of(&self, whose: Whose, value: fn(&Done) -> f64) -> Option<Spread> {
        let own = self.rounds.iter().filter(|(_, found, _)| *found == whose);
        Spread::of(own.map(|(_, _, done)| value(done)))
    }

    /// Ours over the other's: the ratio of the medians, and that of each round.
    fn over_other(&self, value: fn(&Done) -> f64) -> Option<Spread> {
        let other = |round: u32| {
            let mut rounds = self.rounds.iter();
            rounds.find(|(number, whose, _)| (*number, *whose) == (round, Whose::Other))
        };
        let ours = self.rounds.iter().filter(|(_, whose, _)| *whose == Whose::Ours);
        let ratios = ours.filter_map(|(round, _, done)| Some(value(done) / value(&other(*round)?.2)));
        let spread = Spread::of(ratios)?;
        Some(Spread {
            median: self.of(Whose::Ours, value)?.median / self.of(Whose::Other, value)?.median,
            ..spread
        })
    }

    fn planned(&self, command: Command, full: bool, odd: bool) -> Option<Spread> {
        let alike = |plan: &Planned| (plan.command, plan.full, plan.odd) == (command, full, odd);
        let walls = self.plans.iter().filter(|(_, plan)| alike(plan));
        Spread::of(walls.map(|(_, plan)| plan.wall))
    }

    /// The table of the jobs.
    pub fn jobs(&self) -> String {
        let mut table = table(&[
            "median (least–greatest)",
            "runs",
            "jobs",
            "jobs a second",
            "transactions a job",
            "its CPU a job",
            "PostgreSQL's CPU a job",
            "peak memory",
        ]);
        align_right(&mut table);
        for whose in [Whose::Ours, Whose::Other] {
            let runs = self.rounds.iter().filter(|(_, found, _)| *found == whose).count();
            let jobs = self.rounds.first().map_or(0, |(_, _, done)| done.jobs);
            let spread = |value, unit: &str, digits| {
                let Spread { median, min, max } = self.of(whose, value)?;
                Some(format!("{median:.digits$}{unit} ({min:.digits$}–{max:.digits$})"))
            };
            let row = [
                spread(Done::rate, "", 1),
                spread(Done::transactions_a_job, "", 2),
                spread(Done::cpu_a_job, " ms", 2),
                spread(Done::postgres_a_job, " ms", 2),
                spread(Done::peak, " MiB", 1),
            ];
            if let Some(cells) = row.into_iter().collect::<Option<Vec<String>>>() {
                let head = [whose.to_string(), runs.to_string(), jobs.to_string()];
                table.add_row([head.to_vec(), cells].concat());
            }
        }
        table.to_string()
    }

    /// The table of planning.
    pub fn planning(&self) -> String {
        let mut table = table(&["planning, median (least–greatest)", "no odd rows", "odd rows"]);
        align_right(&mut table);
        for (name, command, full) in PLANS {
            let cells = [false, true].map(|odd| self.planned(command, full, odd).map(seconds).unwrap_or_default());
            table.add_row([vec![name.to_owned()], cells.to_vec()].concat());
        }
        table.to_string()
    }

    /// Whether every event arrived.
    pub fn verified(&self) -> String {
        let mut table = table(&[
            "every uuid once",
            "expected",
            "arrived",
            "missing",
            "doubled",
            "unexpected",
        ]);
        align_right(&mut table);
        for (whose, found) in &self.verdicts {
            let counts = [
                found.expected,
                found.arrived,
                found.missing,
                found.doubled,
                found.unexpected,
            ];
            table.add_row([vec![whose.to_string()], counts.map(|count| count.to_string()).to_vec()].concat());
        }
        table.to_string()
    }

    /// The targets.
    pub fn targets(&self) -> Vec<Target> {
        let odd = |command, full| {
            let (plain, odd) = (self.planned(command, full, false)?, self.planned(command, full, true)?);
            // Least against least: nothing else of the machine is in these.
            Some(odd.min / plain.min)
        };
        let mut targets = vec![
            times(
                "jobs a second over the other commit's",
                AtLeast(1.5),
                self.over_other(Done::rate),
            ),
            times(
                "the worker's CPU a job over the other commit's",
                AtMost(0.5),
                self.over_other(Done::cpu_a_job),
            ),
            times(
                "PostgreSQL's CPU a job over the other commit's",
                AtMost(1.0),
                self.over_other(Done::postgres_a_job),
            ),
            number(
                "transactions a job",
                AtMost(9.0),
                "",
                self.of(Whose::Ours, Done::transactions_a_job).map(|found| found.median),
            ),
        ];
        let names = [
            "enqueue --dry-run with odd rows over without, empty ledger",
            "status, the same",
            "enqueue --dry-run, full ledger",
            "status, the same, full ledger",
        ];
        for (name, (_, command, full)) in names.into_iter().zip(PLANS) {
            targets.push(number(name, AtMost(1.2), " ×", odd(command, full)));
        }
        targets
    }

    /// How large the fleet was, for the table of circumstances.
    pub fn size(projects: u32) -> String {
        format!("{projects} projects; {DAYS} days of each exported, {PLANNED_DAYS} planned")
    }
}

const PLANS: [(&str, Command, bool); 4] = [
    ("enqueue --dry-run, empty ledger", Command::Enqueue, false),
    ("status, empty ledger", Command::Status, false),
    ("enqueue --dry-run, every day completed", Command::Enqueue, true),
    ("status, every day completed", Command::Status, true),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn done(wall: f64, cpu: f64) -> Done {
        Done {
            jobs: 100,
            wall,
            cpu,
            postgres_cpu: 1.0,
            transactions: 900,
            peak_memory: 50 << 20,
        }
    }

    fn fleet() -> Fleet {
        let rounds = [(1, 1.0, 2.0), (2, 1.0, 1.8)]
            .into_iter()
            .flat_map(|(round, ours, other)| {
                [
                    (round, Whose::Ours, done(ours, 0.1)),
                    (round, Whose::Other, done(other, 0.4)),
                ]
            });
        let plan = |odd, wall| Planned {
            command: Command::Status,
            full: true,
            odd,
            wall,
        };
        Fleet {
            rounds: rounds.collect(),
            plans: vec![(1, plan(false, 1.0)), (1, plan(true, 1.5)), (2, plan(true, 1.1))],
            ..Fleet::default()
        }
    }

    fn found(what: &str) -> Target {
        let targets = fleet().targets();
        targets.into_iter().find(|target| target.what == what).unwrap()
    }

    #[test]
    fn the_two_workers_are_compared_by_the_job() {
        let rate = found("jobs a second over the other commit's");
        assert_eq!(rate.found.as_deref(), Some("1.89 × (1.80–2.00)"));
        assert_eq!(rate.held, Some(true));
        assert_eq!(found("the worker's CPU a job over the other commit's").held, Some(true));
        assert_eq!(found("transactions a job").found.as_deref(), Some("9.00"));
    }

    #[test]
    fn planning_is_compared_with_and_without_odd_rows() {
        let status = found("status, the same, full ledger");
        assert_eq!((status.found.as_deref(), status.held), (Some("1.10 ×"), Some(true)));
        assert_eq!(found("enqueue --dry-run, full ledger").held, None);
    }

    #[test]
    fn a_worker_that_was_not_measured_has_no_row() {
        let alone = Fleet {
            rounds: vec![(1, Whose::Ours, done(2.0, 0.1))],
            ..Fleet::default()
        };
        let text = alone.jobs();
        assert!(text.contains("50.0 (50.0–50.0)") && text.contains("1.00 ms"), "{text}");
        assert!(!text.contains("other commit"), "{text}");
        assert!(alone.targets().iter().any(|target| target.held == Some(true)));
    }
}
