//! The pure stages between a row and the bytes that are sent. Times are of one row; sizes are
//! printed first.
//!
//! `cargo bench --bench stages`, or some of them: `cargo bench --bench stages -- gzip`.

#![allow(
    missing_docs,
    clippy::print_stderr,
    reason = "criterion's macros; sizes for the terminal"
)]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use flate2::Compression;
use flate2::write::GzEncoder;
use smol_str::{SmolStr, ToSmolStr as _, format_smolstr};
use worker::langfuse::rows::{ObservationRow, Row, ScoreRow, TraceColumns, TraceRow};
use worker::posthog::batch::{Limits, Preamble, pack};
use worker::posthog::event::{self, ProjectContext};

/// Rows in a page.
const ROWS: u32 = 3_000;
const LIMITS: Limits = Limits {
    events: 1_500,
    bytes: 5_000_000,
};

fn stages(criterion: &mut Criterion) {
    let project = ProjectContext::new(
        "clx1q2w3e4r5t6y7u8i9",
        Some("Support"),
        Some("https://langfuse.example.com"),
    );
    let preamble = Preamble::new("phc_bench", false);
    let kinds = [
        ("trace", (0..ROWS).map(trace).collect::<Vec<Row>>()),
        ("generation", (0..ROWS).map(generation).collect()),
        ("score", (0..ROWS).map(score).collect()),
    ];
    for (kind, rows) in kinds {
        let json = json(&rows, &project);
        for level in [1, 2, 3, 6] {
            let size = gzip(&json, level).len();
            eprintln!(
                "{kind}: {} bytes of JSON a row, {} after gzip {level}",
                json.len() / rows.len(),
                size / rows.len()
            );
        }
        criterion.bench_function(&format!("{kind}/json"), |bencher| {
            let mut out = Vec::with_capacity(2 * json.len());
            per_row(bencher, || {
                out.clear();
                for row in &rows {
                    event::write(black_box(row), &project, &mut out);
                }
                black_box(&out);
            });
        });
        for level in [1, 2, 3, 6] {
            criterion.bench_function(&format!("{kind}/gzip {level}"), |bencher| {
                per_row(bencher, || {
                    black_box(gzip(black_box(&json), level));
                });
            });
        }
        let size = worker::posthog::gzip::gzip(&json).len();
        eprintln!("{kind}: {} after the worker's own gzip", size / rows.len());
        criterion.bench_function(&format!("{kind}/gzip of the worker"), |bencher| {
            per_row(bencher, || {
                black_box(worker::posthog::gzip::gzip(black_box(&json)));
            });
        });
        // What the worker does with a page: JSON, packing, compression.
        criterion.bench_function(&format!("{kind}/pack"), |bencher| {
            per_row(bencher, || {
                black_box(pack(black_box(&rows), true, &project, &preamble, LIMITS));
            });
        });
    }
}

/// Measures passes over all the rows, and reports the time of one row.
fn per_row(bencher: &mut Bencher, mut pass: impl FnMut()) {
    bencher.iter_custom(|rows| {
        let passes = u32::try_from(rows.div_ceil(u64::from(ROWS))).unwrap_or(u32::MAX);
        let began = Instant::now();
        for _ in 0..passes {
            pass();
        }
        let done = f64::from(passes) * f64::from(ROWS);
        #[expect(clippy::cast_precision_loss, reason = "criterion asks for far fewer than 2^52")]
        began.elapsed().mul_f64(rows as f64 / done)
    });
}

fn json(rows: &[Row], project: &ProjectContext) -> Vec<u8> {
    let mut json = Vec::new();
    for row in rows {
        event::write(row, project, &mut json);
        json.push(b',');
    }
    json
}

fn gzip(json: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(json.len() / 6), Compression::new(level));
    // Into memory: cannot fail.
    let _ = encoder.write_all(json);
    encoder.finish().unwrap_or_default()
}

/// An id that compresses as little as a real one.
fn id(kind: u128, number: u32) -> SmolStr {
    let mixed = (u128::from(number) + kind).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    uuid::Uuid::from_u128(mixed ^ (mixed >> 61)).to_smolstr()
}

fn moment(number: u32) -> chrono::NaiveDateTime {
    let start = chrono::DateTime::from_timestamp_millis(1_736_812_800_000).unwrap_or_default();
    (start + chrono::TimeDelta::milliseconds(i64::from(number) * 431)).naive_utc()
}

fn columns(number: u32) -> Arc<TraceColumns> {
    Arc::new(TraceColumns {
        name: (!number.is_multiple_of(20)).then(|| format_smolstr!("support/agent run {}", number % 12)),
        user_id: (number % 10 > 2).then(|| format_smolstr!("user-{}", number * 7919 % 8000)),
        session_id: (number % 10 < 6).then(|| format_smolstr!("session {}", number / 6)),
        release: number
            .is_multiple_of(2)
            .then(|| format_smolstr!("v2.{}.{}", number % 20, number % 10)),
        tags: Some(vec![Some("live".to_owned()), Some(format!("team {}", number % 20))]),
        posthog_distinct_id: None,
        posthog_session_id: (number % 5 == 1).then(|| id(5, number % 500)),
        touched: moment(number),
    })
}

fn trace(number: u32) -> Row {
    let time = moment(number);
    Row::Trace(TraceRow {
        time,
        id: id(1, number),
        trace: columns(number),
        version: (number % 10 < 3).then(|| format_smolstr!("prompt {}", number % 12)),
        observations: 4,
        first_start: Some(time),
        last_end: Some(moment(number + 20 + number % 9)),
        cost: Some(f64::from(number % 1800) * 0.000_002_5),
        observations_touched: Some(moment(number)),
    })
}

fn generation(number: u32) -> Row {
    Row::Generation(ObservationRow {
        time: moment(number),
        id: id(2, number),
        trace: columns(number / 2),
        trace_id: Some(id(1, number / 2)),
        kind: None,
        name: Some("completion".into()),
        version: (number % 10 < 3).then(|| format_smolstr!("prompt {}", number % 12)),
        model: Some("gpt-4o-2024-11-20".into()),
        level: Some("DEFAULT".into()),
        unit: Some("TOKENS".into()),
        end: Some(moment(number + 3 + number % 5)),
        completion_start: (number % 5 < 4).then(|| moment(number + 1)),
        input_units: i32::try_from(50 + number % 1800).unwrap_or_default(),
        output_units: i32::try_from(10 + number % 600).unwrap_or_default(),
        total_units: i32::try_from(60 + number % 1800 + number % 600).unwrap_or_default(),
        cost: Some(f64::from(number % 1800) * 0.000_002_5),
        touched: moment(number),
    })
}

fn score(number: u32) -> Row {
    Row::Score(ScoreRow {
        time: moment(number),
        id: id(3, number),
        trace: columns(number),
        trace_id: Some(id(1, number)),
        name: Some("faithful".into()),
        value: Some(f64::from(number % 1000) / 1000.0),
        string_value: None,
        data_type: Some("NUMERIC".into()),
        comment: number
            .is_multiple_of(4)
            .then(|| "The answer named a source that is not there.".into()),
        source: Some("EVAL".into()),
        observation_id: number.is_multiple_of(5).then(|| id(2, 2 * number)),
        touched: moment(number),
    })
}

criterion_group!(benches, stages);
criterion_main!(benches);
