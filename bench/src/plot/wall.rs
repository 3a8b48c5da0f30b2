//! PURE: how long the same day takes, side by side.

use super::svg::{Anchor, RIGHT, Svg};
use super::{Saved, Summary};

/// Cases, how the picture calls them, and whose colour they have.
const CASES: [(&str, &str, &str); 6] = [
    ("COPY, 3 connections", "the database alone: COPY, 3 connections", "base"),
    ("COPY, 1 connection", "the database alone: COPY, 1 connection", "base"),
    (
        "worker, answers after 0 ms",
        "the worker, PostHog answers at once",
        "ours",
    ),
    ("worker, answers after 50 ms", "the worker, answers after 50 ms", "ours"),
    (
        "posthog-node, answers after 0 ms",
        "posthog-node, PostHog answers at once",
        "peer",
    ),
    (
        "posthog-node, answers after 50 ms",
        "posthog-node, answers after 50 ms",
        "peer",
    ),
];

const LEFT: f64 = 300.0;
const TOP: f64 = 58.0;
const ROW: f64 = 34.0;
const BAR: f64 = 20.0;
/// Room for the number beside the longest bar.
const NUMBER: f64 = 80.0;

pub(super) fn draw(saved: &Saved) -> Option<String> {
    let measured = CASES
        .iter()
        .filter_map(|(case, name, class)| Some((saved.summary(case)?, *name, *class)));
    let bars: Vec<(&Summary, &str, &str)> = measured.collect();
    // A part of them is a run of something else, on a machine that may have been busy.
    if bars.len() < CASES.len() {
        return None;
    }
    let most = bars.iter().map(|(summary, ..)| summary.wall.max).fold(0.0, f64::max);
    let scale = (RIGHT - NUMBER - LEFT) / most;
    let first = bars.first()?.0;
    let events = first.events;
    let title = format!(
        "One day of {} events: seconds until all have been sent",
        thousands(events)
    );
    let mut y = TOP;
    let height = TOP + ROW * f64::from(u32::try_from(bars.len()).ok()?) + 46.0;
    let mut svg = Svg::new(height, &title, &saved.caption());
    for (summary, name, class) in bars {
        let wall = summary.wall;
        svg.text("text", (LEFT - 12.0, y + 15.0), Anchor::End, name);
        svg.rectangle(class, (LEFT, y), (wall.median * scale, BAR));
        let middle = y + BAR / 2.0;
        svg.line(
            "mark",
            (LEFT + wall.min * scale, middle),
            (LEFT + wall.max * scale, middle),
        );
        let number = format!("{:.1} s", wall.median);
        svg.text(
            "text",
            (LEFT + wall.max * scale + 10.0, y + 15.0),
            Anchor::Start,
            &number,
        );
        y += ROW;
    }
    let runs = format!(
        "bar: the median of {} runs; line: from the quickest to the slowest",
        first.runs
    );
    svg.text("soft", (LEFT, y + 6.0), Anchor::Start, &runs);
    Some(svg.end())
}

/// With a comma at each thousand.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_have_commas() {
        let found = [7, 700, 7_000, 700_000, 7_000_000].map(thousands);
        assert_eq!(found, ["7", "700", "7,000", "700,000", "7,000,000"]);
    }
}
