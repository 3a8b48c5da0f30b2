//! What a run's page shows. PURE.

use chrono::{DateTime, Utc};
use shared::job::{Span, Stream};
use shared::ledger::{ClaimRow, RejectRow, RunRow, State, StreamRow};

use super::history::History;
use super::pace::pace;
use crate::advice::advice;
use crate::console::pages::words;
use crate::console::rows::run::Rows;
use crate::console::times::Moment;
use crate::output::{count, number};

/// The page.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) as_of: Moment,
    pub(super) class: &'static str,
    pub(super) word: &'static str,
    pub(super) what: &'static str,
    /// In the order in which they happened
    pub(super) times: Vec<(&'static str, Moment)>,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) failure: Option<Failure>,
    pub(super) history: History,
    pub(super) streams: Vec<StreamLine>,
    pub(super) rejects: Vec<RejectRow>,
    pub(super) rejected: String,
    pub(super) more_rejects: bool,
}

/// Why it failed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) error: String,
    pub(super) advice: &'static str,
}

/// How far a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamLine {
    pub(super) stream: &'static str,
    pub(super) percent: i64,
    pub(super) progress: String,
    pub(super) events: String,
    pub(super) rejected: String,
    pub(super) bodies: String,
    pub(super) size: String,
    pub(super) pace: String,
    pub(super) saved: Moment,
}

impl View {
    /// `None`: there is no such run.
    pub(super) fn new(rows: &Rows) -> Option<Self> {
        let run = rows.run.as_ref()?;
        let (class, word) = words::of_run(run);
        Some(Self {
            as_of: Moment::new(rows.now, rows.now),
            class,
            word,
            what: words::of_name(&run.run),
            times: times(rows.now, run),
            facts: facts(run, rows.target.as_deref()),
            failure: run.error_code.as_ref().map(|code| Failure {
                code: code.clone(),
                error: words::failure(run.error.as_deref().unwrap_or_default()),
                advice: advice(code),
            }),
            history: History::new(rows.now, &rows.claims),
            streams: rows
                .streams
                .iter()
                .map(|stream| line(rows.now, run, &rows.claims, stream))
                .collect(),
            rejects: rows.rejects.clone(),
            rejected: count(rows.rejected, "row"),
            more_rejects: rows.rejected > i64::try_from(rows.rejects.len()).unwrap_or(0),
        })
    }
}

fn times(now: DateTime<Utc>, run: &RunRow) -> Vec<(&'static str, Moment)> {
    let of_state = |state: State, time: Option<DateTime<Utc>>| time.filter(|_| run.state == state);
    let all = [
        ("Its message was confirmed last", Some(run.queued_at)),
        ("A worker began it at the first row", run.started_at),
        ("It failed first", run.first_failed_at),
        ("It is tried again", of_state(State::Waiting, run.retry_at)),
        (
            "The worker's lease ends",
            of_state(State::Running, run.lease_expires_at),
        ),
        ("It was completed", of_state(State::Completed, run.completed_at)),
    ];
    let mut times: Vec<(&str, DateTime<Utc>)> =
        all.into_iter().filter_map(|(what, time)| Some((what, time?))).collect();
    times.sort_by_key(|(_, time)| *time);
    times
        .into_iter()
        .map(|(what, time)| (what, Moment::new(now, time)))
        .collect()
}

fn facts(run: &RunRow, target: Option<&str>) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Failures since it last got on", run.attempt.to_string())];
    if run.takeovers > 0 {
        facts.push(("Workers that died with it", run.takeovers.to_string()));
    }
    if let Some(worker) = &run.worker {
        facts.push(("Worker that had it last", worker.clone()));
    }
    let streams = run.scope().streams().map(name).collect::<Vec<_>>();
    facts.push(("Streams", streams.join(", ")));
    if let Some(span) = run.span() {
        let clock = |moment: DateTime<Utc>| moment.format("%H:%M").to_string();
        facts.push((
            "Part of the day",
            format!("{} to {}", clock(span.from), clock(span.until)),
        ));
    }
    if let Some(after) = run.created_after {
        facts.push((
            "Only rows created after",
            format!("{} UTC", after.format("%Y-%m-%d %H:%M:%S")),
        ));
    }
    if run.changed {
        facts.push(("Rows that were sent before", "left out unless they changed".to_owned()));
    }
    if let Some((host, _)) = target.and_then(|target| target.rsplit_once(' ')) {
        facts.push(("Host", words::host(host)));
    }
    facts
}

fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Trace => "traces",
        Stream::Generation => "generations",
        Stream::Score => "scores",
        Stream::Observation => "other observations",
    }
}

fn line(now: DateTime<Utc>, run: &RunRow, claims: &[ClaimRow], row: &StreamRow) -> StreamLine {
    let span = run.span().unwrap_or_else(|| Span::of(run.day));
    let reached = row.cursor_time.map(|time| time.and_utc().clamp(span.from, span.until));
    let share = |moment: DateTime<Utc>| {
        let whole = (span.until - span.from).num_seconds().max(1);
        (moment - span.from).num_seconds() * 100 / whole
    };
    let percent = if row.done { 100 } else { reached.map_or(0, share) };
    let progress = match (row.done, reached) {
        (true, _) => "all rows".to_owned(),
        (false, None) => "not begun".to_owned(),
        (false, Some(reached)) => format!("until {} of the day", reached.format("%H:%M")),
    };
    StreamLine {
        stream: name(row.stream),
        percent,
        progress,
        events: number(row.sent),
        rejected: number(row.rejected),
        bodies: number(row.batches),
        size: size(row.bytes),
        pace: pace(run, claims, row, percent).unwrap_or_else(|| "–".to_owned()),
        saved: Moment::new(now, row.updated_at),
    }
}

fn size(bytes: i64) -> String {
    match bytes {
        ..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", number(bytes / 1_000_000)),
    }
}
