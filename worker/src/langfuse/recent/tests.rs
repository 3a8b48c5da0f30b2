use proptest::prelude::*;

use super::*;
use crate::langfuse::rows::{ObservationRow, TraceRow};

const ALL: Kept = Kept {
    pages: 4,
    bytes: 1 << 20,
};

fn at(second: u32) -> NaiveDateTime {
    let midnight: NaiveDateTime = "2024-06-01T00:00:00".parse().unwrap();
    midnight + chrono::TimeDelta::seconds(i64::from(second))
}

/// A page with one trace a second; each is named as its id.
fn traces(seconds: std::ops::Range<u32>, last: bool) -> Page {
    let trace = |second: u32| {
        let id: SmolStr = format!("t{second}").into();
        let columns = TraceColumns {
            name: Some(id.clone()),
            ..TraceColumns::default()
        };
        Row::Trace(TraceRow {
            time: at(second),
            id,
            trace: Arc::new(columns),
            ..TraceRow::default()
        })
    };
    Page {
        rows: seconds.map(trace).collect(),
        last,
    }
}

/// A generation of the trace `t{trace}`.
fn generation(second: u32, trace: u32) -> Row {
    Row::Generation(ObservationRow {
        time: at(second),
        trace: TraceColumns::missing(),
        trace_id: Some(format!("t{trace}").into()),
        ..ObservationRow::default()
    })
}

fn names(rows: &[Row]) -> Vec<Option<&str>> {
    rows.iter().map(|row| row.trace().name.as_deref()).collect()
}

#[test]
fn rows_wait_for_the_traces_of_their_time_and_take_them() {
    let mut memory = Memory::new([Stream::Trace, Stream::Generation], ALL);
    let mut rows = vec![generation(1, 0), generation(1, 1), generation(5, 5)];
    assert_eq!(memory.join(Stream::Generation, &mut rows), (0, Some(at(1))));
    memory.add(&traces(0..3, false));
    assert_eq!(memory.join(Stream::Generation, &mut rows), (2, Some(at(5))));
    memory.add(&traces(3..6, false));
    assert_eq!(memory.join(Stream::Generation, &mut rows[2..]), (1, None));
    assert_eq!(names(&rows), [Some("t0"), Some("t1"), Some("t5")]);
}

#[test]
fn nothing_waits_for_traces_that_are_not_to_come() {
    let mut rows = vec![generation(1, 0)];
    let mut without = Memory::new([Stream::Generation, Stream::Score], ALL);
    assert_eq!(without.join(Stream::Generation, &mut rows), (1, None));
    assert!(rows[0].lacks_trace());
    let mut over = Memory::new([Stream::Trace, Stream::Generation], ALL);
    over.add(&traces(0..0, true));
    assert_eq!(over.join(Stream::Generation, &mut rows), (1, None));
    assert!(rows[0].lacks_trace());
}

#[test]
fn the_oldest_page_is_forgotten_first_and_every_bound_holds() {
    for (kept, remembered) in [(Kept { pages: 2, ..ALL }, 20..40), (Kept { bytes: 0, ..ALL }, 0..0)] {
        let mut memory = Memory::new([Stream::Trace, Stream::Generation], kept);
        for page in 0..4 {
            memory.add(&traces(page * 10..page * 10 + 10, false));
            assert!(memory.pages.len() <= kept.pages && memory.bytes <= kept.bytes);
        }
        let known = |second: u32| memory.traces.contains_key(format!("t{second}").as_str());
        assert!((0..40).all(|second| known(second) == remembered.contains(&second)));
    }
}

#[test]
fn traces_wait_for_the_slowest_and_for_nobody_who_is_done() {
    let mut memory = Memory::new([Stream::Trace, Stream::Generation, Stream::Score], ALL);
    memory.add(&traces(0..10, false));
    assert!(!memory.is_ahead());
    memory.add(&traces(10..20, false));
    assert!(memory.is_ahead(), "neither of the others has begun");
    memory.join(Stream::Generation, &mut [generation(12, 12)]);
    assert!(memory.is_ahead(), "the scores have not begun");
    memory.followers.remove(&Stream::Score);
    assert!(!memory.is_ahead());
    // Whoever waits for later traces must not be waited for.
    memory.add(&traces(20..30, false));
    assert!(memory.is_ahead());
    memory.join(Stream::Generation, &mut [generation(3_000, 1)]);
    assert!(!memory.is_ahead());
}

#[test]
fn without_others_traces_are_not_kept() {
    let mut memory = Memory::new([Stream::Trace], ALL);
    memory.add(&traces(0..10, false));
    assert!(memory.traces.is_empty() && !memory.is_ahead());
}

proptest! {
    /// Whatever the pages and times: somebody can always go on, and a row gets its own trace or
    /// none.
    #[test]
    fn it_never_comes_to_a_standstill(
        trace_page in 1_usize..9,
        others_page in 1_usize..9,
        times in [0_usize..40, 0_usize..40, 0_usize..40],
        step in 1_u32..50,
        kept in (0_usize..5, prop_oneof![Just(0_usize), Just(1_000), Just(1 << 20)]),
    ) {
        let kept = Kept { pages: kept.0, bytes: kept.1 };
        let mut memory = Memory::new(Stream::ALL, kept);
        let mut trace_pages: Vec<Page> = (0..60).collect::<Vec<u32>>()
            .chunks(trace_page)
            .map(|page| traces(page[0]..page[0] + u32::try_from(page.len()).unwrap(), false))
            .collect();
        trace_pages.last_mut().unwrap().last = true;
        let mut trace_pages = trace_pages.into_iter().peekable();
        let mut others = [Stream::Generation, Stream::Score, Stream::Observation].into_iter().zip(times).map(|(stream, count)| {
            let rows: Vec<Row> = (0..count).map(|n| u32::try_from(n).unwrap() * step)
                .map(|second| generation(second, second.saturating_sub(3)))
                .collect();
            let pages: Vec<Vec<Row>> = rows.chunks(others_page).map(<[Row]>::to_vec).collect();
            (stream, pages.into_iter(), Vec::new())
        }).collect::<Vec<_>>();
        loop {
            let mut moved = false;
            for (stream, pages, rows) in &mut others {
                if rows.is_empty() {
                    let Some(next) = pages.next() else {
                        moved |= memory.followers.remove(stream).is_some();
                        continue;
                    };
                    *rows = next;
                }
                let (done, _) = memory.join(*stream, rows);
                for row in rows.drain(..done) {
                    let name = row.trace().name.as_deref();
                    prop_assert!(name.is_none() || name == row.trace_id());
                    moved = true;
                }
            }
            if !memory.is_ahead() && let Some(page) = trace_pages.next() {
                memory.add(&page);
                prop_assert!(memory.pages.len() <= kept.pages && memory.bytes <= kept.bytes);
                moved = true;
            }
            if !moved {
                break;
            }
        }
        prop_assert!(trace_pages.peek().is_none(), "the traces stand still");
        prop_assert!(memory.followers.is_empty(), "{:?} stand still", memory.followers);
    }
}
