"""Plants faults in a query, and looks whether check.py finds each."""

import unittest

import check

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


class TestCheck(unittest.TestCase):
    def test_a_good_query_has_no_findings(self):
        self.assertEqual(check.findings(GOOD), [])

    def test_each_planted_fault_is_found(self):
        for old, new, says in PLANTED:
            with self.subTest(new=new):
                self.assertIn(old, GOOD)
                found = check.findings(GOOD.replace(old, new, 1))
                self.assertTrue(any(says in finding for finding in found), found)

    def test_the_queries_are_found(self):
        self.assertGreaterEqual({path.name for path in check.files()}, {"cells.hogql", "counts.hogql", "uuids.hogql"})


if __name__ == "__main__":
    unittest.main()
