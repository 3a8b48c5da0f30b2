"""Reads every .hogql file with PostHog's own parser, and looks at what it asks: `python check.py`.

The parser is lenient, so the tree is looked at, too: tables, columns and functions that PostHog knows, and a limit. What else is
looked at depends on where a query runs: `tiles.py` for those of dashboards, and here for all others: a bounded time, and bound values.
"""

import pathlib
import re
import sys

import known
import tiles
import tree

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST_ROWS = 50_000


def findings(text, is_tile=False):
    """What is wrong with a query."""
    try:
        query = tree.parse(text)
    except tree.NotParsed as error:
        return [f"PostHog's parser refuses it: {error}"]
    found = []
    if not re.match(r"-- [a-z_]+\n", text):
        found.append("its first line is not its name: `-- arrival_cells`")
    if not any(True for _ in tree.nodes(query, "SelectQuery")):
        return [*found, "it selects nothing"]
    if "limit" not in query or query["limit"]["node"] != "Constant" or not 0 < query["limit"]["value"] <= MOST_ROWS:
        found.append(f"it has no limit up to {MOST_ROWS}; PostHog would cut it off at 100 rows")
    found += known.findings(query)
    for placeholder in tree.nodes(query, "Placeholder"):
        if placeholder["expr"]["node"] != "Field" or len(placeholder["expr"]["chain"]) != 1:
            found.append("what is bound has to be a name alone")
    return found + list(tiles.findings(query) if is_tile else bound(query))


def bound(query):
    """A query about times and values that are given: each is bound."""
    for select in tree.nodes(query, "SelectQuery"):
        if known.is_of_events(select):
            yield from unbounded(select)
    for compared in tree.nodes(query, "CompareOperation"):
        if any(True for _ in tree.nodes(compared, "Constant")):
            yield "a value is pasted into a comparison; bind it"


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


def recipes():
    """Every query that a document shows: where, and the text."""
    for page in sorted(ROOT.glob("docs/*.md")):
        for block in re.findall(r"```sql\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            if re.search(r"\bfrom events\b", block):
                yield page.name, block


def of_recipe(text):
    """What is wrong with a query for people: they may paste values and leave out the limit, but each property has to exist."""
    try:
        query = tree.parse(text)
    except tree.NotParsed as error:
        return [f"PostHog's parser refuses it: {error}"]
    return [*known.findings(query), *tiles.unknown_names(query)]


def main():
    names, wrong = {}, 0
    shown = list(recipes())
    for page, text in shown:
        for finding in of_recipe(text):
            print(f"{page}: {finding}\n{text}", file=sys.stderr)
            wrong += 1
    for path in files():
        text = path.read_text(encoding="utf-8")
        found = findings(text, tiles.is_tile(path))
        name = text.splitlines()[0]
        if name in names:
            found.append(f"{names[name]} has the same name")
        names[name] = path.relative_to(ROOT)
        for finding in found:
            print(f"{names[name]}: {finding}", file=sys.stderr)
        wrong += len(found)
    if not names:
        print("there is no .hogql file", file=sys.stderr)
    print(f"{len(names)} queries, {len(shown)} recipes, {wrong} findings")
    return 1 if wrong or not names or not shown else 0


if __name__ == "__main__":
    sys.exit(main())
