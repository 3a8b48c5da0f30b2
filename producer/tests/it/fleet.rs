//! Many projects, and projects without scores: what a command reads does not grow with the scores of
//! all projects.

use serde_json::Value;
use testkit::World;

use crate::{add_project, add_traces, alter, day, json, world};

/// Lets the server tell each session the plan of each of its statements, with what it has read.
const EXPLAIN: &str = "do $$ begin
    execute format('alter database %I set session_preload_libraries = auto_explain', current_database());
    execute format('alter database %I set auto_explain.log_min_duration = 0', current_database());
    execute format('alter database %I set auto_explain.log_analyze = on', current_database());
    execute format('alter database %I set auto_explain.log_timing = off', current_database());
    execute format('alter database %I set auto_explain.log_format = json', current_database());
    execute format('alter database %I set auto_explain.log_level = notice', current_database());
  end $$";

/// The scores that a statement has read.
struct Read {
    statement: String,
    scores: f64,
}

/// The plans that a command's log holds, as what each has read of the scores.
fn plans(log: &str) -> Vec<Read> {
    let mut plans = Vec::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let message = line["message"].as_str().unwrap_or_default();
        let Some((_, plan)) = message.split_once("plan:") else {
            continue;
        };
        let plan: Value = serde_json::from_str(plan).unwrap();
        let text = plan["Query Text"].as_str().unwrap();
        plans.push(Read {
            statement: text.lines().next().unwrap().to_owned(),
            scores: of_node(&plan["Plan"]),
        });
    }
    plans
}

fn of_node(node: &Value) -> f64 {
    let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
    let own = if node["Relation Name"] == "scores" {
        let rows = number("Actual Rows") + number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
        rows * number("Actual Loops")
    } else {
        0.0
    };
    let below = node["Plans"].as_array().into_iter().flatten().map(of_node);
    own + below.sum::<f64>()
}

/// The scores that a command reads: by its longest statement, and by all.
async fn reads(world: &World, arguments: &[&str]) -> (f64, f64) {
    let log = [
        ("LOG_FORMAT", "json"),
        ("RUST_LOG", "error,sqlx::postgres::notice=trace"),
    ];
    let output = world.producer_with_env(arguments, &log).await;
    let plans = plans(&output.stderr);
    assert!(plans.len() > 5, "no plans: {}", output.stderr);
    let longest = plans.iter().max_by(|a, b| a.scores.total_cmp(&b.scores)).unwrap();
    let all: f64 = plans.iter().map(|read| read.scores).sum();
    eprintln!(
        "{arguments:?}: {} reads {}, all {all}",
        longest.statement, longest.scores
    );
    (longest.scores, all)
}

/// The two busy projects have 11,000 scores a day: one for twelve days, the other for the last four
/// of them. So these days and these projects have more scores than a look may read.
async fn fleet() -> std::sync::Arc<World> {
    let world = world().await;
    let days: Vec<_> = (1..=12).map(|number| day(&format!("2024-05-{number:02}"))).collect();
    for (id, first) in [("busy", 0), ("younger", 8), ("none", 11), ("old", 2)] {
        add_project(&world, id, true).await;
        add_traces(&world, id, &days[first..]).await;
    }
    alter(&world, "alter table scores set (autovacuum_enabled = off)").await;
    alter(
        &world,
        "insert into scores (id, project_id, trace_id, timestamp, created_at, name, source)
         select p.id || d || ' ' || n, p.id, 'none', at, at + interval '1 second', 'n' || n % 7, 'API'::\"ScoreSource\"
         from (values ('busy', 1), ('younger', 9)) as p (id, first), generate_series(p.first, 12) d,
              generate_series(1, 11000) n,
              lateral (select timestamp '2024-05-01' + (d - 1) * interval '1 day' + n * interval '7 second') as t (at)
         union all
         select 'old', 'old', 'none', '2024-05-01 23:00', '2024-05-01 23:00', 'n', 'API'",
    )
    .await;
    alter(&world, EXPLAIN).await;
    world
}

/// The scores of the day that has most.
const OF_A_DAY: f64 = 22_001.0;

fn ids(report: &Value) -> Vec<&str> {
    let jobs = report["jobs"].as_array().unwrap();
    jobs.iter().map(|job| job["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn no_statement_reads_more_than_a_days_scores_and_only_the_first_enqueue_reads_them_all() {
    let world = fleet().await;
    // Without statistics, and with them.
    let (longest, all) = reads(&world, &["status"]).await;
    assert!(longest <= OF_A_DAY && all < 50_000.0, "{longest} {all}");
    alter(&world, "analyze scores").await;
    let (longest, all) = reads(&world, &["status"]).await;
    assert!(longest <= OF_A_DAY && all < 50_000.0, "{longest} {all}");
    let (longest, _) = reads(&world, &["doctor"]).await;
    assert!(longest <= 100.0, "{longest}");
    let replay = ["replay", "--project", "younger", "--day", "2024-05-03", "--dry-run"];
    assert!(reads(&world, &replay).await.0 <= OF_A_DAY);
    let (longest, _) = reads(&world, &["enqueue"]).await;
    assert!(longest <= OF_A_DAY, "{longest}");
    // From now on only the few that tell a busy day from a quiet one, also where a day without data
    // had steps.
    alter(
        &world,
        "insert into posthog_export.runs (project_id, day, run, state, span_from, span_until)
         select 'younger', d, 'step-0000', 'completed', d, d + interval '1 hour'
         from generate_series(date '2024-05-01', date '2024-05-08', interval '1 day') d",
    )
    .await;
    let (_, all) = reads(&world, &["enqueue"]).await;
    assert!(all < 20_000.0, "{all}");
    let (_, all) = reads(&world, &["status"]).await;
    assert!(all < 20_000.0, "{all}");
}

#[tokio::test]
async fn a_score_that_arrives_on_a_day_that_was_looked_at_is_found() {
    let world = fleet().await;
    let first = json(&world, &["enqueue", "--json"]).await;
    let first = ids(&first);
    assert_eq!(first.len(), 12 + 4 + 1 + 11, "{first:?}");
    assert!(first.contains(&"old/2024-05-01/daily"));
    let late = "insert into scores (id, project_id, trace_id, timestamp, created_at, name, source)
        values ('late', 'younger', 'none', '2024-05-03 11:00', now() at time zone 'UTC', 'n', 'API')";
    alter(&world, late).await;
    let status = json(&world, &["status", "--project", "younger", "--json"]).await;
    assert_eq!(status["projects"][0]["missing_days"], 5);
    let next = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(ids(&next), ["younger/2024-05-03/daily"]);
    // A day that was skipped is asked for again, however old its rows are.
    alter(&world, "update scores set created_at = timestamp where id = 'late'").await;
    alter(
        &world,
        "update posthog_export.runs set state = 'skipped' where day = '2024-05-03' and project_id = 'younger'",
    )
    .await;
    let next = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(ids(&next), ["younger/2024-05-03/daily"]);
    // So is every day, once more days are wanted than were looked at.
    alter(
        &world,
        "delete from posthog_export.runs where day = '2024-05-03' and project_id = 'younger'",
    )
    .await;
    let next = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(ids(&next), [""; 0]);
    alter(&world, "update posthog_export.sweeps set looked_from = '2024-05-04'").await;
    let next = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(ids(&next), ["younger/2024-05-03/daily"]);
}
