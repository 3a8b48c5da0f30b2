use super::*;
use crate::langfuse::rows::{ObservationRow, ScoreRow, TraceRow};
use proptest::prelude::*;
use serde_json::Value;
use smol_str::SmolStr;

fn rows(sizes: &[usize]) -> Vec<Row> {
    let time = "2024-06-01T00:00:00".parse().unwrap();
    let row = |(n, size): (usize, &usize)| {
        Row::Score(ScoreRow {
            time,
            id: format!("row {n}").into(),
            comment: Some("x".repeat(*size).into()),
            ..ScoreRow::default()
        })
    };
    sizes.iter().enumerate().map(row).collect()
}

fn project() -> ProjectContext {
    ProjectContext::new("p", None, None)
}

fn json(body: &Body) -> (usize, Value) {
    let mut text = String::new();
    GzDecoder::new(&body.bytes()[..]).read_to_string(&mut text).unwrap();
    (text.len(), serde_json::from_str(&text).unwrap())
}

fn ids(body: &Body) -> Vec<String> {
    let (_, json) = json(body);
    let id = |event: &Value| event["properties"]["langfuse_id"].as_str().unwrap().to_owned();
    json["batch"].as_array().unwrap().iter().map(id).collect()
}

#[test]
fn a_body_is_what_posthog_expects() {
    let preamble = Preamble::new("phc_\"1", true);
    let batches = pack(
        &rows(&[1, 2]),
        true,
        &project(),
        &preamble,
        Limits {
            events: 10,
            bytes: 100_000,
        },
    );
    assert_eq!(batches.len(), 1);
    let (_, json) = json(batches[0].body.as_ref().unwrap());
    assert_eq!(json["api_key"], "phc_\"1");
    assert_eq!(json["historical_migration"], true);
    assert_eq!(json["batch"].as_array().unwrap().len(), 2);
    assert!(json.get("sent_at").is_none());
    let (_, plain) = {
        let batches = pack(
            &rows(&[1]),
            true,
            &project(),
            &Preamble::new("k", false),
            Limits { events: 1, bytes: 1 },
        );
        super::tests::json(batches[0].body.as_ref().unwrap())
    };
    assert!(plain.get("historical_migration").is_none());
}

#[test]
fn an_empty_last_page_still_ends_the_stream() {
    let batches = pack(
        &[],
        true,
        &project(),
        &Preamble::new("k", false),
        Limits { events: 1, bytes: 1 },
    );
    assert!(matches!(
        batches.as_slice(),
        [Batch {
            body: None,
            cursor: None,
            last: true
        }]
    ));
    assert!(
        pack(
            &[],
            false,
            &project(),
            &Preamble::new("k", false),
            Limits { events: 1, bytes: 1 }
        )
        .is_empty()
    );
}

#[test]
fn bisecting_ends_at_single_rows_in_order() {
    let batches = pack(
        &rows(&[1; 7]),
        true,
        &project(),
        &Preamble::new("k", false),
        Limits {
            events: 10,
            bytes: 100_000,
        },
    );
    let mut open = vec![batches[0].body.clone().unwrap()];
    let mut single = Vec::new();
    while let Some(body) = open.pop() {
        if body.events() == 1 {
            assert_eq!(ids(&body), [body.row_id()]);
            single.push(body.row_id().to_owned());
        } else {
            let (a, b) = body.halves().unwrap();
            assert_eq!([ids(&a), ids(&b)].concat(), ids(&body));
            open.extend([b, a]);
        }
    }
    assert_eq!(single, (0..7).map(|n| format!("row {n}")).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn every_row_is_packed_once_in_order_within_the_bounds(
        sizes in proptest::collection::vec(0_usize..3_000, 0..60), events in 1_usize..20, bytes in 1_500_usize..20_000, last in any::<bool>(),
    ) {
        let rows = rows(&sizes);
        let limits = Limits { events, bytes };
        let batches = pack(&rows, last, &project(), &Preamble::new("k", false), limits);
        let mut packed = Vec::new();
        for batch in &batches {
            let Some(body) = &batch.body else { continue };
            let (length, _) = json(body);
            prop_assert!(body.events() <= events && body.events() > 0);
            // One event alone may be larger than the bound.
            prop_assert!(length <= bytes || body.events() == 1);
            packed.extend(ids(body));
            prop_assert_eq!(&batch.cursor.as_ref().unwrap().id, packed.last().unwrap());
        }
        prop_assert_eq!(packed, rows.iter().map(|r| r.id().to_owned()).collect::<Vec<_>>());
        prop_assert_eq!(batches.last().is_some_and(|b| b.last), last);
        prop_assert_eq!(batches.iter().filter(|b| b.last).count(), usize::from(last));
    }

    /// Whatever rows and keys hold: a body is JSON, and taking it apart gives back each event as it
    /// was.
    #[test]
    fn any_text_is_packed_and_taken_apart_unchanged(
        texts in proptest::collection::vec(any::<String>(), 1..12), number in any::<f64>(), count in any::<i32>(),
        api_key in any::<String>(), historical in any::<bool>(),
    ) {
        let time = "2024-06-01T00:00:00".parse().unwrap();
        let row = |(n, text): (usize, &String)| {
            let (id, text) = (SmolStr::from(format!("{n} {text}")), Some(SmolStr::from(text)));
            match n % 3 {
                0 => Row::Score(ScoreRow {
                    time, id, trace_id: text.clone(), name: text.clone(), value: Some(number), string_value: text.clone(),
                    data_type: text.clone(), comment: text, ..ScoreRow::default()
                }),
                1 => Row::Generation(ObservationRow {
                    time, id, trace_id: text.clone(), name: text.clone(), model: text.clone(), level: text.clone(), unit: text.clone(),
                    version: text, end: Some(time), input_units: count, total_units: i32::MIN, cost: Some(number), ..ObservationRow::default()
                }),
                _ => Row::Trace(TraceRow {
                    time, id, version: text, observations: count.into(), first_start: Some(time), last_end: Some(time), cost: Some(number),
                    ..TraceRow::default()
                }),
            }
        };
        let rows: Vec<Row> = texts.iter().enumerate().map(row).collect();
        let limits = Limits { events: 100, bytes: 10_000_000 };
        let batches = pack(&rows, true, &project(), &Preamble::new(&api_key, historical), limits);
        prop_assert_eq!(batches.len(), 1);
        let whole = batches[0].body.clone().unwrap();
        let (_, sent) = json(&whole);
        prop_assert_eq!(&sent["api_key"], &api_key);
        let mut open = vec![whole];
        let mut events = Vec::new();
        while let Some(body) = open.pop() {
            let (_, part) = json(&body);
            prop_assert_eq!(&part["api_key"], &api_key);
            prop_assert_eq!(part.get("historical_migration").is_some(), historical);
            if body.events() == 1 {
                prop_assert_eq!(body.row_id(), &part["batch"][0]["properties"]["langfuse_id"]);
                events.extend(part["batch"].as_array().unwrap().clone());
            } else {
                let (first, second) = body.halves().unwrap();
                open.extend([second, first]);
            }
        }
        prop_assert_eq!(&Value::from(events), &sent["batch"]);
        prop_assert_eq!(sent["batch"].as_array().unwrap().len(), texts.len());
    }
}

#[test]
fn the_cursor_moves_over_what_was_left_out() {
    let end = Cursor {
        time: "2024-06-01T00:00:09".parse().unwrap(),
        id: "left out".into(),
    };
    let limits = Limits {
        events: 2,
        bytes: 100_000,
    };
    let pack = |rows: &[Row], last| pack(rows, last, &project(), &Preamble::new("k", false), limits);
    let row = |id: &str| {
        Row::Score(ScoreRow {
            id: id.into(),
            ..ScoreRow::default()
        })
    };
    let some = up_to(pack(&[row("a"), row("b"), row("c")], false), Some(end.clone()));
    assert_eq!(some[0].cursor.as_ref().unwrap().id, "b");
    assert_eq!(some[1].cursor, Some(end.clone()));
    for last in [false, true] {
        let none = up_to(pack(&[], last), Some(end.clone()));
        assert!(none.len() == 1 && none[0].body.is_none() && none[0].last == last);
        assert_eq!(none[0].cursor, Some(end.clone()));
    }
}
