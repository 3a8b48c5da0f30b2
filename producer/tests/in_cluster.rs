//! The shell functions of docs/KUBERNETES.md, against a `kubectl` that plays the cluster.

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
            "spec":{"backoffLimit":4,"activeDeadlineSeconds":7200,"template":{"spec":{"containers":[
                {"name":"proxy","args":["proxy"]},{"name":"producer","args":["producer","enqueue"]}]}}}}' ;;
    *'create --filename=-')
        [ ! -e refuses ] || { echo 'Error from server (Forbidden): exceeded quota' >&2; exit 1; }
        cat >created
        echo 'job.batch/made created' ;;
    *'get job/'*reason*) echo 'BackoffLimitExceeded Job has reached the specified backoff limit' ;;
    *'get job/'*)
        [ "$(next answers)" = yes ] || { echo 'Unable to connect to the server: EOF' >&2; exit 1; }
        next conditions ;;
    *'get pods '*)
        [ ! -e hides ] || { echo 'Error from server (Forbidden): pods is forbidden' >&2; exit 1; }
        next phases ;;
    *'logs --follow --container=producer job/'*)
        if [ -s creating ]; then
            sed -i 1d creating
            echo 'Error from server (BadRequest): container "producer" in pod "x" is waiting to start: ContainerCreating' >&2
            exit 1
        fi
        # How many bytes come before it ends, and how it does.
        read -r bytes code < <(next breaks)
        head -c "$bytes" log
        [ "$code" = 0 ] || echo 'error: unexpected EOF' >&2
        exit "$code" ;;
    *'logs --container=producer job/'*)
        [ ! -e gone ] || { echo 'Error from server (NotFound): pods "x" not found' >&2; exit 1; }
        cat "$([ ! -e rotated ] && echo log || echo rotated)" ;;
    *'get events '*)
        made=$(sed -n 's/.*create job \([^ ]*\) .*/\1/p' calls)
        echo 'other-pod BackOff not ours'
        [ -e eventless ] || echo "$made-x7k2p Failed no such image" ;;
esac
"#;

/// Three lines of the container.
const LOG: &str = "{\"day\":1}\n{\"day\":2}\n{\"day\":3}\n";

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("cluster-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// The shell block of the document that defines the functions.
fn functions() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/KUBERNETES.md");
    let text = fs::read_to_string(document).unwrap();
    let blocks = text
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let defining: Vec<&str> = blocks.filter(|block| block.contains("() {")).collect();
    assert_eq!(defining.len(), 1, "{defining:?}");
    defining[0].to_owned()
}

/// As a person's shell runs the line, and as a careful script's does. Neither when there is no `jq`
/// and nobody insists on it.
fn call(name: &str, line: &str, cluster: &Cluster, prepare: impl Fn(&Path)) -> Vec<Ended> {
    if Command::new("jq").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "there is no jq");
        eprintln!("skipped: there is no jq here");
        return Vec::new();
    }
    [("person", ""), ("script", "set -euo pipefail")]
        .map(|(kind, mode)| {
            let directory = directory(&format!("{name}-{kind}"));
            run(&directory, &format!("{mode}\n{line}"), cluster, &prepare)
        })
        .into()
}

fn run(directory: &Path, lines: &str, cluster: &Cluster, prepare: impl Fn(&Path)) -> Ended {
    let write = |file: &str, text: &str| fs::write(directory.join(file), text).unwrap();
    write("kubectl", KUBECTL);
    fs::set_permissions(directory.join("kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
    write("conditions", &(cluster.conditions.join("\n") + "\n"));
    write("phases", &(cluster.phases.join("\n") + "\n"));
    write("creating", &"x\n".repeat(cluster.creating));
    write("answers", "yes\n");
    write("breaks", "1000 0\n");
    write("log", LOG);
    write("created", "null");
    prepare(directory);
    let script = format!(
        "{}sleep() {{ SECONDS=$((SECONDS + 10 * $1)); }}\ntrap 'echo $SECONDS >{}' EXIT\n{lines}",
        functions(),
        directory.join("seconds").display()
    );
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", &script])
        .env("PATH", path)
        .env_remove("NAMESPACE")
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
    fs::remove_dir_all(directory).unwrap();
    ended
}

/// The function hands its words on one by one, whatever they hold, past a container that somebody
/// put before ours. The Job belongs to nobody: a CronJob deletes the oldest of those that belong to
/// it, the nightly one among them. Nor does it end with the time that a night's run has.
#[test]
fn the_job_has_the_words_and_neither_owner_nor_time_limit() {
    let cluster = Cluster {
        conditions: &["Complete"],
        phases: &["Succeeded"],
        creating: 0,
    };
    let line = "dead_letters show 'project one/2024-06-01/daily' --json";
    for ended in call("words", line, &cluster, |_| ()) {
        let containers = &ended.job["spec"]["template"]["spec"]["containers"];
        assert_eq!(
            containers[1]["args"],
            json!([
                "producer",
                "dead-letters",
                "show",
                "project one/2024-06-01/daily",
                "--json"
            ])
        );
        assert_eq!(containers[0]["args"], json!(["proxy"]));
        assert_eq!(ended.job["spec"]["backoffLimit"], 0);
        assert_eq!(ended.job["spec"].get("activeDeadlineSeconds"), None);
        assert_eq!(ended.job["metadata"], json!({"name": "made"}));
        // The log alone, so that JSON can be read by the next program. It had ended before anybody looked.
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), LOG), "{}", ended.err);
        assert_eq!(ended.count("--namespace posthog-export "), ended.calls.lines().count());
    }
}

#[test]
fn another_namespace_is_for_every_call() {
    let cluster = Cluster {
        conditions: &["", "FailureTarget Failed"],
        phases: &["Running"],
        creating: 0,
    };
    let line = "NAMESPACE=posthog-export-staging\ndead_letters list --json";
    let gone = |directory: &Path| fs::write(directory.join("gone"), "").unwrap();
    for ended in call("namespace", line, &cluster, gone) {
        let calls = ended.calls.lines().count();
        assert_eq!(
            ended.count("--namespace posthog-export-staging "),
            calls,
            "{}",
            ended.calls
        );
        assert!(
            ended
                .err
                .contains("kubectl --namespace posthog-export-staging logs --container=producer job/"),
            "{}",
            ended.err
        );
    }
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
    let why = " failed: BackoffLimitExceeded Job has reached the specified backoff limit\n";
    for (conditions, code, says) in [(succeeds, 0, ""), (fails, 1, why)] {
        let cluster = Cluster {
            conditions,
            phases: &["", "Pending", "Pending", "Running"],
            creating: 3,
        };
        let line = "producer_job dead-letters requeue --error-code unauthorized --yes";
        for ended in call(&format!("slow-{code}"), line, &cluster, |_| ()) {
            assert_eq!(ended.code, Some(code), "{}", ended.err);
            assert_eq!(ended.out, LOG);
            assert_eq!(ended.count("logs --follow"), 5, "{}", ended.calls);
            assert!(ended.err.ends_with(says), "{}", ended.err);
            assert!(!ended.err.contains("missing"), "{}", ended.err);
            assert_eq!(ended.count("delete"), 0, "{}", ended.calls);
        }
    }
}

/// A log that is quiet for long breaks off, at whatever byte, with an error or without. The rest
/// comes all the same, and nothing twice.
#[test]
fn a_log_that_breaks_off_is_shown_once_and_whole() {
    let cluster = Cluster {
        conditions: &["", "", "", "", "Complete"],
        phases: &["Running"],
        creating: 0,
    };
    // In the middle of the second line; after it; before anything; and then never again until the Job has ended.
    for (name, breaks) in [
        ("with-an-error", "13 1\n20 1\n0 1\n"),
        ("without", "13 0\n20 0\n0 0\n"),
        ("unlike", "20 0\n10 1\n"),
    ] {
        let breaking = |directory: &Path| fs::write(directory.join("breaks"), breaks).unwrap();
        for ended in call(name, "dead_letters list --json", &cluster, breaking) {
            assert_eq!(
                (ended.code, ended.out.as_str()),
                (Some(0), LOG),
                "{name}: {}",
                ended.err
            );
            assert_eq!(ended.count("logs --follow"), 4, "{}", ended.calls);
            assert!(!ended.err.contains("missing"), "{name}: {}", ended.err);
        }
    }
}

/// Whoever cannot have the whole log is told so. The Job's own result decides all the same.
#[test]
fn a_log_that_cannot_be_had_again_may_lack_something() {
    let cluster = Cluster {
        conditions: &["", "Complete"],
        phases: &["Running"],
        creating: 0,
    };
    // The pod is gone; the node has begun a new file, shorter or longer than what was shown.
    for (file, text, out) in [
        ("gone", "", "{\"day\":1}\n"),
        ("rotated", "{\"day\":9}\n", "{\"day\":1}\n"),
        ("rotated", "{\"day\":8}\n{\"day\":9}\n", "{\"day\":1}\n{\"day\":9}\n"),
    ] {
        let lost = |directory: &Path| {
            fs::write(directory.join("breaks"), "10 0\n").unwrap();
            fs::write(directory.join(file), text).unwrap();
        };
        for ended in call("lost", "dead_letters list --json", &cluster, lost) {
            assert_eq!((ended.code, ended.out.as_str()), (Some(0), out), "{}", ended.err);
            let says = "part of the log may be missing here; look with: kubectl --namespace posthog-export logs --container=producer job/";
            assert!(ended.err.contains(says), "{}", ended.err);
        }
    }
}

/// What has not begun after a while must not begin later, unseen; also where nothing tells why.
#[test]
fn a_job_that_never_starts_is_deleted_after_five_minutes() {
    for (name, phases, told) in [
        ("nowhere", &[""] as &[&str], true),
        ("pending", &["", "Pending"], true),
        ("untold", &["Pending"], false),
    ] {
        let cluster = Cluster {
            conditions: &[""],
            phases,
            creating: 0,
        };
        let prepare = |directory: &Path| {
            if !told {
                fs::write(directory.join("eventless"), "").unwrap();
            }
        };
        for ended in call(name, "dead_letters requeue --all --yes", &cluster, prepare) {
            assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{}", ended.err);
            assert!(
                ended.err.contains("did not start within 5 minutes, and is deleted:\n"),
                "{}",
                ended.err
            );
            assert_eq!(ended.err.contains("no such image"), told, "{}", ended.err);
            assert!(!ended.err.contains("not ours"), "{}", ended.err);
            assert_eq!(ended.count("delete job/dead-letters-"), 1, "{}", ended.calls);
            assert!((300..360).contains(&ended.seconds), "{} s", ended.seconds);
        }
    }
}

/// One that runs is left alone, however long it takes and whatever its log does; and one of which
/// its node says nothing more.
#[test]
fn a_job_that_runs_for_long_is_not_deleted() {
    const CONDITIONS: [&str; 31] = {
        let mut conditions = [""; 31];
        conditions[30] = "Complete";
        conditions
    };
    for (name, phases) in [("long", &["Running"] as &[&str]), ("unknown", &["Unknown"])] {
        let cluster = Cluster {
            conditions: &CONDITIONS,
            phases,
            creating: 1000,
        };
        for ended in call(name, "producer_job enqueue --no-setup", &cluster, |_| ()) {
            assert_eq!((ended.code, ended.out.as_str()), (Some(0), LOG), "{}", ended.err);
            assert_eq!(ended.count("delete"), 0, "{}", ended.calls);
            assert!(ended.seconds >= 400, "{} s", ended.seconds);
        }
    }
}

#[test]
fn a_job_that_the_cluster_refuses_is_not_waited_for() {
    let cluster = Cluster {
        conditions: &[""],
        phases: &[""],
        creating: 0,
    };
    let refuse = |directory: &Path| fs::write(directory.join("refuses"), "").unwrap();
    for ended in call("refused", "dead_letters list", &cluster, refuse) {
        assert_eq!(ended.code, Some(1));
        assert!(ended.err.contains("exceeded quota"), "{}", ended.err);
        assert_eq!(ended.count("get "), 0, "{}", ended.calls);
    }
}

/// A cluster that does not answer for a while is asked again, each time for a minute.
#[test]
fn a_cluster_that_is_away_for_a_while_is_asked_again() {
    let cluster = Cluster {
        conditions: &["", "", "Complete"],
        phases: &["Running"],
        creating: 0,
    };
    let away = "no\n".repeat(20);
    let flaps = |directory: &Path| fs::write(directory.join("answers"), format!("{away}yes\n{away}yes\n")).unwrap();
    for ended in call("flaps", "dead_letters list --json", &cluster, flaps) {
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), LOG), "{}", ended.err);
    }
}

/// One that stays away tells nothing of the Job: it is not said to have failed, and not deleted.
/// Nor by somebody who may not see the pod, and so does not know whether it runs.
#[test]
fn a_job_that_cannot_be_seen_goes_on() {
    let cluster = Cluster {
        conditions: &[""],
        phases: &["Pending"],
        creating: 0,
    };
    for (name, file, text) in [("away", "answers", "yes\nno\n"), ("hidden", "hides", "")] {
        let prepare = |directory: &Path| fs::write(directory.join(file), text).unwrap();
        for ended in call(name, "dead_letters list", &cluster, prepare) {
            assert_eq!(ended.code, Some(1));
            let says = "may go on; look with: kubectl --namespace posthog-export get job/dead-letters-";
            assert!(ended.err.contains(says), "{}", ended.err);
            assert!((30..=31).contains(&ended.count("get job/")), "{}", ended.calls);
            assert_eq!(ended.count("delete"), 0, "{}", ended.calls);
        }
    }
}
