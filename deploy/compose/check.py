#!/usr/bin/env python3
"""Checks docker-compose.yml without an engine: that each container has no more rights than it needs, and comes back by itself.

What is a field and what is not, dclint knows.
"""

import sys
from pathlib import Path

import yaml

FILE = Path(__file__).resolve().parent.parent.parent / "docker-compose.yml"
# Their data lie in volumes; what else these images write to is theirs to change.
MAY_WRITE = {"rabbitmq", "grafana"}
# Images that begin as root, change the owner of their data and then give root up; who begins as their user needs no such right.
BEGIN_AS_ROOT = {"postgres", "rabbitmq"}


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
        "has no memory limit": "mem_limit" in service,
        "may write its root": service.get("read_only") is True or called in MAY_WRITE,
        "begins as root": service.get("user") == image or image not in BEGIN_AS_ROOT,
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
