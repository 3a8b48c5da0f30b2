//! One day: what PostHog holds against what the database calls for.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared::job::{Day, Stream};
use shared::ledger::{Arrival, Ledger, Verdict};
use sqlx::PgPool;

use super::by_uuid::ByUuid;
use super::covering::Runs;
use super::diff::SAMPLES;
use super::ours::Ours;
use super::tally::{Hour, differing, window};
use super::theirs::Theirs;
use super::unknown::{Deadline, Unknown};
use super::verdict::{Counted, Found, VISIBLE_AFTER, sentence};
use crate::posthog_app::{self, App};

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
    /// Until when
    pub(crate) deadline: Deadline,
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
        deadline,
    } = asked;
    let hours = Hour::of(day.start().and_utc())..Hour::of(day.end().and_utc());
    if hours.start < Hour(0) {
        return Err(Unknown::BeforeHours);
    }
    let streams = runs.streams();
    let theirs = Theirs {
        app,
        place,
        project_id,
        deadline,
    };
    // PostHog first: what arrives in the meantime was not there when it was asked, but was not
    // called for either.
    let (mut counted, mut way) = theirs.hours(theirs.way(), &streams, hours.clone()).await?;
    let rejected = ledger.rejected_rows(project_id, day).await?;
    let visible_since = ledger.now().await? - VISIBLE_AFTER;
    let ours = Ours::new(source, project_id, day, runs, rejected, visible_since, deadline).await?;
    let mut called_for = Vec::new();
    for stream in &streams {
        called_for.push((*stream, ours.cells(*stream, hours.clone(), 0).await?));
    }
    let mut cells = called_for.iter().flat_map(|(_, cells)| cells.values());
    let must_be_there = cells.any(|cell| cell.must.count > 0);
    if must_be_there && counted.held.is_empty() && way.may_overlook_all() {
        (counted, way) = theirs.hours(way.by_text(), &streams, hours.clone()).await?;
    }
    let mut found = Found {
        copies: counted.copies,
        ..Found::default()
    };
    let nothing = BTreeMap::new();
    for (stream, expected) in called_for {
        let held = counted.held.get(&stream).unwrap_or(&nothing);
        found.late += expected.values().map(|expected| expected.may.count).sum::<u64>();
        found.weaker |= held.values().any(|held| held.xor.is_none());
        let of_stream = found.hours.entry(stream).or_default();
        for (cell, expected) in &expected {
            let hour = of_stream.entry(ours.hour_of_day(cell.hour)).or_default();
            hour.expected = expected.must.count;
        }
        let differing = differing(&expected, held);
        if differing.is_empty() {
            continue;
        }
        let ours = &ours;
        let by_uuid = ByUuid {
            ours,
            theirs,
            stream,
            way,
        };
        let diff = by_uuid.diff(&differing).await?;
        for (hour, missing) in &diff.missing {
            of_stream.entry(*hour).or_default().missing += missing;
        }
        if diff.missing() > 0 && found.sample.len() < SAMPLES {
            let most = SAMPLES - found.sample.len();
            let named = ours.name(stream, window(&differing), &diff.sample, most).await?;
            found.sample.extend(named);
            found.sample.truncate(SAMPLES);
        }
        found.overdue += diff.overdue;
        found.extra += diff.extra();
    }
    Ok((found.verdict(), found))
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
        target: None,
        looked_at: run.0,
        failure: None,
        set_aside: false,
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
