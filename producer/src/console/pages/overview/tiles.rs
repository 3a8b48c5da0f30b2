//! The numbers above the list. PURE.

use chrono::{DateTime, TimeDelta, Utc};
use shared::ledger::{Pause, State};

use super::projects::Line;
use crate::console::rows::overview::{Days, Rows};
use crate::output::{age, count, number};
use crate::standing::Standing;

/// As the alert PosthogExportNoEnqueue.
const OVERDUE: TimeDelta = TimeDelta::hours(26);

/// A number that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) note: String,
    /// A name in the styles: `ok`, `wait`, `bad`, `idle`
    pub(super) class: &'static str,
}

fn tile(label: &'static str, value: String, note: String, class: &'static str) -> Tile {
    Tile {
        label,
        value,
        note,
        class,
    }
}

/// All of them.
pub(super) fn tiles(rows: &Rows, days: &Days, lines: &[Line], pauses: &[&Pause]) -> Vec<Tile> {
    vec![
        projects(lines),
        dead_letters(rows),
        enqueued(rows.now, rows.last_enqueued),
        nightly(rows),
        backfill(rows),
        events(days),
        paused(pauses),
        arrival(days),
    ]
}

fn projects(lines: &[Line]) -> Tile {
    let of = |standing| lines.iter().filter(|line| line.standing == standing).count();
    let need = of(Standing::NeedsSomebody);
    let note = [
        (of(Standing::Behind), "behind"),
        (of(Standing::Paused), "paused by a person"),
        (of(Standing::UpToDate), "with nothing open"),
        (of(Standing::Disabled), "disabled"),
    ];
    let note = note.iter().filter(|(number, _)| *number > 0);
    let note: Vec<String> = note.map(|(number, what)| format!("{number} {what}")).collect();
    let class = if need == 0 { "ok" } else { "bad" };
    tile(
        "Projects that need attention",
        format!("{need} of {}", lines.len()),
        note.join(", "),
        class,
    )
}

fn dead_letters(rows: &Rows) -> Tile {
    let dead = rows.unfinished.iter().filter(|found| found.state == State::Dead);
    let (mut runs, mut projects, mut oldest) = (0, 0, None);
    for found in dead {
        runs += found.runs;
        projects += 1;
        oldest = oldest.map_or(Some(found.oldest), |day| Some(found.oldest.min(day)));
    }
    match oldest {
        None => tile("Dead letters", "0".to_owned(), "no run is dead".to_owned(), "ok"),
        Some(oldest) => {
            let note = format!("in {}, oldest day {oldest}", count(projects, "project"));
            tile("Dead letters", number(runs), note, "bad")
        }
    }
}

/// Without it no new day is asked for, and the lag of none grows.
fn enqueued(now: DateTime<Utc>, last: Option<DateTime<Utc>>) -> Tile {
    const LABEL: &str = "Last whole enqueue";
    let stands_still = "no new day is exported without it: does `producer schedule` or the CronJob run?";
    match last {
        None => tile(LABEL, "never".to_owned(), stands_still.to_owned(), "wait"),
        Some(last) if now - last > OVERDUE => {
            tile(LABEL, format!("{} ago", age(now, last)), stands_still.to_owned(), "bad")
        }
        Some(last) => tile(
            LABEL,
            format!("{} ago", age(now, last)),
            "it looked at every day of every project".to_owned(),
            "ok",
        ),
    }
}

fn nightly(rows: &Rows) -> Tile {
    let note = match rows.gauges.daily_since {
        None => "no day is on its way",
        Some(_) => "since the end of the oldest day on its way",
    };
    lag("Nightly lag", rows.now, rows.gauges.daily_since, note.to_owned())
}

fn lag(label: &'static str, now: DateTime<Utc>, since: Option<DateTime<Utc>>, note: String) -> Tile {
    match since {
        None => tile(label, "none".to_owned(), note, "ok"),
        Some(since) => tile(label, age(now, since), note, "wait"),
    }
}

fn backfill(rows: &Rows) -> Tile {
    let note = match rows.gauges.backfill_since {
        None => "no older day is on its way",
        Some(_) => "since the oldest day on its way was asked for",
    };
    lag("Backfill lag", rows.now, rows.gauges.backfill_since, note.to_owned())
}

/// `1,234`, `1.2 M`.
fn rounded(events: i64) -> String {
    match events {
        ..1_000_000 => number(events),
        _ => format!("{}.{} M", number(events / 1_000_000), events % 1_000_000 / 100_000),
    }
}

fn events(days: &Days) -> Tile {
    let before = days.sent.iter().map(|sent| sent.before).sum();
    let today: i64 = days.sent.iter().map(|sent| sent.last_day).sum();
    let rejected: i64 = days.sent.iter().map(|sent| sent.rejected).sum();
    let until = days.freshness.covered_until.map_or_else(
        || "exported when it is over".to_owned(),
        |until| format!("exported until {} UTC", until.format("%H:%M")),
    );
    let mut note = format!("today {}, {until}", number(today));
    if rejected > 0 {
        note.push_str(&format!("; {} rejected", number(rejected)));
    }
    let class = if days.freshness.late_since.is_some() {
        "wait"
    } else {
        "ok"
    };
    tile("Events of the last 30 days", rounded(before), note, class)
}

fn paused(pauses: &[&Pause]) -> Tile {
    let by_fault = pauses.iter().filter(|pause| pause.error_code.is_some()).count();
    let (class, note) = match (pauses.len(), by_fault) {
        (0, _) => ("ok", "no project is paused".to_owned()),
        (_, 0) => ("idle", "by a person".to_owned()),
        (all, fault) if all == fault => ("bad", "because of their key or host".to_owned()),
        (_, fault) => ("bad", format!("{fault} because of their key or host")),
    };
    tile("Paused projects", pauses.len().to_string(), note, class)
}

fn arrival(days: &Days) -> Tile {
    let missing: i64 = days.arrivals.iter().map(|counts| counts.not_arrived).sum();
    let verified: i64 = days.arrivals.iter().map(|counts| counts.verified).sum();
    let looked_at = format!("{} verified in the last 30 days", count(verified, "day"));
    match (missing, verified) {
        (0, 0) => tile(
            "Days not in PostHog",
            "–".to_owned(),
            "nobody verifies (producer verify)".to_owned(),
            "idle",
        ),
        (0, _) => tile("Days not in PostHog", "0".to_owned(), looked_at, "ok"),
        // However long ago: each of them needs attention.
        _ => {
            let note = format!("of all days; {looked_at}");
            tile("Days not in PostHog", number(missing), note, "bad")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_that_has_stopped_is_seen_although_nothing_lags() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(10);
        let class = |hours| enqueued(now, Some(now - TimeDelta::hours(hours))).class;
        assert_eq!((class(2), class(27)), ("ok", "bad"));
        assert_eq!(enqueued(now, None).class, "wait");
    }

    #[test]
    fn many_events_are_rounded() {
        assert_eq!(rounded(999_999), "999,999");
        assert_eq!(rounded(180_191_097), "180.1 M");
    }
}
