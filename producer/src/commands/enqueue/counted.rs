//! What the planned jobs hold, as `enqueue --count` shows it.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::job::Stream;

use crate::facts::counts::Count;
use crate::output::{self, number};

/// Project, jobs, one for each kind, total.
const COLUMNS: usize = Stream::USUAL.len() + 3;
/// The same where other observations are exported.
const ALL_COLUMNS: usize = Stream::ALL.len() + 3;

/// What the jobs of a project hold.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    project_id: String,
    #[serde(flatten)]
    count: Count,
    total: i64,
}

impl Counted {
    pub(super) fn all(counts: BTreeMap<String, Count>) -> Vec<Self> {
        let counted = |(project_id, count): (String, Count)| Self {
            project_id,
            total: count.total(),
            count,
        };
        counts.into_iter().map(counted).collect()
    }
}

/// Writes the table, with a line for all projects together.
pub(super) fn table(counted: &[Counted]) {
    let mut all = Count::default();
    for Counted { count, .. } in counted {
        all.jobs += count.jobs;
        for (stream, events) in &count.events {
            *all.events.entry(*stream).or_default() += events;
        }
    }
    if all.events.contains_key(&Stream::Observation) {
        write::<ALL_COLUMNS>(&Stream::ALL, counted, &all);
    } else {
        write::<COLUMNS>(&Stream::USUAL, counted, &all);
    }
}

fn write<const N: usize>(kinds: &[Stream], counted: &[Counted], all: &Count) {
    let header = cells::<N>(
        "PROJECT",
        "JOBS".to_owned(),
        kinds.iter().map(|stream| stream.as_str().to_uppercase()),
        "EVENTS".to_owned(),
    );
    let header: [&str; N] = std::array::from_fn(|column| header.get(column).map_or("", String::as_str));
    let rows = counted.iter().map(|one| row(kinds, &one.project_id, &one.count));
    output::table(header, rows.chain([row(kinds, "(all)", all)]));
}

fn row<const N: usize>(kinds: &[Stream], project: &str, count: &Count) -> [String; N] {
    let of = |stream| number(count.events.get(stream).copied().unwrap_or(0));
    cells(
        project,
        count.jobs.to_string(),
        kinds.iter().map(of),
        number(count.total()),
    )
}

fn cells<const N: usize>(
    project: &str,
    jobs: String,
    kinds: impl Iterator<Item = String>,
    total: String,
) -> [String; N] {
    let mut cells = [project.to_owned(), jobs].into_iter().chain(kinds).chain([total]);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}
