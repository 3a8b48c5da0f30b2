"""PostHog's own parser, by itself."""

import json
import sys
import types


class NotParsed(Exception):
    """The text is no query."""


def _posthog_errors():
    """The parser asks for the errors of the program that it is a part of."""
    errors = types.ModuleType("posthog.hogql.errors")
    base = type("BaseHogQLError", (Exception,), {})
    errors.BaseHogQLError = base
    for name in ("ExposedHogQLError", "SyntaxError", "QueryError", "NotImplementedError", "ParsingError"):
        setattr(errors, name, type(name, (base,), {}))
    sys.modules["posthog"] = types.ModuleType("posthog")
    sys.modules["posthog.hogql"] = types.ModuleType("posthog.hogql")
    sys.modules["posthog.hogql.errors"] = errors
    return base


_BASE = _posthog_errors()

import hogql_parser  # noqa: E402


def parse(text):
    """The tree of a query."""
    try:
        answer = json.loads(hogql_parser.parse_select_json(text))
    except _BASE as error:
        raise NotParsed(str(error)) from error
    if answer.get("error"):
        raise NotParsed(answer.get("message", "error"))
    return answer


def nodes(tree, kind):
    """Every node of a kind, itself included."""
    if isinstance(tree, dict):
        if tree.get("node") == kind:
            yield tree
        for child in tree.values():
            yield from nodes(child, kind)
    elif isinstance(tree, list):
        for child in tree:
            yield from nodes(child, kind)
