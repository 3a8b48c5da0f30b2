#!/usr/bin/env python3
"""Checks the manifests without a cluster: `KUBECTL=kubectl deploy/k8s/check.py` with requirements.txt installed.

Renders the base and every overlay, holds each object against the schemas of several Kubernetes versions (strictly: an unknown
field is a fault) or, for custom resources, against schemas/, which know the fields that are used here and no others; then
checks what no schema knows: that the manifests agree with the programs and with each other.
"""

import functools
import ipaddress
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VERSIONS = ["1.29", "1.31", "1.33", "1.35", "1.37"]
NOWHERE = "registry.invalid/"
# A digest, or the number of a release.
STAYS = re.compile(r"@sha256:[0-9a-f]{64}$|:v?\d+\.\d+\.\d+([-+.]\S+)?$")
POD_SECURITY = {
    "enforce": "restricted",
    "enforce-version": f"v{VERSIONS[0]}",
    "warn": "restricted",
    "warn-version": "latest",
    "audit": "restricted",
    "audit-version": "latest",
}
# Where names are asked for on a node: NodeLocal DNSCache, and Cloud DNS of GKE.
DNS_ON_NODES = {"169.254.20.10/32", "169.254.169.254/32"}
AUTHORITIES = "/etc/posthog-export-ca"
KEPT = {
    "Helm": ("helm.sh/resource-policy", "keep"),
    "Argo CD": ("argocd.argoproj.io/sync-options", "PruneLast=true"),
    "Flux": ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
}
# To Langfuse's database, beside those of the workers: the console 8, enqueue, steps, verify and a doctor 4 each.
OTHER_CONNECTIONS = 24
# Commands of the documents.
SUSPEND = "s/suspend: false/suspend: true/"
APPLY_SUSPENDED = f"kubectl kustomize deploy/k8s/overlays/production | sed '{SUSPEND}' | kubectl apply --filename=-"
WAIT = "wait --for=condition=complete job/posthog-export-setup"
COUNT = "producer_job enqueue --no-setup --dry-run --count"
APPLY = "kubectl apply --kustomize deploy/k8s/overlays/production"
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def documents():
    """All that is written for people, in one text."""
    return "\n".join(read(path.relative_to(ROOT)) for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))])


def programs_know():
    """What the programs know, read out of their sources: variables, which of them are secret, paths that are served, queues."""
    source = read("shared/src/settings/variables.rs")
    variables = re.findall(r'\b(secret|variable) ([A-Z_]+) "', source)
    default = dict(re.findall(r'\b([A-Z_]+) "\w+" Value\("([^"]*)"\)', source))
    return {
        "variables": {name for _, name in variables},
        "jobs": default["WORKER_CONCURRENCY"],
        "backfill": default["BACKFILL_CONCURRENCY"],
        "grace": default["SHUTDOWN_GRACE"],
        "connections": int(re.search(r"connection limit (\d+)", read("deploy/sql/reader.sql"))[1]),
        "secrets": {name for kind, name in variables if kind == "secret"},
        "paths": set(re.findall(r'\.route\(\s*"(/\w+)"', read("worker/src/watch/health.rs"))),
        "queues": set(re.findall(r'"(posthog-export\.[a-z-]+)"', read("shared/src/topology.rs"))),
    }


def render(directory):
    command = [os.environ.get("KUBECTL", "kubectl"), "kustomize", str(HERE / directory)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def name(thing):
    return f"{thing['kind']} {thing['metadata']['name']}"


def of_kind(objects, kind):
    return [thing for thing in objects if thing["kind"] == kind]


def workers_of(objects):
    return [thing for thing in of_kind(objects, "Deployment") if "worker" in pod_of(thing)["spec"]["containers"][0]["args"]]


def schema_faults(thing):
    """An unknown, missing or mistyped field, by the schemas."""
    return schema_faults_of_text(json.dumps(thing))


@functools.cache
def schema_faults_of_text(text):
    thing = json.loads(text)
    own = HERE / "schemas" / f"{thing['kind']}.json"
    if own.exists():
        validator = jsonschema.Draft7Validator(json.loads(own.read_text(encoding="utf-8")))
        return [f"{name(thing)}: {error.json_path}: {error.message}" for error in validator.iter_errors(thing)]
    faults = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            faults.append(f"{name(thing)}: Kubernetes {version} has no {thing['apiVersion']} {thing['kind']}")
        except kubernetes_validate.ValidationError as error:
            faults.append(f"{name(thing)}: Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}")
    return faults


def pod_of(thing):
    """The pod template of a workload, or nothing."""
    spec = thing.get("spec", {})
    return spec.get("jobTemplate", {}).get("spec", spec).get("template")


def containers_of(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)(s|m|h)", duration).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def pod_faults(thing):
    """Least rights, as the Pod Security Standard `restricted` asks and a little more."""
    pod = pod_of(thing)["spec"]
    context = pod.get("securityContext", {})
    wanted = {
        # Without a number the cluster chooses one, as OpenShift wants it, and root is refused all the same.
        "runs as root": context.get("runAsNonRoot") is True and context.get("runAsUser", 1) > 0,
        "lacks seccomp": context.get("seccompProfile") == {"type": "RuntimeDefault"},
        "mounts a token": pod.get("automountServiceAccountToken") is False,
        "runs as the default service account": bool(pod.get("serviceAccountName")),
        "may come to a node of another architecture than the image's": "kubernetes.io/arch" in pod.get("nodeSelector", {}),
        "is told of services": pod.get("enableServiceLinks") is False,
    }
    for container in containers_of(pod_of(thing)):
        own, resources = container.get("securityContext", {}), container.get("resources", {})
        wanted |= {
            f"{container['name']} may escalate": own.get("allowPrivilegeEscalation") is False,
            f"{container['name']} may write its root": own.get("readOnlyRootFilesystem") is True,
            f"{container['name']} keeps capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            f"{container['name']} requests too little": {"cpu", "memory", "ephemeral-storage"} <= resources.get("requests", {}).keys(),
            f"{container['name']} has no memory limit": "memory" in resources.get("limits", {}),
            f"{container['name']} has no limit of ephemeral storage": "ephemeral-storage" in resources.get("limits", {}),
            f"{container['name']} overrides the context": not {"runAsUser", "privileged"} & own.keys(),
        }
    return [f"{name(thing)} {fault}" for fault, holds in wanted.items() if not holds]


def authority_faults(thing):
    """Each container may be given certificate authorities by one ConfigMap, and each pod starts without it."""
    pod = pod_of(thing)["spec"]
    optional = {"name": "posthog-export-ca", "optional": True}
    volumes = [volume["name"] for volume in pod.get("volumes", []) if volume.get("configMap") == optional]
    if len(volumes) != 1:
        return [f"{name(thing)}: no volume is the ConfigMap posthog-export-ca, if there is one"]
    mount = {"name": volumes[0], "mountPath": AUTHORITIES, "readOnly": True}
    without = [container["name"] for container in containers_of(pod_of(thing)) if mount not in container.get("volumeMounts", [])]
    return [f"{name(thing)}: {container} sees no {AUTHORITIES}" for container in without]


def paths_of_secrets(pod, example):
    """The files in each volume that is a Secret: those it names, or else all keys of the Secret."""
    keys_of = {secret["metadata"]["name"]: set(secret["stringData"]) for secret in example}
    paths = {}
    for volume in pod.get("volumes", []):
        if "secret" in volume:
            there = keys_of.get(volume["secret"]["secretName"], set())
            items = volume["secret"].get("items", [{"key": key, "path": key} for key in there])
            paths[volume["name"]] = {item["path"] for item in items if item["key"] in there}
    return paths


def environment_faults(thing, objects, example, known):
    """Each variable is one that the programs read, no secret stands in a ConfigMap, each file is a key of its Secret, and no
    container sees a key that it does not read."""
    pod = pod_of(thing)["spec"]
    paths_of = paths_of_secrets(pod, example)
    maps = {config["metadata"]["name"]: config["data"] for config in of_kind(objects, "ConfigMap")}
    faults = []
    for container in containers_of(pod_of(thing)):
        settings = {}
        for source in container.get("envFrom", []):
            settings |= maps[source["configMapRef"]["name"]]
        faults += [f"{variable} is no variable of the programs" for variable in settings.keys() - known["variables"]]
        faults += [f"{variable} is a secret" for variable in settings.keys() & known["secrets"]]
        files = {
            f"{mount['mountPath']}/{path}"
            for mount in container.get("volumeMounts", [])
            for path in paths_of.get(mount["name"], ())
        }
        read = {entry.get("value") for entry in container.get("env", [])}
        faults += [f"{container['name']} sees {file}, which it does not read" for file in sorted(files - read)]
        for entry in container.get("env", []):
            variable, value = entry["name"], entry.get("value")
            if variable.removesuffix("_FILE") not in known["secrets"] or not variable.endswith("_FILE"):
                faults.append(f"{variable} is no NAME_FILE of a secret of the programs")
            elif value not in files:
                faults.append(f"{variable}: no Secret of secrets.example.yaml has {value}")
        if "worker" in container["args"]:
            grace = pod.get("terminationGracePeriodSeconds", 30)
            if grace < seconds(settings.get("SHUTDOWN_GRACE", known["grace"])) + 5:
                faults.append(f"terminationGracePeriodSeconds {grace} leaves no room for SHUTDOWN_GRACE")
    return [f"{name(thing)}: {fault}" for fault in faults]


def worker_faults(worker, known):
    """Probes ask for what is served; a rolling update keeps all workers."""
    container = pod_of(worker)["spec"]["containers"][0]
    paths = {probe: container.get(probe, {}).get("httpGet", {}).get("path") for probe in ("livenessProbe", "readinessProbe")}
    update = worker["spec"].get("strategy", {}).get("rollingUpdate")
    wanted = {
        "a probe's path is not served": set(paths.values()) <= known["paths"],
        "liveness is not /livez": paths["livenessProbe"] == "/livez",
        "readiness is not /readyz": paths["readinessProbe"] == "/readyz",
        "an update takes workers away first": update == {"maxUnavailable": 0, "maxSurge": 1},
    }
    return [f"{name(worker)}: {fault}" for fault, holds in wanted.items() if not holds]


def selects(selector, labels):
    return selector["matchLabels"].items() <= labels.items()


def nat64_faults(policy):
    """What is closed by IPv4 is closed by NAT64, which puts the same address into the last 32 bits."""
    blocks = [to["ipBlock"] for rule in policy["spec"].get("egress", []) for to in rule.get("to", []) if "ipBlock" in to]
    closed = {block["cidr"]: {ipaddress.ip_network(cidr) for cidr in block.get("except", [])} for block in blocks}
    wanted = {
        ipaddress.ip_network((int(NAT64.network_address) + int(network.network_address), 96 + network.prefixlen))
        for network in closed.get("0.0.0.0/0", ())
    }
    if closed.get(str(NAT64), wanted) != wanted:
        return [f"{name(policy)}: NAT64 is not closed as IPv4 is"]
    return []


def dns_faults(policy):
    """Names are asked for at pods of the cluster and at addresses of the node, which no selector of pods finds; at port 53 only,
    because one of them is also the address of the cloud's metadata."""
    rules = [rule for rule in policy["spec"].get("egress", []) if any(port["port"] == 53 for port in rule.get("ports", []))]
    places = [to for rule in rules for to in rule.get("to", [])]
    blocks = {to["ipBlock"]["cidr"] for to in places if "ipBlock" in to}
    faults = [f"{name(policy)}: no names from {cidr}" for cidr in sorted(DNS_ON_NODES - blocks)]
    if not any("namespaceSelector" in to for to in places):
        faults.append(f"{name(policy)}: no names from the cluster's DNS pods")
    for rule in rules:
        if {(port.get("protocol"), port["port"]) for port in rule["ports"]} != {("UDP", 53), ("TCP", 53)}:
            faults.append(f"{name(policy)}: the rule for names is for 53, UDP and TCP, and no other port")
    return faults


def reference_faults(objects, known):
    """What one object says of another."""
    pods = {thing["metadata"]["name"]: pod_of(thing)["metadata"]["labels"] for thing in objects if pod_of(thing)}
    worker = workers_of(objects)[0]
    ports = {port["name"] for port in pod_of(worker)["spec"]["containers"][0]["ports"]}
    faults = []
    for thing in of_kind(objects, "PodDisruptionBudget") + of_kind(objects, "PodMonitor"):
        selected = {pod for pod, labels in pods.items() if selects(thing["spec"]["selector"], labels)}
        if selected != {worker["metadata"]["name"]}:
            faults.append(f"{name(thing)} selects {selected or 'nothing'}")
    for thing in of_kind(objects, "NetworkPolicy"):
        if not any(selects(thing["spec"]["podSelector"], labels) for labels in pods.values()):
            faults.append(f"{name(thing)} selects nothing")
        # One that was left out could call whom it likes.
        if thing["metadata"]["name"] == "posthog-export":
            left = [pod for pod, labels in pods.items() if not selects(thing["spec"]["podSelector"], labels)]
            faults += [f"{name(thing)} does not select the pods of {pod}" for pod in left]
            faults += dns_faults(thing)
        faults += nat64_faults(thing)
    for thing in of_kind(objects, "PodMonitor"):
        faults += [f"{name(thing)}: no port {end['port']}" for end in thing["spec"]["podMetricsEndpoints"] if end["port"] not in ports]
        faults += [f"{name(thing)}: {end['path']} is not served" for end in thing["spec"]["podMetricsEndpoints"] if end["path"] not in known["paths"]]
    authentications = {thing["metadata"]["name"] for thing in of_kind(objects, "TriggerAuthentication")}
    settings = of_kind(objects, "ConfigMap")[0]["data"]
    jobs = int(settings.get("WORKER_CONCURRENCY", known["jobs"])) + int(settings.get("BACKFILL_CONCURRENCY", known["backfill"]))
    for thing in of_kind(objects, "ScaledObject"):
        # Three for each job, and one more worker while an update runs.
        connections = 3 * jobs * (thing["spec"]["maxReplicaCount"] + 1)
        if connections + OTHER_CONNECTIONS > known["connections"]:
            faults.append(f"{name(thing)}: {connections} connections are too many for deploy/sql/reader.sql")
        if thing["spec"]["scaleTargetRef"]["name"] != worker["metadata"]["name"] or "replicas" in worker["spec"]:
            faults.append(f"{name(thing)}: not the one who says how many workers there are")
        for trigger in thing["spec"]["triggers"]:
            if trigger["metadata"]["queueName"] not in known["queues"]:
                faults.append(f"{name(thing)}: there is no queue {trigger['metadata']['queueName']}")
            if trigger["metadata"]["queueName"] == "posthog-export.jobs" and trigger["metadata"]["value"] != settings.get("WORKER_CONCURRENCY", known["jobs"]):
                faults.append(f"{name(thing)}: value {trigger['metadata']['value']} is not WORKER_CONCURRENCY")
            if trigger["metadata"]["protocol"] != "http":
                faults.append(f"{name(thing)}: only http counts the jobs at work")
            if trigger["authenticationRef"]["name"] not in authentications:
                faults.append(f"{name(thing)}: no such authentication")
    documented = {entry["user"]: entry for entry in json.loads(read("deploy/rabbitmq/permissions.json"))["permissions"]}
    for thing in of_kind(objects, "Permission"):
        spec = thing["spec"]
        if documented.get(spec["user"]) != {"user": spec["user"], "vhost": spec["vhost"], **spec["permissions"]}:
            faults.append(f"{name(thing)} differs from deploy/rabbitmq/permissions.json")
    return faults


def kept_faults(settings):
    """Pods of the settings before are there until those of the new ones are ready, and one that starts again needs its own."""
    annotations = settings["metadata"].get("annotations", {})
    return [f"{name(settings)}: {by} would prune it too early" for by, (key, value) in KEPT.items() if annotations.get(key) != value]


def first_export_faults(objects, text):
    """A long history is held back, as nobody can be asked in the cluster. An overlay that approves it, for every project, says
    that somebody has counted it."""
    if re.search(r"#.*\bcounted\b", text):
        return []
    faults = []
    maps = {config["metadata"]["name"]: config["data"] for config in of_kind(objects, "ConfigMap")}
    for thing in of_kind(objects, "CronJob"):
        for container in containers_of(pod_of(thing)):
            settings = {key for source in container.get("envFrom", []) for key in maps[source["configMapRef"]["name"]]}
            if "enqueue" in container["args"] and ("BACKFILL_DAYS" in settings or "--yes" in container["args"]):
                faults.append(f"{name(thing)}: approves first exports, and no comment of kustomization.yaml says that they were counted")
    return faults


def overlay_faults(directory, objects):
    """An overlay says where the image is and puts everything into its own namespace; Secrets are not ours to render."""
    faults = []
    namespaces = {thing["metadata"]["name"] for thing in of_kind(objects, "Namespace")}
    for thing in objects:
        if pod_of(thing):
            images = {container["image"] for container in containers_of(pod_of(thing))}
            placed = not any(image.startswith(NOWHERE) for image in images)
            if len(images) != 1 or placed != (directory != "base"):
                faults.append(f"{name(thing)}: images {images}")
            for container in containers_of(pod_of(thing)):
                moves = placed and not STAYS.search(container["image"])
                if moves and container.get("imagePullPolicy") != "Always":
                    faults.append(f"{name(thing)}: {container['name']}: a tag that moves is not always pulled")
        if thing["kind"] == "Namespace":
            labels = thing["metadata"].get("labels", {})
            for label, value in POD_SECURITY.items():
                if labels.get(f"pod-security.kubernetes.io/{label}") != value:
                    faults.append(f"{name(thing)}: pod-security.kubernetes.io/{label} is not {value}")
        if thing["kind"] == "CronJob" and thing["spec"].get("suspend") is not False:
            faults.append(f"{name(thing)}: no apply starts it again after it was suspended")
        if thing["kind"] == "ConfigMap":
            faults += kept_faults(thing)
        if thing["kind"] == "Secret":
            faults.append(f"{name(thing)} is rendered")
        if directory != "base" and thing["kind"] != "Namespace" and thing["metadata"].get("namespace") not in namespaces:
            faults.append(f"{name(thing)} lies in no namespace of the overlay")
        if directory != "base" and thing["kind"] == "PrometheusRule":
            addresses = {rule["annotations"]["runbook_url"] for group in thing["spec"]["groups"] for rule in group["rules"]}
            faults += [f"{name(thing)}: {address} leads nowhere" for address in addresses if not re.fullmatch(r"https://\S+#alert-\w+", address)]
        if thing["kind"] == "ServiceAccount" and thing.get("automountServiceAccountToken") is not False:
            faults.append(f"{name(thing)} hands out a token")
    if directory != "base":
        faults += first_export_faults(objects, (HERE / directory / "kustomization.yaml").read_text(encoding="utf-8"))
    return faults


def faults_of(directory, objects, example, known):
    """Everything that is wrong with what a directory renders to."""
    faults = overlay_faults(directory, objects)
    for thing in objects:
        faults += schema_faults(thing)
        if pod_of(thing):
            faults += pod_faults(thing) + authority_faults(thing) + environment_faults(thing, objects, example, known)
    for worker in workers_of(objects):
        faults += worker_faults(worker, known)
    faults += reference_faults(objects, known) + secret_faults(example, known, objects)
    return [f"{directory}: {fault}" for fault in faults]


def forgotten_files():
    """A manifest that no kustomization names is never applied."""
    faults = []
    for kustomization in HERE.glob("**/kustomization.yaml"):
        named = set(yaml.safe_load(kustomization.read_text(encoding="utf-8")).get("resources", []))
        there = {path.name for path in kustomization.parent.glob("*.yaml")} - {kustomization.name}
        faults += [f"{kustomization.parent.relative_to(HERE)}: {path} is named by no kustomization" for path in there - named]
    return faults


def secret_faults(example, known, objects):
    """Each key of a Secret that a pod mounts is a secret of the programs, and each Secret that is named is there."""
    keys_of = {secret["metadata"]["name"]: set(secret["stringData"]) for secret in example}
    mounted = {
        volume["secret"]["secretName"]
        for thing in objects
        if pod_of(thing)
        for volume in pod_of(thing)["spec"].get("volumes", [])
        if "secret" in volume
    }
    named = mounted | {
        target["name"] for thing in of_kind(objects, "TriggerAuthentication") for target in thing["spec"]["secretTargetRef"]
    }
    faults = [f"secrets.example.yaml has no {missing}" for missing in sorted(named - keys_of.keys())]
    for secret in sorted(mounted & keys_of.keys()):
        faults += [f"secrets.example.yaml: {secret}: {key} is no secret of the programs" for key in keys_of[secret] - known["secrets"]]
    return faults


def document_faults(text, objects):
    """What the documents' kubectl commands name is there, or was made by one of them."""
    commands = "\n".join(line for line in text.splitlines() if "kubectl" in line)
    kinds = {"deploy": "Deployment", "job": "Job", "cronjob": "CronJob"}
    there = {name(thing) for thing in objects} | {f"Job {made}" for made in re.findall(r"create job (?:--\S+ )*([a-z-]+)", commands)}
    named = {f"{kinds[kind]} {called}" for kind, called in re.findall(r"\b(deploy|job|cronjob)/([a-z-]+)\b(?!/)", commands)}
    named |= {f"Job {called}" for called in re.findall(r"delete job ([a-z-]+)", commands)}
    faults = [f"docs: there is no {thing}" for thing in sorted(named - there)]
    # A Job that belongs to the CronJob counts in its history, which then loses the nightly one.
    made = [line for line in text.splitlines() if "--from=cronjob/" in line]
    if any("--dry-run=client" not in line for line in made) or text.count("del(.metadata.ownerReferences") < len(made):
        faults.append("docs: a Job made --from=cronjob keeps its owner")
    containers = {container["name"] for cron in of_kind(objects, "CronJob") for container in containers_of(pod_of(cron))}
    said = set(re.findall(r'--container=([a-z-]+)', text) + re.findall(r'select\(\.name == "([a-z-]+)"\)', text))
    faults += [f"docs: the CronJob has no container {called}" for called in sorted(said - containers)]
    return faults


def in_order(text, steps):
    """Whether each step stands in a block of commands, the first time that it does after the one before."""
    commands = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    places = [commands.find(step) for step in steps]
    return -1 not in places and places == sorted(places)


def install_faults(text, example):
    """The documents name each Secret, and have the namespace applied before them, and them before the pods that wait for them;
    and the nights begin when somebody has counted what they send."""
    called = [secret["metadata"]["name"] for secret in example]
    faults = [f"docs/KUBERNETES.md does not name the Secret {secret}" for secret in called if f"`{secret}`" not in text]
    secrets = "--namespace posthog-export apply --filename=secrets"
    if not in_order(text, ["/namespace.yaml", secrets, APPLY_SUSPENDED, WAIT, COUNT, APPLY]):
        faults.append("docs/KUBERNETES.md: namespace, Secrets, the rest without the nights, the count and the nights are not in this order")
    return faults


def upgrade_faults(text):
    """No producer of the new release publishes before its workers run."""
    if not in_order(text, ["delete job posthog-export-setup", APPLY_SUSPENDED, WAIT, "rollout status", APPLY]):
        return ["docs/UPGRADE.md: the Job, the rest without the CronJobs, the workers and the CronJobs are not in this order"]
    return []


def main():
    known = programs_know()
    example = list(yaml.safe_load_all((HERE / "secrets.example.yaml").read_text(encoding="utf-8")))
    faults = forgotten_files() + [fault for secret in example for fault in schema_faults(secret)]
    everything = []
    for directory in ["base", *sorted(f"overlays/{path.name}" for path in (HERE / "overlays").iterdir())]:
        objects = render(directory)
        everything += objects
        faults += faults_of(directory, objects, example, known)
    faults += document_faults(documents(), everything) + install_faults(read("docs/KUBERNETES.md"), example)
    faults += upgrade_faults(read("docs/UPGRADE.md"))
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(everything)} objects, Kubernetes {', '.join(VERSIONS)}: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
