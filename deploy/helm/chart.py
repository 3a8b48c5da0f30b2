#!/usr/bin/env python3
"""Makes the chart out of deploy/k8s/base, so that there is no second truth: `KUBECTL=kubectl deploy/helm/chart.py`.

The rendered base becomes the chart's template, with a value in place of what an overlay would set. With `--check`, and HELM=helm,
nothing is written: the chart must be the one that is made, and with its default values and an image `helm template` must give the
objects that `kubectl kustomize` gives of the base, each equal.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHART = HERE / "posthog-export"

# The settings' name ends in a hash of what they hold; kustomize and Helm do not make the same one.
HASHED = re.compile(r"^posthog-export-[a-z0-9]{10}$")
# The base's placeholder, which the chart refuses; and what the check sets instead.
NOWHERE = "registry.invalid/"
IMAGE = "registry.example.com/posthog-export:0.1.0"
WORKER = ("Deployment", "posthog-export-worker")
ENQUEUE = ("CronJob", "posthog-export-enqueue")
SETUP = ("Job", "posthog-export-setup")
WORKER_CONTAINER = ("spec", "template", "spec", "containers", 0)
ENQUEUE_CONTAINER = ("spec", "jobTemplate", "spec", "template", "spec", "containers", 0)

HEADER = "# Written by deploy/helm/chart.py from deploy/k8s/base, and held equal to it by `.ci/run k8s`; change it there.\n"

# What the values mean, and where in the base each has its default.
VALUES = """\
# The image, by the digest of what was pushed or by its tag. This placeholder is refused.
image: {image}
# If your registry needs a password: [{{name: …}}]
imagePullSecrets: []

# Environment variables of all programs: docs/CONFIGURATION.md. Each value is a text: put numbers, on and off in quotes. LANGFUSE_URL
# wants a value of yours. Secrets are none of them: deploy/k8s/secrets.example.yaml says which Secrets must be there.
settings:
{settings}
worker:
  # null leaves the number to an autoscaler of yours.
  replicas: {replicas}
  resources:
{worker_resources}
# Publishes the jobs of each night.
enqueue:
  # true while you count before the first night, and during an upgrade (docs/UPGRADE.md).
  suspend: false
  schedule: {schedule}
  args:
{enqueue_args}
# For all pods.
podLabels: {{}}
podAnnotations: {{}}
nodeSelector:
{node_selector}tolerations: []
"""

# Before anything is rendered.
REFUSED = """\
{{- if or (not .Values.image) (hasPrefix "registry.invalid/" .Values.image) }}
{{- fail "image: set it to your image, for example --set image=registry.example.com/posthog-export:0.1.0" }}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- if not (kindIs "string" $value) }}
{{- fail (printf "settings.%s must be a text: put it in quotes in a file of values, or use --set-string" $name) }}
{{- end }}
{{- end }}
"""

# Takes the place of a line, with its indentation and what stood after the mark.
LINES = {
    "MARK_REPLICAS": """\
{{{{- if not (kindIs "invalid" .Values.worker.replicas) }}}}
{indent}replicas: {{{{ .Values.worker.replicas }}}}
{{{{- end }}}}""",
    "MARK_LABELS": "{{{{- with .Values.podLabels }}}}{{{{ toYaml . | nindent {spaces} }}}}{{{{- end }}}}",
    "MARK_ANNOTATIONS": """\
{{{{- with .Values.podAnnotations }}}}
{indent}annotations:
{{{{- toYaml . | nindent {more} }}}}
{{{{- end }}}}""",
    "MARK_POD": "\n".join(
        f"""\
{{{{{{{{- with .Values.{name} }}}}}}}}
{{indent}}{name}:
{{{{{{{{- toYaml . | nindent {{more}} }}}}}}}}
{{{{{{{{- end }}}}}}}}"""
        for name in ("imagePullSecrets", "nodeSelector", "tolerations")
    ),
}

NOTES = """\
{{- /* Written by deploy/helm/chart.py; change it there. */ -}}
Now look:

  kubectl --namespace {{ .Release.Namespace }} wait --for=condition=complete job/MARK_SETUP --timeout=10m
  kubectl --namespace {{ .Release.Namespace }} rollout status deploy/posthog-export-worker
  kubectl --namespace {{ .Release.Namespace }} exec deploy/posthog-export-worker -- producer doctor

Pods that stay in ContainerCreating usually lack a Secret: deploy/k8s/secrets.example.yaml.
{{- if .Release.IsInstall }}

The first night publishes at {{ .Values.enqueue.schedule | quote }} UTC. Count before what it would send: docs/KUBERNETES.md.
{{- end }}
"""

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}


def schema():
    """What the values may be. The texts of the settings are looked at by the template, which says what to do."""

    def an_object(**properties):
        return {"type": "object", "additionalProperties": False, "properties": properties}

    source = (ROOT / "shared/src/settings/variables.rs").read_text(encoding="utf-8")
    variables = sorted(re.findall(r'\bvariable ([A-Z_]+) "', source))
    # These two select the pods.
    selecting = {"pattern": r"^app\.kubernetes\.io/(name|component)$"}
    values = an_object(
        image={"type": "string"},
        imagePullSecrets={"type": "array", "items": an_object(name={"type": "string"})},
        settings={"type": "object", "propertyNames": {"enum": variables}},
        worker=an_object(
            replicas={"type": ["integer", "null"], "minimum": 0},
            resources=an_object(limits=QUANTITIES, requests=QUANTITIES),
        ),
        enqueue=an_object(
            suspend={"type": "boolean"},
            schedule={"type": "string"},
            args={"type": "array", "items": {"type": "string"}, "minItems": 1},
        ),
        podLabels=TEXTS | {"propertyNames": {"not": selecting}},
        podAnnotations=TEXTS,
        nodeSelector=TEXTS,
        tolerations={"type": "array", "items": {"type": "object"}},
        # A chart that has this one as a part of it hands this down.
        **{"global": {"type": "object"}},
    )
    return {"$schema": "http://json-schema.org/draft-07/schema#", "$comment": HEADER.strip("# \n")} | values


def at(thing, path):
    for part in path:
        thing = thing[part]
    return thing


def render():
    """The base, as kustomize renders it."""
    command = [os.environ.get("KUBECTL", "kubectl"), "kustomize", str(ROOT / "deploy/k8s/base")]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def find(objects, kind, name):
    (found,) = [thing for thing in objects if (thing["kind"], thing["metadata"]["name"]) == (kind, name)]
    return found


def pod_of(thing):
    spec = thing.get("spec", {})
    return spec.get("jobTemplate", {}).get("spec", spec).get("template")


def indented(value, spaces):
    text = yaml.safe_dump(value, sort_keys=False)
    return "".join(f"{' ' * spaces}{line}\n" for line in text.splitlines())


def make(objects):
    """The files of the chart, by their names. Each mark is a word that stands where an expression will."""
    (settings,) = [thing for thing in objects if thing["kind"] == "ConfigMap"]
    worker, enqueue, setup = find(objects, *WORKER), find(objects, *ENQUEUE), find(objects, *SETUP)
    image = at(worker, WORKER_CONTAINER)["image"]
    values = VALUES.format(
        image=image,
        settings=indented(settings["data"], 2),
        replicas=worker["spec"]["replicas"],
        worker_resources=indented(at(worker, WORKER_CONTAINER)["resources"], 4),
        node_selector=indented(at(worker, ("spec", "template", "spec"))["nodeSelector"], 2),
        schedule=yaml.safe_dump(enqueue["spec"]["schedule"], default_style='"').strip(),
        enqueue_args=indented(at(enqueue, ENQUEUE_CONTAINER)["args"], 4),
    )
    expressions = {
        "MARK_IMAGE": "{{ .Values.image | quote }}",
        "MARK_SETTINGS_NAME": "posthog-export-{{ .Values.settings | toJson | sha256sum | trunc 10 }}",
        "MARK_SETTINGS": "\n{{- range $name, $value := .Values.settings }}\n  {{ $name }}: {{ $value | quote }}\n{{- end }}",
        "MARK_RESOURCES": "\n{{- toYaml .Values.worker.resources | nindent 10 }}",
        "MARK_SUSPEND": "{{ .Values.enqueue.suspend }}",
        "MARK_SCHEDULE": "{{ .Values.enqueue.schedule | quote }}",
        "MARK_ARGS": "\n{{- toYaml .Values.enqueue.args | nindent 12 }}",
        # A Job cannot be changed: each upgrade has its own, and Helm takes the one before away.
        "MARK_SETUP": "posthog-export-setup{{ if gt .Release.Revision 1 }}-{{ .Release.Revision }}{{ end }}",
    }

    def marked(thing):
        if isinstance(thing, dict):
            return {key: marked(value) for key, value in thing.items()}
        if isinstance(thing, list):
            return [marked(value) for value in thing]
        if thing == image:
            return "MARK_IMAGE"
        return "MARK_SETTINGS_NAME" if isinstance(thing, str) and HASHED.match(thing) else thing

    marks = marked(objects)
    (settings,) = [thing for thing in marks if thing["kind"] == "ConfigMap"]
    settings["data"] = "MARK_SETTINGS"
    worker, enqueue, setup = find(marks, *WORKER), find(marks, *ENQUEUE), find(marks, *SETUP)
    selector = dict(worker["spec"]["template"]["spec"]["nodeSelector"])
    for thing in marks:
        if pod_of(thing):
            assert "annotations" not in pod_of(thing)["metadata"], "podAnnotations would be a second list"
            pod_of(thing)["metadata"]["labels"]["MARK_LABELS"] = None
            pod_of(thing)["metadata"]["MARK_ANNOTATIONS"] = None
            assert pod_of(thing)["spec"].pop("nodeSelector") == selector, "one value is for all pods"
            pod_of(thing)["spec"]["MARK_POD"] = None
    worker["spec"] = {"MARK_REPLICAS" if key == "replicas" else key: value for key, value in worker["spec"].items()}
    at(worker, WORKER_CONTAINER)["resources"] = "MARK_RESOURCES"
    enqueue["spec"]["suspend"] = "MARK_SUSPEND"
    enqueue["spec"]["schedule"] = "MARK_SCHEDULE"
    at(enqueue, ENQUEUE_CONTAINER)["args"] = "MARK_ARGS"
    setup["metadata"]["name"] = "MARK_SETUP"
    template = yaml.safe_dump_all(marks, sort_keys=False, width=1000)
    assert "{{" not in template, "the base holds what Helm would take for an expression"
    for mark in sorted(expressions, key=len, reverse=True):
        before = r" ?" if expressions[mark].startswith("\n") else ""
        template, count = re.subn(f"{before}\\b{mark}\\b", lambda _, mark=mark: expressions[mark], template)
        assert count, f"{mark} stands nowhere"
    for mark, lines in LINES.items():
        def put(found, lines=lines):
            spaces = len(found[1])
            return lines.format(indent=found[1], spaces=spaces, more=spaces + 2)

        template, count = re.subn(rf"^( *){mark}: .*$", put, template, flags=re.MULTILINE)
        assert count, f"{mark} stands nowhere"
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
    chart = {
        "apiVersion": "v2",
        "name": "posthog-export",
        "description": "Exports Langfuse traces, generations and scores to PostHog, one day of one project at a time",
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": ">=1.29.0-0",
    }
    return {
        "Chart.yaml": HEADER + yaml.safe_dump(chart, sort_keys=False, width=1000),
        "values.yaml": HEADER + values,
        "values.schema.json": json.dumps(schema(), indent=2) + "\n",
        "templates/all.yaml": HEADER + REFUSED + template,
        "templates/NOTES.txt": NOTES.replace("MARK_SETUP", expressions["MARK_SETUP"]),
    }


def helm(chart, *arguments):
    """What Helm makes of a chart with an image and otherwise its default values, or those that are given."""
    # Helm cannot overwrite a text by a part of an image.
    image = [] if any(re.match("image[.=]", words) for words in arguments) else [f"--set=image={IMAGE}"]
    command = [os.environ.get("HELM", "helm"), "template", "posthog-export", str(chart), *image, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return [thing for thing in yaml.safe_load_all(done.stdout) if thing]


def comparable(thing):
    """The same, with no hash in the settings' name, and with the image that the check sets."""
    if isinstance(thing, dict):
        return {key: comparable(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [comparable(value) for value in thing]
    if isinstance(thing, str) and thing.startswith(NOWHERE):
        return IMAGE
    return "posthog-export-HASH" if isinstance(thing, str) and HASHED.match(thing) else thing


def differences(wanted, found):
    """Objects that are not in both, or not the same."""

    def by_name(objects):
        return {f"{thing['kind']} {thing['metadata']['name']}": thing for thing in map(comparable, objects)}

    wanted, found = by_name(wanted), by_name(found)
    return (
        [f"the chart lacks {name}" for name in sorted(wanted.keys() - found.keys())]
        + [f"only the chart has {name}" for name in sorted(found.keys() - wanted.keys())]
        + [f"{name} is another in the chart" for name in sorted(wanted.keys() & found.keys()) if wanted[name] != found[name]]
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--check", action="store_true", help="write nothing, and compare")
    checks = arguments.parse_args().check
    objects = render()
    faults = []
    for name, text in make(objects).items():
        path = CHART / name
        if not checks:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            faults.append(f"deploy/helm/posthog-export/{name} is not what deploy/helm/chart.py makes: run it")
    if checks:
        subprocess.run([os.environ.get("HELM", "helm"), "lint", "--strict", "--quiet", f"--set=image={IMAGE}", str(CHART)], check=True)
        faults += differences(objects, helm(CHART))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
