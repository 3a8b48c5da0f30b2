//! Which failure of a dead letter somebody was shown. Whoever confirms a deed has seen that one; of
//! one that came since nobody has decided anything. PURE.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::letter::DeadLetter;
use super::named::Sorted;
use crate::report::Failure;

/// The marks of what was shown, by id.
pub(crate) type Shown = BTreeMap<String, String>;

/// Characters of a failure's word that count. Of a message that nobody named no more are kept.
const OF_A_WORD: usize = 60;

/// A mark for each id, which another failure changes. Several messages may have one id.
pub(crate) fn marks(letters: &[DeadLetter]) -> Shown {
    let mut failures: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for letter in letters {
        failures.entry(&letter.id).or_default().insert(failure(letter));
    }
    let mark = |of_one: BTreeSet<String>| hex::encode(&Sha256::digest(format!("{of_one:?}"))[..6]);
    failures
        .into_iter()
        .map(|(id, of_one)| (id.to_owned(), mark(of_one)))
        .collect()
}

/// All messages of those ids of which one is wanted: a mark is of all of them, and so is a deed.
pub(crate) fn of_ids(mut letters: Vec<DeadLetter>, is_wanted: impl Fn(&DeadLetter) -> bool) -> Vec<DeadLetter> {
    let wanted = letters.iter().filter(|letter| is_wanted(letter));
    let ids: BTreeSet<String> = wanted.map(|letter| letter.id.clone()).collect();
    letters.retain(|letter| ids.contains(&letter.id));
    letters
}

/// What tells a failure from the next one: of a dead run when it died, else what its message says.
fn failure(letter: &DeadLetter) -> String {
    if let Some(row) = letter.ledger.as_ref().filter(|_| letter.is_dead_run()) {
        return format!("died {}", row.updated_at.timestamp_micros());
    }
    let code: Option<String> = letter
        .error_code
        .as_ref()
        .map(|code| code.chars().take(OF_A_WORD).collect());
    let failed = letter.headers.first_failed_at.map(|at| at.timestamp_micros());
    format!("{code:?} {:?} {failed:?}", letter.headers.attempt)
}

/// Leaves out those whose failure is another one than was shown.
pub(super) fn as_shown(Sorted { taken, mut left }: Sorted, shown: &Shown) -> Sorted {
    let now = marks(&taken);
    let is_same = |letter: &DeadLetter| now.get(&letter.id) == shown.get(&letter.id);
    let (taken, changed): (Vec<DeadLetter>, Vec<DeadLetter>) = taken.into_iter().partition(is_same);
    let mut told = BTreeSet::new();
    for letter in changed {
        if told.insert(letter.id.clone()) {
            left.push(Failure {
                error: why(&letter),
                id: letter.id,
            });
        }
    }
    Sorted { taken, left }
}

fn why(letter: &DeadLetter) -> String {
    match &letter.ledger {
        Some(row) if !letter.is_dead_run() && !letter.by_broker => {
            format!("its run has gone on since it was shown and is {}", row.state)
        }
        _ => "it has failed again since it was shown; look at it once more".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::message::Letter;
    use crate::plan::tests::run;
    use shared::headers::Headers;
    use shared::ledger::State;

    fn dead_run(died: &str) -> DeadLetter {
        let mut row = run("2024-06-01".parse().unwrap(), "daily", State::Dead);
        row.updated_at = died.parse().unwrap();
        DeadLetter::of_row(&row)
    }

    fn in_queue(code: &str, attempt: i32) -> DeadLetter {
        let letter = Letter {
            tag: 1,
            id: "raw/0a".to_owned(),
            message: None,
            body: Vec::new(),
            headers: Headers {
                error_code: Some(code.to_owned()),
                attempt: Some(attempt),
                ..Headers::default()
            },
            raw_headers: serde_json::Map::new(),
            broker_reason: None,
        };
        DeadLetter::of_message(letter, &BTreeMap::new())
    }

    fn sorted(taken: Vec<DeadLetter>) -> Sorted {
        Sorted {
            taken,
            left: Vec::new(),
        }
    }

    #[test]
    fn a_message_of_one_cause_is_shown_with_the_other_messages_of_its_id() {
        let all = || {
            vec![
                in_queue("bad_message", 1),
                in_queue("delivery_limit", 1),
                dead_run("2024-06-02T01:00:00Z"),
            ]
        };
        let taken = of_ids(all(), |letter| letter.error_code.as_deref() == Some("bad_message"));
        assert_eq!(taken.len(), 2);
        // The deed finds both, and nothing has changed since.
        let done = as_shown(sorted(all().into_iter().take(2).collect()), &marks(&taken));
        assert_eq!((done.taken.len(), done.left.len()), (2, 0));
    }

    #[test]
    fn another_failure_of_a_run_or_of_a_message_is_left_out() {
        let shown = marks(&[dead_run("2024-06-02T01:00:00Z"), in_queue("internal", 1)]);
        let same = sorted(vec![dead_run("2024-06-02T01:00:00Z"), in_queue("internal", 1)]);
        assert_eq!(as_shown(same, &shown).taken.len(), 2);
        let again = sorted(vec![
            dead_run("2024-06-02T01:00:00.000001Z"),
            in_queue("internal", 2),
            in_queue("internal", 1),
        ]);
        let again = as_shown(again, &shown);
        assert!(again.taken.is_empty());
        let ids: Vec<&str> = again.left.iter().map(|left| left.id.as_str()).collect();
        assert_eq!(ids, ["p/2024-06-01/daily", "raw/0a"]);
        assert!(
            again.left[0]
                .error
                .starts_with("it has failed again since it was shown")
        );
        // What nobody was shown.
        assert!(as_shown(sorted(vec![in_queue("x", 1)]), &Shown::new()).taken.is_empty());
    }

    /// A preview may be made from what little is kept of a message, and the deed from all of it.
    #[test]
    fn a_mark_does_not_depend_on_how_much_of_a_message_is_kept() {
        let long = "c".repeat(500);
        let cut: String = long.chars().take(100).collect();
        assert_eq!(marks(&[in_queue(&long, 1)]), marks(&[in_queue(&cut, 1)]));
    }
}
