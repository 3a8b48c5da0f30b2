//! What the overview shows. PURE.

use shared::integration::StoredIntegration;
use shared::ledger::RunRow;

use super::chosen::{Chosen, Entry, entries};
use super::projects::{Line, choose, lines};
use super::tiles::{Tile, tiles};
use crate::console::address::Prefix;
use crate::console::kept::Answer;
use crate::console::pages::frame::Trouble;
use crate::console::queues::{Purpose, Queue};
use crate::console::rows::overview::{Days, Rows};
use crate::console::times::Moment;
use crate::output::{count, number};
use crate::pauses::holding;

/// The page.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) troubles: Vec<Trouble>,
    /// One sentence, read aloud when it changes
    pub(super) summary: String,
    pub(super) as_of: Option<Moment>,
    /// The days of the projects and their sums are read more seldom
    pub(super) days_as_of: Option<Moment>,
    pub(super) tiles: Vec<Tile>,
    pub(super) work: Vec<Work>,
    pub(super) queues: Vec<Depth>,
    pub(super) all: usize,
    pub(super) lines: Vec<Line>,
    pub(super) states: Vec<Entry>,
    pub(super) sorts: Vec<Entry>,
    pub(super) find: String,
}

/// A run that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) worker: String,
    pub(super) project: String,
    pub(super) project_href: String,
    pub(super) day: String,
    pub(super) run: String,
    pub(super) run_href: String,
    pub(super) events: String,
    pub(super) since: Option<Moment>,
    /// Its worker has not renewed its lease
    pub(super) lost: bool,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    pub(super) says: &'static str,
    pub(super) name: String,
    pub(super) messages: String,
    pub(super) consumers: String,
}

impl View {
    pub(super) fn new(
        prefix: &Prefix,
        chosen: &Chosen,
        (ledger, days): (&Answer<Rows>, &Answer<Days>),
        integrations: &Answer<Vec<StoredIntegration>>,
        queues: &Answer<Vec<Queue>>,
    ) -> Self {
        let troubles = [
            Trouble::of("The ledger", ledger).or_else(|| Trouble::of("The ledger", days)),
            Trouble::of("Langfuse's database", integrations),
            Trouble::of("The broker", queues),
        ];
        let mut view = Self {
            troubles: troubles.into_iter().flatten().collect(),
            queues: queues
                .known
                .iter()
                .flat_map(|(known, _)| known.iter().map(depth))
                .collect(),
            states: entries(chosen.state.0),
            sorts: entries(chosen.sort.0),
            find: chosen.find.clone(),
            summary: "The ledger does not answer.".to_owned(),
            ..Self::default()
        };
        if let (Some((rows, _)), Some((days, _))) = (&ledger.known, &days.known) {
            let stored = integrations.known.as_ref().map(|(known, _)| known.as_slice());
            let all = lines(prefix, rows, days, stored);
            let pauses = holding(rows.pauses.clone(), stored.unwrap_or_default());
            view.tiles = tiles(rows, days, &all, &pauses.values().collect::<Vec<_>>());
            view.summary = summary(&view.tiles, &view.troubles);
            view.as_of = Some(Moment::new(rows.now, rows.now));
            view.days_as_of = Some(Moment::new(rows.now, days.now));
            view.work = rows
                .at_work
                .iter()
                .map(|run| work(prefix, rows, stored.unwrap_or_default(), run))
                .collect();
            view.all = all.len();
            view.lines = choose(all, chosen);
        }
        view
    }

    /// How many projects are shown.
    pub(super) fn shown(&self) -> String {
        if self.lines.len() == self.all {
            count(self.all, "project")
        } else {
            format!("{} of {}", self.lines.len(), count(self.all, "project"))
        }
    }
}

fn summary(tiles: &[Tile], troubles: &[Trouble]) -> String {
    let mut words: Vec<String> = troubles
        .iter()
        .map(|trouble| format!("{} does not answer", trouble.who))
        .collect();
    let bad = tiles.iter().filter(|tile| tile.class == "bad");
    words.extend(bad.map(|tile| format!("{}: {}", tile.label, tile.value)));
    if words.is_empty() {
        "Nothing in the ledger needs attention. Not known: days without a job, and histories that are held back."
            .to_owned()
    } else {
        format!("{}.", words.join("; "))
    }
}

fn work(prefix: &Prefix, rows: &Rows, stored: &[StoredIntegration], run: &RunRow) -> Work {
    let named = stored.iter().find(|found| found.project_id == run.project_id);
    Work {
        worker: run.worker.clone().unwrap_or_else(|| "–".to_owned()),
        project: named.map_or(&run.project_id, |found| &found.project_name).clone(),
        project_href: prefix.project(&run.project_id),
        day: run.day.to_string(),
        run: run.run.clone(),
        run_href: prefix.run(&run.key()),
        events: number(run.counts.sent),
        since: run.started_at.map(|since| Moment::new(rows.now, since)),
        lost: run.lease_expires_at.is_some_and(|until| until < rows.now),
    }
}

fn depth(queue: &Queue) -> Depth {
    let cell = |number: Option<u32>| number.map_or_else(|| "–".to_owned(), |n| self::number(i64::from(n)));
    Depth {
        says: match queue.purpose {
            Purpose::Jobs => "Jobs of the night",
            Purpose::Backfill => "Backfill",
            Purpose::Rung => "Waiting to be tried again",
            Purpose::DeadLetters => "Dead letters",
        },
        name: queue.name.clone(),
        messages: queue
            .messages
            .map_or_else(|| "no such queue".to_owned(), |_| cell(queue.messages)),
        consumers: cell(queue.consumers),
    }
}
