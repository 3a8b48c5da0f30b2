//! Throw-away containers, for machines that have a Docker engine but no servers installed.

use std::process::{Command, Stdio};

use crate::directory::Directory;

/// Whether there is an engine, not just the command.
pub(crate) fn engine_answers() -> bool {
    let mut command = Command::new("docker");
    command
        .args(["info", "--format", "{{.ServerVersion}}"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
        .output()
        .is_ok_and(|output| output.status.success() && !output.stdout.trim_ascii().is_empty())
}

/// Runs `docker` and gives back what it printed.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("start docker");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "docker {}: {}",
        arguments.join(" "),
        said.trim()
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Starts a container whose ports are reachable on loopback only, known to the directory's guard
/// from the beginning. `ports` are pairs of ours and the container's.
pub(crate) fn run(
    directory: &Directory,
    image: &str,
    ports: &[(u16, u16)],
    settings: &[&str],
    arguments: &[&str],
) -> String {
    let published: Vec<String> = ports
        .iter()
        .map(|(ours, theirs)| format!("127.0.0.1:{ours}:{theirs}"))
        .collect();
    let mut create = vec!["create", "--label", "testkit"];
    for port in &published {
        create.extend(["--publish", port]);
    }
    for setting in settings {
        create.extend(["--env", setting]);
    }
    create.push(image);
    create.extend(arguments);
    let id = docker(&create);
    directory.own_container(&id);
    docker(&["start", &id]);
    id
}
