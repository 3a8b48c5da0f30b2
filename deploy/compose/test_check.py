"""Plants faults in docker-compose.yml, and looks whether check.py finds each: `python3 -m unittest discover deploy/compose`."""

import copy
import unittest

import yaml

import check

COMPOSE = yaml.safe_load(check.FILE.read_text(encoding="utf-8"))

# In which service, which key, its new value, and what the finding must say. `None` takes the key away.
PLANTED = [
    ("postgres", "cap_drop", None, "keeps capabilities"),
    ("rabbitmq", "cap_add", ["CHOWN"], "keeps capabilities"),
    ("worker", "cap_drop", ["NET_RAW"], "keeps capabilities"),
    ("fake-posthog", "security_opt", None, "may gain privileges"),
    ("grafana", "privileged", True, "may gain privileges"),
    ("worker", "mem_limit", None, "has no memory limit"),
    ("worker", "mem_limit", 0, "has no memory limit"),
    ("worker", "mem_limit", "0g", "has no memory limit"),
    ("worker", "mem_limit", -1, "has no memory limit"),
    ("worker", "mem_limit", "much", "has no memory limit"),
    ("rabbitmq", "mem_limit", "640m", "blocks publishers too late"),
    ("rabbitmq", "volumes", ["rabbitmq:/var/lib/rabbitmq"], "blocks publishers too late"),
    ("rabbitmq", "volumes", ["./deploy/sandbox/rabbitmq.conf:/etc/rabbitmq/conf.d/90-sandbox.conf"], "blocks publishers too late"),
    ("rabbitmq", "volumes", ["./deploy/sandbox/rabbitmq.conf:/etc/rabbitmq/90-sandbox.conf:ro"], "blocks publishers too late"),
    ("rabbitmq", "volumes", ["./deploy/dclint.yaml:/etc/rabbitmq/conf.d/90-sandbox.conf:ro"], "blocks publishers too late"),
    ("postgres", "tmpfs", None, "cannot write where its image does"),
    ("postgres", "tmpfs", ["/tmp"], "cannot write where its image does"),
    ("postgres", "tmpfs", ["/var/run/postgresql:mode=1777"], "cannot write where its image does"),
    ("worker", "network_mode", "host", "leaves its namespaces"),
    ("grafana", "pid", "host", "leaves its namespaces"),
    ("postgres", "ipc", "host", "leaves its namespaces"),
    ("worker", "devices", ["/dev/sda:/dev/sda"], "leaves its namespaces"),
    ("prometheus", "volumes", ["/var/run/docker.sock:/var/run/docker.sock:ro"], "reaches the engine's socket"),
    ("worker", "volumes", [{"type": "bind", "source": "/run/podman/podman.sock", "target": "/s"}], "reaches the engine's socket"),
    ("worker", "volumes", ["/var/run:/host:ro"], "reaches the engine's socket"),
    ("worker", "volumes", ["/:/host"], "reaches the engine's socket"),
    ("postgres", "read_only", None, "may write its root"),
    ("producer", "read_only", False, "may write its root"),
    ("postgres", "user", None, "begins as root"),
    ("rabbitmq", "user", "root", "begins as root"),
    ("worker", "user", "root", "begins as root"),
    ("worker", "user", "0", "begins as root"),
    ("grafana", "user", 0, "begins as root"),
    ("prometheus", "user", "0:65534", "begins as root"),
    ("producer", "user", "root:root", "begins as root"),
    ("postgres", "restart", None, "does not come back"),
    ("rabbitmq", "restart", "on-failure", "does not come back"),
    ("fake-posthog", "restart", None, "does not come back"),
    ("prometheus", "restart", None, "does not come back"),
    ("grafana", "ports", ["3001:3000"], "listens beyond loopback"),
    ("postgres", "image", "postgres:latest", "has an image whose tag moves"),
    ("postgres", "image", "postgres", "has an image whose tag moves"),
]


class EveryPlantedFaultIsFound(unittest.TestCase):
    def test_nothing_is_found_where_nothing_is_wrong(self):
        self.assertEqual(check.faults_of(COMPOSE), [])

    def test_planted(self):
        for called, key, value, says in PLANTED:
            with self.subTest(service=called, key=key, value=value):
                compose = copy.deepcopy(COMPOSE)
                service = compose["services"][called]
                if value is None:
                    del service[key]
                else:
                    service[key] = value
                self.assertEqual(check.faults_of(compose), [f"{called} {says}"])


if __name__ == "__main__":
    unittest.main()
