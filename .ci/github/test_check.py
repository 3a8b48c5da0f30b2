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
]

# What actionlint and the schemas know.
INVALID = [
    ("workflows", CHECKS, "runs-on:", "run-on:"),
    ("workflows", CHECKS, "pull_request:", "pull_requests:"),
    ("forms", BUG, "type: dropdown", "type: select"),
    ("forms", BUG, "description: Events", "descriptions: Events"),
    ("dependabot", DEPENDABOT, "interval: weekly", "interval: hourly"),
    ("dependabot", DEPENDABOT, "package-ecosystem: npm", "package-ecosystem: node"),
]
ACTIONLINT = [
    (CHECKS, "github.ref }}", "github.reff }}", "reff"),
    (CHECKS, "runs-on: ubuntu-latest", "runs-on: ubuntu-first", "ubuntu-first"),
    (RELEASE, "steps.version.outputs", "steps.versions.outputs", "versions"),
    (RELEASE, "needs: checks", "needs: check", "check"),
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

    def test_only_the_version_with_its_day_in_the_changelog_is_released(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            script = root / ".ci/github/release-version"
            script.parent.mkdir(parents=True)
            script.write_bytes((check.ROOT / ".ci/github/release-version").read_bytes())
            (root / "Cargo.toml").write_text('[workspace.package]\nversion = "1.2.3"\n', encoding="utf-8")

            def ends(tag, heading):
                (root / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n", encoding="utf-8")
                return subprocess.run(["bash", script, tag], capture_output=True, check=False).returncode

            self.assertEqual(ends("v1.2.3", "## [1.2.3] - 2026-11-27"), 0)
            self.assertEqual(ends("v1.2.4", "## [1.2.3] - 2026-11-27"), 1)
            self.assertEqual(ends("1.2.3", "## [1.2.3] - 2026-11-27"), 1)
            self.assertEqual(ends("v1.2.3", "## [Unreleased] 1.2.3"), 1)
            self.assertEqual(ends("v1.2.3", "## [1x2.3] - 2026-11-27"), 1)


if __name__ == "__main__":
    unittest.main()
