//! The last days of a project as one small picture, with its words. Days of the same state are one
//! stroke, so that 400 strips stay small. PURE.

use std::collections::BTreeMap;

use shared::job::Day;

use crate::console::rows::overview::STRIP;
use crate::output::agree;
use crate::standing::DayStanding;

/// The picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Strip {
    /// What it shows, for whoever does not see it
    pub(super) words: String,
    pub(super) strokes: Vec<Stroke>,
}

/// The days of one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stroke {
    /// The style's name: `e`, `w`, `d`, `g`, `p`. Each has a height of its own, too
    pub(super) class: &'static str,
    /// An SVG path
    pub(super) path: String,
}

/// Each state as it is drawn, and its words for one day and for several; settled days look like the
/// exported ones.
const KINDS: [(&str, [&str; 2], &[DayStanding]); 5] = [
    (
        "e",
        ["exported", "exported"],
        &[DayStanding::Settled, DayStanding::Exported],
    ),
    ("w", ["on its way", "on their way"], &[DayStanding::OnItsWay]),
    ("d", ["dead letter", "dead letters"], &[DayStanding::Dead]),
    ("g", ["discarded", "discarded"], &[DayStanding::GivenUp]),
    ("p", ["in part", "in part"], &[DayStanding::InPart]),
];

impl Strip {
    /// The days of a project.
    pub(super) fn new(today: Day, days: &BTreeMap<Day, DayStanding>) -> Self {
        let place = |day: Day| STRIP - 1 - (today.0 - day.0).num_days();
        let mut strokes = Vec::new();
        let mut words = Vec::new();
        for (class, [one, more], standings) in KINDS {
            let of_kind = days.iter().filter(|(_, standing)| standings.contains(standing));
            let places: Vec<i64> = of_kind.map(|(day, _)| place(*day)).collect();
            if places.is_empty() {
                continue;
            }
            words.push(format!("{} {}", places.len(), agree(places.len(), one, more)));
            strokes.push(Stroke {
                class,
                path: path(&places),
            });
        }
        let without = STRIP - i64::try_from(days.len()).unwrap_or(STRIP);
        if without > 0 {
            words.push(format!("{without} without a run"));
        }
        Self {
            words: words.join(", "),
            strokes,
        }
    }
}

/// A line over each stretch of places that follow each other.
fn path(places: &[i64]) -> String {
    let mut path = String::new();
    let follow = |a: &i64, b: &i64| b - a == 1;
    let mut pen = 0;
    for stretch in places.chunk_by(follow) {
        let (Some(first), length) = (stretch.first(), stretch.len()) else {
            continue;
        };
        if path.is_empty() {
            path.push_str(&format!("M{first} 3h{length}"));
        } else {
            path.push_str(&format!("m{} 0h{length}", first - pen));
        }
        pen = first + i64::try_from(length).unwrap_or(0);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_one_state_are_one_line() {
        assert_eq!(path(&[0, 1, 2]), "M0 3h3");
        assert_eq!(path(&[4, 5, 9, 59]), "M4 3h2m3 0h1m49 0h1");
    }

    #[test]
    fn the_words_say_what_the_picture_shows() {
        let day = |text: &str| text.parse::<Day>().unwrap();
        let days = [
            (day("2024-04-03"), DayStanding::Exported),
            (day("2024-04-04"), DayStanding::Settled),
            (day("2024-05-31"), DayStanding::Dead),
            (day("2024-06-01"), DayStanding::OnItsWay),
        ];
        let strip = Strip::new(day("2024-06-01"), &BTreeMap::from(days));
        assert_eq!(strip.words, "2 exported, 1 on its way, 1 dead letter, 56 without a run");
        let paths: Vec<(&str, &str)> = strip.strokes.iter().map(|s| (s.class, s.path.as_str())).collect();
        assert_eq!(paths, [("e", "M0 3h2"), ("w", "M59 3h1"), ("d", "M58 3h1")]);
    }
}
