//! The shell functions of docs/OPERATIONS.md, against a `kubectl` that plays the cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends so")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// What the cluster answers, call by call; the last answer of a list stays.
struct Cluster {
    /// The conditions of the Job that are true.
    conditions: &'static [&'static str],
    /// The phase of its pod; nothing while there is none.
    phases: &'static [&'static str],
    /// How often `logs` fails as it does before a container runs.
    creating: usize,
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
    /// Every call of `kubectl`, a line each.
    calls: String,
    /// The Job that was created.
    job: Value,
    /// By the shell's own clock, which each call of `sleep` moves by ten times as much.
    seconds: u64,
}

impl Ended {
    fn count(&self, words: &str) -> usize {
        self.calls.lines().filter(|call| call.contains(words)).count()
    }
}

const KUBECTL: &str = r#"#!/bin/bash
cd "$(dirname "$0")"
echo "$*" >>calls
# The first line of a file, which goes unless it is the last.
next() { sed -n 1p "$1"; [ "$(wc -l <"$1")" -le 1 ] || sed -i 1d "$1"; }
case "$*" in
    *--dry-run=client*)
        echo '{"kind":"Job","metadata":{"name":"made","ownerReferences":[{"kind":"CronJob","name":"posthog-export-enqueue"}]},
            "spec":{"backoffLimit":4,"template":{"spec":{"containers":[{"args":["producer","enqueue"]}]}}}}' ;;
    *'create --filename=-')
        [ ! -e refuses ] || { echo 'Error from server (Forbidden): exceeded quota' >&2; exit 1; }
        cat >created
        echo 'job.batch/made created' ;;
    *'get job/'*) next conditions ;;
    *'get pods '*)
        [ ! -e hides ] || { echo 'Error from server (Forbidden): pods is forbidden' >&2; exit 1; }
        next phases ;;
    *'logs --follow job/'*)
        if [ -s creating ]; then
            sed -i 1d creating
            echo 'Error from server (BadRequest): container "producer" in pod "x" is waiting to start: ContainerCreating' >&2
            exit 1
        fi
        echo '{"of":"the log"}' ;;
    *'get events '*)
        made=$(sed -n 's/.*create job \([^ ]*\) .*/\1/p' calls)
        printf '%s\n' 'other-pod BackOff not ours' "$made-x7k2p Failed no such image" ;;
esac
"#;

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("cluster-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// The shell block of the document that defines the functions.
fn functions() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    let text = fs::read_to_string(document).unwrap();
    let blocks = text
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let defining: Vec<&str> = blocks.filter(|block| block.contains("() {")).collect();
    assert_eq!(defining.len(), 1, "{defining:?}");
    defining[0].to_owned()
}

/// Nothing when there is no `jq` and nobody insists on it.
fn call(name: &str, line: &str, cluster: &Cluster, prepare: impl Fn(&Path)) -> Option<Ended> {
    if Command::new("jq").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "there is no jq");
        eprintln!("skipped: there is no jq here");
        return None;
    }
    let directory = directory(name);
    let write = |file: &str, text: &str| fs::write(directory.join(file), text).unwrap();
    write("kubectl", KUBECTL);
    fs::set_permissions(directory.join("kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
    write("conditions", &(cluster.conditions.join("\n") + "\n"));
    write("phases", &(cluster.phases.join("\n") + "\n"));
    write("creating", &"x\n".repeat(cluster.creating));
    write("created", "null");
    prepare(&directory);
    let script = format!(
        "{}sleep() {{ SECONDS=$((SECONDS + 10 * $1)); }}\n{line}\ncode=$?\necho $SECONDS >'{}'\nexit $code",
        functions(),
        directory.join("seconds").display()
    );
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", &script])
        .env("PATH", path)
        .output()
        .unwrap();
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
    let ended = Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        calls: read("calls"),
        job: serde_json::from_str(&read("created")).unwrap(),
        seconds: read("seconds").trim().parse().unwrap(),
    };
    fs::remove_dir_all(&directory).unwrap();
    Some(ended)
}

/// The function hands its words on one by one, whatever they hold. The Job belongs to nobody: a
/// CronJob deletes the oldest of those that belong to it, the nightly one among them.
#[test]
fn the_job_has_the_words_and_no_owner() {
    let cluster = Cluster {
        conditions: &["Complete"],
        phases: &["Succeeded"],
        creating: 0,
    };
    let line = "dead_letters show 'project one/2024-06-01/daily' --json";
    let Some(ended) = call("words", line, &cluster, |_| ()) else {
        return;
    };
    assert_eq!(
        ended.job["spec"]["template"]["spec"]["containers"][0]["args"],
        json!([
            "producer",
            "dead-letters",
            "show",
            "project one/2024-06-01/daily",
            "--json"
        ])
    );
    assert_eq!(ended.job["spec"]["backoffLimit"], 0);
    assert_eq!(ended.job["metadata"], json!({"name": "made"}));
    // The log alone, so that JSON can be read by the next program. It had ended before anybody looked.
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "{\"of\":\"the log\"}\n"));
}

/// `logs` fails, or has nothing, until the container runs. The Job's own result counts, and that
/// comes a moment after the end of the log.
#[test]
fn a_container_that_is_slow_to_start_is_waited_for() {
    let succeeds: &[&str] = &[
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "SuccessCriteriaMet",
        "SuccessCriteriaMet Complete",
    ];
    let fails: &[&str] = &["", "", "", "", "", "", "", "FailureTarget", "FailureTarget Failed"];
    for (conditions, code, says) in [(succeeds, 0, ""), (fails, 1, " failed\n")] {
        let cluster = Cluster {
            conditions,
            phases: &["", "Pending", "Pending", "Running"],
            creating: 3,
        };
        let line = "producer_job dead-letters requeue --error-code unauthorized --yes";
        let Some(ended) = call(&format!("slow-{code}"), line, &cluster, |_| ()) else {
            return;
        };
        assert_eq!(ended.code, Some(code), "{}", ended.err);
        assert_eq!(ended.out, "{\"of\":\"the log\"}\n");
        assert_eq!(ended.count("logs --follow"), 4, "{}", ended.calls);
        assert!(ended.err.ends_with(says), "{}", ended.err);
        assert_eq!(ended.count("delete"), 0, "{}", ended.calls);
    }
}

/// What has not begun after a while must not begin later, unseen.
#[test]
fn a_job_that_never_starts_is_deleted_after_five_minutes() {
    for (name, phases) in [("nowhere", &[""] as &[&str]), ("pending", &["", "Pending"])] {
        let cluster = Cluster {
            conditions: &[""],
            phases,
            creating: 0,
        };
        let Some(ended) = call(name, "dead_letters requeue --all --yes", &cluster, |_| ()) else {
            return;
        };
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{}", ended.err);
        assert!(
            ended.err.contains("did not start within 5 minutes, and is deleted:\n"),
            "{}",
            ended.err
        );
        assert!(ended.err.contains("no such image"), "{}", ended.err);
        assert!(!ended.err.contains("not ours"), "{}", ended.err);
        assert_eq!(ended.count("delete job/dead-letters-"), 1, "{}", ended.calls);
        assert!((300..360).contains(&ended.seconds), "{} s", ended.seconds);
    }
}

/// One that runs is left alone, however long it takes and whatever its log does.
#[test]
fn a_job_that_runs_for_long_is_not_deleted() {
    const CONDITIONS: [&str; 31] = {
        let mut conditions = [""; 31];
        conditions[30] = "Complete";
        conditions
    };
    let cluster = Cluster {
        conditions: &CONDITIONS,
        phases: &["Running"],
        creating: 1000,
    };
    let Some(ended) = call("long", "producer_job enqueue --no-setup", &cluster, |_| ()) else {
        return;
    };
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(ended.count("delete"), 0, "{}", ended.calls);
    assert!(ended.seconds >= 400, "{} s", ended.seconds);
}

#[test]
fn a_job_that_the_cluster_refuses_is_not_waited_for() {
    let cluster = Cluster {
        conditions: &[""],
        phases: &[""],
        creating: 0,
    };
    let refuse = |directory: &Path| fs::write(directory.join("refuses"), "").unwrap();
    let Some(ended) = call("refused", "dead_letters list", &cluster, refuse) else {
        return;
    };
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("exceeded quota"), "{}", ended.err);
    assert_eq!(ended.count("get "), 0, "{}", ended.calls);
}

/// Whoever may not see the pod does not know whether it runs, and so deletes nothing.
#[test]
fn a_job_whose_pod_is_hidden_goes_on() {
    let cluster = Cluster {
        conditions: &[""],
        phases: &["Running"],
        creating: 0,
    };
    let hide = |directory: &Path| fs::write(directory.join("hides"), "").unwrap();
    let Some(ended) = call("hidden", "dead_letters list", &cluster, hide) else {
        return;
    };
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("it goes on"), "{}", ended.err);
    assert_eq!(ended.count("delete"), 0, "{}", ended.calls);
}
