//! PURE: how much memory the worker and its peer hold while they export a day.

use super::svg::{Anchor, RIGHT, Svg, step};
use super::wall::thousands;
use super::{Sample, Saved};
use crate::sample::as_f64;

/// Cases, how the picture calls them, and whose colour they have.
const CASES: [(&str, &str, &str); 2] = [
    ("posthog-node, answers after 0 ms", "posthog-node", "peer"),
    ("worker, answers after 0 ms", "the worker", "ours"),
];

const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = HEIGHT - 74.0;
/// Room for the name at the end of a line.
const NAME: f64 = 110.0;
const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn draw(saved: &Saved) -> Option<String> {
    let first = |case: &str| {
        saved
            .samples
            .iter()
            .find(|sample| sample.case == case && !sample.memory.is_empty())
    };
    let measured = CASES
        .iter()
        .filter_map(|(case, name, class)| Some((first(case)?, *name, *class)));
    let lines: Vec<(&Sample, &str, &str)> = measured.collect();
    if lines.len() < CASES.len() {
        return None;
    }
    let points = || lines.iter().flat_map(|(sample, ..)| &sample.memory);
    let longest = points().map(|held| held.0).fold(0.0, f64::max);
    let most = points().map(|held| as_f64(held.1) / MIB).fold(0.0, f64::max);
    let (every, each) = (step(longest, 8.0), step(most, 5.0));
    let tallest = (most / each).ceil() * each;
    let x = |seconds: f64| LEFT + seconds / longest * (RIGHT - NAME - LEFT);
    let y = |mebibytes: f64| BOTTOM - mebibytes / tallest * (BOTTOM - TOP);

    let events = saved.summary(CASES[0].0)?.events;
    let title = format!("MiB of memory while a day of {} events is exported", thousands(events));
    let mut svg = Svg::new(HEIGHT, &title, &saved.caption());
    let mut at = 0.0;
    while at <= tallest {
        svg.line("line", (LEFT, y(at)), (RIGHT - NAME, y(at)));
        svg.text("soft", (LEFT - 10.0, y(at) + 4.0), Anchor::End, &format!("{at:.0}"));
        at += each;
    }
    at = 0.0;
    while at <= longest {
        svg.text("soft", (x(at), BOTTOM + 20.0), Anchor::Middle, &format!("{at:.0} s"));
        at += every;
    }
    for (sample, name, class) in lines {
        let path: Vec<(f64, f64)> = sample
            .memory
            .iter()
            .map(|held| (x(held.0), y(as_f64(held.1) / MIB)))
            .collect();
        svg.path(class, &path);
        let (end_x, end_y) = *path.last()?;
        svg.text("text", (end_x + 8.0, end_y + 4.0), Anchor::Start, name);
    }
    Some(svg.end())
}
