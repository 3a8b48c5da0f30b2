//! Pages as they are read: what is in memory and what is looked up together give every row its own
//! trace, and the plans stay those of an index whatever else the database holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{NaiveDateTime, TimeDelta};
use proptest::prelude::*;
use serde_json::Value;
use shared::job::{Day, Stream};
use shared::ledger::Cursor;
use shared::postgres::paging_pool;
use shared::settings::SecretString;
use sqlx::{PgPool, Row as _};
use testkit::oracle::{Kind, Oracle};
use testkit::seed::{Observation, Rows, Score, Trace, at};
use testkit::world::LANGFUSE_URL;
use testkit::{World, langfuse, seed};
use worker::langfuse::recent::{Kept, RecentTraces};
use worker::langfuse::source::{self, Source, Window};
use worker::posthog::event::{self, ProjectContext};

use crate::{PROJECT, day};

const NEIGHBOUR: &str = "project two";

/// Everything that a stream reads after a cursor, as events by uuid, and the cursor after each
/// page.
async fn read(
    source: &Source,
    recent: &RecentTraces,
    stream: Stream,
    window: &Window,
    mut after: Option<Cursor>,
) -> (BTreeMap<String, Value>, Vec<Cursor>) {
    let project = ProjectContext::new(&window.project_id, Some("Name of project one"), Some(LANGFUSE_URL));
    let (mut events, mut cursors) = (BTreeMap::new(), Vec::new());
    loop {
        let mut page = recent.page(source, stream, window, after.as_ref()).await.unwrap();
        source.add_totals(&window.project_id, &mut page.rows).await.unwrap();
        for row in &page.rows {
            let mut json = Vec::new();
            event::write(row, &project, &mut json);
            let event: Value = serde_json::from_slice(&json).unwrap();
            let twice = events.insert(event["uuid"].as_str().unwrap().to_owned(), comparable(event));
            assert!(twice.is_none(), "a row came twice");
        }
        after = page.rows.last().map(worker::langfuse::rows::Row::cursor).or(after);
        cursors.extend(after.clone());
        if page.last {
            return (events, cursors);
        }
    }
}

/// The streams of a job side by side, each from its cursor on.
async fn read_all(
    source: &Source,
    kept: Kept,
    window: &Window,
    from: &BTreeMap<Stream, Option<Cursor>>,
) -> BTreeMap<Stream, (BTreeMap<String, Value>, Vec<Cursor>)> {
    let recent = RecentTraces::new(from.keys().copied(), kept);
    let streams = from.iter().map(async |(stream, after)| {
        let read = read(source, &recent, *stream, window, after.clone()).await;
        (*stream, read)
    });
    let all = futures::future::join_all(streams);
    let all = tokio::time::timeout(crate::PATIENCE, all).await;
    all.expect("the streams wait for each other").into_iter().collect()
}

/// The event without the properties that name the program.
fn comparable(mut event: Value) -> Value {
    for name in ["$lib", "$lib_version"] {
        event["properties"].as_object_mut().unwrap().remove(name);
    }
    event
}

async fn expected(oracle: &Oracle, kind: Kind, created_after: Option<NaiveDateTime>) -> BTreeMap<String, Value> {
    let events = oracle.expected_filtered(PROJECT, day(), &[kind], created_after).await;
    events
        .into_iter()
        .map(|event| (event["uuid"].as_str().unwrap().to_owned(), comparable(event)))
        .collect()
}

const fn kind(stream: Stream) -> Kind {
    match stream {
        Stream::Trace => Kind::Trace,
        Stream::Generation => Kind::Generation,
        Stream::Score => Kind::Score,
        Stream::Observation => Kind::Observation,
    }
}

fn source(world: &World, page_rows: u32) -> Source {
    let pool = paging_pool(&SecretString::from(world.database_url.clone()), "it", 3).unwrap();
    Source::new(pool, page_rows, None)
}

/// A day whose generations and scores find their traces in every way there is: just before, long
/// before, later, on another day, in another project, nowhere.
async fn seeded() -> Arc<World> {
    let (world, project) = crate::world().await;
    langfuse::add_project(&world.pool(), NEIGHBOUR, "Project Two").await;
    project.seed(&[day(), day().succ_opt().unwrap()], 60, 11).await;
    let mut rows = Rows::default();
    let named = |id: &str, project: &str, time| Trace {
        name: Some(format!("name of {id}")),
        user_id: Some(format!("user of {id}")),
        ..Trace::new(project, id, time)
    };
    rows.traces = vec![
        named("early", PROJECT, at(day(), 0, 0, 0, 0)),
        named("late", PROJECT, at(day(), 23, 59, 59, 999)),
        named("the day before", PROJECT, at(day(), 0, 0, 0, 0) - TimeDelta::hours(1)),
        named("the neighbour's", NEIGHBOUR, at(day(), 12, 0, 0, 0)),
    ];
    let ids = ["early", "late", "the day before", "the neighbour's", "nobody's"];
    for (n, id) in (0..).zip(ids.iter().cycle().take(40)) {
        let time = at(day(), n / 2 + 2, 0, 0, 0);
        rows.observations
            .push(Observation::generation(PROJECT, &format!("g{n}"), id, time));
        rows.observations.push(Observation {
            kind: if n % 2 == 0 { "SPAN" } else { "EVENT" },
            ..Observation::span(PROJECT, &format!("o{n}"), id, time)
        });
        rows.scores.push(Score::new(PROJECT, &format!("s{n}"), id, time));
    }
    rows.observations.push(Observation {
        trace_id: None,
        ..Observation::generation(PROJECT, "without a trace id", "", at(day(), 3, 0, 0, 0))
    });
    rows.insert(&world.pool()).await;
    // Ids are unique over all projects, so these rows differ only in whose they are.
    seed::ties(&world.pool(), PROJECT, day(), 90).await;
    world
}

/// Whole jobs, subsets, resumed jobs and jobs of late rows, with pages and a memory of any size,
/// against what must arrive.
#[tokio::test]
async fn pages_of_any_size_give_every_row_its_own_trace() {
    let world = seeded().await;
    let oracle = Oracle::new(world.pool(), Some(LANGFUSE_URL));
    let strategy = (
        prop_oneof![1_u32..20, 20_u32..300],
        0_usize..5,
        prop_oneof![Just(0_usize), Just(2_000), Just(1 << 20)],
        proptest::sample::subsequence(Stream::ALL.to_vec(), 1..=4),
        proptest::collection::vec(any::<prop::sample::Index>(), 4),
        any::<bool>(),
    );
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for number in 0..16 {
        if number == 8 {
            // From now on the project's own scores are the shorter way to those of its day.
            crowd(&world).await;
        }
        let case = proptest::strategy::Strategy::new_tree(&strategy, &mut runner).unwrap();
        let (page_rows, pages, bytes, streams, resumed, late) = proptest::strategy::ValueTree::current(&case);
        let what = format!("page_rows {page_rows}, kept {pages}/{bytes}, {streams:?}, late {late}");
        let source = source(&world, page_rows);
        let kept = Kept { pages, bytes };
        let created_after = late.then(|| at(day(), 9, 0, 0, 0));
        let window = Window {
            project_id: PROJECT.to_owned(),
            day: Day(day()),
            span: None,
            created_after,
        };
        let from = streams.iter().map(|stream| (*stream, None)).collect();
        let whole = read_all(&source, kept, &window, &from).await;
        for (stream, (events, _)) in &whole {
            assert_eq!(*events, expected(&oracle, kind(*stream), created_after).await, "{what}");
        }
        // Each stream goes on from a checkpoint of its own. Together with what came before, nothing
        // is missing and nothing differs.
        let from: BTreeMap<_, _> = whole
            .iter()
            .zip(&resumed)
            .map(|((stream, (_, cursors)), index)| {
                let at = (!cursors.is_empty()).then(|| index.get(cursors).clone());
                (*stream, at)
            })
            .collect();
        for (stream, (events, _)) in read_all(&source, kept, &window, &from).await {
            let all = &whole[&stream].0;
            assert!(events.iter().all(|(uuid, event)| all[uuid] == *event), "{what}");
            let left = left_behind(&world.pool(), stream, &window, from[&stream].as_ref()).await;
            assert_eq!(events.len(), left, "{what}, {stream} from {:?}", from[&stream]);
        }
    }
}

/// Fills the day with more scores of another project than the one that is read has in all.
async fn crowd(world: &World) {
    let many = "insert into scores (id, project_id, trace_id, timestamp, name, source, created_at)
        select 'crowd ' || n, $1, 'nobody''s', $2 + n * interval '10 seconds', 'quality', 'API', $2 from generate_series(0, 2999) n";
    let many = sqlx::query(many).bind(NEIGHBOUR).bind(at(day(), 0, 0, 0, 0));
    many.execute(&world.pool()).await.unwrap();
}

/// By the statement that a connection had last.
#[tokio::test]
async fn the_scores_of_a_project_with_few_are_read_apart_from_those_of_all_projects() {
    let world = seeded().await;
    let window = Window {
        project_id: PROJECT.to_owned(),
        day: Day(day()),
        span: None,
        created_after: None,
    };
    for (crowded, statement) in [(false, "source_scores"), (true, "source_own_scores")] {
        if crowded {
            crowd(&world).await;
        }
        let name = format!("scores {crowded}");
        let pool = paging_pool(&SecretString::from(world.database_url.clone()), &name, 1).unwrap();
        let source = Source::new(pool, 1_000, None);
        let page = source.page(Stream::Score, &window, None).await.unwrap();
        assert!(page.last && page.rows.len() > 40);
        let last = "select query from pg_stat_activity where application_name = $1";
        let last: String = sqlx::query_scalar(last)
            .bind(&name)
            .fetch_one(&world.pool())
            .await
            .unwrap();
        assert!(last.starts_with(&format!("-- {statement}\n")), "{last}");
        // Where an operator has made the index that leads to the rows, it is used.
        if crowded {
            let index = "create index by_project_and_time on scores (project_id, timestamp)";
            sqlx::query(index).execute(&world.pool()).await.unwrap();
            let pool = paging_pool(&SecretString::from(world.database_url.clone()), "indexed", 1).unwrap();
            let again = Source::new(pool, 1_000, None).page(Stream::Score, &window, None).await;
            assert_eq!(again.unwrap().rows, page.rows);
            let last = "select query from pg_stat_activity where application_name = 'indexed'";
            let last: String = sqlx::query_scalar(last).fetch_one(&world.pool()).await.unwrap();
            assert!(last.starts_with("-- source_scores\n"), "{last}");
        }
    }
}

/// A pool pings what comes back to it, so a job's statements hand a connection on among themselves.
#[tokio::test]
async fn a_connection_is_kept_for_the_next_statement_and_given_back_when_none_comes() {
    let world = seeded().await;
    let pool = paging_pool(&SecretString::from(world.database_url.clone()), "kept", 3).unwrap();
    let source = Source::new(pool.clone(), 1_000, None);
    let window = Window {
        project_id: PROJECT.to_owned(),
        day: Day(day()),
        span: None,
        created_after: None,
    };
    for stream in Stream::ALL {
        source.page(stream, &window, None).await.unwrap();
        assert_eq!((pool.size(), pool.num_idle()), (1, 0), "{stream}");
    }
    let given_back = async || pool.num_idle() == 1;
    world
        .wait_until("the pool has it again", crate::PATIENCE, given_back)
        .await;
    // Whoever stops in the middle of a statement leaves it to the pool to look after the connection.
    let mut blocker = world.pool().begin().await.unwrap();
    sqlx::query("lock table traces").execute(&mut *blocker).await.unwrap();
    let page = source.page(Stream::Trace, &window, None);
    let stopped = tokio::time::timeout(std::time::Duration::from_millis(200), page).await;
    assert!(stopped.is_err(), "it waits for the lock");
    blocker.rollback().await.unwrap();
    world
        .wait_until("the pool has it again", crate::PATIENCE, given_back)
        .await;
    source.page(Stream::Trace, &window, None).await.unwrap();
}

/// How many rows come after a cursor.
async fn left_behind(pool: &PgPool, stream: Stream, window: &Window, after: Option<&Cursor>) -> usize {
    let source = Source::new(pool.clone(), 100_000, None);
    source.page(stream, window, after).await.unwrap().rows.len()
}

/// A database with many projects and many days, in which the day that is read is a small part.
async fn crowded() -> Arc<World> {
    let (world, _) = crate::world().await;
    let projects: Vec<String> = (0..20).map(|n| format!("project {n}")).collect();
    for project in &projects {
        langfuse::add_project(&world.pool(), project, project).await;
    }
    let fill = "-- Thirty days of twenty projects, and a large day of the one that is read.
        with r as (
          select 'project ' || p as project, timestamp '2024-05-20' + d * interval '1 day' + n * interval '7 minutes' as time,
                 p || '/' || d || '/' || n as id
          from generate_series(0, 19) p, generate_series(0, 29) d, generate_series(0, 39) n
          union all
          select $1, timestamp '2024-06-01' + n * interval '17 seconds', 'big/' || n from generate_series(0, 4999) n),
        t as (insert into traces (id, project_id, timestamp, name, created_at)
              select id, project, time, 'n', time from r),
        o as (insert into observations (id, project_id, trace_id, type, start_time, created_at)
              select id || k, project, id, (array['GENERATION', 'SPAN'])[1 + k % 2]::\"ObservationType\", time, time
              from r, generate_series(0, 3) k)
        insert into scores (id, project_id, trace_id, timestamp, name, source, created_at)
        select id, project, id, time, 'quality', 'API', time from r";
    sqlx::query(fill).bind(PROJECT).execute(&world.pool()).await.unwrap();
    for table in ["traces", "observations", "scores"] {
        let analyze = format!("vacuum analyze {table}");
        sqlx::query(sqlx::AssertSqlSafe(analyze))
            .execute(&world.pool())
            .await
            .unwrap();
    }
    world
}

/// Every plan node: its type, and the table when it reads one.
fn nodes(plan: &Value, found: &mut Vec<(String, String)>) {
    let text = |name: &str| plan[name].as_str().unwrap_or_default().to_owned();
    found.push((text("Node Type"), text("Relation Name")));
    for below in plan["Plans"].as_array().into_iter().flatten() {
        nodes(below, found);
    }
}

/// The real statements on a real connection, both with a plan for the given values and with a
/// generic plan.
#[tokio::test]
async fn pages_and_lookups_are_read_by_index_without_sorting_the_day() {
    let world = crowded().await;
    let pool = paging_pool(&SecretString::from(world.database_url.clone()), "it", 1).unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let pages = Stream::ALL.map(|stream| {
        let types = "text, timestamp, timestamp, timestamp, text, int8, timestamp";
        (source::statement(stream), types)
    });
    let own = (source::OWN_SCORES, pages[2].1);
    let lookups = [source::TOTALS, source::OBSERVATIONS_TOUCHED, source::TRACE_COLUMNS]
        .map(|statement| (statement, "text, text[]"));
    for (number, (statement, types)) in pages.into_iter().chain([own]).chain(lookups).enumerate() {
        let prepare = format!("prepare s{number} ({types}) as {statement}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(prepare))
            .execute(&mut *connection)
            .await
            .unwrap();
        for project in [PROJECT, "project 7"] {
            let values = if types.ends_with("text[]") {
                let ids: Vec<String> = (0..500).map(|n| format!("'big/{n}'")).collect();
                format!("'{project}', array[{}]", ids.join(", "))
            } else {
                let noon = "'2024-06-01 12:00'";
                format!("'{project}', {noon}, '2024-06-02', {noon}, 'x', 500, null")
            };
            for mode in ["force_custom_plan", "force_generic_plan"] {
                let explain =
                    format!("set plan_cache_mode = {mode}; explain (format json) execute s{number} ({values})");
                let row = sqlx::raw_sql(sqlx::AssertSqlSafe(explain))
                    .fetch_all(&mut *connection)
                    .await
                    .unwrap();
                let plan: Value = row.last().unwrap().try_get(0).unwrap();
                let mut found = Vec::new();
                nodes(&plan[0]["Plan"], &mut found);
                let reads: Vec<_> = found
                    .iter()
                    .filter(|(_, table)| !table.is_empty() && table != "models")
                    .collect();
                assert!(!reads.is_empty(), "{plan:#}");
                assert!(
                    reads.iter().all(|(node, _)| node == "Index Scan"),
                    "{mode}, {project}: {reads:?} in {plan:#}"
                );
                // The few prices of a model are sorted. Nothing else is, except rows with equal
                // times.
                let sorts = found.iter().filter(|(node, _)| node == "Sort").count();
                let models = found.iter().filter(|(_, table)| table == "models").count();
                if statement == source::OWN_SCORES {
                    // Of these all are sorted, so they must be the project's alone.
                    assert_eq!(sorts, 1, "{mode}, {project}: {plan:#}");
                    assert!(
                        plan.to_string().contains("scores_project_id_name_idx"),
                        "{mode}, {project}: {plan:#}"
                    );
                } else {
                    assert!(sorts <= models, "{mode}, {project}: {plan:#}");
                }
            }
        }
    }
}
