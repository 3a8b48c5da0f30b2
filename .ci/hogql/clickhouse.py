"""Runs the queries on ClickHouse itself, with copies that are not merged yet and after they are, in projects of several time zones:
`python clickhouse.py ROWS`.

Those of arrivals are compared with what `testkit/tests/posthog/arrival.json` says; the fake PostHog is held to the same file. Those
of dashboards are compared with the numbers in the file ROWS, which the program `tile-rows` took from a Langfuse database whose rows
a worker sent: they are in the file, too.

HogQL is not ClickHouse's SQL. `printer.py` translates it as PostHog does.
"""

import json
import math
import pathlib
import re
import sys
import uuid

from chdb.session import Session

import planted
import tree
from printer import TEAM, Printer, quoted
from tiles import TILES

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUERIES = ROOT / "producer/src/posthog_app/arrival"
# The sorting key is that of PostHog's table, and so is what replaces a row. `person_id` is joined in PostHog, as `created_at` is not.
TABLE = """
create table events (
    uuid UUID, event String, properties String, timestamp DateTime64(6, 'UTC'), team_id Int64, distinct_id String, person_id UUID,
    created_at DateTime64(6, 'UTC'), _timestamp DateTime
) engine = ReplacingMergeTree(_timestamp)
partition by toYYYYMM(timestamp)
order by (team_id, toDate(timestamp), event, cityHash64(distinct_id), cityHash64(uuid))
"""
# An id that stands otherwise in JSON.
ODD = "on\"e\\1"
# What PostHog may take the id of a project for, by the first one that it sees.
GUESSED = ("Boolean", "DateTime", "Numeric")
AS_PROPERTY = "properties.langfuse_project_id"
EXACT = "settings output_format_json_quote_64bit_integers = 0"


def rows(session, sql, form="JSONCompactEachRow"):
    answer = str(session.query(sql, form))
    # Numbers of 64 bits come as text, unless they are asked for as numbers.
    return [json.loads(line) for line in answer.splitlines()]


def found_or_none(session, sql):
    """The rows; none also where a value cannot be converted to what it is compared with."""
    try:
        return rows(session, f"{sql} {EXACT}") or ["none"]
    except RuntimeError as error:
        if "CANNOT_PARSE" not in str(error) and "TYPE_MISMATCH" not in str(error) and "boolean value" not in str(error):
            raise
        return ["none"]


def fill(session, database, events):
    """One insert after the other, so that copies lie in parts of their own."""
    session.query(f"create database {database} engine = Atomic")
    session.query(f"use {database}")
    session.query(TABLE)
    session.query("system stop merges events")
    for number in sorted({event["insert"] for event in events}):
        values = ", ".join(
            f"({quoted(event['uuid'])}, {quoted(event['event'])}, {quoted(json.dumps(event['properties'], ensure_ascii=False))},"
            f" parseDateTime64BestEffort({quoted(event['timestamp'])}, 6, 'UTC'), {TEAM}, {quoted(event['distinct_id'])},"
            f" {quoted(str(uuid.uuid5(uuid.NAMESPACE_URL, event['distinct_id'])))}, toDateTime({number}), toDateTime({number}))"
            for event in events
            if event["insert"] == number
        )
        session.query(f"insert into events values {values}")
    # Another PostHog project's events never count.
    session.query(f"insert into events select * replace ({TEAM + 1} as team_id) from events limit 100")


def states(session):
    """Before copies are merged, and after."""
    yield "unfolded"
    session.query("system start merges events")
    session.query("optimize table events final")
    yield "folded"


def as_text():
    """How the exporter reads the id of a project where PostHog may take the property for something else."""
    source = (ROOT / "producer/src/posthog_app/langfuse_project.rs").read_text(encoding="utf-8")
    return re.search(r'AS_TEXT: &str = "(.*)";', source)[1]


def arrivals(session):
    said = json.loads((ROOT / "testkit/tests/posthog/arrival.json").read_text(encoding="utf-8"))
    values = {
        "event": "langfuse trace",
        "event_1": "langfuse trace",
        "event_2": "langfuse generation",
        "event_3": "langfuse score",
        "event_4": "langfuse observation",
        "since": said["since"],
        "until": said["until"],
        "project": said["project"],
        "project_in_json": in_json(said["project"]),
    }
    events = [{**event, "properties": {"langfuse_project_id": event["project"]}} for event in said["events"]]
    fill(session, "arrivals", events)
    for state in states(session):
        for name, expected in said[state].items():
            bound = said["asked"][name]
            text = (QUERIES / f"{bound['query']}.hogql").read_text(encoding="utf-8")
            query, by_text = tree.parse(text), tree.parse(text.replace(AS_PROPERTY, as_text()))
            # Without a zone: convertToProjectTimezone is off, as the exporter asks.
            for zone in (None, "America/Los_Angeles", "Asia/Kolkata"):
                for as_map in (False, True):
                    sql = Printer({**values, **bound}, zone, as_map=as_map).print(query)
                    found = rows(session, f"{sql} {EXACT}")
                    yield f"{name}, {state}, zone {zone}, as a map: {as_map}", sorted(expected), sorted(found), sql
            # Whatever PostHog takes the id of a project for. As a property it is not found then, or cannot be compared.
            for kind in GUESSED:
                typed = Printer({**values, **bound}, None, types={"langfuse_project_id": kind})
                about, sql = f"{name}, {state}, ids taken for {kind}", typed.print(by_text)
                yield about, sorted(expected), sorted(rows(session, f"{sql} {EXACT}")), sql
                sql = typed.print(query)
                yield f"{about}, as a property", ["none"], found_or_none(session, sql), sql


def dashboards(session, said):
    # Some are sent once more as they are: a batch whose answer was lost.
    again = [{**event, "insert": 3} for number, event in enumerate(said["events"]) if number % 5 == 0 and event["insert"] == 2]
    pages = [{**event, "insert": 2} for event in said["events"] if event["event"] == "$pageview"]
    fill(session, "dashboards", [renamed(event, said) for event in said["events"] + again + pages])
    for state in states(session):
        for path in sorted(TILES.glob("*.hogql")):
            query = tree.parse(path.read_text(encoding="utf-8"))
            for zone, expected in said["expected"].items():
                if path.stem not in expected:
                    sys.exit(f"testkit/src/bin/tile-rows/expected has no {path.stem}.sql: what should the tile show?")
                for how, kept in kept_as(said).items():
                    found, sql = of_tile(session, said, query, zone, **kept)
                    yield f"{path.stem}, {state}, zone {zone}, {how}", plain(expected[path.stem]), found, sql


def renamed(event, said):
    """The project under an id that has another form in JSON."""
    properties = event["properties"]
    if properties.get("langfuse_project_id") != said["project"]:
        return event
    return {**event, "properties": {**properties, "langfuse_project_id": ODD}}


def kept_as(said):
    """How PostHog may keep properties: it chooses by itself, and guesses the type of each by a value of it."""
    numbers, texts = set(), set()
    for event in said["events"]:
        for name, value in event["properties"].items():
            if isinstance(value, str):
                texts.add(name)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                numbers.add(name)
    texts.remove("langfuse_project_id")
    typed = {kind: {**dict.fromkeys(texts, kind), **dict.fromkeys(numbers, "Numeric")} for kind in ("Boolean", "DateTime")}
    return {
        "no types": {},
        "as a map": {"as_map": True},
        "texts taken for yes or no": {"types": typed["Boolean"]},
        "texts taken for times, as a map": {"types": typed["DateTime"], "as_map": True},
    }


def of_tile(session, said, query, zone, **kept):
    """What a tile shows in a project of this zone, and the SQL that ran."""
    values = {"project": ODD, "project_in_json": in_json(ODD), "conversion": said["conversion"]}
    filters = (
        f"(timestamp >= toDateTime64({quoted(said['since'] + ' 00:00:00')}, 6, {quoted(zone)})"
        f" and timestamp < toDateTime64({quoted(said['until'] + ' 00:00:00')}, 6, {quoted(zone)}))"
    )
    sql = Printer(values, zone, filters, **kept).print(query)
    return plain(rows(session, f"{sql} {EXACT}", "JSONEachRow")), sql


def overlooked(session, said):
    """Planted faults that the numbers do not show."""
    fill(session, "planted", [renamed(event, said) for event in said["events"]])
    for name, tile, query, how in planted.queries():
        found, _ = of_tile(session, said, query, "UTC", **kept_as(said)[how])
        if equal(plain(said["expected"]["UTC"][tile]), found):
            yield name


def plain(found):
    """Rows in one order, days without their hour."""
    rows = [{name: value[:10] if name == "day" else value for name, value in row.items()} for row in found]
    return sorted(rows, key=lambda row: [row[name] for name in sorted(row) if isinstance(row[name], str)])


def in_json(text):
    return json.dumps(text, ensure_ascii=False)[1:-1]


def equal(expected, found):
    """Sums of floats depend on their order in the last digits."""
    if isinstance(expected, list):
        return len(expected) == len(found) and all(map(equal, expected, found))
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(equal(value, found[name]) for name, value in expected.items())
    if isinstance(expected, float | int) and isinstance(found, float | int):
        return math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12)
    return expected == found


def main():
    said = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    session = Session()
    wrong, compared, empty = 0, {"arrivals": 0, "dashboards": 0}, 0
    for about, answers in (("arrivals", arrivals(session)), ("dashboards", dashboards(session, said))):
        for name, expected, found, sql in answers:
            compared[about] += 1
            empty += not expected
            if not equal(expected, found):
                wrong += 1
                differ = [(e, f) for e, f in zip(expected, found) if not equal(e, f)][:3]
                print(f"{name}: {len(expected)} rows expected, {len(found)} found\n {differ}\n {sql}", file=sys.stderr)
    version = rows(session, "select version()")[0][0]
    print(
        f"ClickHouse {version}: {compared['arrivals']} answers about arrivals and {compared['dashboards']} of dashboards compared,"
        f" {wrong} differ; {len(said['events'])} events that a worker or the application sent"
    )
    for name in overlooked(session, said):
        wrong += 1
        print(f"a planted fault is not found: {name}", file=sys.stderr)
    print(f"{len(planted.PLANTED + planted.PLANTED_IN)} faults planted in the SQL of tiles, each of which has to be found")
    if empty or not all(compared.values()):
        print("an answer without a row proves nothing", file=sys.stderr)
    return 1 if wrong or empty or not all(compared.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
