mod again;
mod heal;
mod late;
mod missing;

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

pub(crate) fn run(day: Day, name: &str, state: State) -> RunRow {
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
        updated_at: next_morning,
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
    // A person's dates are taken as they are, as far as the days are over.
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

fn arrived(newest: &str) -> Arrived {
    Arrived {
        newest: Newest::from([(("p".to_owned(), day("2024-06-08")), at(newest))]),
        ..Arrived::default()
    }
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
