"""Runs the arrival queries on ClickHouse itself, with copies that are not merged yet and after they are, in projects of two
time zones, and compares with what `testkit/tests/posthog/arrival.json` says; the fake PostHog is held to the same file.

HogQL is not ClickHouse's SQL. It is translated here as PostHog does it, as far as these queries need.
"""

import json
import pathlib
import sys

from chdb.session import Session

import tree

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUERIES = ROOT / "producer/src/posthog_app/arrival"
TEAM = 7
# The sorting key is that of PostHog's table, and so is what replaces a row.
TABLE = """
create table events (
    uuid UUID, event String, properties String, timestamp DateTime64(6, 'UTC'), team_id Int64, distinct_id String,
    _timestamp DateTime
) engine = ReplacingMergeTree(_timestamp)
partition by toYYYYMM(timestamp)
order by (team_id, toDate(timestamp), event, cityHash64(distinct_id), cityHash64(uuid))
"""


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Printer:
    """A tree of HogQL as ClickHouse's SQL. What it does not know is an error."""

    def __init__(self, values, zone):
        self.values, self.zone = values, zone

    def print(self, node):
        return getattr(self, "print_" + node["node"])(node)

    def all(self, nodes):
        return ", ".join(self.print(node) for node in nodes)

    def print_SelectQuery(self, node):
        table = node["select_from"]["table"]
        where = [self.print(node["where"])] if node.get("where") else []
        if table["node"] == "Field":
            source, where = ".".join(table["chain"]), [f"team_id = {TEAM}", *where]
        else:
            source = f"({self.print(table)})"
        parts = ["select", "distinct" if node.get("distinct") else "", self.all(node["select"]), "from", source]
        if where:
            parts += ["where", " and ".join(where)]
        if node.get("group_by"):
            parts += ["group by", self.all(node["group_by"])]
        if node.get("order_by"):
            parts += ["order by", self.all(order["expr"] for order in node["order_by"])]
        if node.get("limit"):
            parts += ["limit", self.print(node["limit"])]
        return " ".join(parts)

    def print_Field(self, node):
        if node["chain"] == ["timestamp"] and self.zone:
            return f"toTimeZone(timestamp, {quoted(self.zone)})"
        if node["chain"][0] != "properties":
            (name,) = node["chain"]
            return name
        (_, name) = node["chain"]
        raw = f"JSONExtractRaw(properties, {quoted(name)})"
        return f"replaceRegexpAll(nullIf(nullIf({raw}, ''), 'null'), '^\"|\"$', '')"

    def print_Alias(self, node):
        return f"{self.print(node['expr'])} as {node['alias']}"

    def print_Call(self, node):
        if node["name"] == "toDateTime":
            return f"parseDateTime64BestEffortOrNull({self.all(node['args'])}, 6, {quoted(self.zone or 'UTC')})"
        return f"{node['name']}({self.all(node['args'])})"

    def print_Constant(self, node):
        return quoted(node["value"]) if isinstance(node["value"], str) else str(node["value"])

    def print_Placeholder(self, node):
        (name,) = node["expr"]["chain"]
        value = self.values[name]
        return str(value) if isinstance(value, int) else quoted(value)

    def print_Tuple(self, node):
        return f"({self.all(node['exprs'])})"

    def print_And(self, node):
        return "(" + " and ".join(self.print(expr) for expr in node["exprs"]) + ")"

    def print_CompareOperation(self, node):
        operator = {"==": "=", "in": "in", ">=": ">=", "<": "<"}[node["op"]]
        return f"{self.print(node['left'])} {operator} {self.print(node['right'])}"


def rows(session, sql):
    answer = str(session.query(sql, "JSONCompactEachRow"))
    # Numbers of 64 bits come as text, unless they are asked for as numbers.
    return [json.loads(line) for line in answer.splitlines()]


def fill(session, events):
    """One insert after the other, so that copies lie in parts of their own."""
    session.query("create database posthog engine = Atomic")
    session.query("use posthog")
    session.query(TABLE)
    session.query("system stop merges events")
    for number in sorted({event["insert"] for event in events}):
        values = ", ".join(
            f"({quoted(event['uuid'])}, {quoted(event['event'])},"
            f" {quoted(json.dumps({'langfuse_project_id': event['project']}, ensure_ascii=False))},"
            f" parseDateTime64BestEffort({quoted(event['timestamp'])}, 6, 'UTC'), {TEAM}, {quoted(event['distinct_id'])},"
            f" toDateTime({number}))"
            for event in events
            if event["insert"] == number
        )
        session.query(f"insert into events values {values}")
    # Another PostHog project's event never counts.
    session.query(f"insert into events select * replace ({TEAM + 1} as team_id) from events limit 1")


def main():
    said = json.loads((ROOT / "testkit/tests/posthog/arrival.json").read_text(encoding="utf-8"))
    values = {
        "event": "langfuse trace",
        "event_1": "langfuse trace",
        "event_2": "langfuse generation",
        "event_3": "langfuse score",
        "event_4": "langfuse observation",
        "since": said["since"],
        "until": said["until"],
        "project": json.dumps(said["project"], ensure_ascii=False)[1:-1],
    }
    session = Session()
    fill(session, said["events"])
    compared = wrong = 0
    for state in ("unfolded", "folded"):
        if state == "folded":
            session.query("system start merges events")
            session.query("optimize table events final")
        for name, expected in said[state].items():
            bound = said["asked"][name]
            query = tree.parse((QUERIES / f"{bound['query']}.hogql").read_text(encoding="utf-8"))
            # Without a zone: convertToProjectTimezone is off, as the exporter asks.
            for zone in (None, "America/Los_Angeles", "Asia/Kolkata"):
                sql = Printer({**values, **bound}, zone).print(query)
                found = rows(session, f"{sql} settings output_format_json_quote_64bit_integers = 0")
                compared += 1
                if sorted(found) != sorted(expected):
                    wrong += 1
                    print(f"{name}, {state}, zone {zone}:\n expected {expected}\n found    {found}\n {sql}", file=sys.stderr)
    version = rows(session, "select version()")[0][0]
    print(f"ClickHouse {version}: {compared} answers compared, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
