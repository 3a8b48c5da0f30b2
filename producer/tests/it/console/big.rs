//! A ledger of many projects and years, with hourly steps: pages stay small, and no statement reads
//! all of it.

use reqwest::StatusCode;
use sqlx::Row as _;
use testkit::World;

use super::Console;
use crate::{alter, world};

/// 400 projects, and enough days that reading all of them shows. The last three have hourly steps.
const FILL: &str = "
    set session_replication_role = replica;
    insert into organizations (id, name) values ('many', 'Many') on conflict do nothing;
    insert into projects (id, name, org_id)
      select 'clx' || lpad(n::text, 22, '0'), 'Assistant of team ' || n, 'many' from generate_series(1, 400) n;
    insert into posthog_integrations (project_id, encrypted_posthog_api_key, posthog_host_name, enabled)
      select id, 'aa:bb:cc', 'https://eu.posthog.com', true from projects where org_id = 'many';
    insert into posthog_export.runs (project_id, day, run, state, started_at, completed_at, queued_at)
      select p.id, d, 'daily', case when right(p.id, 1) <> '7' then 'completed' when n % 53 = 0 then 'dead' when n % 17 = 0 then 'queued' else 'completed' end, d, d, d
      from projects p, generate_series(current_date - 400, current_date - 1, interval '1 day') with ordinality as s (d, n)
      where p.org_id = 'many';
    insert into posthog_export.runs (project_id, day, run, state, started_at, completed_at, queued_at, span_from, span_until)
      select p.id, d, 'step-' || to_char(h, 'FM00') || '00', case when d = current_date and h = 23 then 'queued' else 'completed' end,
             d, d, d, (d + h * interval '1 h') at time zone 'UTC', (d + (h + 1) * interval '1 h') at time zone 'UTC'
      from projects p, generate_series(current_date - 2, current_date, interval '1 day') d, generate_series(0, 23) h
      where p.org_id = 'many';
    insert into posthog_export.streams (project_id, day, run, stream, done, sent)
      select project_id, day, run, 'trace', true, 12345 from posthog_export.runs;
    insert into posthog_export.arrivals (project_id, day, run, run_completed_at, verdict, says)
      select project_id, day, run, now(), 'arrived', '' from posthog_export.runs where state = 'completed' and run = 'daily';
    set session_replication_role = origin;
    vacuum analyze posthog_export.runs;
    vacuum analyze posthog_export.streams;
    vacuum analyze posthog_export.arrivals";

/// Pages of the tables that were read in sequence, and how often.
pub(crate) async fn scans(world: &World) -> Vec<(String, i64)> {
    let rows = sqlx::query(
        "select relname::text, coalesce(seq_scan, 0) as scans from pg_stat_user_tables
         where schemaname = 'posthog_export' and relname in ('runs', 'streams', 'arrivals', 'rejects') order by 1",
    );
    let rows = rows.fetch_all(&world.pool()).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Of each table: its rows, and how many entries of its indexes were read so far.
async fn entries(world: &World) -> Vec<(String, i64, i64)> {
    let rows = sqlx::query(
        "select t.relname::text, t.n_live_tup, sum(i.idx_tup_read)::bigint
         from pg_stat_user_tables t join pg_stat_user_indexes i using (relid)
         where t.schemaname = 'posthog_export' and t.relname in ('runs', 'streams', 'arrivals') group by 1, 2 order by 1",
    );
    let rows = rows.fetch_all(&world.pool()).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Loads these pages from a console of their own. A session reports what it did when it ends, at the
/// latest.
async fn load(world: &World, paths: &[&str], expected: &[StatusCode]) {
    let console = Console::start(world, &[], &[]).await;
    for path in paths {
        let answer = console.get(path).send().await.unwrap();
        assert!(expected.contains(&answer.status()), "{path}: {}", answer.status());
        let bytes = answer.bytes().await.unwrap().len();
        assert!(bytes <= 200_000, "{path} has {bytes} bytes");
    }
    console.process.terminate();
    console.process.exited_within(super::PATIENCE).await.unwrap();
}

#[tokio::test]
async fn pages_of_400_projects_are_small_and_no_statement_reads_the_whole_ledger() {
    let world = world().await;
    for statement in FILL.split(';') {
        sqlx::raw_sql(statement).execute(&world.pool()).await.unwrap();
    }
    let project = "/projects/clx0000000000000000000007";
    let day = format!("{project}?day={}&steps=open", chrono::Utc::now().date_naive());
    let others = [
        "/dead-letters",
        "/dead-letters?cause=internal",
        project,
        &day,
        "/projects/clx0000000000000000000008?year=2024",
    ];
    let (scanned, read) = (scans(&world).await, entries(&world).await);
    load(&world, &["/"], &[StatusCode::OK]).await;
    load(&world, &others, &[StatusCode::OK]).await;
    assert_eq!(
        scans(&world).await,
        scanned,
        "a table was read from its beginning to its end"
    );
    // Nor in the order of an index. The overview reads 60 days of 400, and all steps.
    for ((table, rows, before), (_, _, after)) in read.into_iter().zip(entries(&world).await) {
        assert!(rows > 100_000, "{table} has {rows} rows");
        let share = (after - before) * 100 / rows;
        assert!(share < 60, "{share} of 100 entries of {table} were read");
    }

    // Without its index a statement reads a whole table, and this test sees it.
    for (index, path) in [
        ("drop index posthog_export.runs_unfinished", "/"),
        (
            "alter table posthog_export.streams drop constraint streams_pkey",
            project,
        ),
    ] {
        let before = scans(&world).await;
        alter(&world, index).await;
        // It may take too long, too.
        load(&world, &[path], &[StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]).await;
        assert_ne!(scans(&world).await, before, "nothing is seen after {index}");
    }
}
