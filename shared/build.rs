//! Says which migrations there are, since Cargo sees changes inside one by itself, but not that one
//! was added; and of which commit a release build is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Digits of a commit that are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../migrations");
    println!("cargo:rerun-if-env-changed=BUILD_REVISION");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let given = Some(variable("BUILD_REVISION")).filter(|given| !["", "unknown"].contains(&given.as_str()));
    // A build for development is not compiled anew for each commit.
    let is_release = variable("PROFILE") == "release";
    let commit = given.or_else(|| is_release.then(|| commit_of(&variable("CARGO_MANIFEST_DIR")))?);
    let commit = commit.map(|commit| commit.chars().take(DIGITS).collect::<String>());
    let version = variable("CARGO_PKG_VERSION");
    let version = commit.map_or(version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo:rustc-env=POSTHOG_EXPORT_VERSION={version}");
}

/// The commit that is checked out, unless the sources are no repository, as in an archive that was
/// unpacked, be it inside a repository of something else.
fn commit_of(member: &str) -> Option<String> {
    let root = fs::canonicalize(Path::new(member).parent()?).ok()?;
    let top = fs::canonicalize(git(&root, &["rev-parse", "--show-toplevel"])?).ok()?;
    if top != root {
        return None;
    }
    // What changes with a commit or a checkout. A file that is missing would be a change each time.
    for name in ["HEAD", "logs/HEAD"] {
        let path = PathBuf::from(git(&root, &["rev-parse", "--git-path", name])?);
        let path = root.join(path);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    git(&root, &["rev-parse", "HEAD"])
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
