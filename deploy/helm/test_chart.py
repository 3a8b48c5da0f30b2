"""Plants faults in the chart, and looks whether chart.py finds each; and whether each value does what it says."""

import copy
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import chart

OBJECTS = chart.render()
OBJECTS_IMAGE = chart.at(chart.find(OBJECTS, *chart.WORKER), chart.WORKER_CONTAINER)["image"]

# What is replaced in the template, by what, and what the finding must say.
PLANTED = [
    ("replicas: {{ .Values.worker.replicas }}", "replicas: 3", "Deployment posthog-export-worker is another"),
    ("terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 30", "is another"),
    ("kind: PodDisruptionBudget\nmetadata:", "kind: PodDisruptionBudget\nmetadata:\n  namespace: x", "PodDisruptionBudget posthog-export-worker is another"),
    ("name: posthog-export-enqueue", "name: posthog-export-nightly", "lacks CronJob posthog-export-enqueue"),
    ("name: posthog-export-enqueue", "name: posthog-export-nightly", "only the chart has CronJob posthog-export-nightly"),
    ("name: posthog-export-{{ .Values.settings", "name: settings-{{ .Values.settings", "is another"),
    ("    helm.sh/resource-policy: keep\n", "", "ConfigMap posthog-export-HASH is another"),
]


class Chart(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.copy = pathlib.Path(folder.name) / "posthog-export"
        shutil.copytree(chart.CHART, self.copy)

    def test_the_chart_gives_the_bases_objects_and_each_planted_difference_is_found(self):
        self.assertEqual(chart.differences(OBJECTS, chart.helm(self.copy)), [])
        template = self.copy / "templates/all.yaml"
        text = template.read_text(encoding="utf-8")
        for old, new, says in PLANTED:
            with self.subTest(new=new):
                self.assertIn(old, text)
                template.write_text(text.replace(old, new), encoding="utf-8")
                self.assertIn(says, "\n".join(chart.differences(OBJECTS, chart.helm(self.copy))))

    def test_a_change_of_the_base_makes_another_chart(self):
        changed = copy.deepcopy(OBJECTS)
        chart.find(changed, *chart.WORKER)["spec"]["replicas"] = 5
        made = chart.make(changed)
        self.assertNotEqual(made["values.yaml"], (chart.CHART / "values.yaml").read_text(encoding="utf-8"))
        self.assertEqual(made["templates/all.yaml"], (chart.CHART / "templates/all.yaml").read_text(encoding="utf-8"))
        chart.find(changed, *chart.WORKER)["spec"]["minReadySeconds"] = 1
        self.assertNotEqual(chart.make(changed)["templates/all.yaml"], made["templates/all.yaml"])

    def test_each_value_reaches_the_objects_that_it_is_for_and_no_other(self):
        image = "ghcr.io/someone/posthog-export@sha256:" + "0" * 64
        self.assertEqual(str(chart.helm(self.copy, "--set", f"image={image}")).count(image), 4)
        pods = {"Deployment posthog-export-worker", "CronJob posthog-export-enqueue", "Job posthog-export-setup"}
        for arguments, changed, says in [
            (["--set", f"image={image}"], pods, image),
            (["--set", "worker.replicas=7"], {"Deployment posthog-export-worker"}, "7"),
            (["--set", "worker.resources.limits.memory=1Gi"], {"Deployment posthog-export-worker"}, "1Gi"),
            (["--set", "enqueue.suspend=true"], {"CronJob posthog-export-enqueue"}, "'suspend': True"),
            (["--set", "enqueue.schedule=5 1 * * *"], {"CronJob posthog-export-enqueue"}, "5 1 * * *"),
            (["--set", "enqueue.args={producer,enqueue,--no-setup,--yes}"], {"CronJob posthog-export-enqueue"}, "--yes"),
            (["--set-string", "settings.BACKFILL_DAYS=30"], {"ConfigMap posthog-export-HASH"}, "'BACKFILL_DAYS': '30'"),
            (["--set", "podLabels.a=x"], pods, "'a': 'x'"),
            (["--set", "podAnnotations.a=x"], pods, "'annotations': {'a': 'x'}"),
            (["--set", "nodeSelector.a=x"], pods, "'nodeSelector': {'a': 'x', 'kubernetes.io/arch': 'amd64'}"),
            (["--set", "tolerations[0].operator=Exists"], pods, "'tolerations': [{'operator': 'Exists'}]"),
            (["--set", "imagePullSecrets[0].name=x"], pods, "'imagePullSecrets': [{'name': 'x'}]"),
        ]:
            with self.subTest(arguments=arguments):
                found = chart.helm(self.copy, *arguments)
                another = chart.differences(OBJECTS, found)
                self.assertEqual(another, sorted(f"{name} is another in the chart" for name in changed))
                self.assertIn(says, str(found))

    def test_other_settings_have_another_name_so_that_pods_are_made_anew(self):
        def name(*arguments):
            (found,) = [thing for thing in chart.helm(self.copy, *arguments) if thing["kind"] == "ConfigMap"]
            return found["metadata"]["name"]

        other = name("--set-string", "settings.BACKFILL_DAYS=30")
        self.assertNotEqual(name(), other)
        self.assertRegex(other, chart.HASHED)

    def test_a_value_that_is_wrong_is_refused_with_words(self):
        (self.copy / "numbers.yaml").write_text("settings:\n  ROWS_PER_SECOND: 1000000\n", encoding="utf-8")
        (self.copy / "off.yaml").write_text("settings:\n  SETTLE_AFTER: off\n", encoding="utf-8")
        for arguments, says in [
            (["--set", f"image={OBJECTS_IMAGE}"], "image: set it to your image"),
            (["--set", "image="], "image: set it to your image"),
            (["--set", "image.repository=x"], "'/image': got object, want string"),
            (["--values", str(self.copy / "numbers.yaml")], "settings.ROWS_PER_SECOND must be a text"),
            (["--values", str(self.copy / "off.yaml")], "settings.SETTLE_AFTER must be a text"),
            (["--set", "settings.BACKFILL_DAYS=30"], "settings.BACKFILL_DAYS must be a text"),
            (["--set-string", "settings.BACKFIL_DAYS=30"], "invalid propertyName 'BACKFIL_DAYS'"),
            (["--set-string", "settings.AMQP_URL=amqp://u:p@h/"], "invalid propertyName 'AMQP_URL'"),
            (["--set", "worker.replica=3"], "'/worker': additional properties 'replica' not allowed"),
            (["--set-string", "enqueue.suspend=true"], "'/enqueue/suspend': got string, want boolean"),
            (["--set", "worker.replicas=many"], "'/worker/replicas': got string, want null or integer"),
            (["--set", "worker.resources.memory=1Gi"], "additional properties 'memory' not allowed"),
            (["--set", "resources.limits.memory=1Gi"], "additional properties 'resources' not allowed"),
            (["--set-string", r"podLabels.app\.kubernetes\.io/component=x"], "invalid propertyName 'app.kubernetes.io/component'"),
        ]:
            with self.subTest(arguments=arguments), self.assertRaises(ValueError) as refused:
                chart.helm(self.copy, *arguments)
            self.assertIn(says, str(refused.exception))

    def test_an_autoscaler_of_ones_own_decides_on_the_number_of_workers(self):
        for arguments, says in [(["--set", "worker.replicas=null"], None), (["--set", "worker.replicas=0"], 0)]:
            worker = chart.find(chart.helm(self.copy, *arguments), *chart.WORKER)
            self.assertEqual(worker["spec"].get("replicas"), says)
        self.assertNotIn("replicas", chart.find(chart.helm(self.copy, "--set", "worker.replicas=null"), *chart.WORKER)["spec"])

    def test_the_notes_name_what_is_there(self):
        command = [os.environ.get("HELM", "helm"), "install", "posthog-export", str(self.copy), "--dry-run=client"]
        command += [f"--set=image={chart.IMAGE}", "--namespace=exports"]
        notes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\nNOTES:\n")[1]
        said = re.findall(r"kubectl --namespace exports .*\b(job|deploy)/([a-z-]+)", notes)
        self.assertEqual(said, [("job", chart.SETUP[1]), ("deploy", chart.WORKER[1]), ("deploy", chart.WORKER[1])])
        self.assertIn('The first night publishes at "35 0 * * *" UTC.', notes)

    def test_an_upgrade_has_a_job_of_its_own(self):
        # `helm template` knows the first revision only.
        template = self.copy / "templates/all.yaml"
        text = template.read_text(encoding="utf-8")
        self.assertEqual(text.count(".Release.Revision"), 2)
        template.write_text(text.replace(".Release.Revision", "2"), encoding="utf-8")
        (job,) = [thing for thing in chart.helm(self.copy) if thing["kind"] == "Job"]
        self.assertEqual(job["metadata"]["name"], "posthog-export-setup-2")


if __name__ == "__main__":
    unittest.main()
