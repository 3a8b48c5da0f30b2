//! Two workers have the same job: at most one moves a cursor, and the other one stops.

use std::time::Duration;

use shared::job::{Job, Stream};
use shared::ledger::{Asking, Claim, Claimed, Cursor, Lease, Ledger, LedgerError, Progress, Reject, Unsaved};
use testkit::posthog::{Behavior, Rule};
use testkit::proxy::Flow;
use testkit::{Cause, DEAD, JOBS, Outcome, Worker, lines};

use crate::gate::Gate;
use crate::{DAY, KEY, PATIENCE, PROJECT, SMALL, ready, slow, world};

/// Claims the day's daily run for a lease of that many milliseconds.
async fn claim(ledger: &Ledger, worker: &str, milliseconds: u64) -> Claim {
    let job = Job::daily(PROJECT, DAY.parse().unwrap(), false);
    let length = Duration::from_millis(milliseconds);
    let claim = ledger.begin_claim().await.unwrap();
    claim
        .claim(
            &job.scope,
            &Lease::wanted(job.key),
            Asking {
                worker,
                length,
                target: Some("target"),
                visible_until: None,
                trace_id: None,
            },
        )
        .await
        .unwrap()
}

fn claimed(claim: Claim) -> Claimed {
    match claim {
        Claim::Run(claimed) => claimed,
        other => panic!("{other:?}"),
    }
}

fn at(second: u32, sent: i64) -> Progress {
    let day: chrono::NaiveDate = DAY.parse().unwrap();
    Progress {
        cursor: Some(Cursor {
            time: day.and_hms_opt(12, 0, second).unwrap(),
            id: "row".into(),
        }),
        sent,
        ..Progress::default()
    }
}

async fn rows(world: &testkit::World) -> String {
    let all = "select string_agg(to_jsonb(s)::text, ' ' order by stream)
                   || (select string_agg((to_jsonb(r) - 'lease_expires_at' - 'updated_at')::text, ' ') from posthog_export.runs r)
                   || (select string_agg(to_jsonb(c)::text, ' ' order by number) from posthog_export.claims c)
               from posthog_export.streams s";
    sqlx::query_scalar(all).fetch_one(&world.pool()).await.unwrap()
}

#[tokio::test]
async fn only_the_holder_of_the_lease_writes_and_cursors_never_go_back() {
    let (world, _) = world(0).await;
    let ledger = Ledger::new(world.pool());
    let first = claimed(claim(&ledger, "first", 100).await).lease;
    ledger.save(&first, Stream::Trace, &at(5, 10), &[], true).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let second = claimed(claim(&ledger, "second", 60_000).await);
    assert_eq!((second.takeovers, &second.streams[&Stream::Trace]), (1, &at(5, 10)));
    assert!(matches!(claim(&ledger, "third", 1_000).await, Claim::LeaseHeld { .. }));
    let before = rows(&world).await;

    // The first worker wakes up and tries everything it could do.
    let code = shared::error_code::ErrorCode::Internal;
    let lost = |result: Result<(), LedgerError>| assert!(matches!(result, Err(LedgerError::LeaseLost)), "{result:?}");
    lost(ledger.save(&first, Stream::Trace, &at(9, 20), &[], true).await);
    lost(ledger.renew(&first, Duration::from_secs(60)).await);
    lost(ledger.finish(&first, &[]).await);
    let all = [Stream::Trace, Stream::Generation, Stream::Score].map(ended);
    lost(ledger.finish(&first, &all).await);
    lost(ledger.release(&first, None, "x").await);
    lost(ledger.skip(&first, code, "x").await);
    lost(ledger.bury(&first, code, "x").await.map(|_| ()));
    lost(ledger.retry(&first, code, "x", |_| None).await.map(|_| ()));
    assert_eq!(rows(&world).await, before, "the loser changed something");

    // Not even the lease's holder can move a cursor back.
    ledger
        .save(&second.lease, Stream::Trace, &at(7, 15), &[], true)
        .await
        .unwrap();
    let before = rows(&world).await;
    ledger
        .save(&second.lease, Stream::Trace, &at(6, 12), &[], true)
        .await
        .unwrap();
    assert_eq!(rows(&world).await, before, "the cursor went back");

    // Nor complete the run, or save the other streams with it, while one has not ended.
    lost(ledger.finish(&second.lease, &all[..2]).await);
    assert_eq!(rows(&world).await, before, "a run without its scores was completed");
    ledger.finish(&second.lease, &all).await.unwrap();
    let ends = "select format('%s %s %s', r.state, string_agg(format('%s/%s/%s', s.done, s.sent, s.cursor_id), ' ' order by stream),
                              (select string_agg(stream || ':' || row_id, ' ' order by stream) from posthog_export.rejects))
                from posthog_export.runs r join posthog_export.streams s using (project_id, day, run) group by r.state";
    let ends: String = sqlx::query_scalar(ends).fetch_one(&world.pool()).await.unwrap();
    assert_eq!(
        ends,
        "completed t/30/row t/30/row t/30/row generation:bad score:bad trace:bad"
    );
    lost(ledger.finish(&second.lease, &all).await);
}

fn ended(stream: Stream) -> Unsaved {
    Unsaved {
        stream,
        progress: Progress {
            done: true,
            ..at(8, 30)
        },
        rejects: vec![Reject {
            row_id: "bad".to_owned(),
            reason: "why".to_owned(),
        }],
    }
}

#[tokio::test]
async fn a_job_longer_than_its_lease_is_kept() {
    let (world, project) = world(100).await;
    world
        .posthog
        .script(Rule::next(1, Behavior::Delay(Duration::from_secs(9))));
    let patient = [("LEASE", "3s"), ("SEND_TIMEOUT", "20s"), ("RETRY_BUDGET", "30s")];
    let workers = [
        ready(&world, &[&SMALL, &patient]).await,
        ready(&world, &[&SMALL, &patient]).await,
    ];
    project.publish(DAY, "daily").await;
    world.posthog.until(|posthog| posthog.counts(KEY).stored > 0).await;
    // Meanwhile a second delivery of the same job tries again and again.
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    let refused: usize = workers
        .iter()
        .map(|worker| worker.count(Outcome::Later, Cause::LeaseHeld))
        .sum();
    assert!(refused >= 3, "the second delivery did not try");
    assert_eq!(project.field("daily", "takeovers").await.as_deref(), Some("0"));
    assert!(workers.iter().all(|worker| !worker.log().contains(lines::TAKEN_OVER)));
    assert_eq!(world.posthog.counts(KEY).resent, 0);
    world.wait_depth(JOBS, 0).await;
}

#[tokio::test]
async fn a_worker_that_wakes_up_after_its_lease_sends_and_moves_nothing() {
    let (world, project) = world(300).await;
    slow(&world, 60);
    let asleep = ready(&world, &[&SMALL]).await;
    project.publish(DAY, "daily").await;
    project.stored(100).await;
    asleep.pause();
    // Somebody publishes the job again, and the lease runs out.
    project.publish(DAY, "daily").await;
    let awake = ready(&world, &[&SMALL]).await;
    awake.wait_log(lines::TAKEN_OVER).await;
    let before = world.posthog.counts(KEY).stored;
    project.stored(before + 50).await;
    awake.pause();
    // Wait until what was on its way has arrived.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (requests, ledger) = (world.posthog.batches().len(), rows(&world).await);
    asleep.resume();
    asleep.wait_outcome(Outcome::Later, None).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.posthog.batches().len(), requests, "it went on sending");
    assert_eq!(rows(&world).await, ledger, "it went on writing");
    awake.resume();
    project.arrives(DAY).await;
    world.wait_depth(JOBS, 0).await;
    assert_eq!(world.queue_depth(DEAD).await, 0);
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_given_back() {
    let (world, project) = world(50).await;
    let proxy = world.database_proxy().await;
    let url = world.database_url_via(&proxy);
    let mut gate = Gate::before_commit_of_state(&world, "running").await;
    let settings = [("LEDGER_DATABASE_URL", url.as_str()), ("LEASE", "8s")];
    let worker = ready(&world, &[&SMALL, &settings]).await;
    project.publish(DAY, "daily").await;
    gate.reached(&world).await;
    proxy.to_client(Flow::Swallow);
    gate.open().await;
    project.wait_state(DAY, "daily", "running").await;
    proxy.cut();
    proxy.pass();
    worker.wait_outcome(Outcome::Later, Cause::LedgerUnavailable).await;
    project.arrives(DAY).await;
    // A lease that had run out would have been taken over.
    assert!(!worker.log().contains(lines::TAKEN_OVER), "{}", worker.log());
    assert_eq!(world.queue_depth(DEAD).await, 0);
}

#[tokio::test]
async fn clocks_of_hosts_do_not_matter() {
    // A library that gives the worker a wrong time of day, like a host with a wrong clock.
    let Some(library) = faketime().await else {
        panic!("libfaketime is missing: apt-get install libfaketime");
    };
    let (world, project) = world(300).await;
    slow(&world, 60);
    let skewed = |offset: &'static str| {
        [
            ("LD_PRELOAD", library.clone()),
            ("FAKETIME", offset.to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // The library would share its memory among all processes with the same name.
            ("FAKETIME_NO_CACHE", "1".to_owned()),
        ]
    };
    let mut workers = Vec::new();
    for offset in ["+3h", "-3h"] {
        let skewed = skewed(offset);
        let skewed: Vec<(&str, &str)> = skewed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        workers.push(ready(&world, &[&SMALL, &skewed]).await);
    }
    project.publish(DAY, "daily").await;
    project.stored(50).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    let was_refused = |worker: &Worker| worker.count(Outcome::Later, Cause::LeaseHeld) > 0;
    world
        .wait_until("the second delivery was refused", PATIENCE, async || {
            workers.iter().any(was_refused)
        })
        .await;
    assert!(workers.iter().all(|worker| !worker.log().contains(lines::TAKEN_OVER)));
    assert_eq!(world.posthog.counts(KEY).resent, 0);
    let year = chrono::Utc::now().format("%Y-%m-%dT%H").to_string();
    for worker in &workers {
        let first = worker.log().lines().next().unwrap().to_owned();
        assert!(!first.contains(&year), "the clock is right: {first}");
    }
}

/// Where the library is. Installs it if it is missing and this machine allows it.
async fn faketime() -> Option<String> {
    let find = || {
        let output = std::process::Command::new("sh")
            .args([
                "-c",
                "ls /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib/faketime/libfaketimeMT.so.1 2>/dev/null | head -1",
            ])
            .output()
            .ok()?;
        let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (!path.is_empty()).then_some(path)
    };
    tokio::task::spawn_blocking(move || {
        find().or_else(|| {
            testkit::install::package("libfaketime").ok()?;
            find()
        })
    })
    .await
    .unwrap()
}
