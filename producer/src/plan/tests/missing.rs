//! Which days are missing.

use super::*;

#[test]
fn years_without_data_are_one_range() {
    let range = |first, last| day(first)..=day(last);
    let runs: Vec<RunRow> = ["2024-01-02", "2024-01-03", "2024-01-05", "9999-12-31"]
        .map(|text| run(day(text), "daily", State::Completed))
        .into();
    let missing = missing_days(&runs, range("0001-01-01", "2024-01-05"));
    assert_eq!(
        missing,
        [range("0001-01-01", "2024-01-01"), range("2024-01-04", "2024-01-04")]
    );
    assert_eq!(missing_days(&[], range("2024-01-02", "2024-01-01")), []);
    let found = ["0001-01-01", "1970-01-01", "2024-01-04"].map(day).into();
    assert_eq!(
        without(missing.clone(), &found),
        [range("0001-01-02", "1969-12-31"), range("1970-01-02", "2024-01-01")]
    );
    let others = vec![range("2024-01-02", "2024-01-02"), range("2024-01-06", "2024-01-09")];
    assert_eq!(
        union([missing, others].concat()),
        [
            range("0001-01-01", "2024-01-02"),
            range("2024-01-04", "2024-01-04"),
            range("2024-01-06", "2024-01-09")
        ]
    );
}

#[test]
fn what_settles_a_day() {
    let the_day = day("2024-06-08");
    let partial = |state| RunRow {
        full: false,
        events: Some(vec![Stream::Trace]),
        ..run(the_day, "replay-1", state)
    };
    for (row, wanted) in [
        (run(the_day, "daily", State::Completed), 0),
        (run(the_day, "daily", State::Queued), 0),
        (run(the_day, "daily", State::Running), 0),
        (run(the_day, "daily", State::Waiting), 0),
        (run(the_day, "daily", State::Dead), 0),
        (run(the_day, "daily", State::Discarded), 0),
        (run(the_day, "daily", State::Skipped), 1),
        (run(the_day, "replay-1", State::Completed), 0),
        (run(the_day, "replay-1", State::Dead), 0),
        (run(the_day, "replay-1", State::Discarded), 1),
        (partial(State::Completed), 1),
        (partial(State::Running), 1),
    ] {
        let what = format!("{} {} full={}", row.run, row.state, row.full);
        let missing = missing_days(std::slice::from_ref(&row), the_day..=the_day);
        assert_eq!(missing.len(), wanted, "{what}");
        let daily = planned(project(vec![row], &["2024-06-08"]));
        assert_eq!(daily.len(), wanted, "{what}");
        assert!(ids(&daily).iter().all(|id| id == "p/2024-06-08/daily"), "{what}");
    }
}
