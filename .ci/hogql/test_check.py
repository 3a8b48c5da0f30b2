"""Plants faults in a query, and looks whether check.py finds each."""

import unittest

import check
import tiles

GOOD = """-- a_name
select toString(uuid) as id
from events
where event = {event} and timestamp >= toDateTime({since}) and timestamp < toDateTime({until})
limit 50000
"""

# What is replaced, by what, and what the finding must say.
PLANTED = [
    ("from events", "from from", "reads from, not events"),
    ("where event", "where (event", "parser refuses"),
    ("{event}", "{event", "parser refuses"),
    ("select ", "selct ", "parser refuses"),
    ("limit 50000", "", "no limit"),
    ("limit 50000", "limit 60000", "no limit"),
    ("limit 50000", "limit 50000 offset 100", "offset"),
    ("from events", "from persons", "reads persons"),
    ("toString(uuid)", "sipHash64(uuid)", "sipHash64 is not among"),
    ("toString(uuid)", "toString(uid)", "no column uid"),
    ("{event}", "'langfuse trace'", "pasted"),
    ("{event}", "{1 + 1}", "a name alone"),
    ("{since}", "'2024-06-01'", "pasted"),
    (" and timestamp < toDateTime({until})", "", "not bounded"),
    ("timestamp <", "timestamp >", "not bounded"),
    ("event = {event} and ", "", "which events"),
    ("event = {event} and", "event = {event} or", "not bounded"),
    ("-- a_name\n", "", "its name"),
]

TILE = """-- tile_a
select day, sum(usd) as cost
from (
    select uuid,
        argMax(toStartOfDay(timestamp), created_at) as day,
        argMax(JSONExtractString(properties, 'langfuse_model'), created_at) as model,
        argMax(toFloat(properties.langfuse_cost_usd), created_at) as usd
    from events
    where (event = '$pageview' or event = 'langfuse trace' and properties.langfuse_project_id in ({project}, {project_in_json}))
        and {filters}
    group by uuid
)
group by day
order by day
limit 10000
"""

PLANTED_IN_A_TILE = [
    ("limit 10000", "", "no limit"),
    ("from events", "from sessions", "reads sessions"),
    ("select day, sum(usd)", "select day, sum(usd2)", "no column usd2"),
    ("sum(usd) as cost", "sum(usd) as cost, avg(timestamp)", "no column timestamp"),
    ("order by day", "order by timestamp", "no column timestamp"),
    ("sum(usd)", "sumKahan(usd)", "sumKahan is not among"),
    ("sum(usd)", "median(usd) over (partition by day)", "median is not among"),
    ("and {filters}", "", "the dashboard's range"),
    ("and {filters}", "or {filters}", "the dashboard's range"),
    ("event = '$pageview' or", "distinct_id = 'jo' or", "which events"),
    ("event = '$pageview' or event", "event = 'langfuse score' or event", "not narrowed"),
    (" and properties.langfuse_project_id in ({project}, {project_in_json})", "", "not narrowed"),
    ("in ({project}, {project_in_json})", "= {project}", "not narrowed"),
    ("in ({project}, {project_in_json})", "in ({project}, {project})", "not narrowed"),
    ("in ({project}, {project_in_json})", "not in ({project}, {project_in_json})", "not narrowed"),
    ("{project_in_json}", "'p'", "not narrowed"),
    ("JSONExtractString(properties, 'langfuse_model')", "properties.langfuse_model", "may take langfuse_model for a time"),
    ("JSONExtractString(properties, 'langfuse_model')", "toString(properties.langfuse_model)", "may take langfuse_model for a time"),
    ("'langfuse_model'", "'langfuse_models'", "no property langfuse_models"),
    ("langfuse_cost_usd", "langfuse_costs", "no property langfuse_costs"),
    ("'langfuse trace'", "'langfuse traces'", "no event is called langfuse traces"),
    ("{project},", "{projects},", "nothing is bound to {projects}"),
    ("from events", "from events as a join events as b on a.uuid = b.uuid", "joins"),
]


class TestCheck(unittest.TestCase):
    def test_a_good_query_has_no_findings(self):
        self.assertEqual(check.findings(GOOD), [])

    def test_each_planted_fault_is_found(self):
        for old, new, says in PLANTED:
            with self.subTest(new=new):
                self.assertIn(old, GOOD)
                found = check.findings(GOOD.replace(old, new, 1))
                self.assertTrue(any(says in finding for finding in found), found)

    def test_a_good_tile_has_no_findings(self):
        self.assertEqual(check.findings(TILE, is_tile=True), [])

    def test_each_fault_planted_in_a_tile_is_found(self):
        for old, new, says in PLANTED_IN_A_TILE:
            with self.subTest(new=new):
                self.assertIn(old, TILE)
                found = check.findings(TILE.replace(old, new, 1), is_tile=True)
                self.assertTrue(any(says in finding for finding in found), found)

    def test_the_documented_names_are_found(self):
        events, properties = tiles.documented()
        self.assertGreaterEqual(events, {"langfuse trace", "langfuse generation", "langfuse score"})
        self.assertGreaterEqual(properties, {"langfuse_project_id", "langfuse_score_value", "langfuse_unit"})

    def test_the_queries_are_found(self):
        self.assertGreaterEqual({path.name for path in check.files()}, {"cells.hogql", "counts.hogql", "uuids.hogql"})


if __name__ == "__main__":
    unittest.main()
