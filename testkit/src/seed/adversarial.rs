//! Every nasty shape of row, a day of them.

mod costs;
mod times;
mod words;

use std::fmt::Display;

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};

use super::rows::{Observation, Rows, Score, Trace, at};

/// The rows of [`adversarial`](super::adversarial), not yet inserted.
pub fn adversarial_rows(project: &str, day: NaiveDate) -> Rows {
    let mut day = Day::new(project, day);
    words::ids(&mut day);
    words::users(&mut day);
    words::metadata(&mut day);
    words::tags(&mut day);
    words::comments(&mut day);
    words::long_names(&mut day);
    times::borders(&mut day);
    times::latencies(&mut day);
    times::orphans(&mut day);
    times::numbers(&mut day);
    costs::stored(&mut day);
    costs::of_models(&mut day);
    costs::sums(&mut day);
    day.rows
}

/// The project whose traces are not this project's.
pub(super) fn neighbour(project: &str) -> String {
    format!("{project}-neighbour")
}

/// The rows so far, with what keeps them apart from each other and from other days.
struct Day {
    project: String,
    date: NaiveDate,
    rows: Rows,
    clock: NaiveDateTime,
}

impl Day {
    fn new(project: &str, date: NaiveDate) -> Self {
        Self {
            project: project.to_owned(),
            date,
            rows: Rows::default(),
            clock: at(date, 8, 0, 0, 0),
        }
    }

    /// An id that no other project or day has: they are unique in the whole table.
    fn id(&self, name: impl Display) -> String {
        format!("{name} ~ {} ~ {}", self.project, self.date)
    }

    /// The next moment in the middle of the day.
    fn next(&mut self) -> NaiveDateTime {
        self.clock += TimeDelta::milliseconds(1_237);
        self.clock
    }

    /// A trace with this name in its id; change what matters before the next call.
    fn trace(&mut self, name: impl Display) -> &mut Trace {
        let (id, time) = (self.id(name), self.next());
        self.rows.traces.push(Trace::new(&self.project, &id, time));
        self.rows.traces.last_mut().expect("it was just added")
    }

    /// A generation of the trace made with `trace` as its name.
    fn generation(&mut self, name: impl Display, trace: impl Display) -> &mut Observation {
        let (id, trace, time) = (self.id(name), self.id(trace), self.next());
        self.rows
            .observations
            .push(Observation::generation(&self.project, &id, &trace, time));
        self.rows.observations.last_mut().expect("it was just added")
    }

    /// A score of the trace made with `trace` as its name.
    fn score(&mut self, name: impl Display, trace: impl Display) -> &mut Score {
        let (id, trace, time) = (self.id(name), self.id(trace), self.next());
        self.rows.scores.push(Score::new(&self.project, &id, &trace, time));
        self.rows.scores.last_mut().expect("it was just added")
    }

    /// A generation and a score for a trace, so that what they take from it is seen too. All three
    /// have one id, as ids are unique per table only.
    fn children(&mut self, trace: impl Display) {
        self.generation(&trace, &trace);
        self.score(&trace, &trace);
    }
}

/// What a nullable column holds.
#[allow(clippy::unnecessary_wraps, reason = "it is assigned to columns that may be null")]
fn text(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}
