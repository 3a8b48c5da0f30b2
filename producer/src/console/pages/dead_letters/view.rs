//! What the page of dead letters shows. PURE.

use chrono::{DateTime, Utc};
use shared::job::RunKey;
use shared::ledger::{Cause, RunRow};

use crate::advice::advice;
use crate::console::address::{Prefix, carry};
use crate::console::named::coded;
use crate::console::pages::run_list::RunLine;
use crate::console::rows::dead::{AT_ONCE, Rows, UNKNOWN};
use crate::console::times::Moment;
use crate::dead_letters::Named;
use crate::output::number;

/// Which dead letters are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) cause: Option<String>,
    /// Only those that are listed behind this one
    pub(super) behind: Option<RunKey>,
}

/// The page.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) as_of: Moment,
    pub(super) causes: Vec<CauseLine>,
    pub(super) chosen: Option<CauseLine>,
    /// What was chosen, when no letter has it
    pub(super) title: String,
    /// The first page of all causes; `None`: it is this one
    pub(super) all: Option<String>,
    /// The first page of this cause; `None`: it is this one
    pub(super) first: Option<String>,
    pub(super) lines: Vec<Line>,
    /// How many there are of what was asked for
    pub(super) number: String,
    /// The next page
    pub(super) next: Option<String>,
}

/// A cause.
#[derive(Clone, Debug)]
pub(super) struct CauseLine {
    pub(super) href: String,
    pub(super) code: String,
    /// The value of its buttons
    pub(super) value: String,
    pub(super) chosen: bool,
    pub(super) runs: String,
    /// `the 3`, `the first 1,000`: those that one form takes
    pub(super) at_once: String,
    pub(super) projects: String,
    pub(super) oldest: Option<Moment>,
    pub(super) newest: Option<Moment>,
    pub(super) advice: &'static str,
}

/// A dead run.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The value of its field
    pub(super) id: String,
    pub(super) run: RunLine,
}

impl View {
    pub(super) fn new(prefix: &Prefix, rows: &Rows, asked: &Asked) -> Self {
        let code = asked.cause.as_deref();
        let of_asked = |cause: &&Cause| code.is_none_or(|code| code == word(cause));
        let line = |cause: &Cause| CauseLine::new(prefix, rows.now, cause, code);
        let next = rows.runs.last().filter(|_| rows.more);
        Self {
            as_of: Moment::new(rows.now, rows.now),
            causes: rows.causes.iter().map(line).collect(),
            chosen: rows.causes.iter().map(line).find(|cause| cause.chosen),
            title: code.map_or_else(
                || "All dead letters".to_owned(),
                |code| format!("Dead letters with the cause {code}"),
            ),
            all: code.map(|_| prefix.dead_letters(None)),
            first: asked.behind.as_ref().map(|_| prefix.dead_letters(code)),
            lines: rows.runs.iter().map(|run| Line::new(prefix, rows.now, run)).collect(),
            number: number(rows.causes.iter().filter(of_asked).map(|cause| cause.runs).sum()),
            next: next.map(|run| prefix.dead_letters_behind(code, &run.key())),
        }
    }
}

/// As many of a cause's runs as one form takes, in words.
fn at_once(runs: i64) -> String {
    let most = i64::try_from(AT_ONCE).unwrap_or(i64::MAX);
    match runs {
        1 => "the only one".to_owned(),
        all if all <= most => format!("all {}", number(all)),
        _ => format!("the first {}", number(most)),
    }
}

fn word(cause: &Cause) -> &str {
    cause.error_code.as_deref().unwrap_or(UNKNOWN)
}

impl CauseLine {
    fn new(prefix: &Prefix, now: DateTime<Utc>, cause: &Cause, chosen: Option<&str>) -> Self {
        let code = word(cause);
        Self {
            href: prefix.dead_letters(Some(code)),
            code: code.to_owned(),
            chosen: chosen == Some(code),
            value: carry(code),
            runs: number(cause.runs),
            at_once: at_once(cause.runs),
            projects: number(cause.projects),
            oldest: cause.oldest.map(|time| Moment::new(now, time)),
            newest: cause.newest.map(|time| Moment::new(now, time)),
            advice: advice(code),
        }
    }
}

impl Line {
    fn new(prefix: &Prefix, now: DateTime<Utc>, run: &RunRow) -> Self {
        let key = run.key();
        Self {
            id: coded(&Named {
                id: key.to_string(),
                key: Some(key),
            }),
            run: RunLine::new(prefix, now, run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_says_how_many_it_takes() {
        for (runs, says) in [
            (1, "the only one"),
            (2, "all 2"),
            (1_000, "all 1,000"),
            (1_001, "the first 1,000"),
        ] {
            assert_eq!(at_once(runs), says);
        }
    }
}
