//! Messages that seem to be lost.

use super::*;

#[test]
fn lost_messages() {
    let now = at(NOW);
    let the_day = day("2024-06-08");
    let minutes = |n| now - TimeDelta::minutes(n);
    let running = |minutes_ago| RunRow {
        lease_expires_at: Some(minutes(minutes_ago)),
        ..run(the_day, "daily", State::Running)
    };
    let waiting = |minutes_ago| RunRow {
        retry_at: Some(minutes(minutes_ago)),
        ..run(the_day, "daily", State::Waiting)
    };
    let queued = |minutes_ago| RunRow {
        queued_at: minutes(minutes_ago),
        ..run(the_day, "daily", State::Queued)
    };
    for (row, empty, healed) in [
        (running(-1), true, false),
        (running(9), true, false),
        (running(11), true, true),
        (running(11), false, true),
        (waiting(-5), true, false),
        (waiting(9), true, false),
        (waiting(11), false, true),
        (queued(59), true, false),
        (queued(61), true, true),
        (queued(61), false, false),
        (run(the_day, "daily", State::Dead), true, false),
        (run(the_day, "daily", State::Completed), true, false),
        (run(the_day, "daily", State::Skipped), true, false),
    ] {
        let what = format!("{row:?}");
        let jobs = heal(&[row], now, empty);
        assert_eq!(jobs.len(), usize::from(healed), "{what}");
        assert!(
            jobs.iter()
                .all(|job| job.reason == Reason::Healed && job.lane == Lane::Backfill)
        );
    }
    let filtered = late_run(the_day, "late-1", State::Running, now);
    assert_eq!(heal(&[filtered], now, false)[0].job.scope.created_after, Some(now));
}
