//! `dead-letters list`: one line for each dead letter, or one for each cause.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::arguments::ListArguments;
use super::view::View;
use crate::advice::advice;
use crate::dead_letters::DeadLetter;
use crate::output::{self, cell, count, line, moment, shorten};

/// The dead letters of one cause.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Group<'a> {
    error_code: &'a str,
    dead_letters: usize,
    projects: usize,
    /// The earliest first failure among them
    oldest: Option<DateTime<Utc>>,
    newest: Option<DateTime<Utc>>,
    /// The id of the first in the queue
    example: &'a str,
    advice: &'static str,
}

pub(super) fn execute(arguments: &ListArguments, letters: &[DeadLetter], now: DateTime<Utc>) {
    let filter = arguments.filters.filter();
    let found: Vec<&DeadLetter> = letters.iter().filter(|letter| filter.take(letter, now)).collect();
    let shown = found.get(..arguments.limit.unwrap_or(usize::MAX)).unwrap_or(&found);
    match (arguments.group, arguments.json) {
        (false, true) => {
            let views: Vec<View<'_>> = shown.iter().map(|letter| View::of(letter)).collect();
            output::json(&serde_json::json!({ "dead_letters": views }));
        }
        (true, true) => output::json(&serde_json::json!({ "groups": group(&found) })),
        (_, false) if found.is_empty() => line("No dead letters."),
        (false, false) => each(shown, &found),
        (true, false) => causes(&group(&found)),
    }
}

/// Groups by cause, the most frequent first.
fn group<'a>(letters: &[&'a DeadLetter]) -> Vec<Group<'a>> {
    let mut by_cause: BTreeMap<&str, Vec<&'a DeadLetter>> = BTreeMap::new();
    for letter in letters {
        let cause = letter.error_code.as_deref().unwrap_or("unknown");
        by_cause.entry(cause).or_default().push(letter);
    }
    let mut groups: Vec<Group<'_>> = by_cause
        .into_iter()
        .map(|(error_code, letters)| {
            let projects: BTreeSet<&str> = letters
                .iter()
                .filter_map(|letter| letter.message.as_ref())
                .map(|message| message.project_id.as_str())
                .collect();
            let failed = || letters.iter().filter_map(|letter| letter.first_failed_at());
            Group {
                error_code,
                dead_letters: letters.len(),
                projects: projects.len(),
                oldest: failed().min(),
                newest: failed().max(),
                example: letters.first().map_or("", |letter| &letter.id),
                advice: advice(error_code),
            }
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.dead_letters));
    groups
}

fn causes(groups: &[Group<'_>]) {
    let row = |group: &Group<'_>| {
        [
            group.error_code.to_owned(),
            group.dead_letters.to_string(),
            group.projects.to_string(),
            cell(group.oldest.map(moment)),
            cell(group.newest.map(moment)),
            group.example.to_owned(),
        ]
    };
    let header = ["CAUSE", "DEAD LETTERS", "PROJECTS", "OLDEST", "NEWEST", "EXAMPLE"];
    output::table(header, groups.iter().map(row));
    say_advice(groups, None);
}

fn each(shown: &[&DeadLetter], found: &[&DeadLetter]) {
    let row = |letter: &&DeadLetter| {
        let state = letter.ledger.as_ref().map(|row| row.state);
        [
            letter.id.clone(),
            cell(letter.error_code.as_ref()),
            cell(letter.attempt()),
            cell(letter.first_failed_at().map(moment)),
            if letter.tag.is_some() {
                cell(state)
            } else {
                format!("{}, no message", cell(state))
            },
            shorten(letter.error().unwrap_or("-"), 100),
        ]
    };
    output::table(
        ["ID", "CAUSE", "ATTEMPTS", "FAILED FIRST", "LEDGER", "ERROR"],
        shown.iter().map(row),
    );
    say_advice(&group(found), Some(shown.len()));
}

/// What to do about each cause, and how many dead letters there are. `shown`: how many have a line.
fn say_advice(groups: &[Group<'_>], shown: Option<usize>) {
    line("");
    for group in groups {
        line(format!(
            "{} × {}: {}",
            group.dead_letters, group.error_code, group.advice
        ));
    }
    let total: usize = groups.iter().map(|group| group.dead_letters).sum();
    let part = shown.filter(|shown| *shown < total);
    line(format!(
        "{}{}; `producer dead-letters show ID` shows everything about one.",
        part.map(|shown| format!("{shown} of ")).unwrap_or_default(),
        count(total, "dead letter")
    ));
}
