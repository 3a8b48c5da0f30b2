//! What a replay would send: days, runs, and about how many events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::job::{Day, Scope, Stream};
use shared::ledger::State;
use shared::topology::Lane;

use super::confirm::{Column, Confirm, Table};
use super::project::Now;
use crate::console::operator::Operator;
use crate::error::CommandError;
use crate::facts::counts;
use crate::output::{agree, count, number};
use crate::replays;

/// The longest range of one replay.
pub(super) const LARGEST: usize = 366;
/// How long somebody waits for the days, and then for their events.
const FIND: Duration = Duration::from_secs(30);
const COUNT: Duration = Duration::from_secs(5);
/// Of more days that the ledger does not know the events are not counted.
const COUNTED: usize = 31;

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) from: Day,
    pub(super) to: Day,
    pub(super) events: Vec<Stream>,
}

/// What there is of it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    asked: Asked,
    scope: Scope,
    hindered: Vec<String>,
    /// The first day that is not over
    open: Option<Day>,
    days: BTreeSet<Day>,
    empty: usize,
    /// The states of the runs of each day
    runs: BTreeMap<Day, Vec<State>>,
    /// How many events whole runs of a day had
    known: BTreeMap<Day, i64>,
    /// Those of the other days, if they were counted
    counted: Option<i64>,
}

/// Looks at the ledger and at Langfuse's tables.
pub(super) async fn look(operator: &Operator, now: &Now, asked: Asked) -> Result<Found, CommandError> {
    let clock = operator.ledger.now().await?;
    let (to, open) = over(&asked, clock)?;
    let scope = replays::scope(&asked.events, operator.observations);
    let mut found = Found {
        hindered: hindered(now),
        open,
        days: BTreeSet::new(),
        empty: 0,
        runs: BTreeMap::new(),
        known: BTreeMap::new(),
        counted: None,
        scope,
        asked,
    };
    let Some(to) = to else {
        return Ok(found);
    };
    let range = (found.asked.from, to);
    let days = replays::days(&operator.source, &now.id, range, &found.scope, clock);
    let too_long = |_| {
        let limit = FIND.as_secs();
        CommandError::refused(format!(
            "Langfuse's database did not find the days within {limit} s; choose fewer"
        ))
    };
    (found.days, found.empty) = tokio::time::timeout(FIND, days).await.map_err(too_long)??;
    let of_project = [now.id.clone()];
    let days = operator.ledger.runs_of_days(&of_project, range.0, range.1).await?;
    for run in days.into_iter().flat_map(|days| days.runs) {
        found.runs.entry(run.day).or_default().push(run.state);
    }
    let streams: Vec<Stream> = found.scope.streams().collect();
    let known = operator
        .ledger
        .events_by_day(&now.id, range.0, range.1, &streams)
        .await?;
    found.known = known.into_iter().filter(|(day, _)| found.days.contains(day)).collect();
    found.counted = counted(operator, &now.id, &found).await;
    Ok(found)
}

/// The last day that is over, and the first that is not. PURE.
fn over(asked: &Asked, clock: DateTime<Utc>) -> Result<(Option<Day>, Option<Day>), CommandError> {
    let (from, to) = (asked.from, asked.to);
    if from > to {
        return Err(CommandError::refused("the first day lies after the last one"));
    }
    let today = Day::of(clock);
    let last = to.min(today.previous());
    let days = usize::try_from((last.0 - from.0).num_days() + 1).unwrap_or(0);
    if days > LARGEST {
        return Err(CommandError::refused(format!(
            "these are {days} days, and one replay takes at most {LARGEST}; `producer replay` takes more"
        )));
    }
    Ok(((from <= last).then_some(last), (to > last).then_some(from.max(today))))
}

/// What keeps the jobs from being exported. PURE.
fn hindered(now: &Now) -> Vec<String> {
    let mut all = Vec::new();
    if now.pause.is_some() {
        all.push("The project is paused: its jobs will be skipped until it is resumed.".to_owned());
    }
    match now.stored.as_ref().map(|own| own.enabled) {
        None => all.push("The project has no PostHog integration: its jobs will end as dead letters.".to_owned()),
        Some(false) => {
            all.push("The project's PostHog integration is disabled: its jobs will be skipped.".to_owned());
        }
        Some(true) => {}
    }
    all
}

/// The events of the days that the ledger does not know, where they are few enough.
async fn counted(operator: &Operator, id: &str, found: &Found) -> Option<i64> {
    let unknown: BTreeSet<Day> = found.unknown().collect();
    if unknown.len() > COUNTED {
        return None;
    }
    let jobs = replays::jobs(id, unknown, &found.scope);
    let counts = tokio::time::timeout(COUNT, counts::count(&operator.source, &jobs)).await;
    let counts = counts.ok()?.ok()?;
    Some(counts.get(id).map_or(0, counts::Count::total))
}

impl Found {
    fn unknown(&self) -> impl Iterator<Item = Day> {
        let days = self.days.iter().copied();
        days.filter(|day| !self.known.contains_key(day))
    }

    fn events(&self) -> String {
        let known: i64 = self.known.values().sum();
        let unknown = self.unknown().count();
        let days = |number: usize| count(number, "day");
        match (self.known.len(), unknown, self.counted) {
            (_, 0, _) => format!("About {}, as the last whole runs of these days had.", events(known)),
            (0, _, Some(counted)) => format!("{}, counted now.", events(counted)),
            (of, _, Some(counted)) => format!(
                "About {}: {} of {} as their last whole runs had, and {} of {} counted now.",
                events(known + counted),
                number(known),
                days(of),
                number(counted),
                days(unknown)
            ),
            (0, _, None) => "How many events they are was not counted.".to_owned(),
            (of, _, None) => format!(
                "About {} of {}, as their last whole runs had; those of {} were not counted.",
                events(known),
                days(of),
                days(unknown)
            ),
        }
    }

    fn is_on_its_way(&self, day: Day) -> bool {
        let on_its_way = |state: &State| matches!(state, State::Queued | State::Running | State::Waiting);
        self.runs.get(&day).is_some_and(|states| states.iter().any(on_its_way))
    }

    /// What is asked. PURE.
    pub(super) fn asks(&self, mut asks: Confirm) -> Confirm {
        let (Asked { from, to, events }, days) = (&self.asked, self.days.len());
        asks.warnings.clone_from(&self.hindered);
        if let Some(open) = self.open {
            let which = if open == *to {
                format!("{open} is not over yet and is left out.")
            } else {
                format!("{open} to {to} are not over yet and are left out.")
            };
            asks.warnings.push(which);
        }
        let going: Vec<String> = self
            .days
            .iter()
            .filter(|day| self.is_on_its_way(**day))
            .map(Day::to_string)
            .collect();
        if let Some(first) = going.first() {
            let which = match going.len() {
                1 => format!("{first} is being exported now or waits for it"),
                more => format!(
                    "{first} and {} are being exported now or wait for it",
                    count(more - 1, "other day")
                ),
            };
            asks.warnings.push(format!(
                "{which}. Two runs of one day take turns, so the replay begins when that run ends."
            ));
        }
        let Some((first, last)) = self.days.first().zip(self.days.last()) else {
            asks.lines
                .push(format!("No day from {from} to {to} that is over holds data."));
            return asks;
        };
        let streams: Vec<&str> = self.scope.streams().map(kind).collect();
        let (range, send) = if first == last {
            (format!("one job, for {first}. It is a new run"), "It sends")
        } else {
            let jobs = count(days, "job");
            let range = format!("{jobs}, one for each day with data from {first} to {last}. Each is a new run");
            (range, "They send")
        };
        asks.lines.push(format!("To {}: {range}.", Lane::Jobs.queue()));
        asks.lines
            .push(format!("{send} {}. {}", streams.join(", "), self.events()));
        let once = "PostHog keeps one copy of each event, since an event has the same uuid each time it is sent.";
        asks.lines.push(once.to_owned());
        if self.empty > 0 {
            asks.lines.push(format!(
                "{} {} no data and {} no job.",
                count(self.empty, "other day"),
                agree(self.empty, "holds", "hold"),
                agree(self.empty, "needs", "need")
            ));
        }
        let carried = self.days.iter().map(|day| ("day", day.to_string()));
        asks.hidden.extend(carried);
        asks.hidden
            .extend(events.iter().map(|stream| ("events", stream.as_str().to_owned())));
        asks.button = "Replay these days";
        asks.table = Some(self.table());
        asks
    }

    fn table(&self) -> Table {
        let row = |day: &Day| {
            let states = self.runs.get(day).map_or(&[][..], Vec::as_slice);
            let words: BTreeSet<&str> = states.iter().map(|state| state.as_str()).collect();
            let words: Vec<&str> = words.into_iter().collect();
            vec![
                day.to_string(),
                if words.is_empty() {
                    "no run yet".to_owned()
                } else {
                    words.join(", ")
                },
                number(i64::try_from(states.len()).unwrap_or(i64::MAX)),
                self.known
                    .get(day)
                    .map_or_else(|| "–".to_owned(), |events| number(*events)),
            ]
        };
        Table {
            says: "Days",
            columns: vec![
                Column::words("Day"),
                Column::words("State of its runs"),
                Column::number("Runs so far"),
                Column::number("Events of the last whole run"),
            ],
            rows: self.days.iter().rev().map(row).collect(),
        }
    }
}

fn events(number: i64) -> String {
    count(number, "event")
}

fn kind(stream: Stream) -> &'static str {
    match stream {
        Stream::Trace => "traces",
        Stream::Generation => "generations",
        Stream::Score => "scores",
        Stream::Observation => "other observations",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn asked(from: &str, to: &str) -> Asked {
        Asked {
            from: day(from),
            to: day(to),
            events: vec![Stream::Score],
        }
    }

    fn found() -> Found {
        Found {
            asked: asked("2026-05-30", "2026-06-03"),
            scope: replays::scope(&[Stream::Score], false),
            hindered: Vec::new(),
            open: None,
            days: ["2026-05-31", "2026-06-01"].map(day).into(),
            empty: 3,
            runs: BTreeMap::from([(day("2026-06-01"), vec![State::Completed, State::Running])]),
            known: BTreeMap::from([(day("2026-06-01"), 1_200)]),
            counted: Some(34),
        }
    }

    #[test]
    fn days_that_are_not_over_are_left_out() {
        let clock = "2026-06-03T10:00:00Z".parse().unwrap();
        let over = |from, to| over(&asked(from, to), clock).unwrap();
        assert_eq!(over("2026-06-01", "2026-06-02"), (Some(day("2026-06-02")), None));
        assert_eq!(
            over("2026-06-01", "2026-06-05"),
            (Some(day("2026-06-02")), Some(day("2026-06-03")))
        );
        assert_eq!(over("2026-06-04", "2026-06-05"), (None, Some(day("2026-06-04"))));
        for bad in [("2026-06-02", "2026-06-01"), ("2024-06-01", "2026-06-01")] {
            assert!(super::over(&asked(bad.0, bad.1), clock).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_form_carries_the_days_that_are_shown_and_their_kinds() {
        let asks = found().asks(Confirm::default());
        let carried: Vec<String> = asks
            .hidden
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(carried, ["day=2026-05-31", "day=2026-06-01", "events=score"]);
        let said = asks.lines.join(" ");
        for words in [
            "2 jobs, one for each day with data from 2026-05-31 to 2026-06-01",
            "They send scores",
            "1,234 events",
            "3 other days hold no data",
        ] {
            assert!(said.contains(words), "{words} in {said}");
        }
        assert!(
            asks.warnings[0].starts_with("2026-06-01 is being exported now"),
            "{:?}",
            asks.warnings
        );
        let rows = asks.table.unwrap().rows;
        assert_eq!(rows[0], ["2026-06-01", "completed, running", "2", "1,200"]);
        assert_eq!(rows[1], ["2026-05-31", "no run yet", "0", "–"]);
    }

    #[test]
    fn without_a_day_there_is_no_button() {
        let none = Found {
            days: BTreeSet::new(),
            open: Some(day("2026-06-03")),
            ..found()
        };
        let asks = none.asks(Confirm::default());
        assert!(asks.button.is_empty() && asks.hidden.is_empty());
        assert_eq!(asks.warnings, ["2026-06-03 is not over yet and is left out."]);
    }

    #[test]
    fn what_is_not_known_of_the_events_is_said() {
        let with = |known: bool, counted| {
            let mut found = Found { counted, ..found() };
            if !known {
                found.known.clear();
            }
            found.events()
        };
        assert!(with(true, None).contains("those of 1 day were not counted"));
        assert!(with(false, Some(7)).starts_with("7 events, counted"));
        assert!(with(false, None).contains("was not counted"));
    }
}
