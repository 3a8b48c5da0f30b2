#!/usr/bin/env python3
"""Checks docker-compose.yml without an engine: that each container has no more rights than it needs, and comes back by itself.

What is a field and what is not, dclint knows.
"""

import re
import sys
from pathlib import Path

import yaml

FILE = Path(__file__).resolve().parent.parent.parent / "docker-compose.yml"
# Their data lie in volumes; what else these images write to is theirs to change.
MAY_WRITE = {"rabbitmq", "grafana"}
# Images that begin as root, change the owner of their data and then give root up; who begins as their user needs no such right.
BEGIN_AS_ROOT = {"postgres", "rabbitmq"}
# What lets a container out of its own namespaces.
SHARED = {"network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup", "devices"}
# Whoever reaches the engine's socket has the machine; the directories that hold it count, too.
SOCKET = re.compile(r"(docker|podman|containerd)\.sock$|^(/|/run|/var|/var/run)/?$")
# What these images write to when their root is closed.
WRITES_TO = {"postgres": {"/tmp", "/var/run/postgresql"}}
UNITS = {"": 1, "b": 1, "k": 1024, "kb": 1024, "m": 1024**2, "mb": 1024**2, "g": 1024**3, "gb": 1024**3}


def size(text):
    """In bytes, as Compose reads it; 0, which is no limit to Compose, for what is no size."""
    found = re.fullmatch(r"(\d+)([a-z]*)", str(text).lower())
    return int(found[1]) * UNITS.get(found[2], 0) if found else 0


def is_root(user):
    """By name or number, with or without a group."""
    user = str(user).split(":")[0]
    return user == "root" or (user.isdigit() and int(user) == 0)


def sources(service):
    """What of the machine a service mounts, in the short form and in the long one."""
    mounts = service.get("volumes", [])
    return [mount.get("source", "") if isinstance(mount, dict) else mount.split(":")[0] for mount in mounts]


def watermark(service):
    """Where a RabbitMQ blocks publishers, in bytes, by the files that it mounts; 0 when none of them says so."""
    found = 0
    for mount in service.get("volumes", []):
        parts = str(mount).split(":")
        if len(parts) == 3 and parts[1].startswith("/etc/rabbitmq/conf.d/") and parts[1].endswith(".conf") and parts[2] == "ro":
            text = (FILE.parent / parts[0]).read_text(encoding="utf-8")
            says = re.search(r"^vm_memory_high_watermark\.absolute *= *(\d+)MB$", text, re.MULTILINE)
            found = int(says[1]) * 1000**2 if says else found
    return found


def ends(called, services):
    """Whether others wait for a service to end."""
    waits = [service.get("depends_on", {}).get(called, {}) for service in services.values()]
    return any(wait.get("condition") == "service_completed_successfully" for wait in waits)


def service_faults(called, services):
    service = services[called]
    image, _, tag = service.get("image", "").partition(":")
    wanted = {
        "keeps capabilities": service.get("cap_drop") == ["ALL"] and "cap_add" not in service,
        "may gain privileges": service.get("security_opt") == ["no-new-privileges:true"] and "privileged" not in service,
        "has no memory limit": size(service.get("mem_limit", 0)) > 0,
        "may write its root": service.get("read_only") is True or called in MAY_WRITE,
        "cannot write where its image does": WRITES_TO.get(image, set()) <= {str(place).split(":")[0] for place in service.get("tmpfs", [])},
        "begins as root": service.get("user") == image or (image not in BEGIN_AS_ROOT and not is_root(service.get("user", ""))),
        "leaves its namespaces": not SHARED & service.keys(),
        "reaches the engine's socket": not any(SOCKET.search(source) for source in sources(service)),
        "blocks publishers too late": image != "rabbitmq" or 0 < watermark(service) <= 0.7 * size(service.get("mem_limit", 0)),
        "does not come back": service.get("restart") == "unless-stopped" or ends(called, services),
        "listens beyond loopback": all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])),
        "has an image whose tag moves": "build" in service or tag not in {"", "latest"},
    }
    return [f"{called} {fault}" for fault, holds in wanted.items() if not holds]


def faults_of(compose):
    services = compose["services"]
    return [fault for called in services for fault in service_faults(called, services)]


def main():
    compose = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    faults = faults_of(compose)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(compose['services'])} services: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
