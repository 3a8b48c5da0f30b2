//! One day: what PostHog holds against what the database calls for.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared::job::{Day, Stream};
use shared::ledger::{Arrival, Ledger, LedgerError, Verdict};
use sqlx::PgPool;

use super::covering::{NotCovered, Runs};
use super::diff::{Diff, SAMPLES};
use super::ours::Ours;
use super::tally::{Expected, Hour, Place, Prefix, Range, differing};
use super::theirs::Theirs;
use super::verdict::{Counted, Found, sentence};
use crate::posthog_app::{self, App, AppError};

/// So many rows of ours are in memory at once, of 16 bytes each. A day with more differences is read
/// several times.
const ROWS_AT_ONCE: u64 = 400_000;

/// Why nothing is known of a day.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unknown {
    /// No run says what must be there.
    #[error(transparent)]
    NotCovered(#[from] NotCovered),
    /// PostHog did not answer.
    #[error(transparent)]
    App(#[from] AppError),
    /// Langfuse's database did not answer.
    #[error("Langfuse's database: {}", shared::postgres::in_words(.0))]
    Source(#[from] sqlx::Error),
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Which day, and where its events went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Langfuse's `projects.id`
    pub(crate) project_id: &'a str,
    /// The day
    pub(crate) day: Day,
    /// Its completed runs, to the present target
    pub(crate) runs: &'a Runs,
    /// The PostHog project
    pub(crate) place: &'a posthog_app::Place,
}

/// Compares a day, and judges it.
pub(crate) async fn verify(
    source: &PgPool,
    ledger: &Ledger,
    app: &App,
    asked: Asked<'_>,
) -> Result<(Verdict, Found), Unknown> {
    let Asked {
        project_id,
        day,
        runs,
        place,
    } = asked;
    let streams = runs.streams();
    let theirs = Theirs { app, place, project_id };
    let hours = Hour::of(day.start().and_utc())..Hour::of(day.end().and_utc());
    // PostHog first: what arrives in the meantime was not there when it was asked, but was not
    // called for either.
    let held = theirs.by_hour(&streams, hours.clone()).await?;
    let rejected = ledger.rejected_rows(project_id, day).await?;
    let ours = Ours::new(source, project_id, day, runs, &rejected).await?;
    let expected = ours.by_hour(&streams).await?;
    let mut found = Found {
        late: expected.values().map(|expected| expected.may.count).sum(),
        copies: held.copies,
        weaker: held.held.values().any(|held| held.xor.is_none()),
        ..Found::default()
    };
    for ((stream, hour), expected) in &expected {
        let hours = found.hours.entry(*stream).or_default();
        hours.entry(of_day(day, *hour)).or_default().expected = expected.must.count;
    }
    for range in differing(&expected, &held.held, &streams, hours) {
        let diff = if range.held == 0 {
            nothing_there(day, &range, &expected)
        } else {
            by_uuid(&ours, theirs, &range).await?
        };
        let hours = found.hours.entry(range.stream).or_default();
        for (hour, missing) in &diff.missing {
            hours.entry(*hour).or_default().missing += missing;
        }
        if diff.missing() > 0 && found.sample.len() < SAMPLES {
            let most = SAMPLES - found.sample.len();
            found.sample.extend(ours.name(&range, &diff.sample, most).await?);
            found.sample.truncate(SAMPLES);
        }
        found.extra += diff.extra();
    }
    let now = ledger.now().await?;
    let completed = runs.last().map_or(now, |(completed, _)| completed);
    Ok((found.verdict(completed, now), found))
}

fn of_day(day: Day, hour: Hour) -> u8 {
    u8::try_from(hour.0 - Hour::of(day.start().and_utc()).0).unwrap_or(u8::MAX)
}

/// Where PostHog holds nothing, no uuid need be asked for. PURE.
fn nothing_there(day: Day, range: &Range, expected: &BTreeMap<Place, Expected>) -> Diff {
    let within = (range.stream, range.from)..(range.stream, range.until);
    let missing = expected.range(within);
    Diff {
        missing: missing
            .filter(|(_, expected)| expected.must.count > 0)
            .map(|((_, hour), expected)| (of_day(day, *hour), expected.must.count))
            .collect(),
        ..Diff::default()
    }
}

/// Compares by uuid, a part of the uuids at a time.
async fn by_uuid(ours: &Ours<'_>, theirs: Theirs<'_>, range: &Range) -> Result<Diff, Unknown> {
    let all = Prefix::default().to_length(Theirs::prefix_length(range.held.max(range.expected)));
    let in_one = range.expected / u64::try_from(all.len()).unwrap_or(1);
    let at_once = usize::try_from(ROWS_AT_ONCE / in_one.max(1))
        .unwrap_or(usize::MAX)
        .max(1);
    let mut diff = Diff::default();
    for prefixes in all.chunks(at_once) {
        let rows = ours.rows(range, prefixes).await?;
        for prefix in prefixes {
            let mut keys = theirs.keys(range, *prefix).await?;
            let part = rows.iter().filter(|own| own.key.begins_with(&[*prefix]));
            let mut part: Vec<_> = part.copied().collect();
            diff.compare(&mut part, &mut keys);
        }
    }
    if !diff.extra.is_empty() {
        ours.outside(range, |key| diff.found_elsewhere(key)).await?;
    }
    Ok(diff)
}

/// The row of the ledger for what was found, or for why nothing was.
pub(crate) fn arrival(
    project_id: &str,
    day: Day,
    run: (chrono::DateTime<chrono::Utc>, &str),
    judged: &Result<(Verdict, Found), Unknown>,
) -> Arrival {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let nothing = Found::default();
    let (verdict, found, says) = match judged {
        Ok((verdict, found)) => (*verdict, found, sentence(found, *verdict)),
        Err(unknown) => (Verdict::Unknown, &nothing, unknown.to_string()),
    };
    Arrival {
        project_id: project_id.to_owned(),
        day,
        run: run.1.to_owned(),
        run_completed_at: run.0,
        verdict,
        says,
        expected: number(found.expected()),
        missing: number(found.missing()),
        extra: number(found.extra),
        late: number(found.late),
        copies: number(found.copies),
        weaker: found.weaker,
        nothing_after: found.nothing_after().map(i16::from),
        streams: found.streams_missing(),
        sample: found.sample.clone(),
        hours: hours(found),
        checked_at: run.0,
        repaired_at: None,
    }
}

/// The hours that miss events: `{"trace": {"19": [expected, missing]}}`. PURE.
fn hours(found: &Found) -> Value {
    let of_stream = |(stream, hours): (&Stream, &BTreeMap<u8, Counted>)| {
        let missing = hours.iter().filter(|(_, counted)| counted.missing > 0);
        let hours: serde_json::Map<String, Value> = missing
            .map(|(hour, counted)| (hour.to_string(), json!([counted.expected, counted.missing])))
            .collect();
        (!hours.is_empty()).then(|| (stream.as_str().to_owned(), Value::Object(hours)))
    };
    Value::Object(found.hours.iter().filter_map(of_stream).collect())
}
