//! The history of a run: who had it, from when to when, and how that ended.

use std::time::Duration;

use shared::error_code::ErrorCode;
use shared::job::{Job, RunKey, Stream};
use shared::ledger::{Asking, Buried, Claim, ClaimRow, Discard, Lease, Ledger, Progress, Unsaved};
use testkit::posthog::{Behavior, Rule};
use testkit::{Outcome, World};

use crate::{DAY, PROJECT, day, world};

const MINUTE: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn job() -> Job {
    Job::daily(PROJECT, DAY.parse().unwrap(), false)
}

async fn claim_of(ledger: &Ledger, job: &Job, worker: &str, length: Duration) -> Claim {
    let asking = Asking {
        worker,
        length,
        target: Some("target"),
        visible_until: None,
        trace_id: Some(TRACE),
    };
    let begun = ledger.begin_claim().await.unwrap();
    begun
        .claim(&job.scope, &Lease::wanted(job.key.clone()), asking)
        .await
        .unwrap()
}

/// Claims the daily run for that long.
async fn claim(ledger: &Ledger, worker: &str, length: Duration) -> Lease {
    match claim_of(ledger, &job(), worker, length).await {
        Claim::Run(claimed) => claimed.lease,
        other => panic!("{other:?}"),
    }
}

/// The claims of a run: number, worker, attempt, how it ended, and why.
async fn told(ledger: &Ledger, key: &RunKey) -> Vec<String> {
    let line = |row: ClaimRow| {
        assert!(row.ended_at.is_none_or(|end| end >= row.claimed_at), "{row:?}");
        assert_eq!(row.trace_id.as_deref(), Some(TRACE));
        let ended = row.ended_as.as_deref().unwrap_or("at work");
        let (code, error) = (row.error_code.unwrap_or_default(), row.error.unwrap_or_default());
        format!("{} {} {} {ended} {code} {error}", row.number, row.worker, row.attempt)
            .trim_end()
            .to_owned()
    };
    ledger.claims(key).await.unwrap().into_iter().map(line).collect()
}

async fn sql(world: &World, text: &'static str) {
    sqlx::raw_sql(text).execute(&world.pool()).await.unwrap();
}

/// The lease of the run runs out.
async fn runs_out(world: &World) {
    let past = "update posthog_export.runs set lease_expires_at = clock_timestamp()";
    sql(world, past).await;
}

#[tokio::test]
async fn every_end_of_a_claim_is_written_down() {
    let (world, _) = world().await;
    let (ledger, key) = (Ledger::new(world.pool()), job().key);
    let unavailable = ErrorCode::PosthogUnavailable;
    for text in ["503", "502"] {
        let lease = claim(&ledger, "w1", MINUTE).await;
        let soon = |_| Some(Duration::ZERO);
        ledger.retry(&lease, unavailable, text, soon).await.unwrap();
    }
    let lease = claim(&ledger, "w2", MINUTE).await;
    ledger.release(&lease, None, "the slice is over").await.unwrap();
    let lease = claim(&ledger, "w3", MINUTE).await;
    ledger
        .skip(&lease, ErrorCode::IntegrationDisabled, "off")
        .await
        .unwrap();
    claim(&ledger, "w4", MINUTE).await;
    runs_out(&world).await;
    let lease = claim(&ledger, "w5", MINUTE).await;
    ledger.bury(&lease, ErrorCode::Unauthorized, "401").await.unwrap();
    let lease = claim(&ledger, "w6", MINUTE).await;
    let before = [
        "1 w1 1 waiting posthog_unavailable 503",
        "2 w1 2 waiting posthog_unavailable 502",
        "3 w2 3 handed_back  the slice is over",
        "4 w3 3 skipped integration_disabled off",
        "5 w4 3 taken_over",
        "6 w5 3 dead unauthorized 401",
    ];
    let with = |last: &'static str| [before.as_slice(), &[last]].concat();
    assert_eq!(told(&ledger, &key).await, with("7 w6 1 at work"));
    let ended = |stream| Unsaved {
        stream,
        progress: Progress {
            done: true,
            ..Progress::default()
        },
        rejects: Vec::new(),
    };
    let all = [Stream::Trace, Stream::Generation, Stream::Score].map(ended);
    ledger.finish(&lease, &all).await.unwrap();
    assert_eq!(told(&ledger, &key).await, with("7 w6 1 completed"));
}

#[tokio::test]
async fn a_claim_whose_worker_died_ends_when_its_lease_ran_out() {
    let (world, _) = world().await;
    let (ledger, key) = (Ledger::new(world.pool()), job().key);
    let ends = async || {
        let ends = "select c.ended_at = r.lease_expires_at or c.ended_at = '2024-06-02T10:00:00Z'
                    from posthog_export.claims c join posthog_export.runs r using (project_id, day, run) where number = 1";
        let ends: Option<bool> = sqlx::query_scalar(ends).fetch_one(&world.pool()).await.unwrap();
        ends == Some(true)
    };
    claim(&ledger, "w1", MINUTE).await;
    sql(
        &world,
        "update posthog_export.claims set claimed_at = '2024-06-02T09:58:00Z';
         update posthog_export.runs set lease_expires_at = '2024-06-02T10:00:00Z'",
    )
    .await;
    // Nobody has come yet. The page must not say that the worker is at work.
    assert_eq!(told(&ledger, &key).await, ["1 w1 1 lost"]);
    assert_eq!(
        ledger.claims(&key).await.unwrap()[0].ended_at,
        Some("2024-06-02T10:00:00Z".parse().unwrap())
    );
    claim(&ledger, "w2", MINUTE).await;
    assert_eq!(told(&ledger, &key).await, ["1 w1 1 taken_over", "2 w2 1 at work"]);
    assert!(ends().await, "it ended with its lease, not when the next worker came");
}

#[tokio::test]
async fn a_claim_that_nobody_takes_over_is_lost() {
    let (world, _) = world().await;
    let ledger = Ledger::new(world.pool());
    let buried = Buried::default();
    let at_rest = async |key: &RunKey| {
        ledger
            .bury_at_rest(key, ErrorCode::DeliveryLimit, "x", buried)
            .await
            .unwrap();
    };
    let discarded = async |job: &Job| assert!(ledger.discard(job, Discard::WhateverRests).await.unwrap());
    for (run, given_up) in [
        ("a", "at rest"),
        ("b", "discarded"),
        ("c", "kills"),
        ("step-0900", "superseded"),
    ] {
        let mut job = job();
        run.clone_into(&mut job.key.run);
        if given_up == "superseded" {
            // A step is claimed before its day is over; the test's day is over.
            sql(
                &world,
                "insert into posthog_export.runs (project_id, day, run, state, worker, lease_token, lease_expires_at)
                   values ('project one', '2024-06-01', 'step-0900', 'running', 'w1', gen_random_uuid(), now());
                 insert into posthog_export.claims (project_id, day, run, number, lease_token, worker, attempt, trace_id)
                   select project_id, day, run, 1, lease_token, worker, 1, '4bf92f3577b34da6a3ce929d0e0e4736'
                   from posthog_export.runs where run = 'step-0900'",
            )
            .await;
        } else {
            assert!(matches!(claim_of(&ledger, &job, "w1", MINUTE).await, Claim::Run(_)));
            runs_out(&world).await;
        }
        match given_up {
            "at rest" => at_rest(&job.key).await,
            "discarded" => discarded(&job).await,
            "kills" => {
                sql(&world, "update posthog_export.runs set takeovers = 4").await;
                let claim = claim_of(&ledger, &job, "w2", MINUTE).await;
                assert!(matches!(claim, Claim::KillsWorkers { .. }), "{claim:?}");
            }
            _ => {
                let claim = claim_of(&ledger, &job, "w2", MINUTE).await;
                assert!(matches!(claim, Claim::Superseded), "{claim:?}");
            }
        }
        let written = "select ended_as from posthog_export.claims where run = $1";
        let written = sqlx::query_scalar(written).bind(run).fetch_one(&world.pool()).await;
        let written: Option<String> = written.unwrap();
        assert_eq!(written.as_deref(), Some("lost"), "{given_up}");
    }
}

#[tokio::test]
async fn of_a_run_with_many_claims_the_first_and_the_latest_are_kept() {
    let (world, _) = world().await;
    let (ledger, key) = (Ledger::new(world.pool()), job().key);
    for _ in 0..130 {
        let lease = claim(&ledger, "w", MINUTE).await;
        ledger.release(&lease, None, "x").await.unwrap();
    }
    let numbers: Vec<i32> = ledger
        .claims(&key)
        .await
        .unwrap()
        .iter()
        .map(|row| row.number)
        .collect();
    assert_eq!(numbers, (1..=50).chain(81..=130).collect::<Vec<_>>());
}

/// What a worker of before writes while both versions run: the same, without the claims.
#[tokio::test]
async fn a_worker_that_writes_no_claims_does_no_harm() {
    let (world, _) = world().await;
    let (ledger, key) = (Ledger::new(world.pool()), job().key);
    claim(&ledger, "new", MINUTE).await;
    runs_out(&world).await;
    let of_before = "update posthog_export.runs set worker = 'old', lease_token = gen_random_uuid(),
                       lease_expires_at = clock_timestamp() + interval '1 minute'";
    sql(&world, of_before).await;
    assert_eq!(told(&ledger, &key).await, ["1 new 1 lost"]);
    let handed_back = "update posthog_export.runs set state = 'queued', lease_token = null, lease_expires_at = null";
    sql(&world, handed_back).await;
    assert_eq!(told(&ledger, &key).await, ["1 new 1 lost"]);
    let lease = claim(&ledger, "new", MINUTE).await;
    assert_eq!(told(&ledger, &key).await, ["1 new 1 lost", "2 new 1 at work"]);
    ledger.release(&lease, None, "x").await.unwrap();
    // Or it had the run first, and died with it.
    sql(
        &world,
        "delete from posthog_export.claims;
         update posthog_export.runs set state = 'running', lease_token = gen_random_uuid(), lease_expires_at = now()",
    )
    .await;
    claim(&ledger, "new", MINUTE).await;
    assert_eq!(told(&ledger, &key).await, ["1 new 1 at work"]);
    // The row of a step goes with its claims.
    sql(&world, "delete from posthog_export.runs").await;
    assert_eq!(told(&ledger, &key).await, [""; 0]);
}

#[tokio::test]
async fn the_claims_of_a_job_say_what_its_log_lines_say() {
    let (world, project) = world().await;
    project.seed(&[day()], 20, 5).await;
    world.posthog.script(Rule::always(Behavior::status(500)));
    let quick = [
        ("SEND_TIMEOUT", "1s"),
        ("RETRY_BUDGET", "1100ms"),
        ("RETRY_RUNGS", "1s×20"),
    ];
    let worker = world.ready_worker(&quick).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "waiting").await;
    world.posthog.behave();
    worker.wait_outcome(Outcome::Completed, None).await;
    let claims = Ledger::new(world.pool()).claims(&job().key).await.unwrap();
    let of = |row: &ClaimRow| {
        (
            row.ended_as.clone().unwrap(),
            row.attempt,
            row.error.clone(),
            row.trace_id.clone(),
            row.worker.clone(),
        )
    };
    let in_the_log = |ending: &testkit::Ending| {
        let text = |name: &str| {
            ending
                .line
                .get(name)
                .and_then(|found| found.as_str())
                .map(str::to_owned)
        };
        let outcome = text("outcome").unwrap();
        (
            if outcome == "retry" {
                "waiting".to_owned()
            } else {
                outcome
            },
            i32::try_from(ending.line["attempt"].as_i64().unwrap()).unwrap(),
            text("error"),
            text("trace_id"),
            text("worker").unwrap(),
        )
    };
    let log: Vec<_> = worker.endings().iter().map(in_the_log).collect();
    assert_eq!(claims.iter().map(of).collect::<Vec<_>>(), log);
}
