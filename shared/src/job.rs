//! A job: one run of one project's one UTC day, and which of its rows. PURE.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name of the producer's run of a day.
pub const DAILY: &str = "daily";
/// How the name of a run begins that exports rows which arrived after the export of their day.
pub const LATE_PREFIX: &str = "late-";
/// How the name of a run begins that exports a part of a day that is not over yet.
pub const STEP_PREFIX: &str = "step-";

/// The name of the run that sends what changed after the export of its day.
pub const SETTLED: &str = "settled";

/// One of the kinds of rows that a job exports, each with a cursor of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// `traces`
    Trace,
    /// `observations` of type `GENERATION`
    Generation,
    /// `scores`
    Score,
    /// `observations` of any other type; only where a job asks for them
    Observation,
}

impl Stream {
    /// All, in the order in which they are documented.
    pub const ALL: [Stream; 4] = [Stream::Trace, Stream::Generation, Stream::Score, Stream::Observation];
    /// Those that every whole run exports, and that a job exports when it names none.
    pub const USUAL: [Stream; 3] = [Stream::Trace, Stream::Generation, Stream::Score];

    /// Its word in messages, in the ledger and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stream::Trace => "trace",
            Stream::Generation => "generation",
            Stream::Score => "score",
            Stream::Observation => "observation",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stream {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.as_str() == word)
            .ok_or_else(|| format!("`{word}` is not one of trace, generation, score, observation"))
    }
}

/// One UTC day, from midnight to before the next midnight. Always written like `2024-06-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(pub NaiveDate);

impl Day {
    /// The first day that can be exported. Events and messages write a year with four digits.
    pub const FIRST: Self = Self(match NaiveDate::from_ymd_opt(1, 1, 1) {
        Some(day) => day,
        None => NaiveDate::MIN,
    });
    /// The last one.
    pub const LAST: Self = Self(match NaiveDate::from_ymd_opt(9999, 12, 31) {
        Some(day) => day,
        None => NaiveDate::MAX,
    });

    /// The day a moment falls into.
    pub fn of(moment: DateTime<Utc>) -> Self {
        Self(moment.date_naive())
    }

    /// The first moment of the day, as Langfuse stores it: UTC without a zone.
    pub fn start(self) -> NaiveDateTime {
        self.0.and_time(chrono::NaiveTime::MIN)
    }

    /// The first moment after the day.
    pub fn end(self) -> NaiveDateTime {
        self.next().start()
    }

    /// The day after.
    pub fn next(self) -> Self {
        Self(self.0.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX))
    }

    /// The day before.
    pub fn previous(self) -> Self {
        Self(self.0.checked_sub_days(Days::new(1)).unwrap_or(NaiveDate::MIN))
    }
}

impl From<NaiveDate> for Day {
    fn from(day: NaiveDate) -> Self {
        Self(day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

impl FromStr for Day {
    type Err = String;

    /// Stricter than chrono, which takes `2024-6-1`: a typo must not export the wrong day.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()
            .filter(|_| well_formed)
            .map(Day)
            .ok_or_else(|| format!("`{text}` is not a day; write it as YYYY-MM-DD, for example 2024-06-01"))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Which run: the key of a job everywhere in the ledger. Written `project/day/run`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunKey {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// The UTC day
    pub day: Day,
    /// The run's name
    pub run: String,
}

impl RunKey {
    /// The run of that name.
    pub fn new(project_id: impl Into<String>, day: Day, run: impl Into<String>) -> Self {
        Self {
            project_id: project_id.into(),
            day,
            run: run.into(),
        }
    }
}

impl RunKey {
    /// Whether it is a step, which exports a part of a day that is not over yet. Whatever a step does
    /// not send, its day's `daily` run does. So a step is given up more easily than other runs are.
    pub fn is_step(&self) -> bool {
        self.run.starts_with(STEP_PREFIX)
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.project_id, self.day, self.run)
    }
}

impl FromStr for RunKey {
    type Err = String;

    /// Read from the right, since a project's id may hold slashes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.rsplitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(run), Some(day), Some(project)) if !project.is_empty() && !run.is_empty() => {
                Ok(Self::new(project, day.parse()?, run))
            }
            _ => Err(format!("`{text}` is not an id; write it as project/day/run")),
        }
    }
}

/// A part of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Its first moment
    pub from: DateTime<Utc>,
    /// The first moment behind it
    pub until: DateTime<Utc>,
}

impl Span {
    /// The whole day.
    pub fn of(day: Day) -> Self {
        Self {
            from: day.start().and_utc(),
            until: day.end().and_utc(),
        }
    }
}

/// Which rows of its day a job exports; by default all of the usual streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// These streams; `None`: [`Stream::USUAL`]
    pub events: Option<BTreeSet<Stream>>,
    /// Only rows created since then
    pub created_after: Option<DateTime<Utc>>,
    /// Leaves out what completed runs of the day have sent, and nobody has touched since
    pub changed: bool,
    /// Only this part of the day; `None`: all of it
    pub span: Option<Span>,
}

impl Scope {
    /// All rows of the usual streams, and of the other observations where they are wanted.
    pub fn whole(observations: bool) -> Self {
        Self {
            events: observations.then(|| Stream::ALL.into()),
            ..Self::default()
        }
    }

    /// All rows of these streams.
    pub fn of(streams: BTreeSet<Stream>) -> Self {
        let is_usual = streams.iter().copied().eq(Stream::USUAL);
        Self {
            events: (!is_usual).then_some(streams),
            ..Self::default()
        }
    }

    /// The streams that are part of it.
    pub fn streams(&self) -> impl Iterator<Item = Stream> {
        let wanted = |stream: &Stream| match &self.events {
            Some(events) => events.contains(stream),
            None => Stream::USUAL.contains(stream),
        };
        Stream::ALL.into_iter().filter(wanted)
    }

    /// Whether the usual streams are all part of it.
    pub fn has_usual(&self) -> bool {
        let named = |events: &BTreeSet<Stream>| Stream::USUAL.iter().all(|stream| events.contains(stream));
        self.events.as_ref().is_none_or(named)
    }

    /// Whether observations that are no generations are part of it.
    pub fn has_observations(&self) -> bool {
        self.streams().any(|stream| stream == Stream::Observation)
    }

    /// Whether it is all rows of the usual streams. Once a full run of any name is completed, its
    /// day needs no other, with or without other observations. What a run with `changed` leaves out
    /// was sent before.
    pub fn is_full(&self) -> bool {
        self.has_usual() && self.created_after.is_none() && self.span.is_none()
    }
}

/// One run of one project's one UTC day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which run
    pub key: RunKey,
    /// Which rows
    pub scope: Scope,
}

impl Job {
    /// The producer's job of a day, with or without other observations.
    pub fn daily(project_id: impl Into<String>, day: Day, observations: bool) -> Self {
        Self {
            key: RunKey::new(project_id, day, DAILY),
            scope: Scope::whole(observations),
        }
    }

    /// A job with a run of its own, as a replay is.
    pub fn fresh(project_id: impl Into<String>, day: Day, scope: Scope) -> Self {
        Self {
            key: RunKey::new(project_id, day, fresh_run()),
            scope,
        }
    }
}

/// A name that no other run has.
pub fn fresh_run() -> String {
    format!("replay-{}", uuid::Uuid::now_v7().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_half_open() {
        let day: Day = "2024-02-29".parse().unwrap();
        assert_eq!(day.end().to_string(), "2024-03-01 00:00:00");
        assert_eq!(day.next().previous(), day);
    }

    #[test]
    fn an_id_is_read_from_the_right() {
        let key: RunKey = "a/b c/2024-06-01/daily".parse().unwrap();
        assert_eq!((key.project_id.as_str(), key.run.as_str()), ("a/b c", "daily"));
        assert_eq!(key.to_string(), "a/b c/2024-06-01/daily");
        for bad in [
            "",
            "p",
            "p/2024-06-01",
            "/2024-06-01/daily",
            "p/2024-6-1/daily",
            "p/2024-06-01/",
        ] {
            assert!(bad.parse::<RunKey>().is_err(), "{bad}");
        }
    }
}
