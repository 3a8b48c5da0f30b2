use chrono::NaiveDate;
use proptest::prelude::*;
use shared::job::{Scope, Stream};
use shared::langfuse::Newest;
use shared::ledger::Counts;
use shared::message::Message;

use super::*;

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

/// Half past one on 10 June 2024, with the default lag: the 9th is over.
const NOW: &str = "2024-06-10T01:30:00Z";

fn rules() -> Rules {
    Rules {
        now: at(NOW),
        horizon: Horizon {
            lag: Duration::from_secs(30 * 60),
            ..Horizon::default()
        },
        from: None,
        to: None,
        observations: false,
    }
}

pub(super) fn run(day: Day, name: &str, state: State) -> RunRow {
    let next_morning = day.next().start().and_utc() + TimeDelta::hours(1);
    let has_begun = matches!(state, State::Running | State::Completed | State::Dead | State::Waiting);
    RunRow {
        project_id: "p".into(),
        day,
        run: name.into(),
        state,
        attempt: 0,
        takeovers: 0,
        worker: None,
        full: true,
        created_after: None,
        changed: false,
        span_from: None,
        span_until: None,
        events: None,
        error_code: None,
        error: None,
        first_failed_at: None,
        retry_at: None,
        lease_expires_at: None,
        queued_at: next_morning,
        started_at: has_begun.then_some(next_morning),
        completed_at: (state == State::Completed).then_some(next_morning + TimeDelta::minutes(5)),
        counts: Counts::default(),
    }
}

fn late_run(day: Day, name: &str, state: State, created_after: DateTime<Utc>) -> RunRow {
    RunRow {
        full: false,
        created_after: Some(created_after),
        ..run(day, name, state)
    }
}

fn project(runs: Vec<RunRow>, days: &[&str]) -> Project {
    Project {
        id: "p".into(),
        runs,
        days_with_data: days.iter().map(|text| day(text)).collect(),
    }
}

fn planned(project: Project) -> Vec<Planned> {
    plan(&rules(), &[project], &Arrived::default(), Vec::new())
}

fn ids(jobs: &[Planned]) -> Vec<String> {
    jobs.iter().map(|job| job.key().to_string()).collect()
}

#[test]
fn a_day_is_over_when_its_end_lies_the_lag_back() {
    for (now, newest) in [
        ("2024-06-10T00:00:00Z", "2024-06-08"),
        ("2024-06-10T00:29:59Z", "2024-06-08"),
        ("2024-06-10T00:30:00Z", "2024-06-09"),
        ("2024-06-10T23:59:59Z", "2024-06-09"),
    ] {
        let rules = Rules {
            now: at(now),
            ..rules()
        };
        assert_eq!(rules.newest_over(), day(newest), "{now}");
    }
}

#[test]
fn yesterday_goes_to_the_jobs_queue_and_older_days_to_the_backfill() {
    let jobs = planned(project(vec![], &["2024-06-07", "2024-06-09", "2024-06-08"]));
    assert_eq!(
        ids(&jobs),
        ["p/2024-06-09/daily", "p/2024-06-08/daily", "p/2024-06-07/daily"]
    );
    let lanes: Vec<Lane> = jobs.iter().map(|job| job.lane).collect();
    assert_eq!(lanes, [Lane::Jobs, Lane::Backfill, Lane::Backfill]);
    assert!(
        jobs.iter()
            .all(|job| job.reason == Reason::New && job.job.scope.is_full())
    );
}

#[test]
fn windows() {
    let with = |backfill_days, from: Option<&str>, to: Option<&str>| {
        let horizon = Horizon {
            backfill_days,
            ..rules().horizon
        };
        let rules = Rules {
            horizon,
            from: from.map(day),
            to: to.map(day),
            ..rules()
        };
        let (first, last) = rules.window().into_inner();
        (first.to_string(), last.to_string())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(with(None, None, None), pair("0001-01-01", "2024-06-09"));
    assert_eq!(with(Some(0), None, None), pair("2024-06-09", "2024-06-09"));
    assert_eq!(with(Some(7), None, None), pair("2024-06-02", "2024-06-09"));
    assert_eq!(with(Some(u32::MAX), None, None), pair("0001-01-01", "2024-06-09"));
    // A human's dates are taken as they are, as far as the days are over.
    assert_eq!(
        with(Some(7), Some("2024-02-01"), None),
        pair("2024-02-01", "2024-06-09")
    );
    assert_eq!(
        with(Some(7), Some("2023-01-01"), Some("2024-02-02")),
        pair("2023-01-01", "2024-02-02")
    );
    assert_eq!(
        with(None, Some("0000-01-01"), Some("2024-07-01")),
        pair("0001-01-01", "2024-06-09")
    );
    // A lag longer than the calendar is no reason to panic: no day is over.
    let lag = Duration::from_secs(u64::MAX / 1_000);
    let rules = Rules {
        horizon: Horizon {
            lag,
            ..Horizon::default()
        },
        ..rules()
    };
    assert!(rules.window().is_empty());
}

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

/// The events of a run, as its row has them.
fn of(streams: &[Stream], run: RunRow) -> RunRow {
    RunRow {
        full: run.created_after.is_none() && Scope::of(streams.iter().copied().collect()).has_usual(),
        events: Some(streams.to_vec()),
        ..run
    }
}

/// The setting may change at any time: what was exported stays exported.
#[test]
fn a_whole_run_settles_its_day_with_and_without_observations() {
    let the_day = day("2024-06-08");
    for observations in [false, true] {
        let rules = Rules {
            observations,
            ..rules()
        };
        let planned = |runs| {
            let projects = [project(runs, &["2024-06-08"])];
            plan(&rules, &projects, &Arrived::default(), Vec::new())
        };
        let daily = || run(the_day, "daily", State::Completed);
        assert!(planned(vec![daily()]).is_empty());
        assert!(planned(vec![of(&Stream::ALL, daily())]).is_empty());
        let only = of(&[Stream::Observation], run(the_day, "replay-1", State::Completed));
        let jobs = planned(vec![only]);
        assert_eq!(jobs[0].job, Job::daily("p", the_day, observations));
        let asked: Vec<Stream> = jobs[0].job.scope.streams().collect();
        assert_eq!(asked.contains(&Stream::Observation), observations);
        let message = Message::from(&jobs[0].job);
        assert_eq!(Message::decode(&message.encode()).unwrap().job().unwrap(), jobs[0].job);
    }
}

#[test]
fn a_late_run_exports_observations_where_they_are_wanted() {
    let rules = Rules {
        observations: true,
        ..rules()
    };
    let the_day = day("2024-06-08");
    let late = |runs| {
        plan(
            &rules,
            &[project(runs, &[])],
            &arrived("2024-06-09T14:00:00Z"),
            Vec::new(),
        )
    };
    let daily = || of(&Stream::ALL, run(the_day, "daily", State::Completed));
    let jobs = late(vec![daily()]);
    assert!(jobs[0].job.scope.streams().eq(Stream::ALL) && jobs[0].job.scope.created_after.is_some());
    // A replay without them, or one that is under way, has not read the late ones.
    let replay = RunRow {
        started_at: Some(at("2024-06-09T15:00:00Z")),
        completed_at: Some(at("2024-06-09T15:00:01Z")),
        ..run(the_day, "replay-1", State::Completed)
    };
    assert_eq!(late(vec![daily(), replay.clone()]).len(), 1);
    assert!(late(vec![daily(), of(&Stream::ALL, replay.clone())]).is_empty());
    let underway = || late_run(the_day, "late-1", State::Running, at("2024-06-09T00:55:00Z"));
    assert_eq!(late(vec![daily(), underway()]).len(), 1);
    assert!(late(vec![daily(), of(&Stream::ALL, underway())]).is_empty());
    // No run of the day has them: it is covered as before.
    assert!(late(vec![run(the_day, "daily", State::Completed), replay]).is_empty());
}

/// Whatever EVENTS says now: each late row of such a day is sent, and as the others of its day were.
#[test]
fn a_day_that_was_exported_without_observations_goes_on_without_them() {
    let rules = Rules {
        observations: true,
        now: at("2024-06-09T23:00:00Z"),
        ..rules()
    };
    let the_day = day("2024-06-08");
    let mut runs = vec![run(the_day, "daily", State::Completed)];
    for (arrives, began) in [
        ("2024-06-09T14:00:00Z", "2024-06-09T14:30:00Z"),
        ("2024-06-09T15:00:00Z", "2024-06-09T15:30:00Z"),
        ("2024-06-09T16:00:00Z", "2024-06-09T16:30:00Z"),
    ] {
        assert!(sweep_from(&runs, None, true).is_some_and(|from| from < at(arrives)));
        let jobs = plan(&rules, &[project(runs.clone(), &[])], &arrived(arrives), Vec::new());
        assert_eq!(jobs.len(), 1, "{arrives}");
        let Scope {
            events, created_after, ..
        } = jobs[0].job.scope.clone();
        assert_eq!(events, None);
        runs.push(RunRow {
            started_at: Some(at(began)),
            completed_at: Some(at(began)),
            ..late_run(the_day, &jobs[0].job.key.run, State::Completed, created_after.unwrap())
        });
    }
}

/// As docs/OPERATIONS.md says how observations are added to days that were exported without them.
#[test]
fn late_observations_are_sent_once_a_replay_has_added_them_to_their_day() {
    let rules = Rules {
        observations: true,
        now: at("2024-06-09T23:00:00Z"),
        ..rules()
    };
    let the_day = day("2024-06-08");
    let began = |began: &str, run: RunRow| RunRow {
        started_at: Some(at(began)),
        completed_at: Some(at(began)),
        ..run
    };
    let only = RunRow {
        full: false,
        ..of(&[Stream::Observation], run(the_day, "replay-1", State::Completed))
    };
    let mut runs = vec![
        run(the_day, "daily", State::Completed),
        began("2024-06-09T12:00:00Z", only),
    ];
    for (arrives, next) in [
        ("2024-06-09T14:00:00Z", "2024-06-09T14:30:00Z"),
        ("2024-06-09T15:00:00Z", "2024-06-09T15:30:00Z"),
    ] {
        let plan = |runs| plan(&rules, &[project(runs, &[])], &arrived(arrives), Vec::new());
        let jobs = plan(runs.clone());
        assert_eq!(jobs.len(), 1, "{arrives}");
        assert!(jobs[0].job.scope.streams().eq(Stream::ALL));
        let (name, after) = (jobs[0].job.key.run.clone(), jobs[0].job.scope.created_after.unwrap());
        runs.push(began(
            next,
            of(&Stream::ALL, late_run(the_day, &name, State::Completed, after)),
        ));
        assert!(plan(runs.clone()).is_empty(), "{arrives}");
    }
}

#[test]
fn what_was_skipped_comes_back_once() {
    let the_day = day("2024-06-08");
    let jobs = planned(project(vec![run(the_day, "daily", State::Skipped)], &["2024-06-08"]));
    assert_eq!(
        (ids(&jobs), jobs[0].reason),
        (vec!["p/2024-06-08/daily".into()], Reason::Resumed)
    );
    // A replay comes back under its own name, with its filter, and the day needs no other job.
    let replay = RunRow {
        events: Some(vec![Stream::Score]),
        full: false,
        ..run(the_day, "replay-1", State::Skipped)
    };
    let jobs = planned(project(vec![run(the_day, "daily", State::Completed), replay], &[]));
    assert_eq!(ids(&jobs), ["p/2024-06-08/replay-1"]);
    assert_eq!(jobs[0].job.scope.events, Some([Stream::Score].into()));
    let jobs = planned(project(vec![run(the_day, "replay-2", State::Skipped)], &["2024-06-08"]));
    assert_eq!(ids(&jobs), ["p/2024-06-08/replay-2"]);
}

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

fn arrived(newest: &str) -> Arrived {
    Arrived {
        newest: Newest::from([(("p".to_owned(), day("2024-06-08")), at(newest))]),
        ..Arrived::default()
    }
}

/// What `plan` makes of a day whose newest row was created then.
fn late(runs: Vec<RunRow>, newest: &str) -> Vec<Planned> {
    plan(&rules(), &[project(runs, &[])], &arrived(newest), Vec::new())
}

#[test]
fn rows_that_came_after_the_export_call_for_a_late_run() {
    // Exported at 01:00 on the 9th; it is 01:30 on the 10th.
    let exported = || run(day("2024-06-08"), "daily", State::Completed);
    for (newest, called) in [
        ("2024-06-08T23:59:59Z", false),
        ("2024-06-09T00:54:59Z", false),
        // Within the margin before: perhaps read, perhaps not.
        ("2024-06-09T00:55:00Z", true),
        ("2024-06-09T01:00:00Z", true),
        ("2024-06-09T14:00:00Z", true),
        ("2024-06-10T01:29:59Z", true),
    ] {
        let jobs = late(vec![exported()], newest);
        assert_eq!(jobs.len(), usize::from(called), "{newest}");
        for job in jobs {
            assert_eq!(job.job.key.run, "late-2024-06-09T01:00:00.000Z");
            assert_eq!(job.job.scope.created_after, Some(at("2024-06-09T00:55:00Z")));
            assert_eq!((job.reason, job.lane), (Reason::Late, Lane::Backfill));
            assert_eq!(
                Message::decode(&Message::from(&job.job).encode()).unwrap().job(),
                Some(job.job)
            );
        }
    }
    // A day that was not exported is not late.
    for state in [State::Queued, State::Running, State::Dead, State::Waiting] {
        assert!(late(vec![run(day("2024-06-08"), "daily", state)], "2024-06-09T14:00:00Z").is_empty());
    }
}

#[test]
fn a_late_run_is_the_next_threshold() {
    let the_day = day("2024-06-08");
    let exported = run(the_day, "daily", State::Completed);
    let late_at = |began: &str, state| RunRow {
        started_at: Some(at(began)),
        completed_at: Some(at(began) + TimeDelta::minutes(1)),
        ..late_run(
            the_day,
            "late-2024-06-09T01:00:00.000Z",
            state,
            at("2024-06-09T00:55:00Z"),
        )
    };
    let done = || vec![exported.clone(), late_at("2024-06-09T15:00:00Z", State::Completed)];
    assert!(late(done(), "2024-06-09T14:00:00Z").is_empty());
    let again = late(done(), "2024-06-09T15:00:01Z");
    assert_eq!(ids(&again), ["p/2024-06-08/late-2024-06-09T15:00:00.000Z"]);
    for state in [State::Queued, State::Running, State::Waiting, State::Dead] {
        let jobs = late(
            vec![exported.clone(), late_at("2024-06-09T15:00:00Z", state)],
            "2024-06-09T16:00:00Z",
        );
        assert!(jobs.is_empty(), "{state}");
    }
    // Skipped, it comes back as it was; given up, the next one has another name.
    let skipped = late(
        vec![exported.clone(), late_at("2024-06-09T15:00:00Z", State::Skipped)],
        "2024-06-09T16:00:00Z",
    );
    assert_eq!((skipped.len(), skipped[0].reason), (1, Reason::Resumed));
    let discarded = late_at("2024-06-09T15:00:00Z", State::Discarded);
    let jobs = late(vec![exported.clone(), discarded], "2024-06-09T16:00:00Z");
    assert_eq!(ids(&jobs), ["p/2024-06-08/late-2024-06-09T01:00:00.000Z-2"]);
    // A filter that leaves a gap behind the export covers nothing.
    let mut gap = late_at("2024-06-09T15:00:00Z", State::Completed);
    gap.run = "replay-1".into();
    gap.created_after = Some(at("2024-06-09T12:00:00Z"));
    assert_eq!(late(vec![exported, gap], "2024-06-09T11:00:00Z").len(), 1);
}

#[test]
fn a_row_of_the_future_counts_as_created_now_and_leads_to_two_late_runs_at_most() {
    let the_day = day("2024-06-08");
    let exported = run(the_day, "daily", State::Completed);
    let ahead = Arrived {
        ahead: [("p".to_owned(), the_day)].into(),
        ..Arrived::default()
    };
    let jobs = |runs: Vec<RunRow>, arrived: &Arrived| plan(&rules(), &[project(runs, &[])], arrived, Vec::new());
    let first = jobs(vec![exported.clone()], &ahead);
    assert_eq!(ids(&first), ["p/2024-06-08/late-2024-06-09T01:00:00.000Z"]);
    assert_eq!(first[0].job.scope.created_after, Some(at("2024-06-09T00:55:00Z")));
    // That run may have read it or not. As long as its moment is to come, no other run follows.
    let late = RunRow {
        started_at: Some(at("2024-06-09T15:00:00Z")),
        completed_at: Some(at("2024-06-09T15:01:00Z")),
        ..late_run(
            the_day,
            &first[0].job.key.run,
            State::Completed,
            at("2024-06-09T00:55:00Z"),
        )
    };
    let runs = vec![exported, late];
    assert!(jobs(runs.clone(), &ahead).is_empty());
    // A row that was created by now is not forgotten beside it.
    let both = Arrived {
        newest: arrived("2024-06-10T00:00:00Z").newest,
        ..ahead
    };
    assert_eq!(ids(&jobs(runs, &both)), ["p/2024-06-08/late-2024-06-09T15:00:00.000Z"]);
}

#[test]
fn a_row_of_the_margin_waits_until_a_run_reads_it_for_certain() {
    let mut exported = run(day("2024-06-08"), "daily", State::Completed);
    exported.started_at = Some(at("2024-06-10T01:28:00Z"));
    exported.completed_at = Some(at("2024-06-10T01:29:00Z"));
    assert!(late(vec![exported.clone()], "2024-06-10T01:27:00Z").is_empty());
    let arrived = arrived("2024-06-10T01:27:00Z");
    let rules = Rules {
        now: at("2024-06-10T01:32:01Z"),
        ..rules()
    };
    assert_eq!(
        plan(&rules, &[project(vec![exported], &[])], &arrived, Vec::new()).len(),
        1
    );
}

#[test]
fn a_sweep_goes_on_where_the_last_one_ended() {
    let old = run(day("2024-01-08"), "daily", State::Completed);
    assert_eq!(sweep_from(&[], None, false), None);
    let dead = run(day("2024-06-08"), "daily", State::Dead);
    assert_eq!(sweep_from(&[dead], None, false), None);
    assert_eq!(
        sweep_from(std::slice::from_ref(&old), None, false),
        Some(at("2024-01-09T00:55:00Z"))
    );
    let swept = Some(at("2024-06-09T01:30:00Z"));
    assert_eq!(
        sweep_from(std::slice::from_ref(&old), swept, false),
        Some(at("2024-06-09T01:25:00Z"))
    );
    // A long export that ended after the last sweep was not looked at by it, from its beginning on.
    let mut long = run(day("2024-06-07"), "daily", State::Completed);
    long.completed_at = Some(at("2024-06-09T02:00:00Z"));
    assert_eq!(sweep_from(&[old, long], swept, false), Some(at("2024-06-08T00:55:00Z")));
}

#[test]
fn a_humans_dates_bound_everything() {
    let rules = Rules {
        from: Some(day("2024-06-09")),
        ..rules()
    };
    let runs = vec![
        run(day("2024-06-08"), "replay-1", State::Skipped),
        run(day("2024-06-08"), "daily", State::Completed),
    ];
    let arrived = arrived("2024-06-09T14:00:00Z");
    assert!(plan(&rules, &[project(runs, &[])], &arrived, Vec::new()).is_empty());
}

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
    let names = proptest::sample::select(vec!["daily", "replay-1", "late-1"]);
    (0_i64..12, names, states, -90_i64..90, 0_i64..2_000, 0_u8..3).prop_map(
        |(ago, name, state, minutes, age, filter)| {
            let moment = at(NOW) - TimeDelta::minutes(minutes);
            let began = at(NOW) - TimeDelta::minutes(age);
            let filter = if name == "daily" { 0 } else { filter };
            let the_day = Day(NaiveDate::from_ymd_opt(2024, 6, 9).unwrap() - chrono::Days::new(ago.unsigned_abs()));
            RunRow {
                lease_expires_at: (state == State::Running).then_some(moment),
                retry_at: (state == State::Waiting).then_some(moment),
                queued_at: moment,
                started_at: Some(began),
                completed_at: (state == State::Completed).then_some(began + TimeDelta::minutes(3)),
                events: (filter == 1).then(|| vec![Stream::Trace]),
                created_after: (filter == 2).then_some(began - TimeDelta::minutes(30)),
                full: filter == 0,
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
        queues_empty in any::<bool>(),
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
        let rules = rules();
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
