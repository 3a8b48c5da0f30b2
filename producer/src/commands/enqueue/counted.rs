//! What the planned jobs hold, as `enqueue --count` shows it.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::job::Stream;

use crate::facts::counts::Count;
use crate::output::{self, number};

/// Project, jobs, one for each kind, total.
const COLUMNS: usize = Stream::ALL.len() + 3;

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
    let rows = counted.iter().map(|one| row(&one.project_id, &one.count));
    let header = cells(
        "PROJECT",
        "JOBS".to_owned(),
        |stream| stream.as_str().to_uppercase(),
        "EVENTS".to_owned(),
    );
    let header: [&str; COLUMNS] = std::array::from_fn(|column| header.get(column).map_or("", String::as_str));
    output::table(header, rows.chain([row("(all)", &all)]));
}

fn row(project: &str, count: &Count) -> [String; COLUMNS] {
    let of = |stream| number(count.events.get(&stream).copied().unwrap_or(0));
    cells(project, count.jobs.to_string(), of, number(count.total()))
}

fn cells(project: &str, jobs: String, of: impl Fn(Stream) -> String, total: String) -> [String; COLUMNS] {
    let mut cells = [project.to_owned(), jobs]
        .into_iter()
        .chain(Stream::ALL.map(of))
        .chain([total]);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}
