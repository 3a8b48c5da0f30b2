"""The tables, columns and functions that a query may use."""

import tree

COLUMNS = {"event", "uuid", "timestamp", "properties", "distinct_id", "person_id", "created_at"}
# Allowed by PostHog in queries, and for years: each was looked up in its source.
FUNCTIONS = {
    "JSONExtractString",
    "argMax",
    "avg",
    "coalesce",
    "concat",
    "corr",
    "count",
    "countIf",
    "dateDiff",
    "groupBitXor",
    "has",
    "if",
    "intDiv",
    "isNotNull",
    "max",
    "maxIf",
    "minIf",
    "multiIf",
    "nullIf",
    "quantile",
    "reinterpretAsUInt64",
    "replaceAll",
    "splitByChar",
    "substring",
    "sum",
    "toDateTime",
    "toFloat",
    "toStartOfDay",
    "toString",
    "toUnixTimestamp",
    "tuple",
    "tupleElement",
    "unhex",
    "uniqExact",
    "uniqExactIf",
}


def is_of_events(select):
    """Whether it reads what is stored, not what another select gives."""
    table = (select.get("select_from") or {}).get("table") or {}
    return table.get("node") == "Field" and table["chain"] == ["events"]


def findings(query):
    """What PostHog does not know, or does not allow."""
    yield from _of_select(query)
    for kind in ("Call", "WindowFunction"):
        for call in tree.nodes(query, kind):
            if call["name"] not in FUNCTIONS:
                yield f"{call['name']} is not among the functions that PostHog is known to allow"
    for kind in ("SelectSetQuery", "JoinConstraint", "CTE", "HogQLXTag", "Lambda"):
        if any(True for _ in tree.nodes(query, kind)):
            yield f"it has a {kind}, which no query here needs"


def _of_select(select):
    if select.get("offset") is not None:
        yield "it has an offset, which PostHog refuses from a personal API key"
    source = select.get("select_from") or {}
    table = source.get("table")
    if table is None:
        yield "it reads no table"
        return
    if source.get("next_join"):
        yield "it joins; a select of a select is enough here"
    if table["node"] == "SelectQuery":
        yield from _of_select(table)
        there = {_name(column) for column in table["select"]}
    elif table["chain"] == ["events"]:
        there = COLUMNS
    else:
        yield f"it reads {'.'.join(table['chain'])}, not events"
        there = COLUMNS
    there = there | {column["alias"] for column in select["select"] if column["node"] == "Alias"}
    for field in _fields({name: part for name, part in select.items() if name != "select_from"}):
        if field["chain"][0] not in there:
            yield f"there is no column {'.'.join(map(str, field['chain']))}"


def _name(column):
    return column["alias"] if column["node"] == "Alias" else column.get("chain", [None])[-1]


def _fields(part):
    """The columns that are read in it; what is bound is none."""
    if isinstance(part, list):
        for child in part:
            yield from _fields(child)
    elif isinstance(part, dict) and part.get("node") == "Field":
        yield part
    elif isinstance(part, dict) and part.get("node") != "Placeholder":
        for child in part.values():
            yield from _fields(child)
