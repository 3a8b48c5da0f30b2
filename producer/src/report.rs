//! What several commands say about jobs that failed, and about rows that need none.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::langfuse::Undated;

use crate::output::{agree, count};

/// How many failures are named in the log. A person does not read more.
const NAMED: usize = 20;

/// A job or a dead letter that could not be dealt with; `--json` writes it as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// `project/day/run`, or `raw/…` for a message that is no job
    pub id: String,
    /// Why
    pub error: String,
}

/// Names the failures in the log. `what` says what did not happen to them.
pub(crate) fn say_failed(failed: &[Failure], what: &str) {
    for Failure { id, error } in failed.iter().take(NAMED) {
        tracing::error!(job = id, error, "{what}");
    }
    let rest = failed.len().saturating_sub(NAMED);
    if rest > 0 {
        tracing::error!("and {rest} more (`--json` names all)");
    }
}

/// `2 rows of traces of project p lie on no day …`: one text for each table. PURE.
pub(crate) fn undated(all: &[Undated]) -> Vec<String> {
    let mut tables: BTreeMap<&str, Vec<&Undated>> = BTreeMap::new();
    for rows in all {
        tables.entry(&rows.table).or_default().push(rows);
    }
    let text = |(table, all): (&str, Vec<&Undated>)| {
        let first = all.first()?;
        let number = all.iter().map(|rows| rows.rows).sum::<i64>();
        let have = agree(number, "has", "have");
        let (id, example) = (&first.project_id, &first.example);
        let (whose, example) = match all.len() {
            1 => (format!("project {id:?}"), format!("{example:?}")),
            number => (format!("{number} projects"), format!("{example:?} of project {id:?}")),
        };
        Some(format!(
            "{} of {table} of {whose} {have} a time that lies on no day of the years 1 to 9999, for example {example}",
            count(number, "row"),
        ))
    };
    tables.into_iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_on_no_day_are_one_text_for_each_table() {
        let rows = |project_id: &str, table: &str| Undated {
            project_id: project_id.to_owned(),
            table: table.to_owned(),
            rows: 2,
            example: format!("row of {project_id}"),
        };
        let all = [rows("p", "scores"), rows("p", "traces"), rows("q", "traces")];
        let texts = undated(&all);
        assert!(
            texts[0].starts_with("2 rows of scores of project \"p\" have"),
            "{texts:?}"
        );
        assert!(texts[1].starts_with("4 rows of traces of 2 projects have"), "{texts:?}");
        assert!(texts[1].ends_with("\"row of p\" of project \"p\""), "{texts:?}");
        assert_eq!(texts.len(), 2);
    }
}
