"""Reads every .hogql file with PostHog's own parser, and looks at what it asks: `python check.py`.

The parser is lenient, so the tree is looked at, too: tables, columns and functions that PostHog knows, a bounded time, bound
values, and a limit.
"""

import pathlib
import re
import sys

import tree

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLUMNS = {"event", "uuid", "timestamp", "properties"}
# Allowed by PostHog in queries, and for years: each was looked up in its source.
FUNCTIONS = {
    "concat",
    "count",
    "groupBitXor",
    "has",
    "intDiv",
    "reinterpretAsUInt64",
    "replaceAll",
    "splitByChar",
    "substring",
    "sum",
    "toDateTime",
    "toString",
    "toUnixTimestamp",
    "unhex",
}
MOST_ROWS = 50_000


def findings(text):
    """What is wrong with a query."""
    try:
        query = tree.parse(text)
    except tree.NotParsed as error:
        return [f"PostHog's parser refuses it: {error}"]
    found = []
    if not re.match(r"-- [a-z_]+\n", text):
        found.append("its first line is not its name: `-- arrival_cells`")
    selects = list(tree.nodes(query, "SelectQuery"))
    if len(selects) == 0:
        return [*found, "it selects nothing"]
    if "limit" not in query or query["limit"]["node"] != "Constant" or not 0 < query["limit"]["value"] <= MOST_ROWS:
        found.append(f"it has no limit up to {MOST_ROWS}; PostHog would cut it off at 100 rows")
    for select in selects:
        if select.get("offset") is not None:
            found.append("it has an offset, which PostHog refuses from a personal API key")
        table = (select.get("select_from") or {}).get("table")
        if table is None:
            found.append("it reads no table")
        elif table["node"] == "Field":
            if table["chain"] != ["events"]:
                found.append(f"it reads {'.'.join(table['chain'])}, not events")
            found += unbounded(select)
    aliases = {alias["alias"] for alias in tree.nodes(query, "Alias")}
    tables = [select["select_from"]["table"] for select in selects if select.get("select_from")]
    placeholders = [placeholder["expr"] for placeholder in tree.nodes(query, "Placeholder")]
    for name in placeholders:
        if name["node"] != "Field" or len(name["chain"]) != 1:
            found.append("what is bound has to be a name alone")
    for field in tree.nodes(query, "Field"):
        if any(field is known for known in [*tables, *placeholders]):
            continue
        if field["chain"][0] not in COLUMNS | aliases:
            found.append(f"there is no column {'.'.join(map(str, field['chain']))}")
    for call in tree.nodes(query, "Call"):
        if call["name"] not in FUNCTIONS:
            found.append(f"{call['name']} is not among the functions that PostHog is known to allow")
    for compared in tree.nodes(query, "CompareOperation"):
        if any(True for _ in tree.nodes(compared, "Constant")):
            found.append("a value is pasted into a comparison; bind it")
    return found


def unbounded(select):
    """A condition on the event and both ends of the time, or PostHog reads all it has."""
    where = select.get("where") or {}
    operations = where.get("exprs", [where]) if where.get("node") in ("And", "CompareOperation") else []
    conditions = {
        (operation["left"]["chain"][0], operation["op"])
        for operation in operations
        if operation["node"] == "CompareOperation" and operation["left"]["node"] == "Field"
    }
    if ("timestamp", ">=") not in conditions or ("timestamp", "<") not in conditions:
        yield "its time is not bounded at both ends"
    if not {("event", "in"), ("event", "==")} & conditions:
        yield "it does not say which events"


def files():
    """Every query of the project."""
    found = [path for path in ROOT.glob("*/**/*.hogql") if path.relative_to(ROOT).parts[0] != "target"]
    return sorted(found)


def main():
    names, wrong = {}, 0
    for path in files():
        text = path.read_text(encoding="utf-8")
        found = findings(text)
        name = text.splitlines()[0]
        if name in names:
            found.append(f"{names[name]} has the same name")
        names[name] = path.relative_to(ROOT)
        for finding in found:
            print(f"{names[name]}: {finding}", file=sys.stderr)
        wrong += len(found)
    if not names:
        print("there is no .hogql file", file=sys.stderr)
    print(f"{len(names)} queries, {wrong} findings")
    return 1 if wrong or not names else 0


if __name__ == "__main__":
    sys.exit(main())
