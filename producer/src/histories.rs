//! Long histories that somebody has to decide about: which there are, and what several commands say
//! about them.

use sqlx::PgPool;

use crate::error::CommandError;
use crate::facts::counts;
use crate::output::{agree, count};
use crate::plan::{Arrived, FirstExport, Project, Rules, first_exports, plan};

/// How many projects are named in a sentence.
const NAMED: usize = 5;

/// The histories that an `enqueue` without a terminal and without `--yes` holds back.
pub(crate) async fn held_back(
    source: &PgPool,
    rules: &Rules,
    projects: &[Project],
) -> Result<Vec<FirstExport>, CommandError> {
    let jobs = plan(rules, projects, &Arrived::default(), Vec::new());
    counts::long(source, first_exports(rules, projects, &jobs), rules.observations).await
}

/// `1 project has a long history that was never exported: p (…)`. PURE.
pub(crate) fn histories<'a>(exports: impl Iterator<Item = &'a FirstExport> + Clone) -> String {
    let one = |export: &FirstExport| {
        format!(
            "{} ({} of data since {}, about {})",
            export.project_id,
            count(export.days.len(), "day"),
            export.range.start(),
            count(export.events, "event")
        )
    };
    let all = exports.clone().count();
    let events = exports
        .clone()
        .fold(0_i64, |sum, export| sum.saturating_add(export.events));
    let named: Vec<String> = exports.take(NAMED).map(one).collect();
    let more = match all - named.len() {
        0 => String::new(),
        rest => format!(" and {rest} more, about {} in all", count(events, "event")),
    };
    let have = agree(all, "has", "have");
    format!(
        "{} {have} a long history that was never exported: {}{more}",
        count(all, "project"),
        named.join(", ")
    )
}

/// What to do about histories that were held back. PURE.
pub(crate) fn decide<'a>(exports: impl Iterator<Item = &'a FirstExport>) -> String {
    let ids: Vec<&str> = exports.map(|export| export.project_id.as_str()).collect();
    let projects = match ids.as_slice() {
        [id] => format!("--project {id}"),
        _ => "--project <id>".to_owned(),
    };
    format!(
        "`producer enqueue {projects} --yes` publishes it, and `--from <day>` instead of `--yes` a part of it (look \
         first with --dry-run --count). To leave out old days for good, set BACKFILL_DAYS to how many days before \
         yesterday shall be exported."
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// 400 days of a project that are about 3 million events.
    pub(crate) fn history(project_id: &str) -> FirstExport {
        let first: shared::job::Day = "2023-01-01".parse().unwrap();
        let days = std::iter::successors(Some(first), |day| Some(day.next())).take(400);
        FirstExport {
            project_id: project_id.to_owned(),
            range: first..="2024-02-04".parse().unwrap(),
            days: days.collect(),
            stretches: Vec::new(),
            events: 3_000_000,
        }
    }

    #[test]
    fn a_history_says_how_long_it_is() {
        let said = histories([history("p1")].iter());
        let expected = "1 project has a long history that was never exported: p1 (400 days of data since 2023-01-01, \
                        about 3,000,000 events)";
        assert_eq!(said, expected);
        let many: Vec<FirstExport> = (1..=7).map(|number| history(&format!("p{number}"))).collect();
        let said = histories(many.iter());
        assert!(said.starts_with("7 projects have"), "{said}");
        assert!(
            said.contains("p5 (400") && !said.contains("p6") && said.contains("2 more, about 21,000,000"),
            "{said}"
        );
    }

    /// `--yes` alone, for example with `schedule`, is about every project.
    #[test]
    fn the_advice_is_about_this_project_first() {
        let said = decide([history("p1")].iter());
        assert!(said.starts_with("`producer enqueue --project p1 --yes` "), "{said}");
        let said = decide([history("p1"), history("p2")].iter());
        assert!(said.starts_with("`producer enqueue --project <id> --yes` "), "{said}");
    }
}
