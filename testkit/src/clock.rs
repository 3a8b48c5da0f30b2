//! A clock for tests. Worker and producer take the time from their database, so a test can say what
//! time it is there, and move on while the programs run.
//!
//! A schema `clock` holds functions of its own for `clock_timestamp()` and `now()`, which add what
//! a one-row table says, and stands before `pg_catalog` in the database's search path. So each
//! statement that calls one of them without a schema takes the shifted time. Three kinds do not:
//! the keyword `CURRENT_TIMESTAMP`, a connection with a search path of its own (`?schema=` in the
//! URL), and what a program takes from its machine (`Utc::now()`; timers and time limits).

use std::fmt::Display;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::template::execute;
use crate::world::World;

/// Defaults of columns that are there already were bound to `pg_catalog` when they were made, so
/// they are made anew. Connections that are open keep their search path, so they are ended; pools
/// open others.
const INSTALL: &str = r"
create schema clock;
create table clock.shift (ahead interval not null);
insert into clock.shift values ('0');
create function clock.clock_timestamp() returns timestamptz language sql volatile
    as 'select pg_catalog.clock_timestamp() + (select ahead from clock.shift)';
create function clock.now() returns timestamptz language sql stable
    as 'select pg_catalog.now() + (select ahead from clock.shift)';
grant usage on schema clock to public;
grant select on clock.shift to public;
do $$
declare found record;
begin
    for found in
        select d.adrelid::regclass as the_table, a.attname as the_column
        from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
        where pg_get_expr(d.adbin, d.adrelid) in ('now()', 'clock_timestamp()', 'CURRENT_TIMESTAMP')
    loop
        execute format('alter table %s alter column %I set default clock.now()', found.the_table, found.the_column);
    end loop;
    execute format('alter database %I set search_path = clock, pg_catalog, public', current_database());
    perform pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid();
end $$;
";

/// The shifted clock of one database.
#[derive(Clone, Debug)]
pub struct Clock(PgPool);

impl Clock {
    /// Gives the database of this URL a clock of its own, which shows the machine's time until it
    /// is set. Programs that are connected meanwhile lose their connections once.
    ///
    /// # Panics
    /// When the database refuses it, or has such a clock already.
    pub async fn install(database_url: &str, pool: PgPool) -> Self {
        let connection = PgConnection::connect(database_url).await;
        let mut connection = connection.expect("connect to the database that gets a clock");
        execute(&mut connection, INSTALL.to_owned()).await;
        let _ = connection.close().await;
        Self(pool)
    }

    /// Sets it: `2024-06-01 10:35`, in UTC. It goes on from there, and every connection sees it at
    /// once.
    pub async fn set(&self, moment: impl Display) {
        self.shift(&format!("timestamptz '{moment} UTC' - pg_catalog.clock_timestamp()"))
            .await;
    }

    /// Moves it on.
    pub async fn forward(&self, by: TimeDelta) {
        self.shift(&format!("ahead + interval '{} milliseconds'", by.num_milliseconds()))
            .await;
    }

    /// What it shows.
    pub async fn now(&self) -> DateTime<Utc> {
        let now = sqlx::query_scalar("select clock.clock_timestamp()");
        now.fetch_one(&self.0).await.expect("the database tells the time")
    }

    async fn shift(&self, ahead: &str) {
        let shift = format!("update clock.shift set ahead = {ahead}");
        let shifted = sqlx::raw_sql(AssertSqlSafe(shift)).execute(&self.0).await;
        shifted.unwrap_or_else(|error| panic!("set the clock to {ahead}: {error}"));
    }
}

impl World {
    /// Gives the world's database a clock that shows another time: `2024-06-01 10:35`, in UTC. Best
    /// before anything else is done with the world, and once.
    pub async fn clock(&self, moment: impl Display) -> Clock {
        let clock = Clock::install(&self.database_url, self.pool()).await;
        clock.set(moment).await;
        clock
    }
}
