//! `.ci/run image` against a `docker` that notes down what it is asked.

#![allow(clippy::expect_used, reason = "a file that cannot be written is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// The files `engine`, `base`, `version` and `names` say what is there and how it behaves.
const DOCKER: &str = r#"#!/bin/bash
cd "$(dirname "$0")"
echo "$*" >>calls
case "$*" in
    info) [ -e engine ] ;;
    'image inspect '* | 'pull '*) [ -e base ] ;;
    'build '*) ;;
    'run '*' --version')
        program=${*: -2:1}
        commit=$(sed -n 's/^build .*REVISION=\([0-9a-f]\{12\}\).*/ (\1)/p' calls | head -1)
        echo "$program $(cat version)$commit" ;;
    'run '*posthog-export-fake:ci) echo 'usage: fake-posthog ADDRESS KEY…' >&2; exit 2 ;;
    'run '*) for name in $(cat names); do echo "  - $name is not set (or ${name}_FILE)" >&2; done; exit 2 ;;
    'create '*) echo made ;;
    'cp '*) echo 'an ELF file with a section .dep-v0 and others' ;;
    'rm made') ;;
    *) exit 64 ;;
esac
"#;

struct Step {
    output: Output,
    calls: String,
}

impl Step {
    fn says(&self, words: &str) -> bool {
        let text = [self.output.stdout.as_slice(), &self.output.stderr].concat();
        String::from_utf8_lossy(&text).contains(words)
    }
}

/// Runs the step where `docker` and `podman` are ours; `there` are the files that say how they behave.
fn run(name: &str, there: &[(&str, &str)]) -> Step {
    let directory = std::env::temp_dir().join(format!("image-step-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    for (program, text) in [("docker", DOCKER), ("podman", "#!/bin/sh\nexit 1\n")] {
        fs::write(directory.join(program), text).expect("a program");
        fs::set_permissions(directory.join(program), fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    for (file, text) in there {
        fs::write(directory.join(file), text).expect("a file");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/run");
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new(script)
        .arg("image")
        .env("PATH", path)
        // There a check that cannot be made is a failure.
        .env_remove("GITHUB_ACTIONS")
        .output()
        .expect("the step");
    let calls = fs::read_to_string(directory.join("calls")).unwrap_or_default();
    fs::remove_dir_all(&directory).expect("the directory");
    Step { output, calls }
}

const VERSION: (&str, &str) = ("version", env!("CARGO_PKG_VERSION"));
const NAMES: (&str, &str) = ("names", "DATABASE_URL AMQP_URL ENCRYPTION_KEY");

#[test]
fn without_an_engine_or_its_base_images_the_step_is_skipped_and_says_why() {
    for (name, there, why) in [
        ("engine", &[] as &[_], "SKIPPED: no container engine answers"),
        ("base", &[("engine", "")], "SKIPPED: the base image gcr.io/"),
    ] {
        let step = run(name, there);
        assert!(step.output.status.success(), "{:?}", step.output);
        assert!(step.says(why), "{:?}", step.output);
        assert!(!step.calls.contains("build "), "{}", step.calls);
    }
}

#[test]
fn with_an_engine_the_image_is_built_and_run_without_any_right() {
    let step = run("whole", &[("engine", ""), ("base", ""), VERSION, NAMES]);
    assert!(step.output.status.success(), "{:?}", step.output);
    assert!(!step.says("SKIPPED"), "{:?}", step.output);
    let runs: Vec<&str> = step.calls.lines().filter(|call| call.starts_with("run ")).collect();
    assert_eq!(runs.len(), 4, "{runs:?}");
    for run in runs {
        for right in ["--read-only", "--cap-drop ALL", "--user 12345:12345", "--network none"] {
            assert!(run.contains(right), "{run}");
        }
    }
    for target in ["runtime", "fake-posthog"] {
        assert!(
            step.calls.contains(&format!(" --target {target} --tag posthog-export")),
            "{}",
            step.calls
        );
    }
}

#[test]
fn an_image_that_is_wrong_fails_the_step() {
    let another = ("version", "9.9.9");
    let silent = ("names", "DATABASE_URL AMQP_URL");
    for (name, there, why) in [
        ("version", [("engine", ""), ("base", ""), another, NAMES], "not worker "),
        (
            "names",
            [("engine", ""), ("base", ""), VERSION, silent],
            "does not say that ENCRYPTION_KEY is missing",
        ),
    ] {
        let step = run(name, &there);
        assert_eq!(step.output.status.code(), Some(1), "{:?}", step.output);
        assert!(step.says(why), "{:?}", step.output);
    }
}
