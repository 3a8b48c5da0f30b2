//! What can happen, how it is drawn from a seed, and how it is written down to be run again.

use std::fmt;
use std::str::FromStr;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::seed::Touch;

use super::cast::{CHOICES, OVER, WORKERS};

/// How PostHog behaves from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it should
    Well,
    /// Each answer takes a while
    Slow,
    /// Each third request gets a 500
    Failing,
    /// 503 to all
    Down,
    /// Each fourth request gets a 429 with Retry-After
    Limiting,
    /// Each third request is stored and its connection reset
    Lossy,
    /// Each fourth request is stored and answered with 500
    Forgetful,
    /// Each fifth request is never answered
    Silent,
}

const MOODS: [(Mood, &str); 8] = [
    (Mood::Well, "well"),
    (Mood::Slow, "slow"),
    (Mood::Failing, "failing"),
    (Mood::Down, "down"),
    (Mood::Limiting, "limiting"),
    (Mood::Lossy, "lossy"),
    (Mood::Forgetful, "forgetful"),
    (Mood::Silent, "silent"),
];

const TOUCHES: [(Touch, &str); 5] = [
    (Touch::User, "user"),
    (Touch::End, "end"),
    (Touch::Value, "value"),
    (Touch::Observation, "observation"),
    (Touch::Late, "late"),
];

/// One thing that happens. Workers, projects and days are numbered from 0; times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `producer enqueue`
    Enqueue,
    /// `producer replay`
    Replay {
        /// of this project
        project: usize,
        /// this day
        day: usize,
    },
    /// The daily job's message once more
    Duplicate {
        /// of this project
        project: usize,
        /// this day
        day: usize,
    },
    /// SIGKILL to a worker
    Kill(usize),
    /// SIGKILL to whichever worker first has a body that PostHog has stored and not answered;
    /// PostHog behaves well afterwards
    Ambush,
    /// SIGTERM to a worker, until it has ended
    Stop(usize),
    /// SIGSTOP to a worker, for so long
    Pause(usize, u64),
    /// A worker is started in this place, if there is none
    Start(usize),
    /// SIGKILL and a new start
    KillPostgres,
    /// An immediate stop and a new start
    StopPostgres,
    /// SIGKILL and a new start
    KillRabbitmq,
    /// An orderly stop and a new start
    StopRabbitmq,
    /// All workers' connections to the database are reset
    CutDatabase,
    /// All workers' connections to the broker are reset
    CutBroker,
    /// No byte moves between workers and database for so long
    StallDatabase(u64),
    /// No byte moves between workers and broker for so long
    StallBroker(u64),
    /// PostHog's behaviour changes
    Posthog(Mood),
    /// Rows of a past day arrive
    Late {
        /// of this project
        project: usize,
        /// this day
        day: usize,
    },
    /// Observations arrive that change the totals of traces of a past day
    LateObservations {
        /// of this project
        project: usize,
        /// this day
        day: usize,
    },
    /// Rows of today change or arrive
    Touch {
        /// of this project
        project: usize,
        /// in this way
        touch: Touch,
        /// and say that it was so many seconds ago
        ago: u64,
    },
    /// `producer enqueue --steps`
    EnqueueSteps,
    /// The database's clock goes on by so many minutes
    Forward(u64),
    /// Nothing happens for so long
    Wait(u64),
}

/// As many steps as asked for, the same ones for the same seed.
pub fn generate(seed: u64, count: usize) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    // Whatever the seed draws, a worker dies at work early on. So no simulation passes without a
    // fault that had an effect.
    let mut steps = vec![
        Step::Enqueue,
        Step::Ambush,
        Step::EnqueueSteps,
        Step::Posthog(Mood::Slow),
        Step::Wait(300),
    ];
    steps.extend((0..WORKERS).map(Step::Start));
    while steps.len() < count {
        steps.push(draw(&mut random));
        steps.push(Step::Wait(random.random_range(50..900)));
    }
    steps
}

fn draw(random: &mut StdRng) -> Step {
    let worker = random.random_range(0..WORKERS);
    let (project, day) = (random.random_range(0..CHOICES.0), random.random_range(0..OVER));
    match random.random_range(0..100) {
        0..5 => Step::Enqueue,
        5..11 => Step::Replay { project, day },
        11..17 => Step::Duplicate { project, day },
        17..24 => Step::Kill(worker),
        24..28 => Step::Stop(worker),
        28..33 => Step::Pause(worker, random.random_range(500..7_000)),
        33..48 => Step::Start(worker),
        48..51 => Step::KillPostgres,
        51..53 => Step::StopPostgres,
        53..55 => Step::KillRabbitmq,
        55..56 => Step::StopRabbitmq,
        56..59 => Step::CutDatabase,
        59..62 => Step::CutBroker,
        62..64 => Step::StallDatabase(random.random_range(500..5_000)),
        64..66 => Step::StallBroker(random.random_range(500..6_000)),
        66..75 => Step::Posthog(MOODS[random.random_range(0..MOODS.len())].0),
        75..77 => Step::Late { project, day },
        77..79 => Step::LateObservations { project, day },
        79..87 => Step::Touch {
            project,
            touch: TOUCHES[random.random_range(0..TOUCHES.len())].0,
            ago: random.random_range(0..240),
        },
        87..94 => Step::EnqueueSteps,
        _ => Step::Forward(random.random_range(20..200)),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enqueue => write!(out, "enqueue"),
            Self::Replay { project, day } => write!(out, "replay {project} {day}"),
            Self::Duplicate { project, day } => write!(out, "duplicate {project} {day}"),
            Self::Kill(worker) => write!(out, "kill {worker}"),
            Self::Ambush => write!(out, "ambush"),
            Self::Stop(worker) => write!(out, "stop {worker}"),
            Self::Pause(worker, time) => write!(out, "pause {worker} {time}"),
            Self::Start(worker) => write!(out, "start {worker}"),
            Self::KillPostgres => write!(out, "kill-postgres"),
            Self::StopPostgres => write!(out, "stop-postgres"),
            Self::KillRabbitmq => write!(out, "kill-rabbitmq"),
            Self::StopRabbitmq => write!(out, "stop-rabbitmq"),
            Self::CutDatabase => write!(out, "cut-database"),
            Self::CutBroker => write!(out, "cut-broker"),
            Self::StallDatabase(time) => write!(out, "stall-database {time}"),
            Self::StallBroker(time) => write!(out, "stall-broker {time}"),
            Self::Posthog(mood) => {
                let word = MOODS
                    .iter()
                    .find(|(one, _)| one == mood)
                    .map_or("well", |(_, word)| word);
                write!(out, "posthog {word}")
            }
            Self::Late { project, day } => write!(out, "late {project} {day}"),
            Self::LateObservations { project, day } => write!(out, "late-observations {project} {day}"),
            Self::Touch { project, touch, ago } => {
                let word = TOUCHES
                    .iter()
                    .find(|(one, _)| one == touch)
                    .map_or("user", |(_, word)| word);
                write!(out, "touch {project} {word} {ago}")
            }
            Self::EnqueueSteps => write!(out, "enqueue-steps"),
            Self::Forward(minutes) => write!(out, "forward {minutes}"),
            Self::Wait(time) => write!(out, "wait {time}"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let bad = || format!("`{text}` is no step");
        let number = |at: usize, below: u64| -> Result<u64, String> {
            let number = words.get(at).and_then(|word| word.parse().ok()).ok_or_else(bad)?;
            if number < below { Ok(number) } else { Err(bad()) }
        };
        let worker = || number(1, WORKERS as u64).map(|worker| worker as usize);
        let project = || number(1, CHOICES.0 as u64).map(|project| project as usize);
        let day = || number(2, CHOICES.1 as u64).map(|day| day as usize);
        Ok(match words.first().copied().unwrap_or_default() {
            "enqueue" => Self::Enqueue,
            "replay" => Self::Replay {
                project: project()?,
                day: day()?,
            },
            "duplicate" => Self::Duplicate {
                project: project()?,
                day: day()?,
            },
            "kill" => Self::Kill(worker()?),
            "ambush" => Self::Ambush,
            "stop" => Self::Stop(worker()?),
            "pause" => Self::Pause(worker()?, number(2, u64::MAX)?),
            "start" => Self::Start(worker()?),
            "kill-postgres" => Self::KillPostgres,
            "stop-postgres" => Self::StopPostgres,
            "kill-rabbitmq" => Self::KillRabbitmq,
            "stop-rabbitmq" => Self::StopRabbitmq,
            "cut-database" => Self::CutDatabase,
            "cut-broker" => Self::CutBroker,
            "stall-database" => Self::StallDatabase(number(1, u64::MAX)?),
            "stall-broker" => Self::StallBroker(number(1, u64::MAX)?),
            "posthog" => {
                let mood = MOODS.iter().find(|(_, word)| words.get(1) == Some(word));
                Self::Posthog(mood.ok_or_else(bad)?.0)
            }
            "late" => Self::Late {
                project: project()?,
                day: day()?,
            },
            "late-observations" => Self::LateObservations {
                project: project()?,
                day: day()?,
            },
            "touch" => {
                let touch = TOUCHES.iter().find(|(_, word)| words.get(2) == Some(word));
                Self::Touch {
                    project: project()?,
                    touch: touch.ok_or_else(bad)?.0,
                    ago: number(3, u64::MAX)?,
                }
            }
            "enqueue-steps" => Self::EnqueueSteps,
            "forward" => Self::Forward(number(1, u64::MAX)?),
            "wait" => Self::Wait(number(1, u64::MAX)?),
            _ => return Err(bad()),
        })
    }
}

/// Steps as one line, to be run again.
pub fn describe(steps: &[Step]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What [`describe`] wrote.
///
/// # Errors
/// Names the step that is none.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    text.split(';').map(|step| step.trim().parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_steps_and_they_can_be_written_down() {
        let steps = generate(7, 400);
        assert_eq!(steps, generate(7, 400));
        assert_ne!(steps, generate(8, 400));
        assert_eq!(parse(&describe(&steps)).unwrap(), steps);
        assert!(steps.contains(&Step::Ambush));
        assert!(parse("kill 0; dance").is_err() && parse("kill 9").is_err() && parse("posthog gone").is_err());
    }
}
