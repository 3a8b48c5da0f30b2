//! What can be asked for.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Exports the same day side by side: by the worker, by posthog-node, and by COPY to nowhere, which
/// is what the database itself needs for the rows. Everything runs on private servers that are gone
/// afterwards.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Parser, Clone, Debug, PartialEq)]
#[command(name = "bench-export", bin_name = "cargo bench-export", after_help = EXAMPLES)]
pub struct Arguments {
    /// Events of the measured day: 2/7 traces, 4/7 generations, 1/7 scores
    #[arg(long, value_name = "N", default_value_t = 700_000, value_parser = clap::value_parser!(u32).range(700..=20_000_000))]
    pub events: u32,
    /// Delays of the receiver's answer at which the worker is measured, in milliseconds
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0,50,200", value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub latency: Vec<u64>,
    /// Those of them at which posthog-node is measured too: it waits for each answer, so a large
    /// delay takes minutes
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0,50")]
    pub peer_latency: Vec<u64>,
    /// How often each is measured, in turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// Measure only these
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_enum)]
    pub only: Vec<Part>,
    /// Measure also a day ten times as large against a small one, both without inputs and outputs
    #[arg(long)]
    pub large: bool,
    /// Instead of all that, measure a fleet: many projects with ten small days each, through one
    /// worker; and the planning of 180 days of each
    #[arg(long, conflicts_with_all = ["only", "large", "bare"])]
    pub fleet: bool,
    /// Instead of all that, measure the console's pages at a ledger of 400 projects over three years
    #[arg(long, conflicts_with_all = ["only", "large", "bare", "fleet", "keep"])]
    pub console: bool,
    /// Projects of the fleet
    #[arg(long, value_name = "N", default_value_t = 400, requires = "fleet", value_parser = clap::value_parser!(u32).range(3..=5_000))]
    pub projects: u32,
    /// The worker of another commit, which takes turns with this one's: with the day, or in the
    /// fleet
    #[arg(long, value_name = "FILE", conflicts_with = "console")]
    pub against: Option<PathBuf>,
    /// This commit's worker, when it was built elsewhere
    #[arg(long, value_name = "FILE", requires = "fleet")]
    pub worker: Option<PathBuf>,
    /// Leave inputs and outputs out of all rows
    #[arg(long)]
    pub bare: bool,
    /// Keep the rows in this directory, and use those that are there: making them takes minutes
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Measure nothing: draw the pictures of docs/images from files that `--json` wrote; of several
    /// files the last that has what a picture shows
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["only", "large", "bare", "fleet", "console", "json", "markdown"])]
    pub plot: Vec<PathBuf>,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the tables to this file, as docs/PERFORMANCE.md has them
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  cargo bench-export --runs 5                        the numbers of docs/PERFORMANCE.md: half an hour, 10 GB in the temporary directory
  cargo bench-export --runs 5 --large                with the day of 7 million events: another hour
  cargo bench-export --only worker,copy --runs 3 --keep /var/tmp/rows
                                                     against the database's own limit; needs no Node.js
  cargo bench-export --only worker,fresh --latency 0 --runs 5
                                                     the day in steps, and what changed of it
  cargo bench-export --only worker,arrival --latency 0 --runs 5
                                                     verify, beside the export of the same day
  cargo bench-export --only worker --latency 0 --against ../before/target/release/worker
                                                     the day, beside another commit's worker
  cargo bench-export --events 70000 --latency 0      a quick look
  cargo bench-export --fleet --runs 3 --against ../before/target/release/worker
                                                     many small days, and planning; beside another commit's worker
  cargo bench-export --console                       the console's pages at a ledger of three years; five minutes
  cargo bench-export --plot bench/results/*.json     the pictures of docs/PERFORMANCE.md, from what was kept

Progress goes to standard error, the tables to standard output. Before anything is timed, each contestant's events are checked:
every uuid must arrive exactly once, and posthog-node's events must say what the worker's do.

Exit codes: 0 measured, whether the targets were held or not; 1 something failed, or an event was lost, doubled or other than
it should be; 2 wrong arguments; 130 stopped.";

/// What can be measured apart.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The worker, one day
    Worker,
    /// The same day by posthog-node
    PosthogNode,
    /// The same rows by COPY, in three connections at once and in one
    Copy,
    /// Four small projects, together the same number of rows, at once and one after the other
    Projects,
    /// Two workers, a day each
    Workers,
    /// The same day in 24 steps and a run for the rest; what changed of the day; and two jobs within
    /// EVENTS_PER_SECOND
    Fresh,
    /// `producer verify` on the day, and on the day with events missing
    Arrival,
    /// A worker without work
    Idle,
}

impl Arguments {
    /// Whether a part was asked for.
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Traces of the measured day.
    pub fn traces(&self) -> u32 {
        self.events * 2 / 7
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(words: &str) -> Result<Arguments, String> {
        Arguments::try_parse_from(std::iter::once("bench-export").chain(words.split_whitespace()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_arguments_everything_but_the_large_day_is_measured() {
        let arguments = parse("").unwrap();
        assert_eq!((arguments.events, arguments.traces()), (700_000, 200_000));
        assert_eq!(arguments.latency, [0, 50, 200]);
        assert_eq!(arguments.peer_latency, [0, 50]);
        assert!(arguments.wants(Part::PosthogNode) && arguments.wants(Part::Idle));
        assert!(!arguments.large && !arguments.bare);
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let arguments = parse("--only worker,posthog-node --latency 0,20 --runs 7 --events 7000 --large").unwrap();
        assert_eq!(arguments.only, [Part::Worker, Part::PosthogNode]);
        assert!(!arguments.wants(Part::Copy));
        assert_eq!((arguments.latency, arguments.runs), (vec![0, 20], 7));
    }

    #[test]
    fn a_fleet_is_measured_alone() {
        assert_eq!(parse("--fleet").unwrap().projects, 400);
        let arguments = parse("--fleet --projects 5 --against there/worker --runs 1").unwrap();
        assert_eq!((arguments.fleet, arguments.projects), (true, 5));
        assert_eq!(arguments.against, Some(PathBuf::from("there/worker")));
    }

    #[test]
    fn the_console_is_measured_alone() {
        assert!(parse("--console --runs 2").unwrap().console);
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "--console --fleet",
            "--console --against there/worker",
            "--fleet --only worker",
            "--worker here/worker",
            "--fleet --projects 2",
            "--events 10",
            "--runs 0",
            "--only everything",
            "--latency soon",
            "--latency 99999",
            "stray",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }
}
