//! The files that pages load, part of the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// A file: its path, its type and its bytes.
type Asset = (&'static str, &'static str, &'static [u8]);

const ASSETS: [Asset; 3] = [
    (
        "/assets/console.css",
        "text/css; charset=utf-8",
        include_bytes!("assets/console.css"),
    ),
    (
        "/assets/console.js",
        "text/javascript; charset=utf-8",
        include_bytes!("assets/console.js"),
    ),
    ("/assets/icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
];

/// Each path and how to answer it.
pub(super) fn all() -> impl Iterator<Item = (&'static str, impl Fn() -> Response + Clone)> {
    ASSETS.into_iter().map(|(path, kind, bytes)| {
        let answer = move || ([(header::CONTENT_TYPE, kind)], bytes).into_response();
        (path, answer)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    const CSS: &str = include_str!("assets/console.css");

    /// The colours of a block of the sheet.
    fn colours(block: &str) -> BTreeMap<&str, &str> {
        let pairs = block
            .split(['{', ';', '\n'])
            .filter_map(|part| part.trim().split_once(": "));
        pairs
            .filter_map(|(name, value)| Some((name.strip_prefix("--")?, value.strip_prefix('#')?)))
            .collect()
    }

    /// As WCAG 2 has it.
    fn luminance(hex: &str) -> f64 {
        let long: String = match hex.len() {
            3 => hex.chars().flat_map(|c| [c, c]).collect(),
            _ => hex.to_owned(),
        };
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&long[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.03928 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn words_and_shapes_are_seen_on_every_ground_they_stand_on() {
        let blocks: Vec<&str> = CSS
            .split(" color-scheme: ")
            .skip(1)
            .map(|rest| rest.split('}').next().unwrap())
            .collect();
        // Light; dark by the system's wish; dark by the switch.
        assert_eq!(blocks.len(), 3);
        assert_eq!(colours(blocks[1]), colours(blocks[2]));
        for block in &blocks[..2] {
            let colours = colours(block);
            let words = ["ink", "soft", "link", "ok", "wait", "bad", "idle"];
            let shapes = ["e", "w", "d", "g", "p", "focus"];
            for (names, least) in [(&words[..], 4.5), (&shapes[..], 3.0)] {
                for name in names {
                    // `shade` is a row under the pointer.
                    for ground in ["ground", "card", "shade"] {
                        let found = contrast(colours[name], colours[ground]);
                        assert!(found >= least, "--{name} on --{ground}: {found:.2} in{block}");
                    }
                }
            }
            for name in ["ink", "soft", "bad"] {
                let found = contrast(colours[name], colours["bad-ground"]);
                assert!(found >= 4.5, "--{name} on --bad-ground: {found:.2}");
            }
        }
    }
}
