use super::*;
use crate::rows::ScoreRow;
use proptest::prelude::*;
use serde_json::Value;

fn rows(sizes: &[usize]) -> Vec<Row> {
    let time = "2024-06-01T00:00:00".parse().unwrap();
    let row = |(n, size): (usize, &usize)| {
        Row::Score(ScoreRow {
            time,
            id: format!("row {n}"),
            comment: Some("x".repeat(*size)),
            ..ScoreRow::default()
        })
    };
    sizes.iter().enumerate().map(row).collect()
}

fn project() -> ProjectContext {
    ProjectContext::new("p", None)
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
}
