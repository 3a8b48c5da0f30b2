"""What is asked of a query on a dashboard, beside what is asked of every query."""

import pathlib
import re

import known
import tree

ROOT = pathlib.Path(__file__).resolve().parents[2]
TILES = ROOT / "producer/src/dashboards/tiles"
# PostHog binds the first to the dashboard's range; the exporter writes the others out.
BOUND = {"filters", "project", "project_in_json", "conversion"}
# Of the application itself, not of Langfuse.
FOREIGN = {"$pageview"}


def is_tile(path):
    """Whether a file is of a dashboard."""
    return path.parent == TILES


def documented():
    """The events and the properties that docs/EVENTS.md promises."""
    page = (ROOT / "docs/EVENTS.md").read_text(encoding="utf-8")
    return set(re.findall(r"`(langfuse [a-z]+)`", page)), set(re.findall(r"`(langfuse_[a-z_]+)`", page))


def findings(query):
    """What is wrong with a query of a dashboard."""
    for placeholder in tree.nodes(query, "Placeholder"):
        name = placeholder["expr"].get("chain", ["?"])[0]
        if name not in BOUND:
            yield f"nothing is bound to {{{name}}}"
    yield from unknown_names(query)
    yield from _by_its_guessed_type(query)
    for select in tree.nodes(query, "SelectQuery"):
        if known.is_of_events(select):
            yield from _of_events(select)


def unknown_names(query):
    """Events and properties that nobody sends."""
    events, properties = documented()
    for name in _properties(query):
        if name not in properties:
            yield f"docs/EVENTS.md has no property {name}"
    for compared in tree.nodes(query, "CompareOperation"):
        for event in _events(compared):
            if event not in events | FOREIGN:
                yield f"no event is called {event}"


def _properties(query):
    """Every property that a query reads."""
    for field in tree.nodes(query, "Field"):
        if field["chain"][0] == "properties" and len(field["chain"]) > 1:
            yield ".".join(map(str, field["chain"][1:]))
    for call in tree.nodes(query, "Call"):
        if call["name"].startswith("JSON"):
            yield from (str(path.get("value")) for path in call["args"][1:])


def _by_its_guessed_type(query):
    """PostHog guesses the type of a property by a value of it, and a text may look like a time, or like yes or no. A number may not."""
    numbers = [call["args"][0] for call in tree.nodes(query, "Call") if call["name"] == "toFloat"]
    compared = [node["left"] for node in tree.nodes(query, "CompareOperation") if _is_of_the_project(node)]
    for field in tree.nodes(query, "Field"):
        if field["chain"][0] == "properties" and len(field["chain"]) > 1 and field not in numbers + compared:
            name = field["chain"][1]
            yield f"PostHog may take {name} for a time: read it by JSONExtractString(properties, '{name}'), or by toFloat"


def _of_events(select):
    where = select.get("where") or {}
    conditions = where["exprs"] if where.get("node") == "And" else [where]
    if not any(_is_bound(condition, "filters") for condition in conditions):
        yield "{filters} is not among its conditions, so the dashboard's range does not apply"
    if not _says_which_events(where):
        yield "it does not say which events"
    if _mixes_projects(where, False):
        yield "events of Langfuse are not narrowed to the project: langfuse_project_id in ({project}, {project_in_json})"


def _says_which_events(node):
    if node.get("node") == "And":
        return any(_says_which_events(part) for part in node["exprs"])
    if node.get("node") == "Or":
        return all(_says_which_events(part) for part in node["exprs"])
    return node.get("node") == "CompareOperation" and node["op"] in ("==", "in") and _is_field(node["left"], "event")


def _mixes_projects(node, is_narrowed):
    """Whether a condition on an event of Langfuse stands without one on the project beside it."""
    if node.get("node") == "And":
        is_narrowed = is_narrowed or any(_is_of_the_project(part) for part in node["exprs"])
    if node.get("node") in ("And", "Or"):
        return any(_mixes_projects(part, is_narrowed) for part in node["exprs"])
    return not is_narrowed and any(event.startswith("langfuse") for event in _events(node))


def _is_of_the_project(node):
    """PostHog compares an id as it is, or as it stands in JSON, by where it keeps properties."""
    return (
        node.get("node") == "CompareOperation"
        and node["op"] == "in"
        and _is_field(node["left"], "properties", "langfuse_project_id")
        and node["right"]["node"] == "Tuple"
        and len(node["right"]["exprs"]) == 2
        and all(map(_is_bound, node["right"]["exprs"], ("project", "project_in_json")))
    )


def _events(node):
    """The names that an event is compared with."""
    if node.get("node") != "CompareOperation" or not _is_field(node["left"], "event"):
        return []
    return [constant["value"] for constant in tree.nodes(node["right"], "Constant")]


def _is_field(node, *chain):
    return node.get("node") == "Field" and node["chain"] == list(chain)


def _is_bound(node, name):
    return node.get("node") == "Placeholder" and _is_field(node["expr"], name)
