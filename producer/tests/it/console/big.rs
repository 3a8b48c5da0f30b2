//! A ledger of many projects and years: pages stay small, and no statement reads all of it.

use reqwest::StatusCode;
use sqlx::Row as _;

use super::Console;
use crate::world;

/// 400 projects, and enough days that reading all of them shows.
const FILL: &str = "
    insert into organizations (id, name) values ('many', 'Many') on conflict do nothing;
    insert into projects (id, name, org_id)
      select 'clx' || lpad(n::text, 22, '0'), 'Assistant of team ' || n, 'many' from generate_series(1, 400) n;
    insert into posthog_integrations (project_id, encrypted_posthog_api_key, posthog_host_name, enabled)
      select id, 'aa:bb:cc', 'https://eu.posthog.com', true from projects where org_id = 'many';
    insert into posthog_export.runs (project_id, day, run, state, started_at, completed_at, queued_at)
      select p.id, d, 'daily', case when right(p.id, 1) <> '7' then 'completed' when n % 53 = 0 then 'dead' when n % 17 = 0 then 'queued' else 'completed' end, d, d, d
      from projects p, generate_series(current_date - 180, current_date - 1, interval '1 day') with ordinality as s (d, n)
      where p.org_id = 'many';
    insert into posthog_export.streams (project_id, day, run, stream, done, sent)
      select project_id, day, run, 'trace', true, 12345 from posthog_export.runs;
    insert into posthog_export.arrivals (project_id, day, run, run_completed_at, verdict, says)
      select project_id, day, run, now(), 'arrived', '' from posthog_export.runs where state = 'completed';
    analyze";

/// Pages of the tables that were read in sequence, and how often.
pub(crate) async fn scans(world: &testkit::World) -> Vec<(String, i64)> {
    let rows = sqlx::query(
        "select relname::text, coalesce(seq_scan, 0) as scans from pg_stat_user_tables
         where schemaname = 'posthog_export' and relname in ('runs', 'streams', 'arrivals', 'rejects') order by 1",
    );
    let rows = rows.fetch_all(&world.pool()).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn pages_of_400_projects_are_small_and_no_statement_reads_the_whole_ledger() {
    let world = world().await;
    sqlx::raw_sql(FILL).execute(&world.pool()).await.unwrap();
    let before = scans(&world).await;
    let console = Console::start(&world, &[], &[]).await;
    let project = "/projects/clx0000000000000000000007";
    for path in ["/", "/dead-letters", "/dead-letters?cause=internal", project] {
        let answer = console.get(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let bytes = answer.bytes().await.unwrap().len();
        assert!(bytes <= 200_000, "{path} has {bytes} bytes");
    }
    // A session reports what it did when it ends, at the latest.
    console.process.terminate();
    console.process.exited_within(super::PATIENCE).await.unwrap();
    assert_eq!(
        scans(&world).await,
        before,
        "a table was read from its beginning to its end"
    );
}
