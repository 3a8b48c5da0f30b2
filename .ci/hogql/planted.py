"""Faults that a tile's SQL could have. Each has to give other numbers than the database's, or the comparison proves little."""

import tree
from tiles import TILES

# The tile, what is replaced in its SQL, and by what.
PLANTED = [
    ("activity_bands", "uniqExactIf(uuid, event = 'langfuse trace')", "countIf(event = 'langfuse trace')"),
    ("activity_correlation", "uniqExactIf(toStartOfDay(timestamp), event = '$pageview')", "countIf(event = '$pageview')"),
    ("conversion_compared", "first_trace < first_conversion", "first_trace > first_conversion"),
    ("cost_by_model", "'(no model)'", "''"),
    ("cost_per_user", "where user_id != toString(uuid)", ""),
    ("cost_total", "'langfuse generation'", "'langfuse trace'"),
    ("cost_total", "and properties.langfuse_project_id in ({project}, {project_in_json})", ""),
    ("cost_total", "and {filters}", ""),
    ("cost_total", "group by uuid", "group by uuid, created_at"),
    ("cost_total", "argMax(tuple(toFloat(properties.langfuse_cost_usd)), created_at)", "argMax(tuple(1), created_at)"),
    ("costliest_users", "where user_id != toString(uuid)", ""),
    ("errors_by_level", "argMax(JSON", "argMin(JSON"),
    ("feedback_staying", ">= 24", ">= 240"),
    ("first_token", "where isNotNull(seconds)", "where seconds > 0.4"),
    ("latency", "0.95", "0.9"),
    ("score_average", "type in ('NUMERIC', 'BOOLEAN') and ", ""),
    ("score_values", "where type = 'CATEGORICAL'", ""),
    ("tokens", "where unit = 'TOKENS'", ""),
]
# Faults that show only where PostHog keeps properties in one of its ways; the last member says in which.
PLANTED_IN = [
    ("cost_by_model", "JSONExtractString(properties, 'langfuse_model')", "properties.langfuse_model", "no types"),
    ("cost_total", "in ({project}, {project_in_json})", "= {project}", "no types"),
    ("cost_total", "in ({project}, {project_in_json})", "= {project_in_json}", "as a map"),
    ("score_values", "JSONExtractString(properties, 'langfuse_score_string_value')", "toString(properties.langfuse_score_string_value)",
        "texts taken for yes or no"),
    ("feedback_staying", "JSONExtractString(properties, 'langfuse_score_name')", "coalesce(toString(properties.langfuse_score_name), '')",
        "texts taken for times, as a map"),
]  # fmt: skip


def queries():
    """The name of each fault, its tile, the tree of the query with it, and how properties are kept."""
    for tile, old, new, how in [*((*fault, "no types") for fault in PLANTED), *PLANTED_IN]:
        text = (TILES / f"{tile}.hogql").read_text(encoding="utf-8")
        if old not in text:
            raise ValueError(f"{tile}.hogql has no {old} any more, so nothing can be planted there")
        yield f"{tile} with {new or 'nothing'} in place of {old}", tile, tree.parse(text.replace(old, new, 1)), how
