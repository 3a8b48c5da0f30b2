//! The time line of a run: its attempts and slices. PURE.

use chrono::{DateTime, Utc};
use shared::ledger::ClaimRow;

use crate::advice::advice;
use crate::console::pages::words;
use crate::console::times::Moment;
use crate::output::{age, count};

/// The time line, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    pub(super) lines: Vec<Line>,
}

/// A claim, or claims that are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A worker had the run
    Claim(Box<Turn>),
    /// These were, and are not kept
    Gap(String),
}

/// A worker's turn with the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) number: i32,
    pub(super) from: Moment,
    /// `None`: it is at work, or nobody knows
    pub(super) to: Option<Moment>,
    pub(super) lasted: String,
    pub(super) worker: String,
    pub(super) attempt: i32,
    pub(super) class: &'static str,
    pub(super) word: String,
    pub(super) code: Option<String>,
    pub(super) error: Option<String>,
    /// Left out where the line above has the same cause
    pub(super) advice: Option<&'static str>,
    pub(super) trace_id: Option<String>,
}

impl History {
    /// The time line of claims in their order.
    pub(super) fn new(now: DateTime<Utc>, claims: &[ClaimRow]) -> Self {
        let mut lines = Vec::new();
        let mut above: Option<&ClaimRow> = None;
        for claim in claims.iter().rev() {
            let between = above.map_or(0, |above| above.number - claim.number - 1);
            if let Some(left_out) = usize::try_from(between).ok().filter(|left_out| *left_out > 0) {
                lines.push(Line::Gap(format!(
                    "{} in between are not kept",
                    count(left_out, "claim")
                )));
            }
            let told_above = above.is_some_and(|above| above.error_code == claim.error_code);
            lines.push(Line::Claim(Box::new(turn(now, claim, told_above))));
            above = Some(claim);
        }
        Self { lines }
    }
}

fn turn(now: DateTime<Utc>, claim: &ClaimRow, told_above: bool) -> Turn {
    let (class, word) = of_end(claim.ended_as.as_deref());
    let until = match &claim.ended_as {
        Some(_) => claim.ended_at,
        None => Some(now),
    };
    let code = claim.error_code.as_deref();
    Turn {
        number: claim.number,
        from: Moment::new(now, claim.claimed_at),
        to: claim.ended_at.map(|end| Moment::new(now, end)),
        lasted: until.map_or_else(|| "–".to_owned(), |until| age(until, claim.claimed_at)),
        worker: claim.worker.clone(),
        attempt: claim.attempt,
        class,
        word: word.to_owned(),
        code: code.map(str::to_owned),
        error: claim.error.as_deref().map(words::failure),
        advice: code.filter(|_| !told_above).map(advice),
        trace_id: claim.trace_id.clone(),
    }
}

/// How a claim ended: its name in the styles, and its words. A later version may have words that this
/// one does not know.
fn of_end(ended_as: Option<&str>) -> (&'static str, &str) {
    match ended_as {
        None => ("wait", "at work"),
        Some("completed") => ("ok", "completed"),
        Some("handed_back") => ("idle", "handed back, nothing counted"),
        Some("waiting") => ("wait", "failed, to be tried again"),
        Some("skipped") => ("idle", "skipped"),
        Some("dead") => ("bad", "failed, dead letter"),
        Some("discarded") => ("idle", "failed, discarded"),
        Some("taken_over") => ("bad", "its lease ran out, taken over"),
        Some("lost") => ("bad", "nobody wrote down its end"),
        Some(other) => ("idle", other),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    fn claim(number: i32, ended_as: Option<&str>, code: Option<&str>) -> ClaimRow {
        let claimed_at = now() - TimeDelta::minutes(i64::from(200 - number));
        ClaimRow {
            run: "daily".to_owned(),
            number,
            worker: format!("w{number}"),
            attempt: number,
            claimed_at,
            ended_at: ended_as.map(|_| claimed_at + TimeDelta::seconds(30)),
            ended_as: ended_as.map(str::to_owned),
            error_code: code.map(str::to_owned),
            error: code.map(|_| "why".to_owned()),
            trace_id: None,
        }
    }

    fn turns(claims: &[ClaimRow]) -> Vec<Turn> {
        let lines = History::new(now(), claims).lines;
        let turn = |line| match line {
            Line::Claim(turn) => Some(*turn),
            Line::Gap(_) => None,
        };
        lines.into_iter().filter_map(turn).collect()
    }

    #[test]
    fn the_latest_stands_first_and_one_at_work_has_no_end() {
        let found = turns(&[claim(1, Some("handed_back"), None), claim(2, None, None)]);
        let told: Vec<_> = found
            .iter()
            .map(|turn| (turn.number, turn.lasted.as_str(), turn.to.is_some()))
            .collect();
        assert_eq!(told, [(2, "3 h", false), (1, "30 s", true)]);
    }

    #[test]
    fn of_a_lost_claim_without_an_end_nobody_knows_how_long_it_was() {
        let lost = ClaimRow {
            ended_at: None,
            ..claim(1, Some("lost"), None)
        };
        assert_eq!(turns(&[lost])[0].lasted, "–");
    }

    #[test]
    fn advice_is_given_once_for_a_series_of_the_same_cause() {
        let failed = |number, code| claim(number, Some("waiting"), Some(code));
        let found = turns(&[
            failed(1, "posthog_unavailable"),
            failed(2, "posthog_unavailable"),
            failed(3, "unauthorized"),
        ]);
        let given: Vec<_> = found.iter().map(|turn| turn.advice.is_some()).collect();
        assert_eq!(given, [true, true, false]);
    }

    #[test]
    fn what_is_not_kept_is_said_where_it_is_missing() {
        let claims = [1, 50, 81].map(|number| claim(number, Some("handed_back"), None));
        let gaps: Vec<_> = History::new(now(), &claims)
            .lines
            .into_iter()
            .filter_map(|line| match line {
                Line::Gap(words) => Some(words),
                Line::Claim(_) => None,
            })
            .collect();
        assert_eq!(
            gaps,
            ["30 claims in between are not kept", "48 claims in between are not kept"]
        );
    }

    #[test]
    fn every_end_has_words_and_an_unknown_one_is_shown_as_it_is() {
        for word in [
            "completed",
            "handed_back",
            "waiting",
            "skipped",
            "dead",
            "discarded",
            "taken_over",
            "lost",
        ] {
            assert_ne!(of_end(Some(word)).0, "", "{word}");
        }
        assert_eq!(of_end(Some("of a later version")), ("idle", "of a later version"));
        assert_eq!(of_end(None).1, "at work");
    }
}
