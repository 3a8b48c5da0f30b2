"""A tree of HogQL as ClickHouse's SQL, as PostHog prints it, as far as the queries here need. What it does not know is an error."""

TEAM = 7
OPERATORS = {"==": "=", "!=": "!=", "in": "in", ">=": ">=", ">": ">", "<=": "<=", "<": "<"}


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Printer:
    """`values` is what is bound to names, `zone` the project's zone, and `filters` what PostHog makes of the dashboard's range.
    `as_map`: PostHog keeps properties in a map beside their JSON, too, whose texts are not escaped; it chooses by itself. `types`:
    what PostHog takes properties for, which it guesses by a value of each."""

    def __init__(self, values, zone, filters=None, as_map=False, types=None):
        self.values, self.zone, self.filters, self.as_map, self.types = values, zone, filters, as_map, types or {}

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
            parts += ["order by", ", ".join(f"{self.print(by['expr'])} {by['order']}" for by in node["order_by"])]
        if node.get("limit"):
            parts += ["limit", self.print(node["limit"])]
        return " ".join(parts)

    def print_Field(self, node):
        if node["chain"] == ["timestamp"] and self.zone:
            return f"toTimeZone(timestamp, {quoted(self.zone)})"
        if node["chain"][0] != "properties" or len(node["chain"]) == 1:
            (name,) = node["chain"]
            return name
        (_, name) = node["chain"]
        value = self.property(name)
        match self.types.get(name, "String"):
            case "DateTime":
                return f"parseDateTime64BestEffortOrNull({value}, 6, {quoted(self.zone or 'UTC')})"
            case "Boolean":
                return f"toBool(transform(toString({value}), ['true', 'false'], [1, 0], NULL))"
            case "Numeric":
                return f"accurateCastOrNull({value}, 'Float64')"
            case "String":
                return value

    def property(self, name):
        if self.as_map:
            return f"nullIf(JSONExtract(properties, {quoted(name)}, 'Nullable(String)'), '')"
        raw = f"JSONExtractRaw(properties, {quoted(name)})"
        return f"replaceRegexpAll(nullIf(nullIf({raw}, ''), 'null'), '^\"|\"$', '')"

    def print_Alias(self, node):
        return f"{self.print(node['expr'])} as {node['alias']}"

    def print_Call(self, node):
        arguments = self.all(node.get("args") or [])
        if node["name"] == "toDateTime":
            return f"parseDateTime64BestEffortOrNull({arguments}, 6, {quoted(self.zone or 'UTC')})"
        if node["name"] == "toFloat":
            return f"accurateCastOrNull({arguments}, 'Float64')"
        parameters = f"({self.all(node['params'])})" if node.get("params") else ""
        distinct = "distinct " if node.get("distinct") else ""
        return f"{node['name']}{parameters}({distinct}{arguments})"

    def print_WindowFunction(self, node):
        return f"{node['name']}({self.all(node['exprs'])}) over (partition by {self.all(node['over_expr']['partition_by'])})"

    def print_TupleAccess(self, node):
        return f"tupleElement({self.print(node['tuple'])}, {node['index']})"

    def print_Constant(self, node):
        return quoted(node["value"]) if isinstance(node["value"], str) else str(node["value"])

    def print_Placeholder(self, node):
        (name,) = node["expr"]["chain"]
        if name == "filters":
            return self.filters
        value = self.values[name]
        return str(value) if isinstance(value, int) else quoted(value)

    def print_Tuple(self, node):
        return f"({self.all(node['exprs'])})"

    def print_And(self, node):
        return "(" + " and ".join(self.print(expr) for expr in node["exprs"]) + ")"

    def print_Or(self, node):
        return "(" + " or ".join(self.print(expr) for expr in node["exprs"]) + ")"

    def print_ArithmeticOperation(self, node):
        return f"({self.print(node['left'])} {node['op']} {self.print(node['right'])})"

    def print_CompareOperation(self, node):
        return f"{self.print(node['left'])} {OPERATORS[node['op']]} {self.print(node['right'])}"
