//! Which of the dead letters that somebody saw are dead letters still, and what became of the others.
//! PURE.

use std::collections::{BTreeMap, HashSet};

use shared::job::RunKey;
use shared::ledger::State;

use super::discard::goes_on;
use super::letter::DeadLetter;
use super::message::Keep;
use super::requeue::is_bad;
use crate::report::Failure;

/// What is to become of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They are published again
    Requeue,
    /// They are given up
    Discard,
}

/// A dead letter that was named: a run, or the message that has this id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// As [`DeadLetter::id`]
    pub(crate) id: String,
    /// `None`: the message is no job, or names no run
    pub(crate) key: Option<RunKey>,
}

/// Of these messages all is kept, in a look at the queue.
pub(crate) fn keep(named: &[Named]) -> Keep<'_> {
    Keep::Named(named.iter().map(|one| (one.id.as_str(), one.key.as_ref())).collect())
}

/// Those that were named, by whether the deed is done to them.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// It is, in the order of the queue
    pub(crate) taken: Vec<DeadLetter>,
    /// It is not, and why
    pub(crate) left: Vec<Failure>,
}

/// Sorts them. `states`: what the ledger says of those that have a run. `part`: how many messages were
/// looked at, where more wait.
pub(crate) fn sort(
    fate: Fate,
    named: &[Named],
    letters: Vec<DeadLetter>,
    states: &BTreeMap<String, State>,
    part: Option<usize>,
) -> Sorted {
    let ids: HashSet<&str> = named.iter().map(|one| one.id.as_str()).collect();
    let mut sorted = Sorted::default();
    let mut found: HashSet<String> = HashSet::new();
    for letter in letters.into_iter().filter(|letter| ids.contains(letter.id.as_str())) {
        let is_new = found.insert(letter.id.clone());
        match hinders(fate, &letter) {
            None => sorted.taken.push(letter),
            // The same message may lie in the queue twice.
            Some(error) if is_new => sorted.left.push(Failure { id: letter.id, error }),
            Some(_) => {}
        }
    }
    for one in named {
        if !found.insert(one.id.clone()) {
            continue;
        }
        let error = match (states.get(&one.id), part) {
            (Some(state), _) if *state != State::Dead => format!("it is no dead letter any more: its run is {state}"),
            (_, Some(looked_at)) => format!("it is not among the first {looked_at} in the queue"),
            (Some(_), None) => "it became a dead letter again in this moment; look once more".to_owned(),
            (None, None) => "no dead letter has this id any more".to_owned(),
        };
        sorted.left.push(Failure {
            id: one.id.clone(),
            error,
        });
    }
    sorted
}

/// Why the deed is not done to a dead letter.
fn hinders(fate: Fate, letter: &DeadLetter) -> Option<String> {
    if fate == Fate::Discard {
        return None;
    }
    if is_bad(letter) {
        return Some("the message is no job and would come back at once; publish a corrected one instead".to_owned());
    }
    let state = goes_on(letter)?;
    Some(format!(
        "its run has gone on and is {state}; its old message can only be discarded"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;
    use shared::headers::Headers;
    use shared::message::Message;

    fn named(id: &str) -> Named {
        Named {
            id: id.to_owned(),
            key: id.parse().ok(),
        }
    }

    fn letter(id: &str, body: &str) -> DeadLetter {
        DeadLetter {
            id: id.to_owned(),
            message: Message::decode(body.as_bytes()).ok(),
            body: body.into(),
            headers: Headers::default(),
            raw_headers: Map::new(),
            error_code: None,
            by_broker: false,
            ledger: None,
            tag: Some(1),
        }
    }

    const JOB: &str = r#"{"project_id": "p", "day": "2024-06-01", "run": "daily"}"#;

    fn reasons(sorted: &Sorted) -> Vec<(&str, &str)> {
        let left = sorted.left.iter();
        left.map(|one| (one.id.as_str(), one.error.as_str())).collect()
    }

    #[test]
    fn what_is_no_dead_letter_any_more_is_left_with_the_reason() {
        let gone = [
            named("p/2024-06-01/daily"),
            named("p/2024-06-02/daily"),
            named("raw/0a"),
        ];
        let states = BTreeMap::from([("p/2024-06-01/daily".to_owned(), State::Completed)]);
        let letters = || vec![letter("q/2024-06-01/daily", JOB)];
        let sorted = sort(Fate::Discard, &gone, letters(), &states, None);
        assert!(sorted.taken.is_empty());
        assert_eq!(
            reasons(&sorted),
            [
                (
                    "p/2024-06-01/daily",
                    "it is no dead letter any more: its run is completed"
                ),
                ("p/2024-06-02/daily", "no dead letter has this id any more"),
                ("raw/0a", "no dead letter has this id any more"),
            ]
        );
        let part = sort(Fate::Discard, &gone, letters(), &states, Some(1));
        assert!(part.left[0].error.ends_with("its run is completed"));
        assert_eq!(part.left[1].error, "it is not among the first 1 in the queue");
    }

    #[test]
    fn what_is_no_job_is_not_requeued_and_can_be_discarded() {
        let bad = [named("raw/0a"), named("p/2024-06-01/daily")];
        // Twice in the queue, and another that nobody named.
        let letters = || {
            vec![
                letter("raw/0a", "no job"),
                letter("p/2024-06-01/daily", JOB),
                letter("raw/0a", "no job"),
                letter("raw/0b", "other"),
            ]
        };
        let requeue = sort(Fate::Requeue, &bad, letters(), &BTreeMap::new(), None);
        assert_eq!(requeue.taken.len(), 1);
        assert_eq!(requeue.left.len(), 1);
        assert!(requeue.left[0].error.contains("is no job"), "{:?}", requeue.left);
        let discard = sort(Fate::Discard, &bad, letters(), &BTreeMap::new(), None);
        assert_eq!((discard.taken.len(), discard.left.len()), (3, 0));
    }
}
