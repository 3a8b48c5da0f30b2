//! PURE: what an event costs on a day, and on one ten times as large.

use super::svg::{Anchor, RIGHT, Svg};
use super::wall::thousands;
use super::{Saved, Summary};
use crate::sample::as_f64;

const SMALL: &str = "worker, bare day";
const LARGE: &str = "worker, bare day, ten times as large";
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 30.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = HEIGHT - 76.0;
const BAR: f64 = 48.0;
const MIB: f64 = 1024.0 * 1024.0;

/// What is compared: its name, and its value of a day.
type Measure = (&'static str, fn(&Summary) -> Option<f64>);

const MEASURES: [Measure; 4] = [
    ("µs an event", |day| per_event(day, day.wall.median)),
    ("µs of the worker's CPU", |day| per_event(day, day.cpu?.median)),
    ("µs of PostgreSQL's CPU", |day| per_event(day, day.postgres_cpu.median)),
    ("MiB, peak of the worker", |day| Some(day.peak_memory?.median / MIB)),
];

fn per_event(day: &Summary, seconds: f64) -> Option<f64> {
    (day.events > 0).then(|| seconds / as_f64(day.events) * 1e6)
}

pub(super) fn draw(saved: &Saved) -> Option<String> {
    let (small, large) = (saved.summary(SMALL)?, saved.summary(LARGE)?);
    let (few, many) = (thousands(small.events), thousands(large.events));
    let title = format!("What a day of {few} events costs, and one of {many}");
    let mut svg = Svg::new(HEIGHT, &title, &saved.caption());
    svg.rectangle("base", (LEFT, 46.0), (12.0, 12.0));
    svg.text("text", (LEFT + 18.0, 57.0), Anchor::Start, &format!("{few} events"));
    svg.rectangle("ours", (LEFT + 160.0, 46.0), (12.0, 12.0));
    svg.text("text", (LEFT + 178.0, 57.0), Anchor::Start, &format!("{many} events"));
    let width = (RIGHT - LEFT) / 4.0;
    let mut left = LEFT;
    for (name, value) in MEASURES {
        let values = [(small, "base"), (large, "ours")].map(|(day, class)| (value(day), class));
        let most = values.iter().filter_map(|(value, _)| *value).fold(0.0, f64::max);
        let mut x = left + width / 2.0 - BAR - 4.0;
        for (value, class) in values {
            let value = value?;
            let tall = value / most * (BOTTOM - TOP);
            svg.rectangle(class, (x, BOTTOM - tall), (BAR, tall));
            let number = format!("{value:.1}");
            svg.text("text", (x + BAR / 2.0, BOTTOM - tall - 6.0), Anchor::Middle, &number);
            x += BAR + 8.0;
        }
        svg.line("line", (left + 10.0, BOTTOM), (left + width - 10.0, BOTTOM));
        svg.text("soft", (left + width / 2.0, BOTTOM + 20.0), Anchor::Middle, name);
        left += width;
    }
    Some(svg.end())
}
