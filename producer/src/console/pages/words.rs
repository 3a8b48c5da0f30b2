//! The words and shapes of states, the same on every page. PURE.

use shared::job::STEP_PREFIX;
use shared::ledger::{RunRow, State, Verdict};

use crate::standing::DayStanding;

pub(in crate::console) use crate::hosts::shown as host;

/// A run's state: its name in the styles, and its word.
pub(super) fn of_run(run: &RunRow) -> (&'static str, &'static str) {
    match run.state {
        State::Completed => ("ok", "completed"),
        State::Running => ("wait", "running"),
        State::Queued => ("wait", "queued"),
        State::Waiting => ("wait", "waiting"),
        State::Dead => ("bad", "dead letter"),
        State::Skipped => ("idle", "skipped"),
        State::Discarded => ("idle", "discarded"),
    }
}

/// A day: the name of its shape, and its words.
pub(super) fn of_day(standing: DayStanding) -> (&'static str, &'static str) {
    match standing {
        DayStanding::Settled => ("e", "exported and settled"),
        DayStanding::Exported => ("e", "exported"),
        DayStanding::OnItsWay => ("w", "on its way"),
        DayStanding::Dead => ("d", "dead letter"),
        DayStanding::GivenUp => ("g", "discarded"),
        DayStanding::InPart => ("p", "exported in part"),
    }
}

/// Whether a day has arrived.
pub(super) fn of_arrival(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Arrived => "arrived in PostHog",
        Verdict::NotYet => "not yet in PostHog",
        Verdict::Missing => "not all of it is in PostHog",
        Verdict::Extra => "in PostHog, and more",
        Verdict::Unknown => "not known whether it arrived",
    }
}

/// What a run is, where its name says it.
pub(super) fn of_name(run: &str) -> &'static str {
    match run {
        "daily" => "the day's own export",
        "settled" => "what changed after the export",
        _ if run.starts_with(STEP_PREFIX) => "a part of a day that was going on",
        _ if run.starts_with("late-") => "rows that arrived late",
        _ => "a replay",
    }
}

/// The text of a failure. What earlier versions stored about a host that cannot be used quotes the
/// host, and somebody may have typed a password there.
pub(in crate::console) fn failure(text: &str) -> String {
    let Some((before, why)) = text.split_once("PostHog host is not usable: ") else {
        return text.to_owned();
    };
    let Some((first, typed)) = why.split_once('`') else {
        return text.to_owned();
    };
    let (_, last) = typed.rsplit_once('`').unwrap_or_default();
    format!("{before}PostHog host is not usable: {first}…{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_as_a_host_is_cut_out_of_a_failure() {
        let usable = "the project's PostHog host is not usable: ";
        for (said, shown) in [
            (
                "`hun`ter2` is not a URL (no base); write",
                "… is not a URL (no base); write",
            ),
            (
                "hosts take no path (`/hunter2`); write",
                "hosts take no path (…); write",
            ),
            ("`hunter2 was cut", "…"),
            ("it has no host", "it has no host"),
        ] {
            let paused = format!("paused: {usable}{said}");
            assert_eq!(failure(&paused), format!("paused: {usable}{shown}"));
        }
        assert_eq!(failure("the column `x` is not there"), "the column `x` is not there");
    }
}
