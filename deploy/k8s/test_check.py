"""Plants faults in what is rendered, and looks whether check.py finds each: `python3 -m unittest discover deploy/k8s`."""

import copy
import pathlib
import re
import tempfile
import textwrap
import unittest

import yaml

import check

DIRECTORY = "overlays/production"
KNOWN = check.programs_know()
EXAMPLE = list(yaml.safe_load_all((check.HERE / "secrets.example.yaml").read_text(encoding="utf-8")))
OBJECTS = check.render(DIRECTORY)


def at(thing, path):
    """What a path of names and numbers leads to."""
    for part in path:
        thing = thing[part]
    return thing


WORKER = ("Deployment", "posthog-export-worker")
POD = ("spec", "template", "spec")
CONTAINER = (*POD, "containers", 0)
CRON_POD = ("spec", "jobTemplate", "spec", "template", "spec")
SETUP = ("Job", "posthog-export-setup")
NAMESPACE = ("Namespace", "posthog-export")
LABELS = ("metadata", "labels")
SCALER = ("ScaledObject", "posthog-export-worker")
POLICY = ("NetworkPolicy", "posthog-export")
NAMES = ("spec", "egress", 0)
MONITOR = ("PodMonitor", "posthog-export-worker")

# Of which object, where, which key, its new value, and what the finding must say. `None` takes the key away.
PLANTED = [
    # Typos that only a strict schema sees.
    (("PodDisruptionBudget", "posthog-export-worker"), ("spec",), "maxUnavailabel", 1, "maxUnavailabel"),
    (WORKER, POD, "terminationGracePeriodSecond", 45, "terminationGracePeriodSecond"),
    (WORKER, ("spec", "strategy"), "rollingUpdates", {}, "rollingUpdates"),
    (("CronJob", "posthog-export-enqueue"), ("spec",), "timezone", "Etc/UTC", "timezone"),
    (("CronJob", "posthog-export-enqueue"), ("spec",), "schedule", 5, "schedule"),
    (SCALER, ("spec", "triggers", 0, "metadata"), "queuName", "x", "queuName"),
    (SCALER, ("spec",), "minReplicas", 1, "minReplicas"),
    (MONITOR, ("spec", "podMetricsEndpoints", 0), "intervall", "30s", "intervall"),
    (("Policy", "posthog-export"), ("spec", "definition"), "consumer-timeuot", 7200000, "consumer-timeuot"),
    (("TriggerAuthentication", "posthog-export-rabbitmq"), ("spec",), "secretTargetRefs", [], "secretTargetRefs"),
    # More rights than needed.
    (("CronJob", "posthog-export-enqueue"), (*CRON_POD[:-1], "metadata", "labels"), "app.kubernetes.io/name", "other", "does not select the pods of"),
    (WORKER, (*POD, "securityContext"), "runAsNonRoot", None, "runs as root"),
    (SETUP, (*POD, "nodeSelector"), "kubernetes.io/arch", None, "a node of another architecture"),
    (WORKER, (*POD, "securityContext"), "seccompProfile", None, "lacks seccomp"),
    (WORKER, POD, "automountServiceAccountToken", True, "mounts a token"),
    (WORKER, (*CONTAINER, "securityContext"), "readOnlyRootFilesystem", False, "may write its root"),
    (WORKER, (*CONTAINER, "securityContext"), "allowPrivilegeEscalation", None, "may escalate"),
    (WORKER, (*CONTAINER, "securityContext", "capabilities"), "add", ["NET_ADMIN"], "keeps capabilities"),
    (WORKER, (*CONTAINER, "securityContext"), "privileged", True, "overrides the context"),
    (WORKER, (*CONTAINER, "resources"), "limits", None, "no memory limit"),
    (WORKER, (*CONTAINER, "resources", "requests"), "ephemeral-storage", None, "requests too little"),
    (WORKER, (*CONTAINER, "resources", "limits"), "ephemeral-storage", None, "worker has no limit of ephemeral storage"),
    (("CronJob", "posthog-export-enqueue"), (*CRON_POD, "securityContext"), "runAsUser", 0, "runs as root"),
    (SETUP, (*POD, "initContainers", 0, "securityContext"), "capabilities", None, "migrate keeps capabilities"),
    (SETUP, (*POD, "initContainers", 0, "resources", "limits"), "ephemeral-storage", None, "migrate has no limit of ephemeral storage"),
    (SETUP, (*POD, "initContainers", 0, "volumeMounts", 0), "name", "broker", "migrate sees /etc/posthog-export/AMQP_URL"),
    (SETUP, (*POD, "volumes", 0, "secret"), "items", None, "migrate sees /etc/posthog-export/AMQP_URL, which it does not read"),
    (SETUP, (*POD, "volumes", 1, "secret"), "items", None, "declare sees /etc/posthog-export/LEDGER_DATABASE_URL, which it does not read"),
    (SETUP, (*POD, "volumes", 1, "secret", "items", 0), "key", "AMQP_ULR", "no Secret of secrets.example.yaml has"),
    (WORKER, (*POD, "volumes", 0, "secret"), "secretName", "posthog-export-setup", "no Secret of secrets.example.yaml has"),
    (NAMESPACE, LABELS, "pod-security.kubernetes.io/enforce", "baseline", "enforce is not restricted"),
    (NAMESPACE, LABELS, "pod-security.kubernetes.io/enforce-version", "latest", "enforce-version is not v1.29"),
    (NAMESPACE, LABELS, "pod-security.kubernetes.io/warn", None, "warn is not restricted"),
    (NAMESPACE, LABELS, "pod-security.kubernetes.io/warn-version", None, "warn-version is not latest"),
    (NAMESPACE, LABELS, "pod-security.kubernetes.io/audit", None, "audit is not restricted"),
    (NAMESPACE, LABELS, "pod-security.kubernetes.io/audit-version", "v1.29", "audit-version is not latest"),
    (("ServiceAccount", "posthog-export"), (), "automountServiceAccountToken", True, "hands out a token"),
    # Disagreement with the programs.
    (WORKER, POD, "terminationGracePeriodSeconds", 25, "leaves no room for SHUTDOWN_GRACE"),
    (WORKER, POD, "terminationGracePeriodSeconds", None, None),
    (WORKER, (*CONTAINER, "livenessProbe", "httpGet"), "path", "/healthz", "a probe's path is not served"),
    (WORKER, (*CONTAINER, "livenessProbe", "httpGet"), "path", "/readyz", "liveness is not /livez"),
    (WORKER, ("spec", "strategy", "rollingUpdate"), "maxUnavailable", 1, "takes workers away first"),
    (WORKER, (*CONTAINER, "env", 0), "name", "DATABSE_URL_FILE", "no NAME_FILE of a secret"),
    (WORKER, (*CONTAINER, "env", 0), "name", "DATABASE_URL", "no NAME_FILE of a secret"),
    (WORKER, (*CONTAINER, "env", 0), "value", "/etc/posthog-export/DATABASE", "no Secret of secrets.example.yaml"),
    (WORKER, (*POD, "volumes", 1, "configMap"), "optional", False, "no volume is the ConfigMap posthog-export-ca"),
    (WORKER, (*POD, "volumes", 1, "configMap"), "name", "posthog-export-cas", "no volume is the ConfigMap posthog-export-ca"),
    (SETUP, (*POD, "initContainers", 0, "volumeMounts", 1), "mountPath", "/etc/ca", "migrate sees no /etc/posthog-export-ca"),
    (SETUP, (*CONTAINER, "volumeMounts"), 1, {"name": "broker", "mountPath": "/x"}, "declare sees no /etc/posthog-export-ca"),
    (("CronJob", "posthog-export-verify"), ("spec",), "suspend", None, "no apply starts it again"),
    (("CronJob", "posthog-export-enqueue"), ("spec",), "suspend", True, "no apply starts it again"),
    (SCALER, ("spec", "triggers", 0, "metadata"), "queueName", "posthog-export.job", "there is no queue"),
    (SCALER, ("spec",), "maxReplicaCount", 6, "too many for deploy/sql/reader.sql"),
    (SCALER, ("spec", "triggers", 0, "metadata"), "protocol", "amqp", "only http counts"),
    (SCALER, ("spec", "triggers", 0, "metadata"), "value", "3", "is not WORKER_CONCURRENCY"),
    # Disagreement with each other.
    (WORKER, ("spec",), "replicas", 2, "not the one who says how many"),
    (SCALER, ("spec", "triggers", 0, "authenticationRef"), "name", "x", "no such authentication"),
    (MONITOR, ("spec", "podMetricsEndpoints", 0), "port", "metrics", "no port metrics"),
    (MONITOR, ("spec", "podMetricsEndpoints", 0), "path", "/metric", "is not served"),
    (MONITOR, ("spec", "selector", "matchLabels"), "app.kubernetes.io/component", "wroker", "selects nothing"),
    (("NetworkPolicy", "posthog-export"), ("spec", "podSelector", "matchLabels"), "app.kubernetes.io/name", "x", "selects nothing"),
    (("NetworkPolicy", "posthog-export-worker"), ("spec", "egress", 0, "to", 1, "ipBlock"), "except", [], "NAT64 is not closed"),
    (POLICY, (*NAMES, "to", 1, "ipBlock"), "cidr", "169.254.20.11/32", "no names from 169.254.20.10/32"),
    (POLICY, (*NAMES, "to"), 2, {}, "no names from 169.254.169.254/32"),
    (POLICY, (*NAMES, "to"), 0, {}, "no names from the cluster's DNS pods"),
    (POLICY, (*NAMES, "ports"), 1, {"protocol": "TCP", "port": 80}, "for 53, UDP and TCP, and no other port"),
    (("PrometheusRule", "posthog-export"), ("spec", "groups", 0, "rules", 0, "annotations"), "runbook_url", "docs/ALERTS.md#x", "leads nowhere"),
    (("Permission", "posthog-export-worker"), ("spec", "permissions"), "read", ".*", "differs from"),
    (WORKER, CONTAINER, "image", "registry.invalid/posthog-export:set-by-overlay", "images"),
    (WORKER, ("metadata",), "namespace", "default", "lies in no namespace"),
]


class EveryPlantedFaultIsFound(unittest.TestCase):
    def test_nothing_is_found_where_nothing_is_wrong(self):
        self.assertEqual(check.faults_of(DIRECTORY, OBJECTS, EXAMPLE, KNOWN), [])

    def test_planted(self):
        for (kind, called), path, key, value, says in PLANTED:
            with self.subTest(kind=kind, key=key, value=value):
                objects = copy.deepcopy(OBJECTS)
                (found,) = [thing for thing in objects if (thing["kind"], thing["metadata"]["name"]) == (kind, called)]
                # Anchors of the YAML would be changed together.
                place = at(found, path)
                if value is None:
                    del place[key]
                else:
                    place[key] = value
                faults = [fault for fault in check.faults_of(DIRECTORY, objects, EXAMPLE, KNOWN) if called in fault]
                if says is None:
                    # Kubernetes' own 30 s still leave room for the default.
                    self.assertEqual(faults, [])
                else:
                    self.assertTrue(any(says in fault for fault in faults), faults)

    def test_a_tag_that_moves(self):
        staging = check.render("overlays/staging")
        self.assertEqual(check.faults_of("overlays/staging", staging, EXAMPLE, KNOWN), [])
        for thing in staging:
            for container in check.containers_of(check.pod_of(thing)) if check.pod_of(thing) else []:
                policy = container.pop("imagePullPolicy")
                says = f"{check.name(thing)}: {container['name']}: a tag that moves is not always pulled"
                self.assertIn(says, check.overlay_faults("overlays/staging", staging))
                container["imagePullPolicy"] = policy
        stays = ["r/i:0.1.0", "r:5000/i:v1.2.3-rc.1", f"r/i@sha256:{'0' * 64}", f"r/i:main@sha256:{'0' * 64}"]
        self.assertTrue(all(check.STAYS.search(image) for image in stays))
        self.assertFalse(any(check.STAYS.search(image) for image in ["r/i:main", "r/i", "r:5000/i", "r/i:1.2", "r/i:latest"]))

    def test_settings(self):
        for variable, value, says in [
            ("JOB_SLICES", "10m", "JOB_SLICES is no variable"),
            ("AMQP_URL", "amqp://u:p@h/", "AMQP_URL is a secret"),
            ("SHUTDOWN_GRACE", "1m", "leaves no room"),
        ]:
            objects = copy.deepcopy(OBJECTS)
            (config,) = check.of_kind(objects, "ConfigMap")
            config["data"][variable] = value
            faults = check.faults_of(DIRECTORY, objects, EXAMPLE, KNOWN)
            self.assertTrue(any(says in fault for fault in faults), (variable, faults))

    def test_the_settings_of_pods_that_run_are_kept(self):
        for by, (key, _) in check.KEPT.items():
            objects = copy.deepcopy(OBJECTS)
            (config,) = check.of_kind(objects, "ConfigMap")
            del config["metadata"]["annotations"][key]
            says = f"{check.name(config)}: {by} would prune it too early"
            self.assertEqual(check.overlay_faults(DIRECTORY, objects), [says])

    def test_the_example_of_secrets(self):
        example = copy.deepcopy(EXAMPLE)
        example[0]["stringData"]["ENCRYPTION_KEYS"] = "0"
        faults = check.faults_of(DIRECTORY, OBJECTS, example, KNOWN)
        self.assertTrue(any("ENCRYPTION_KEYS is no secret" in fault for fault in faults), faults)
        faults = check.faults_of(DIRECTORY, OBJECTS, EXAMPLE[:-1], KNOWN)
        self.assertTrue(any("has no posthog-export-keda" in fault for fault in faults), faults)

    def test_documents(self):
        text = "kubectl create job a --from=cronjob/posthog-export-enqueue; kubectl logs job/a; kubectl exec deploy/wroker"
        owned = "docs: a Job made --from=cronjob keeps its owner"
        self.assertEqual(check.document_faults(text, OBJECTS), ["docs: there is no Deployment wroker", owned])
        dropped = text.replace(";", " --dry-run=client | jq 'del(.metadata.ownerReferences)';", 1).replace("wroker", "posthog-export-worker")
        self.assertEqual(check.document_faults(dropped, OBJECTS), [])
        named = 'jq \'(.containers[] | select(.name == "producr")).args = $words\'; kubectl logs --container=enqueue job/a'
        missing = [f"docs: the CronJob has no container {called}" for called in ["enqueue", "producr"]]
        self.assertEqual(check.document_faults(f"{dropped}; {named}", OBJECTS), missing)

    def test_the_patches_of_the_documents(self):
        blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", check.read("docs/KUBERNETES.md"), re.DOTALL | re.MULTILINE)
        self.assertTrue(blocks)
        for _, block in blocks:
            with self.subTest(block=block), tempfile.TemporaryDirectory(dir=check.HERE / "overlays") as folder:
                overlay = f"resources:\n  - ../production\nnamespace: posthog-export\n{textwrap.dedent(block)}"
                (pathlib.Path(folder) / "kustomization.yaml").write_text(overlay, encoding="utf-8")
                objects = check.render(f"overlays/{pathlib.Path(folder).name}")
                self.assertNotEqual(objects, OBJECTS)
                self.assertEqual(check.faults_of(DIRECTORY, objects, EXAMPLE, KNOWN), [])

    def test_how_far_back_the_first_export_goes(self):
        says = "CronJob posthog-export-enqueue: approves first exports, and no comment of kustomization.yaml says that they were counted"
        objects = copy.deepcopy(OBJECTS)
        (config,) = check.of_kind(objects, "ConfigMap")
        self.assertNotIn("BACKFILL_DAYS", config["data"])
        config["data"]["BACKFILL_DAYS"] = "30"
        self.assertEqual(check.overlay_faults(DIRECTORY, objects), [says])
        self.assertEqual(check.first_export_faults(objects, "# Counted? No.\n- BACKFILL_DAYS=30 counted"), [says])
        self.assertEqual(check.first_export_faults(objects, "- BACKFILL_DAYS=30 # counted: 200,000 events"), [])
        objects = copy.deepcopy(OBJECTS)
        (cron,) = [thing for thing in check.of_kind(objects, "CronJob") if "enqueue" in thing["metadata"]["name"]]
        at(cron, CRON_POD)["containers"][0]["args"].append("--yes")
        self.assertEqual(check.overlay_faults(DIRECTORY, objects), [says])

    def test_the_order_of_the_installation(self):
        text = check.read("docs/KUBERNETES.md")
        self.assertEqual(check.install_faults(text, EXAMPLE), [])
        order = [
            "docs/KUBERNETES.md: namespace, Secrets, the rest without the nights, the count and the nights are not in this order"
        ]
        secrets = "kubectl --namespace posthog-export apply --filename=secrets.yaml\n"
        self.assertEqual(check.install_faults(text.replace(secrets, ""), EXAMPLE), order)
        self.assertEqual(check.install_faults(text.replace(secrets, secrets.replace("--namespace posthog-export ", "")), EXAMPLE), order)
        late = text.replace(secrets, "").replace("kubectl --namespace posthog-export wait", f"{secrets}kubectl wait", 1)
        self.assertEqual(check.install_faults(late, EXAMPLE), order)
        for step in [check.APPLY_SUSPENDED, check.COUNT, check.APPLY]:
            self.assertEqual(check.install_faults(text.replace(step, ""), EXAMPLE), order)
        early = text.replace(check.APPLY_SUSPENDED, f"{check.APPLY}\n{check.APPLY_SUSPENDED}")
        self.assertEqual(check.install_faults(early, EXAMPLE), order)
        unnamed = ["docs/KUBERNETES.md does not name the Secret posthog-export-keda"]
        self.assertEqual(check.install_faults(text.replace("`posthog-export-keda`", "a fourth"), EXAMPLE), unnamed)

    def test_the_order_of_an_upgrade(self):
        text = check.read("docs/UPGRADE.md")
        self.assertEqual(check.upgrade_faults(text), [])
        order = ["docs/UPGRADE.md: the Job, the rest without the CronJobs, the workers and the CronJobs are not in this order"]
        for step in ["delete job posthog-export-setup", check.APPLY_SUSPENDED, check.WAIT, check.APPLY]:
            self.assertEqual(check.upgrade_faults(text.replace(step, "")), order)
        self.assertEqual(check.upgrade_faults(text.replace(check.APPLY_SUSPENDED, check.APPLY)), order)

    def test_what_the_documents_suspend_is_every_cronjob_and_nothing_else(self):
        _, old, new, _ = check.SUSPEND.split("/")
        for overlay in ["overlays/production", "overlays/staging"]:
            objects = check.render(overlay)
            suspended = list(yaml.safe_load_all(yaml.safe_dump_all(objects).replace(old, new)))
            crons = [thing["metadata"]["name"] for thing in check.of_kind(suspended, "CronJob") if thing["spec"]["suspend"]]
            self.assertEqual(crons, [thing["metadata"]["name"] for thing in check.of_kind(objects, "CronJob")])
            for thing in check.of_kind(suspended, "CronJob"):
                thing["spec"]["suspend"] = False
            self.assertEqual(suspended, objects)

    def test_a_secret_that_is_rendered(self):
        faults = check.faults_of(DIRECTORY, [*OBJECTS, EXAMPLE[0]], EXAMPLE, KNOWN)
        self.assertTrue(any("is rendered" in fault for fault in faults), faults)

    def test_rules_need_a_runbook(self):
        rule = {"alert": "A", "expr": "up == 0", "labels": {"severity": "page"}, "annotations": {"summary": "s", "runbook_url": "u"}}
        rules = {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "r"},
            "spec": {"groups": [{"name": "g", "rules": [rule]}]},
        }
        self.assertEqual(check.schema_faults(rules), [])
        del rule["annotations"]["runbook_url"]
        self.assertTrue(check.schema_faults(rules))
        rule |= {"annotations": {"summary": "s", "runbook_url": "u"}, "fro": "5m"}
        self.assertTrue(check.schema_faults(rules))


if __name__ == "__main__":
    unittest.main()
