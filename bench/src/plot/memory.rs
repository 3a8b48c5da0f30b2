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

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = r#"{
        "circumstances": [["when", "2026-11-27"], ["commit", "abc"], ["rows", "many"]],
        "summaries": [{"case": "posthog-node, answers after 0 ms", "runs": 1, "events": 700000, "cpu": null, "peak_memory": null,
            "wall": {"median": 4, "min": 4, "max": 4}, "postgres_cpu": {"median": 1, "min": 1, "max": 1}}],
        "samples": [{"case": "worker, answers after 0 ms", "memory": [[0.0, 20971520], [1.0, 41943040]]},
            {"case": "posthog-node, answers after 0 ms", "memory": [[0.0, 62914560], [4.0, 104857600]]}]
    }"#;

    #[test]
    fn each_has_a_line_on_one_scale() {
        let picture = draw(&Saved::parse(SAVED).unwrap()).unwrap();
        for part in [
            ">the worker<",
            ">posthog-node<",
            ">100<",
            ">4 s<",
            "2026-11-27 · commit abc<",
        ] {
            assert!(picture.contains(part), "{part}: {picture}");
        }
        // From 20 MiB to 40 in the first second; from 60 to 100, the top, at the end.
        assert!(picture.contains(r#"points="70.0,224.8 222.5,183.6""#), "{picture}");
        assert!(picture.contains(r#"points="70.0,142.4 680.0,60.0""#), "{picture}");
    }

    #[test]
    fn a_file_without_memory_over_time_has_no_picture() {
        let without = SAVED.replace(r#", "memory": [[0.0, 20971520], [1.0, 41943040]]"#, "");
        assert!(draw(&Saved::parse(&without).unwrap()).is_none());
    }
}
