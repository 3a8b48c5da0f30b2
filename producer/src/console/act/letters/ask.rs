//! What is asked before dead letters are requeued or discarded. The form carries the ids of those that
//! were shown. PURE, but for what is read of the ledger.

use std::collections::{BTreeMap, BTreeSet};

use shared::job::RunKey;
use shared::ledger::{Ledger, State};
use shared::message::Message;

use super::super::confirm::{Column, Confirm, Table};
use crate::console::address::Prefix;
use crate::console::named::coded;
use crate::console::rows::dead::{AT_ONCE, UNKNOWN};
use crate::dead_letters::{DeadLetter, Fate, Named, Paused, Sorted, marks, sort};
use crate::error::CommandError;
use crate::output::{count, number, shorten};
use crate::report::Failure;

/// No more dead letters are dealt with at once.
pub(super) const MOST: usize = AT_ONCE;
/// Nor more than have ids of so many bytes together, which stand in the page.
const LONGEST_IDS: usize = 100_000;
/// No more are listed in the page.
const LISTED: usize = 100;
/// No more names are in a sentence.
const IN_A_SENTENCE: usize = 10;
/// The field with the ids.
pub(super) const CARRIED: &str = "ids";
/// The field with the marks of their failures, in the order of the ids.
pub(super) const MARKS: &str = "marks";
/// Bytes of a mark, and of the spaces behind it and its id.
const MARK: usize = 14;

/// The word in `audit`, and in the address.
pub(super) fn action(fate: Fate) -> &'static str {
    match fate {
        Fate::Requeue => "requeue",
        Fate::Discard => "discard",
    }
}

/// The names of some, and how many there are besides.
pub(super) fn some(names: &[String]) -> String {
    let first: Vec<String> = names
        .iter()
        .take(IN_A_SENTENCE)
        .map(|name| shorten(name, 120))
        .collect();
    let rest = names.len().saturating_sub(IN_A_SENTENCE);
    let more = if rest > 0 {
        format!(" and {rest} more")
    } else {
        String::new()
    };
    format!("{}{more}", first.join(", "))
}

/// A dead letter's name.
pub(super) fn named(letter: &DeadLetter) -> Named {
    Named {
        id: letter.id.clone(),
        key: letter.message.as_ref().and_then(Message::key),
    }
}

/// The project of all of them, if it is one.
pub(super) fn project(named: &[Named]) -> Option<String> {
    let project = |one: &Named| one.key.as_ref().map(|key| key.project_id.clone());
    let first = project(named.first()?)?;
    named
        .iter()
        .all(|one| project(one).as_ref() == Some(&first))
        .then_some(first)
}

/// The dead runs among those that were named.
pub(super) async fn dead(ledger: &Ledger, named: &[Named]) -> Result<Vec<DeadLetter>, CommandError> {
    let keys: Vec<RunKey> = named.iter().filter_map(|one| one.key.clone()).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let rows = ledger.find(&keys).await?.into_iter();
    let dead = rows.filter(|row| row.state == State::Dead);
    Ok(dead.map(|row| DeadLetter::of_row(&row)).collect())
}

/// The first dead runs of a cause, and how many others it has.
pub(super) async fn of_cause(ledger: &Ledger, fate: Fate, cause: &str) -> Result<(Sorted, usize), CommandError> {
    let most = i64::try_from(MOST).unwrap_or(i64::MAX);
    let (causes, rows) = tokio::try_join!(ledger.dead_causes(), ledger.dead_runs(Some(cause), None, most))?;
    let all = causes
        .into_iter()
        .find(|known| known.error_code.as_deref().unwrap_or(UNKNOWN) == cause);
    let letters: Vec<DeadLetter> = rows.iter().map(DeadLetter::of_row).collect();
    let named: Vec<Named> = letters.iter().map(named).collect();
    let others = all
        .and_then(|known| usize::try_from(known.runs).ok())
        .map_or(0, |all| all.saturating_sub(letters.len()));
    Ok((sort(fate, &named, letters, &BTreeMap::new(), None), others))
}

/// As many of them as one form takes, and how many others there are. Messages of one id stay together.
pub(super) fn bounded(letters: Vec<DeadLetter>) -> (Vec<DeadLetter>, usize) {
    let (mut ids, mut bytes, mut kept) = (BTreeMap::new(), 0, Vec::new());
    for letter in letters {
        let known = ids.len();
        let fits = *ids.entry(letter.id.clone()).or_insert_with(|| {
            bytes += coded(&named(&letter)).len() + MARK;
            known < MOST && bytes <= LONGEST_IDS
        });
        if fits {
            kept.push(letter);
        }
    }
    (kept, ids.values().filter(|fits| !**fits).count())
}

/// The values of their ids, each once, and the marks of their failures.
pub(super) fn carries(letters: &[DeadLetter]) -> (Vec<String>, Vec<String>) {
    let marks = marks(letters);
    let mut seen = std::collections::HashSet::new();
    let new = letters.iter().filter(|letter| seen.insert(letter.id.as_str()));
    new.map(|letter| {
        let mark = marks.get(&letter.id).cloned().unwrap_or_default();
        (coded(&named(letter)), mark)
    })
    .unzip()
}

/// The projects of these dead letters.
pub(super) fn projects(letters: &[DeadLetter]) -> BTreeSet<String> {
    let messages = letters.iter().filter_map(|letter| letter.message.as_ref());
    let keys = messages.filter_map(Message::key);
    keys.map(|key| key.project_id).collect()
}

/// What the table says of them.
pub(super) fn lines(letters: &[DeadLetter]) -> Vec<Vec<String>> {
    let line = |letter: &DeadLetter| {
        vec![
            shorten(&letter.id, 200),
            letter.error_code.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
            letter
                .ledger
                .as_ref()
                .map_or_else(|| "no run".to_owned(), |row| row.state.to_string()),
        ]
    };
    letters.iter().take(LISTED).map(line).collect()
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) fate: Fate,
    /// What the form carries
    pub(super) ids: Vec<String>,
    /// Of each its mark
    pub(super) marks: Vec<String>,
    /// How many others were meant, which one form does not take
    pub(super) others: usize,
    pub(super) left: Vec<Failure>,
    /// One for each that is listed
    pub(super) lines: Vec<Vec<String>>,
    pub(super) paused: Paused,
}

impl Asked {
    pub(super) fn confirm(self, prefix: &Prefix) -> Confirm {
        let letters = self.ids.len();
        let verb = match self.fate {
            Fate::Requeue => "Requeue",
            Fate::Discard => "Discard",
        };
        let table = (!self.lines.is_empty()).then(|| Table {
            says: if letters > self.lines.len() {
                "The first of them"
            } else {
                "These dead letters"
            },
            columns: vec![
                Column::words("Dead letter"),
                Column::words("Cause"),
                Column::words("Its run"),
            ],
            rows: self.lines.clone(),
        });
        Confirm {
            title: format!("{verb} {}", count(letters, "dead letter")),
            lines: self.says(),
            warnings: self.warns(),
            table,
            to: prefix.path(&format!("/dead-letters/{}", action(self.fate))),
            button: match (letters, self.fate) {
                (0, _) => "",
                (_, Fate::Requeue) => "Requeue",
                (_, Fate::Discard) => "Discard",
            },
            is_final: self.fate == Fate::Discard,
            hidden: vec![(CARRIED, self.ids.join(" ")), (MARKS, self.marks.join(" "))],
            back: (prefix.dead_letters(None), "Dead letters".to_owned()),
            ..Confirm::default()
        }
    }

    fn says(&self) -> Vec<String> {
        if self.ids.is_empty() {
            return vec!["None of them can be dealt with in this way.".to_owned()];
        }
        let what = match self.fate {
            Fate::Requeue => {
                "Each message is published again, and removed from the dead letters once the broker has confirmed it. \
                 Its run begins with its first attempt, from its last checkpoint."
            }
            Fate::Discard => {
                "Their runs become discarded, and their messages are removed for good. A day whose daily run is discarded \
                 is not exported by itself any more; a replay still exports it."
            }
        };
        let mut says = vec![what.to_owned()];
        if self.others > 0 {
            let large = |count: usize| number(i64::try_from(count).unwrap_or(i64::MAX));
            says.push(format!(
                "These are the first {} of {}. Do the same again for the others.",
                large(self.ids.len()),
                large(self.ids.len() + self.left.len() + self.others),
            ));
        }
        says
    }

    fn warns(&self) -> Vec<String> {
        let mut warns = Vec::new();
        let Paused { by_failure, by_human } = &self.paused;
        if !by_failure.is_empty() {
            warns.push(format!(
                "Requeuing says that the cause is gone, so it also resumes what a failure has paused: {}.",
                some(by_failure)
            ));
        }
        if !by_human.is_empty() {
            warns.push(format!(
                "A person has paused {}: their jobs end as skipped until they are resumed.",
                some(by_human)
            ));
        }
        if !self.left.is_empty() {
            let reasons: Vec<String> = self
                .left
                .iter()
                .take(IN_A_SENTENCE)
                .map(|left| format!("{}: {}", shorten(&left.id, 120), left.error))
                .collect();
            let rest = self.left.len().saturating_sub(IN_A_SENTENCE);
            let more = if rest > 0 {
                format!("; and {rest} more")
            } else {
                String::new()
            };
            warns.push(format!("Left out: {}{more}.", reasons.join("; ")));
        }
        warns
    }
}
