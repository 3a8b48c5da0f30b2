//! A gate in the ledger: a change that a worker or producer asks for waits in the database until
//! the test lets it happen, or makes sure that it never does.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use testkit::World;

use crate::PATIENCE;

const LOCK: i64 = 4711;

/// A gate that is closed. It stays closed until it is opened.
pub(crate) struct Gate {
    lock: PgConnection,
}

impl Gate {
    /// Changes of `table` for which `condition` (on `old` and `new`) holds wait from now on.
    /// `event` is `insert` or `update`.
    pub(crate) async fn close(world: &World, event: &str, table: &str, condition: &str) -> Self {
        let trigger = format!("trigger fault_gate before {event} on posthog_export.{table}");
        Self::with(world, &trigger, condition).await
    }

    async fn with(world: &World, trigger: &str, condition: &str) -> Self {
        let sql = format!(
            "create or replace function fault_gate() returns trigger language plpgsql as $$
             begin perform pg_advisory_xact_lock({LOCK}); return new; end $$;
             create {trigger} for each row when ({condition}) execute function fault_gate();
             select pg_advisory_lock({LOCK})"
        );
        // The lock belongs to the session.
        let mut lock = PgConnection::connect(&world.database_url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut lock).await.unwrap();
        Self { lock }
    }

    /// Before the checkpoint of the first batch of any stream.
    pub(crate) async fn before_a_checkpoint(world: &World) -> Self {
        Self::close(world, "update", "streams", "new.sent > old.sent").await
    }

    /// Before a run changes into that state.
    pub(crate) async fn before_state(world: &World, state: &str) -> Self {
        Self::close(world, "update", "runs", &becomes(state)).await
    }

    /// Before the commit by which a run changes into that state: the statement itself has been
    /// answered.
    pub(crate) async fn before_commit_of_state(world: &World, state: &str) -> Self {
        let trigger = "constraint trigger fault_gate after update on posthog_export.runs deferrable initially deferred";
        Self::with(world, trigger, &becomes(state)).await
    }

    /// Waits until a program waits at the gate.
    pub(crate) async fn reached(&mut self, world: &World) {
        let lock = tokio::sync::Mutex::new(&mut self.lock);
        world
            .wait_until("somebody reaches the gate", PATIENCE, async || {
                !waiting(&mut **lock.lock().await).await.is_empty()
            })
            .await;
    }

    /// Cancels the changes that wait at the gate. To be called when the process that asked for them
    /// is dead: the database would still carry out the statement of a dead client.
    pub(crate) async fn turn_away(&mut self) {
        // Not only the statement at the gate: another stream's save may wait for the same row
        // behind it, and comes to the gate when the first one is gone.
        let turned_away = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and state = 'active' and query like '-- ledger_%'";
        loop {
            let all: Vec<bool> = sqlx::query_scalar(turned_away).fetch_all(&mut self.lock).await.unwrap();
            if all.is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Changes happen again.
    pub(crate) async fn open(mut self) {
        let sql = format!("select pg_advisory_unlock({LOCK})");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.lock).await.unwrap();
        let _ = self.lock.close().await;
    }
}

fn becomes(state: &str) -> String {
    format!("new.state = '{state}' and old.state <> new.state")
}

async fn waiting(connection: &mut PgConnection) -> Vec<i32> {
    sqlx::query_scalar(
        "select pid from pg_locks
         where locktype = 'advisory' and not granted and objid = $1::bigint::oid
           and database = (select oid from pg_database where datname = current_database())",
    )
    .bind(LOCK)
    .fetch_all(connection)
    .await
    .unwrap()
}
