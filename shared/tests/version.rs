//! What `build.rs` makes of a version and a commit, compiled and run by itself.

#![allow(clippy::expect_used, reason = "a program that cannot be run is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with a member of a workspace in it, and the compiled script.
struct Sources {
    root: PathBuf,
    script: PathBuf,
}

impl Sources {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("version-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("outer/shared")).expect("a folder");
        let script = root.join("script");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let compiled = Command::new(rustc)
            .args(["--edition", "2024", "-o"])
            .args([&script, &source])
            .status();
        assert!(compiled.expect("rustc").success());
        Self { root, script }
    }

    /// A commit in this folder; its name.
    fn commit(&self, folder: &str) -> String {
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
            let output = Command::new("git")
                .args(identity)
                .args(arguments)
                .current_dir(self.root.join(folder))
                .output()
                .expect("git");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).expect("text").trim().to_owned()
        };
        git(&["init", "--quiet"]);
        git(&["commit", "--quiet", "--allow-empty", "--message", "one"]);
        git(&["rev-parse", "HEAD"])
    }

    /// What the script says.
    fn says(&self, profile: &str, given: Option<&str>) -> String {
        let mut script = Command::new(&self.script);
        script
            .env_remove("BUILD_REVISION")
            .env("CARGO_MANIFEST_DIR", self.root.join("outer/shared"))
            .env("CARGO_PKG_VERSION", "1.2.3")
            .env("PROFILE", profile);
        if let Some(given) = given {
            script.env("BUILD_REVISION", given);
        }
        let output = script.output().expect("the script");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn version(&self, profile: &str, given: Option<&str>) -> String {
        let said = self.says(profile, given);
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("cargo:rustc-env=POSTHOG_EXPORT_VERSION="));
        line.expect("a version").to_owned()
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn a_release_build_names_the_commit_that_is_checked_out() {
    let sources = Sources::new("repository");
    let commit = sources.commit("outer");
    assert_eq!(sources.version("release", None), format!("1.2.3 ({})", &commit[..12]));
    // And is made again after the next one.
    assert!(sources.says("release", None).contains("/logs/HEAD\n"));
    assert_eq!(sources.version("debug", None), "1.2.3");
    assert!(!sources.says("debug", None).contains("HEAD"));
}

#[test]
fn an_archive_names_no_commit_but_the_one_it_is_told() {
    let sources = Sources::new("archive");
    assert_eq!(sources.version("release", None), "1.2.3");
    // Unpacked inside a repository of something else.
    sources.commit(".");
    assert_eq!(sources.version("release", None), "1.2.3");
    assert_eq!(sources.version("release", Some("unknown")), "1.2.3");
    let told = "0123456789abcdef0123456789abcdef01234567";
    assert_eq!(sources.version("release", Some(told)), "1.2.3 (0123456789ab)");
}
