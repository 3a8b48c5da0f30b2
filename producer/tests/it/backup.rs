//! What the documents say of the ledger, run as it stands there: backup, restore, SQL.

use std::path::PathBuf;
use std::process::Command;

use chrono::{Days, Utc};
use testkit::World;

use crate::{PROJECT, add_run, add_traces, alter, ledger, world, yesterday};

const UPGRADE: &str = include_str!("../../../docs/UPGRADE.md");
const OPERATIONS: &str = include_str!("../../../docs/OPERATIONS.md");
const ALERTS: &str = include_str!("../../../docs/ALERTS.md");

/// The document's line that begins with this program.
fn documented(program: &str) -> &'static str {
    let mut lines = UPGRADE.lines().filter(|line| line.starts_with(program));
    lines.next().unwrap()
}

/// Where PostgreSQL's client programs are: Debian keeps them out of the search path when only the
/// server is installed.
pub(crate) fn programs() -> Option<PathBuf> {
    let path = std::env::split_paths(&std::env::var_os("PATH")?).collect::<Vec<_>>();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    debian.sort();
    debian
        .into_iter()
        .rev()
        .chain(path)
        .find(|directory| directory.join("pg_dump").exists())
}

fn shell(world: &World, directory: &std::path::Path, programs: &std::path::Path, line: &str) {
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(directory)
        .env("PATH", path)
        .env("LEDGER_ADMIN_URL", &world.database_url)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn the_documented_backup_restores_the_ledger() {
    let Some(programs) = programs() else {
        assert!(std::env::var_os("CI").is_none(), "there is no pg_dump");
        eprintln!("skipped: there is no pg_dump here");
        return;
    };
    let world = world().await;
    let directory = std::env::temp_dir().join(&world.vhost);
    std::fs::create_dir(&directory).unwrap();
    let before = yesterday() - Days::new(1);
    add_traces(&world, PROJECT, &[before, yesterday()]).await;
    add_run(&world, before, "daily", "completed", Some(Utc::now())).await;
    shell(&world, &directory, &programs, documented("pg_dump"));

    // After the backup one more day is exported.
    add_run(&world, yesterday(), "daily", "completed", Some(Utc::now())).await;
    shell(&world, &directory, &programs, documented("pg_restore"));
    let completed = format!("{PROJECT}/{before}/daily completed");
    assert_eq!(ledger(&world).await, [completed.clone()].into());
    world.succeeds(&["migrate"]).await;
    world.succeeds(&["enqueue"]).await;
    let again = format!("{PROJECT}/{}/daily queued", yesterday());
    assert_eq!(ledger(&world).await, [completed.clone(), again].into());

    // The same when nothing of the ledger is left.
    alter(&world, "drop schema posthog_export cascade").await;
    shell(&world, &directory, &programs, documented("pg_restore"));
    assert_eq!(ledger(&world).await, [completed].into());
    world.succeeds(&["migrate"]).await;
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn the_documented_sql_runs() {
    let world = world().await;
    add_run(&world, yesterday(), "daily", "completed", Some(Utc::now())).await;
    alter(&world, "update posthog_export.runs set project_id = 'clx1abc'").await;
    let blocks = [ALERTS, OPERATIONS]
        .into_iter()
        .flat_map(|text| text.split("```sql\n").skip(1));
    let blocks: Vec<&'static str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 2, "{blocks:?}");
    for block in blocks {
        let run = sqlx::raw_sql(block).execute(&world.pool()).await;
        assert!(run.is_ok(), "{block}\n{run:?}");
    }
    assert!(
        ledger(&world).await.is_empty(),
        "the project's rows were to be forgotten"
    );
}
