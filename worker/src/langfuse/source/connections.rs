//! The connections to Langfuse's database, one turn for each. A connection that has just been used
//! is kept aside for the next statement: a pool pings each one that comes back, and a small day's
//! statements cost little more than a ping.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a connection is kept aside. Then the pool has it again, which closes what nobody uses.
const KEPT: Duration = Duration::from_secs(1);

/// The connections that are kept aside, the last one in use at the end.
#[derive(Debug, Default)]
struct Aside {
    idle: Vec<(PoolConnection<Postgres>, Instant)>,
    /// Whether somebody looks after them
    is_swept: bool,
}

/// The connections, and who may use one.
#[derive(Debug)]
pub(super) struct Connections {
    pool: PgPool,
    /// One turn for each connection. A stream waits for its turn without a time limit; for the pool
    /// it would wait with one.
    turns: Semaphore,
    aside: Arc<Mutex<Aside>>,
}

/// The right to use a connection.
pub(super) struct Turn<'a> {
    of: &'a Connections,
    _permit: Option<SemaphorePermit<'a>>,
}

/// A connection at work. Dropped in the middle of it, it goes back to the pool, which looks whether
/// it still answers.
pub(super) struct Connection<'a> {
    inner: PoolConnection<Postgres>,
    of: &'a Connections,
}

impl Connections {
    pub(super) fn new(pool: PgPool) -> Self {
        Self {
            turns: Semaphore::new(usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX)),
            pool,
            aside: Arc::default(),
        }
    }

    /// Waits for a turn, as long as it takes.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn {
            of: self,
            // Nobody closes the turns.
            _permit: self.turns.acquire().await.ok(),
        }
    }

    /// A turn, unless all are taken.
    pub(super) fn try_turn(&self) -> Option<Turn<'_>> {
        let permit = self.turns.try_acquire().ok()?;
        Some(Turn {
            of: self,
            _permit: Some(permit),
        })
    }
}

impl Turn<'_> {
    /// A connection: one that was in use a moment ago, or else one of the pool.
    pub(super) async fn connection(&self) -> Result<Connection<'_>, sqlx::Error> {
        let aside = lock(&self.of.aside).idle.pop();
        let inner = match aside {
            Some((inner, since)) if since.elapsed() < KEPT => inner,
            // One that is too old goes back to the pool first: this turn is the place for one.
            too_old => {
                drop(too_old);
                self.of.pool.acquire().await?
            }
        };
        Ok(Connection { inner, of: self.of })
    }
}

impl Connection<'_> {
    /// Keeps the connection aside: its statement has been answered to the end.
    pub(super) fn keep(self) {
        let mut aside = lock(&self.of.aside);
        aside.idle.push((self.inner, Instant::now()));
        if !std::mem::replace(&mut aside.is_swept, true) {
            tokio::spawn(sweep(Arc::clone(&self.of.aside)));
        }
    }
}

impl Deref for Connection<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Connection<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

/// Gives those that nobody used for a while back to the pool, until there is none.
async fn sweep(aside: Arc<Mutex<Aside>>) {
    loop {
        tokio::time::sleep(KEPT).await;
        let mut now = lock(&aside);
        now.idle.retain(|(_, since)| since.elapsed() < KEPT);
        if now.idle.is_empty() {
            now.is_swept = false;
            return;
        }
    }
}

fn lock(aside: &Mutex<Aside>) -> MutexGuard<'_, Aside> {
    aside.lock().unwrap_or_else(PoisonError::into_inner)
}
