//! The traces of a job's last pages, in memory. The rows of the other streams take their trace's
//! columns from here; only traces that are not here are looked up in the database. The stream of traces
//! leads, and the other streams follow through the same time of the day. What is kept matters for
//! speed alone: each stream has its own cursor, and a row always finds its trace in the database.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use chrono::NaiveDateTime;
use foldhash::fast::RandomState;
use shared::job::Stream;
use shared::ledger::Cursor;
use smol_str::SmolStr;
use tokio::sync::watch;

use crate::langfuse::rows::{Row, TraceColumns};
use crate::langfuse::source::{Page, Source, SourceError, Window};

/// How much is kept for a job.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Pages of traces
    pub pages: usize,
    /// Bytes of them
    pub bytes: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            // Two that are ahead of the others, and two behind: scores come in late.
            pages: 4,
            bytes: 12 << 20,
        }
    }
}

/// How many pages the traces may be ahead of the slowest other stream. Further ahead, they would be
/// forgotten before a row asks for them.
const AHEAD: usize = 2;

/// A page of traces that is remembered.
#[derive(Debug)]
struct Remembered {
    /// The time of its last trace
    until: NaiveDateTime,
    ids: Vec<SmolStr>,
    bytes: usize,
}

/// PURE: what is remembered, and how far each stream has come.
#[derive(Debug)]
struct Memory {
    kept: Kept,
    traces: HashMap<SmolStr, Arc<TraceColumns>, RandomState>,
    pages: VecDeque<Remembered>,
    bytes: usize,
    /// All traces up to this time have been read; the maximum when no more will come.
    horizon: NaiveDateTime,
    /// For each other stream, the time of the next row that needs its trace
    followers: BTreeMap<Stream, NaiveDateTime>,
}

impl Memory {
    fn new(running: impl IntoIterator<Item = Stream>, kept: Kept) -> Self {
        let mut followers: BTreeMap<_, _> = running.into_iter().map(|stream| (stream, NaiveDateTime::MIN)).collect();
        let traces_run = followers.remove(&Stream::Trace).is_some();
        Self {
            kept,
            traces: HashMap::default(),
            pages: VecDeque::new(),
            bytes: 0,
            horizon: if traces_run {
                NaiveDateTime::MIN
            } else {
                NaiveDateTime::MAX
            },
            followers,
        }
    }

    /// Whether the stream of traces should wait for the slowest other stream. The two cannot wait
    /// for each other: the slowest stream waits only for traces that are later than all pages read
    /// so far, and then no page is ahead of it.
    fn is_ahead(&self) -> bool {
        let slowest = self.followers.values().min();
        slowest.is_some_and(|slowest| self.pages.iter().filter(|page| page.until > *slowest).count() >= AHEAD)
    }

    /// Remembers a page of traces, and forgets the oldest pages.
    fn add(&mut self, page: &Page) {
        let mut remembered = Remembered {
            until: page.rows.last().map_or(self.horizon, Row::time),
            ids: Vec::with_capacity(page.rows.len()),
            bytes: 0,
        };
        self.horizon = if page.last {
            NaiveDateTime::MAX
        } else {
            remembered.until
        };
        if self.followers.is_empty() {
            return;
        }
        for row in &page.rows {
            let id = row.id();
            remembered.bytes += 2 * size_of_val(id) + id.len() + row.trace().size();
            self.traces.insert(id.clone(), Arc::clone(row.trace()));
            remembered.ids.push(id.clone());
        }
        self.bytes += remembered.bytes;
        self.pages.push_back(remembered);
        while self.pages.len() > self.kept.pages || self.bytes > self.kept.bytes {
            let Some(oldest) = self.pages.pop_front() else { break };
            self.bytes -= oldest.bytes;
            for id in oldest.ids {
                self.traces.remove(&id);
            }
        }
    }

    /// Gives rows their traces, as far as traces have been read. Answers how many rows are done,
    /// and the time of the first row that has to wait.
    fn join(&mut self, stream: Stream, rows: &mut [Row]) -> (usize, Option<NaiveDateTime>) {
        let mut done = 0;
        for row in rows.iter_mut() {
            if row.time() > self.horizon {
                break;
            }
            if let Some(trace) = row.trace_id().and_then(|id| self.traces.get(id)) {
                row.join(Arc::clone(trace));
            }
            done += 1;
        }
        let waits = rows.get(done).map(Row::time);
        if let Some(at) = waits.or(rows.last().map(Row::time)) {
            self.followers.insert(stream, at);
        }
        (done, waits)
    }
}

/// What the streams of a job know of its traces.
#[derive(Debug)]
pub struct RecentTraces(watch::Sender<Memory>);

impl RecentTraces {
    /// For a job of which these streams are to be read.
    pub fn new(running: impl IntoIterator<Item = Stream>, kept: Kept) -> Self {
        Self(watch::Sender::new(Memory::new(running, kept)))
    }

    /// The rows of a stream behind a cursor, each with its trace's columns.
    pub async fn page(
        &self,
        source: &Source,
        stream: Stream,
        window: &Window,
        after: Option<&Cursor>,
    ) -> Result<Page, SourceError> {
        if stream == Stream::Trace {
            self.reached(|memory| !memory.is_ahead()).await;
            let page = source.page(stream, window, after).await?;
            self.0.send_modify(|memory| memory.add(&page));
            return Ok(page);
        }
        let mut page = source.page(stream, window, after).await?;
        self.join(stream, &mut page.rows).await;
        source.join_missing(&window.project_id, &mut page.rows).await?;
        if page.last {
            self.0.send_modify(|memory| {
                memory.followers.remove(&stream);
            });
        }
        Ok(page)
    }

    /// Gives rows the traces that are in memory, and waits where the traces have not been read yet.
    async fn join(&self, stream: Stream, mut rows: &mut [Row]) {
        loop {
            let mut waits = None;
            let mut done = 0;
            self.0.send_modify(|memory| (done, waits) = memory.join(stream, rows));
            let Some(time) = waits else { return };
            rows = &mut rows[done..];
            self.reached(|memory| memory.horizon >= time).await;
        }
    }

    async fn reached(&self, condition: impl FnMut(&Memory) -> bool) {
        // This fails only when the sender is gone, and `self` owns it.
        let _ = self.0.subscribe().wait_for(condition).await;
    }
}

#[cfg(test)]
mod tests;
