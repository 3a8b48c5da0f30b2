//! Holds what the Dockerfile and the manifests repeat equal to the workspace and the topology.

#![allow(clippy::expect_used, reason = "a file that cannot be read is a failed test")]

use std::fs;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(path).expect("a file of the repository")
}

/// The image's first stage compiles dependencies from the manifests and empty files; cargo refuses
/// a workspace that lacks a member, or a member that lacks a file it must have. So does this test,
/// which makes the same files and asks cargo.
#[test]
fn the_images_first_stage_is_a_workspace_that_cargo_reads() {
    let dockerfile = read("deploy/Dockerfile").replace("\\\n", " ");
    let (_, stage) = dockerfile.split_once(" AS dependencies\n").expect("the first stage");
    let (stage, _) = stage.split_once("\nFROM ").expect("the stage after it");
    let directory = std::env::temp_dir().join(format!("image-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    for line in stage.lines() {
        if let Some(copied) = line.strip_prefix("COPY ") {
            let words: Vec<&str> = copied.split_whitespace().collect();
            let (to, sources) = words.split_last().expect("a source and a target");
            let to = directory.join(to);
            fs::create_dir_all(&to).expect("the target");
            for source in sources {
                let file = Path::new(source).file_name().expect("a file");
                fs::write(to.join(file), read(source)).expect("a copy");
            }
        } else if let Some(run) = line.strip_prefix("RUN ") {
            let Some((files, _)) = run.split_once("&& cargo auditable build") else {
                assert!(run.starts_with("cargo install "), "{run}");
                continue;
            };
            let made = Command::new("sh").args(["-c", files]).current_dir(&directory).status();
            assert!(made.expect("a shell").success(), "{files}");
        }
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let asked = Command::new(cargo).args(arguments).current_dir(&directory).output();
    let asked = asked.expect("cargo");
    fs::remove_dir_all(&directory).expect("the directory");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let found = String::from_utf8_lossy(&asked.stdout);
    assert!(
        found.contains("\"producer\"") && found.contains("\"worker\""),
        "{found}"
    );
}

/// Another set of packages asks for other features of what they depend on, and those are compiled
/// again: for minutes, in the stage of the fake PostHog.
#[test]
fn every_build_of_the_image_names_the_same_packages() {
    let dockerfile = read("deploy/Dockerfile").replace("\\\n", " ");
    let builds: Vec<Vec<&str>> = dockerfile
        .split("cargo auditable build ")
        .skip(1)
        .filter_map(|rest| rest.lines().next())
        .map(|line| line.split_whitespace().take_while(|word| *word != "--bin").collect())
        .collect();
    assert_eq!(builds.len(), 3, "{builds:?}");
    assert!(builds[0].contains(&"--locked"), "{builds:?}");
    assert!(builds.iter().all(|build| *build == builds[0]), "{builds:?}");
    // What is compiled beside it, unlisted, would not be in the list that scanners read.
    assert!(
        !dockerfile.contains("cargo build"),
        "a build without its list of crates"
    );
}

/// The recipe uses nothing that an engine's own frontend does not know.
#[test]
fn the_image_needs_no_registry_for_its_own_recipe() {
    assert!(
        !read("deploy/Dockerfile").contains("syntax="),
        "a frontend is fetched for nothing"
    );
}

/// Each file that the build needs must be let through by `.dockerignore`.
#[test]
fn every_member_of_the_workspace_reaches_the_builder() {
    let manifest = read("Cargo.toml");
    let line = manifest.lines().find_map(|line| line.strip_prefix("members = "));
    let members: Vec<&str> = line.expect("the members").split('"').skip(1).step_by(2).collect();
    assert!(members.len() >= 4, "{members:?}");
    let ignored = read(".dockerignore");
    for member in members {
        assert!(
            ignored.contains(&format!("\n!{member}\n")),
            ".dockerignore keeps {member} out"
        );
    }
}

/// The toolchain of the image is the one that everything was tested with.
#[test]
fn the_image_is_built_with_the_pinned_toolchain() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).expect("the channel").to_owned();
    // Another space or an `@` with a digest comes next.
    let base = format!("\nFROM rust:{channel}-bookworm");
    assert!(
        read("deploy/Dockerfile").contains(&base),
        "deploy/Dockerfile lacks `{base}`"
    );
    let image = format!("image: rust:{channel}-bookworm\n");
    assert!(
        read(".github/workflows/checks.yml").contains(&image),
        "checks.yml lacks `{image}`"
    );
}

/// The image's label tells the version of what is in it, unless the build says otherwise.
#[test]
fn the_image_is_labelled_with_the_workspaces_version() {
    let manifest = read("Cargo.toml");
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    let version = line.expect("the version").trim_matches('"');
    let argument = format!("\nARG VERSION={version}\n");
    assert!(
        read("deploy/Dockerfile").contains(&argument),
        "deploy/Dockerfile lacks `{argument}`"
    );
}

/// A check that takes more words than before has to be dropped first. One that is not made again
/// under its name stays in the text.
fn without_replaced_checks(statements: &str) -> String {
    let mut text = statements.to_owned();
    for (at, drop) in statements.match_indices(" drop constraint ") {
        let name = statements[at + drop.len()..]
            .split([' ', ';'])
            .next()
            .unwrap_or_default();
        if statements.contains(&format!(" add constraint {name} ")) {
            text = text.replace(&format!("{drop}{name};"), ";");
        }
    }
    text
}

#[test]
fn only_a_check_that_is_made_again_may_be_dropped() {
    let replaced = "alter table t drop constraint c; alter table t add constraint c check (true);";
    assert!(!without_replaced_checks(replaced).contains("drop"));
    let dropped = "alter table t drop constraint c; alter table t add constraint d check (true);";
    assert!(without_replaced_checks(dropped).contains("drop"));
}

/// During an upgrade the programs of the last release still run. What they use may only be removed
/// by the release after that, which then says so here.
#[test]
fn migrations_only_add() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut count = 0;
    for entry in fs::read_dir(directory).expect("the migrations") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a migration");
        let statements: String = text
            .lines()
            .filter_map(|line| line.split("--").next())
            .collect::<Vec<_>>()
            .join(" ");
        let statements = without_replaced_checks(&statements.to_lowercase());
        for word in [
            "drop ",
            "rename ",
            "alter column ",
            "truncate ",
            "delete from ",
            "set not null",
        ] {
            assert!(!statements.contains(&format!(" {word}")), "{}: {word}", path.display());
        }
        for column in statements.split(" add column ").skip(1) {
            let column = column.split([',', ';']).next().unwrap_or_default();
            let may_be_left_out = !column.contains("not null") || column.contains("default");
            assert!(
                may_be_left_out,
                "{}: a column without a default: {column}",
                path.display()
            );
        }
        count += 1;
    }
    assert!(count >= 3, "{count} migrations");
}
