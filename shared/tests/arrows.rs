//! The architecture as a test: in every crate the arrows between files run one way. An arrow is a
//! path that begins with `crate::` outside comments and tests; docs/ARCHITECTURE.md draws the
//! rooms.

#![allow(clippy::expect_used, reason = "a source file that cannot be read is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms and files of the worker from the bottom up: an arrow leads to the same room or to one
/// further down.
const WORKER: [&str; 8] = ["watch", "langfuse", "posthog", "config", "app", "job", "service", "cli"];
const CRATES: [&str; 5] = ["shared", "worker", "producer", "testkit", "bench"];

/// For each file, named as its module (`job::export`), the files that it names.
type Arrows = BTreeMap<String, BTreeSet<String>>;

fn read(directory: &Path, module: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let inner = if module.is_empty() {
            name.clone()
        } else {
            format!("{module}::{name}")
        };
        if path.is_dir() && name != "bin" {
            read(&path, &inner, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
            files.insert(inner, fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// A source without its tests.
fn product(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default()
}

/// The paths of a source that begin with `crate::`, in modules that are no tests.
fn paths(source: &str) -> Vec<String> {
    let code: String = product(source)
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let mut paths = Vec::new();
    for path in code.split("crate::").skip(1) {
        let end = path
            .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
            .unwrap_or(path.len());
        let (first, rest) = path.split_at(end);
        // `crate::a::{b, c::D}` is two paths. The braces of `pub(crate)` hold none.
        match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((group, _)) if first.is_empty() || first.ends_with("::") => {
                paths.extend(group.split(',').map(|last| format!("{first}{}", last.trim())));
            }
            _ => paths.push(first.to_owned()),
        }
    }
    paths
}

fn arrows(files: &BTreeMap<String, String>) -> Arrows {
    // What the crate's root hands out (`pub use world::World;`) is where it comes from.
    let root = files.get("lib").map(String::as_str).unwrap_or_default();
    let handed_out = |name: &str| {
        let mut uses = root
            .lines()
            .filter_map(|line| line.strip_prefix("pub use ")?.split_once("::"));
        let found = uses.find(|(_, names)| names.split(|c: char| !c.is_alphanumeric()).any(|word| word == name));
        found.map(|(module, _)| module.to_owned())
    };
    let file = |path: &str| {
        let mut prefix = path.trim_end_matches(':');
        loop {
            if files.contains_key(prefix) {
                return Some(prefix.to_owned());
            }
            match prefix.rsplit_once("::") {
                Some((shorter, _)) => prefix = shorter,
                None => return handed_out(prefix),
            }
        }
    };
    let named = |(name, source): (&String, &String)| {
        let named = paths(source)
            .iter()
            .filter_map(|path| file(path))
            .filter(|other| other != name)
            .collect();
        (name.clone(), named)
    };
    files.iter().map(named).collect()
}

/// The files of a circle, each with an arrow to the next, if there is one.
fn circle(arrows: &Arrows) -> Option<Vec<String>> {
    fn walk(file: &str, arrows: &Arrows, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        if let Some(begin) = way.iter().position(|before| before == file) {
            way.drain(..begin);
            way.push(file.to_owned());
            return true;
        }
        if done.contains(file) {
            return false;
        }
        way.push(file.to_owned());
        if arrows
            .get(file)
            .into_iter()
            .flatten()
            .any(|next| walk(next, arrows, way, done))
        {
            return true;
        }
        way.pop();
        done.insert(file.to_owned());
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    arrows
        .keys()
        .any(|file| walk(file, arrows, &mut way, &mut done))
        .then_some(way)
}

/// Arrows of the worker that lead up.
fn upwards(arrows: &Arrows) -> Vec<String> {
    let floor = |file: &str| {
        let room = file.split("::").next().unwrap_or_default();
        WORKER.iter().position(|known| *known == room)
    };
    let inner = arrows
        .iter()
        .filter(|(file, _)| !["lib", "main"].contains(&file.as_str()));
    let all = inner.flat_map(|(from, named)| named.iter().map(move |to| (from, to)));
    let up = all.filter(|(from, to)| floor(to) > floor(from) || floor(from).is_none());
    up.map(|(from, to)| format!("{from} → {to}")).collect()
}

/// Arrows of the producer that lead to a command from anywhere but the command line and the command
/// itself.
fn sideways(arrows: &Arrows) -> Vec<String> {
    let command = |file: &str| {
        file.strip_prefix("commands::")
            .map(|file| file.split("::").next().map(str::to_owned))
    };
    let all = arrows.iter().filter(|(file, _)| *file != "cli");
    let all = all.flat_map(|(from, named)| named.iter().map(move |to| (from, to)));
    let side = all.filter(|(from, to)| command(to).is_some() && command(to) != command(from));
    side.map(|(from, to)| format!("{from} → {to}")).collect()
}

fn files_of(name: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
    read(&sources, "", &mut files);
    files
}

fn arrows_of(name: &str) -> Arrows {
    arrows(&files_of(name))
}

#[test]
fn no_file_of_the_product_has_more_than_350_lines() {
    for name in ["shared", "worker", "producer"] {
        for (file, source) in files_of(name) {
            let lines = product(&source).lines().count();
            assert!(
                lines <= 350,
                "{name}, {file}: {lines} lines without its tests; it is asking to be two"
            );
        }
    }
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    for name in CRATES {
        let arrows = arrows_of(name);
        assert!(
            arrows.values().any(|named| !named.is_empty()),
            "{name}: no arrow was found at all"
        );
        let circle = circle(&arrows);
        assert!(circle.is_none(), "{name}: {}", circle.unwrap_or_default().join(" → "));
    }
}

#[test]
fn the_arrows_of_the_worker_lead_down() {
    let up = upwards(&arrows_of("worker"));
    assert!(
        up.is_empty(),
        "the rooms from the bottom up are {WORKER:?}; these arrows lead up: {up:#?}"
    );
}

#[test]
fn no_command_of_the_producer_imports_another() {
    let side = sideways(&arrows_of("producer"));
    assert!(
        side.is_empty(),
        "what commands share lies beside `commands/`; these arrows lead into it: {side:#?}"
    );
}

#[test]
fn an_arrow_that_is_wrong_is_found_and_named() {
    let of = |files: &[(&str, &str)]| {
        let files = files
            .iter()
            .map(|(name, source)| ((*name).to_owned(), (*source).to_owned()));
        arrows(&files.collect())
    };
    let planted = of(&[
        ("lib", "pub use app::App;\n"),
        (
            "app",
            "use crate::posthog::hosts::Hosts;\nuse crate::watch::{self, health::Health};\n",
        ),
        (
            "posthog::hosts",
            "// crate::service\nfn f() { crate::job::lease::keep(); }\n",
        ),
        (
            "job::lease",
            "use crate::App;\n#[cfg(test)]\nmod tests { use crate::service::Worker; }\n",
        ),
        ("watch", ""),
        ("watch::health", ""),
        ("service", ""),
    ]);
    let round = circle(&planted).expect("a circle");
    assert_eq!(round.join(" → "), "app → posthog::hosts → job::lease → app");
    assert_eq!(upwards(&planted), ["posthog::hosts → job::lease"]);
    assert_eq!(
        planted["app"].iter().collect::<Vec<_>>(),
        ["posthog::hosts", "watch", "watch::health"]
    );
    let commands = of(&[
        ("cli", "use crate::commands::status;"),
        ("plan", "use crate::commands::status::run;"),
        (
            "commands::status",
            "use crate::plan;\nuse crate::commands::enqueue::report::Line;",
        ),
        ("commands::enqueue", "use crate::commands::enqueue::report;"),
        ("commands::enqueue::report", ""),
    ]);
    let wrong = [
        "commands::status → commands::enqueue::report",
        "plan → commands::status",
    ];
    assert_eq!(sideways(&commands), wrong);
}
