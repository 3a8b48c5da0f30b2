//! Holds docs/DEPENDENCIES.md equal to the manifests.

#![allow(clippy::expect_used, reason = "a file that cannot be read is a failed test")]

use std::fs;
use std::path::Path;

const MEMBERS: [&str; 5] = ["shared", "worker", "producer", "testkit", "bench"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(path).expect("a file of the repository")
}

/// The names in a table of a manifest, as TOML writes it.
fn names(manifest: &str, table: &str) -> Vec<String> {
    let lines = manifest
        .lines()
        .skip_while(|line| *line != table)
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let names = lines.filter(|line| !line.starts_with('#'));
    let names = names.filter_map(|line| line.split([' ', '.', '=']).next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Crate, purpose and users of each row.
fn rows(page: &str, part: &str) -> Vec<[String; 3]> {
    let (_, rest) = page
        .split_once(&format!("<!-- {part} -->"))
        .expect("the opening marker");
    let (table, _) = rest
        .split_once(&format!("<!-- /{part} -->"))
        .expect("the closing marker");
    let lines = table.lines().filter(|line| line.starts_with("| `"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let cell = |at: usize| cells.get(at).copied().unwrap_or_default().to_owned();
            [cell(0).trim_matches('`').to_owned(), cell(1), cell(2)]
        })
        .collect()
}

#[test]
fn the_page_of_dependencies_tells_each_crate_its_purpose_and_who_uses_it() {
    let manifest = read("Cargo.toml");
    let mut wanted = names(&manifest, "[workspace.dependencies]");
    wanted.retain(|name| !MEMBERS.contains(&name.as_str()));
    wanted.sort();
    assert!(wanted.len() > 40, "{wanted:?}");
    let page = read("docs/DEPENDENCIES.md");
    let rows = [rows(&page, "programs"), rows(&page, "tests")].concat();
    let mut told: Vec<String> = rows.iter().map(|[name, ..]| name.clone()).collect();
    told.sort();
    assert_eq!(told, wanted);

    let manifests = MEMBERS.map(|member| (member, read(&format!("{member}/Cargo.toml"))));
    for [name, purpose, users] in rows {
        assert!(!purpose.is_empty(), "{name} is for nothing");
        let uses = |manifest: &str| {
            let tables = ["[dependencies]", "[dev-dependencies]"];
            tables.iter().any(|table| names(manifest, table).contains(&name))
        };
        let of = manifests.iter().filter(|(_, manifest)| uses(manifest));
        let of: Vec<&str> = of.map(|(member, _)| *member).collect();
        assert_eq!(users, of.join(", "), "{name}");
    }
}
