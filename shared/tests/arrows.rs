//! The architecture as a test: in every crate the arrows between files run one way. An arrow is a
//! path that begins with `crate::` or `super::`, outside comments and tests. A name that a file
//! hands out (`pub use`) leads to the file that it comes from. docs/ARCHITECTURE.md draws the rooms.

#![allow(clippy::expect_used, reason = "a source file that cannot be read is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms and files of the worker from the bottom up: an arrow leads to the same room or to one
/// further down.
const WORKER: [&str; 8] = ["cli", "watch", "langfuse", "posthog", "config", "app", "job", "service"];
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

/// The paths that a `use` tree spells out; a plain path is one.
fn spelled(tree: &str) -> Vec<String> {
    let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let (head, rest) = tree.split_at(end.unwrap_or(tree.len()));
    let is_tree = head.is_empty() || head.ends_with("::");
    let Some(group) = rest.strip_prefix('{').filter(|_| is_tree) else {
        return vec![head.trim_end_matches(':').to_owned()];
    };
    let (mut paths, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        if depth == 0 && (c == ',' || c == '}') {
            let inner = spelled(group[start..at].trim());
            paths.extend(inner.iter().map(|path| format!("{head}{path}")));
            start = at + 1;
        }
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
    }
    paths
}

/// The paths that a source names, from the crate's root on.
fn paths(module: &str, source: &str) -> Vec<String> {
    let lines = product(source).lines();
    let code: String = lines.filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut paths: Vec<String> = code.split("crate::").skip(1).flat_map(spelled).collect();
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let (mut base, mut rest) = (module, &code[at..]);
        while let Some(behind) = rest.strip_prefix("super::") {
            (base, rest) = (base.rsplit_once("::").map_or("", |(parent, _)| parent), behind);
        }
        paths.extend(spelled(rest).iter().map(|path| join(base, path)));
    }
    paths
}

fn join(base: &str, path: &str) -> String {
    if base.is_empty() {
        path.to_owned()
    } else {
        format!("{base}::{path}")
    }
}

/// What each file hands out: its module and the name, and where that comes from.
fn handed_out(files: &BTreeMap<String, String>) -> BTreeMap<(String, String), String> {
    let mut all = BTreeMap::new();
    for (file, source) in files {
        let module = if file == "lib" { "" } else { file };
        let code: String = product(source).lines().map(str::trim_start).collect();
        for (at, visibility) in code.match_indices(" use ") {
            let is_public = code[..at].ends_with("pub") || code[..at].ends_with(')');
            let tree = &code[at + visibility.len()..];
            let is_own = !["crate::", "super::"].iter().any(|other| tree.starts_with(other));
            for path in spelled(tree).into_iter().filter(|_| is_public && is_own) {
                let name = path.rsplit("::").next().unwrap_or_default().to_owned();
                all.insert((module.to_owned(), name), join(module, &path));
            }
        }
    }
    all
}

fn arrows(files: &BTreeMap<String, String>) -> Arrows {
    let handed_out = handed_out(files);
    let file = |path: &str| {
        let mut path = path.to_owned();
        loop {
            let mut module = path.as_str();
            while !module.is_empty() && !files.contains_key(module) {
                module = module.rsplit_once("::").map_or("", |(parent, _)| parent);
            }
            let rest = path[module.len()..].trim_start_matches("::");
            let name = rest.split("::").next().unwrap_or_default();
            match handed_out.get(&(module.to_owned(), name.to_owned())) {
                Some(origin) if *origin != path => path.clone_from(origin),
                _ => {
                    return if module.is_empty() {
                        "lib".to_owned()
                    } else {
                        module.to_owned()
                    };
                }
            }
        }
    };
    let named = |(name, source): (&String, &String)| {
        let named = paths(name, source);
        let others = named.iter().map(|path| file(path)).filter(|other| other != name);
        (name.clone(), others.collect())
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
    // Through what a parent hands out, by `super`, in nested groups, and past the one who may.
    let hidden = of(&[
        ("ledger", "mod lease;\npub use lease::{Lease, Other};\n"),
        (
            "ledger::lease",
            "use super::claim::Claim;\nuse crate::topology::Lane;\n",
        ),
        ("ledger::claim", ""),
        ("topology", "use crate::{config::{Config, Shown}, ledger::Lease};\n"),
        ("config", ""),
        ("cli", "use crate::service::Worker;\n"),
        ("service", ""),
    ]);
    let round = circle(&hidden).expect("a circle");
    assert_eq!(round.join(" → "), "ledger::lease → topology → ledger::lease");
    let names = |file: &str| hidden[file].iter().cloned().collect::<Vec<_>>();
    assert_eq!(names("ledger::lease"), ["ledger::claim", "topology"]);
    assert_eq!(names("topology"), ["config", "ledger::lease"]);
    assert!(upwards(&hidden).contains(&"cli → service".to_owned()));
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
