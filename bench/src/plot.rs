//! PURE: pictures of what was measured, out of the file that `--json` wrote.
//!
//! A picture is SVG made by hand: a few shapes and texts, whose colours follow the reader's light or
//! dark scheme. A library for plots writes fixed colours into each shape, and brings more crates
//! than these three pictures have lines.

mod day_size;
mod memory;
mod svg;
mod wall;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::memory::Held;
use crate::sample::Spread;

/// What is read of the file; all else in it is of no picture.
#[derive(Clone, Debug, Deserialize)]
pub struct Saved {
    circumstances: Vec<(String, String)>,
    summaries: Vec<Summary>,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, Deserialize)]
struct Summary {
    case: String,
    runs: usize,
    wall: Spread,
    cpu: Option<Spread>,
    postgres_cpu: Spread,
    peak_memory: Option<Spread>,
    events: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Sample {
    case: String,
    #[serde(default)]
    memory: Vec<Held>,
}

impl Saved {
    /// What a file holds.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("not what `cargo bench-export --json` writes")
    }

    fn summary(&self, case: &str) -> Option<&Summary> {
        self.summaries.iter().find(|summary| summary.case == case)
    }

    /// Of which day, commit and machine the numbers are.
    fn caption(&self) -> String {
        let of = |name: &str| self.circumstances.iter().find(|(known, _)| known == name);
        let known = ["when", "commit", "machine"].into_iter().filter_map(of);
        let parts = known.map(|(name, value)| match name.as_str() {
            "commit" => format!("commit {value}"),
            _ => value.clone(),
        });
        parts.collect::<Vec<_>>().join(" · ")
    }
}

/// A picture, and the name of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// In `docs/images`
    pub name: &'static str,
    /// SVG
    pub text: String,
}

/// All pictures that the files have numbers for; of several files the last that has them.
pub fn pictures(files: &[Saved]) -> Result<Vec<Picture>> {
    let draw = |name, draw: fn(&Saved) -> Option<String>| {
        let text = files.iter().rev().find_map(draw)?;
        Some(Picture { name, text })
    };
    let drawn = [
        draw("bench-wall.svg", wall::draw),
        draw("bench-memory.svg", memory::draw),
        draw("bench-day-size.svg", day_size::draw),
    ];
    let drawn: Vec<Picture> = drawn.into_iter().flatten().collect();
    ensure!(!drawn.is_empty(), "no case of a picture was measured");
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn saved() -> Vec<Saved> {
        let mut paths: Vec<PathBuf> = fs::read_dir(root().join("bench/results"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        paths
            .iter()
            .map(|path| Saved::parse(&fs::read_to_string(path).unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn the_pictures_of_the_documents_are_drawn_from_the_results_beside_them() {
        let page = fs::read_to_string(root().join("docs/PERFORMANCE.md")).unwrap();
        let pictures = pictures(&saved()).unwrap();
        assert!(pictures.len() >= 2, "{}", pictures.len());
        for Picture { name, text } in pictures {
            let found = fs::read_to_string(root().join("docs/images").join(name)).unwrap_or_default();
            assert!(
                found == text,
                "docs/images/{name}: draw it anew with `cargo bench-export --plot bench/results/*.json`"
            );
            assert!(page.contains(&format!("](images/{name})")), "{name} is in no document");
        }
    }

    #[test]
    fn what_is_drawn_of_the_whole_benchmark_is_in_the_table() {
        let page = fs::read_to_string(root().join("docs/PERFORMANCE.md")).unwrap();
        let files = saved();
        let whole = files.first().unwrap();
        assert!(whole.summaries.len() >= 8);
        for summary in &whole.summaries {
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| {} ", summary.case)))
                .unwrap_or_else(|| panic!("{}", summary.case));
            let Spread { median, min, max } = summary.wall;
            let wall = format!("{median:.2} s ({min:.2}–{max:.2})");
            assert!(row.contains(&wall), "{row} has not {wall}");
        }
    }

    #[test]
    fn a_file_without_a_case_of_any_picture_is_refused() {
        let empty = r#"{"circumstances": [], "summaries": [], "samples": []}"#;
        assert!(pictures(&[Saved::parse(empty).unwrap()]).is_err());
        assert!(Saved::parse("{}").is_err());
    }
}
