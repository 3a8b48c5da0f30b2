//! A plan that was carried out, made again.

use chrono::NaiveDate;
use proptest::prelude::*;

use super::*;

/// What the ledger looks like once the jobs are published and recorded.
fn apply(runs: &mut Vec<RunRow>, jobs: &[Planned], now: DateTime<Utc>) {
    for planned in jobs {
        let key = planned.key();
        match runs.iter_mut().find(|row| row.key() == key) {
            Some(row) => {
                row.queued_at = now;
                match row.state {
                    State::Skipped => row.state = State::Queued,
                    State::Running => row.lease_expires_at = Some(now),
                    State::Waiting => row.retry_at = Some(now),
                    _ => {}
                }
            }
            None => runs.push(RunRow {
                full: planned.job.scope.is_full(),
                created_after: planned.job.scope.created_after,
                queued_at: now,
                ..run(key.day, &key.run, State::Queued)
            }),
        }
    }
}

fn any_run() -> impl Strategy<Value = RunRow> {
    let states = proptest::sample::select(State::ALL.to_vec());
    let names = proptest::sample::select(vec!["daily", "replay-1", "late-1", "step-0000", "settled"]);
    (0_i64..12, names, states, -90_i64..90, 0_i64..2_000, 0_u8..3).prop_map(
        |(ago, name, state, minutes, age, filter)| {
            let moment = at(NOW) - TimeDelta::minutes(minutes);
            let began = at(NOW) - TimeDelta::minutes(age);
            let filter = if matches!(name, "daily" | "settled") { 0 } else { filter };
            let the_day = Day(NaiveDate::from_ymd_opt(2024, 6, 9).unwrap() - chrono::Days::new(ago.unsigned_abs()));
            RunRow {
                lease_expires_at: (state == State::Running).then_some(moment),
                retry_at: (state == State::Waiting).then_some(moment),
                queued_at: moment,
                started_at: Some(began),
                completed_at: (state == State::Completed).then_some(began + TimeDelta::minutes(3)),
                events: (filter == 1).then(|| vec![Stream::Trace]),
                created_after: (filter == 2 && name != "step-0000").then_some(began - TimeDelta::minutes(30)),
                full: filter == 0 && name != "step-0000",
                span_from: (name == "step-0000").then(|| the_day.start().and_utc()),
                span_until: (name == "step-0000").then(|| the_day.start().and_utc() + TimeDelta::hours(1)),
                changed: name == "settled",
                ..run(the_day, name, state)
            }
        },
    )
}

proptest! {
    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(
        found in proptest::collection::vec(any_run(), 0..30),
        with_data in proptest::collection::btree_set(0_u64..12, 0..12),
        created in proptest::collection::btree_map(0_u64..12, -30_i64..3_000, 0..12),
        queues_empty in any::<bool>(), settles_after in any::<bool>(),
    ) {
        let last = NaiveDate::from_ymd_opt(2024, 6, 9).unwrap();
        let ago = |days: u64| Day(last - chrono::Days::new(days));
        let mut runs: Vec<RunRow> = Vec::new();
        for row in found {
            if !runs.iter().any(|known| known.key() == row.key()) {
                runs.push(row);
            }
        }
        let newest: Newest = created
            .into_iter()
            .map(|(days, minutes)| (("p".to_owned(), ago(days)), at(NOW) - TimeDelta::minutes(minutes)))
            .collect();
        let arrived = Arrived { newest, ..Arrived::default() };
        let mut rules = rules();
        rules.horizon.settle_after = settles_after.then(|| TimeDelta::hours(24));
        let all: Vec<Day> = with_data.into_iter().map(ago).collect();
        let facts = |runs: &[RunRow]| {
            let missing = missing_days(runs, rules.window());
            Project {
                id: "p".into(),
                days_with_data: all.iter().copied().filter(|day| missing.iter().any(|range| range.contains(day))).collect(),
                runs: runs.to_vec(),
            }
        };
        let first = plan(&rules, &[facts(&runs)], &arrived, heal(&runs, rules.now, queues_empty));

        let mut keys: Vec<RunKey> = first.iter().map(Planned::key).collect();
        prop_assert!(first.windows(2).all(|pair| pair[0].job.key.day >= pair[1].job.key.day), "newest first");
        prop_assert!(first.iter().all(|job| (job.lane == Lane::Jobs) == (job.job.key.day.0 == last)), "lanes");
        for day in &all {
            let settled = runs.iter().any(|row| row.day == *day && settles(row));
            let enqueued = first.iter().any(|job| job.job.key.day == *day && job.job.key.run == DAILY
                && job.reason != Reason::Healed);
            prop_assert!(settled != enqueued, "each day with data is settled or enqueued: {day}");
            let daily = first.iter().find(|job| job.job.key.day == *day && job.job.key.run == DAILY
                && job.reason != Reason::Healed);
            let steps = runs.iter().any(|row| row.day == *day && row.is_step());
            prop_assert!(daily.is_none_or(|daily| daily.job.scope.changed == steps), "without what steps sent: {day}");
        }
        let published = keys.len();
        keys.sort_by_key(ToString::to_string);
        keys.dedup();
        prop_assert_eq!(keys.len(), published, "no job twice");

        apply(&mut runs, &first, rules.now);
        let second = plan(&rules, &[facts(&runs)], &arrived, heal(&runs, rules.now, queues_empty));
        prop_assert!(second.is_empty(), "{:?}", ids(&second));
    }
}
