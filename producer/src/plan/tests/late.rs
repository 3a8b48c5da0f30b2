//! Rows that arrived after the export of their day.

use super::*;

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

/// As docs/EVENTS.md says how observations are added to days that were exported without them.
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
