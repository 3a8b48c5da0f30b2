"""Plants faults in documents, and looks whether links.py finds each: `python -m unittest discover .ci/prose`."""

import contextlib
import http.server
import io
import threading
import unittest

import links

GUIDE = """# The guide

## Say `it`, *twice*: once_more!
## Twice
## Twice

<a id="by-hand"></a>

| a | b |
| --- | --- |
| `x` | [in a table](#twice-1) |

```sh
# No heading
echo '[no link](nowhere.md)'
```
"""

README = """# Read me

[a](docs/GUIDE.md#say-it-twice-once_more) [b](docs/GUIDE.md#by-hand) [c](docs) [d](#read-me) [e][reference] <https://example.com>
`[no link](nowhere.md)`

<picture><source srcset="docs/images/dark.svg 2x"><img src="docs/images/light.svg" alt=""></picture>

[reference]: docs/GUIDE.md#twice-1
"""

FILES = {
    "README.md": README,
    "docs/GUIDE.md": GUIDE,
    "docs/images/light.svg": "",
    "docs/images/dark.svg": "",
    "docs/images/photo.png": None,
    "worker/src/main.rs": "//! See docs/GUIDE.md#twice, docs/images/, and kubectl logs deploy/name; docs/*.md are pages.\n",
}

# In which file what is replaced, by what, and what the finding must say.
PLANTED = [
    ("README.md", "GUIDE.md#say", "GUIDES.md#say", "README.md:3: docs/GUIDES.md#say-it-twice-once_more is not there"),
    ("README.md", "GUIDE.md#say", "guide.md#say", "is not there"),
    ("README.md", "#say-it", "#say-that", "has no such heading"),
    ("README.md", "#by-hand", "#by-foot", "has no such heading"),
    ("README.md", "(docs)", "(doc)", "doc is not there"),
    ("README.md", "(docs)", "(../docs)", "leaves the repository"),
    ("README.md", "(docs)", "(/docs)", "is absolute"),
    ("README.md", "(docs)", "(docs#part)", "is not there"),
    ("README.md", "(#read-me)", "(#read)", "README.md:3: #read has no such heading"),
    ("README.md", "[e][reference]", "[e][referense]", "[referense] is not there"),
    ("README.md", "#twice-1", "#twice-2", "has no such heading"),
    ("README.md", "dark.svg", "black.svg", "docs/images/black.svg is not there"),
    ("README.md", "light.svg", "white.svg", "docs/images/white.svg is not there"),
    ("README.md", "`[no link](nowhere.md)`", "[a link](nowhere.md)", "README.md:4: nowhere.md is not there"),
    ("README.md", "[d](", "![d](photo.png)[d](", "photo.png is not there"),
    ("docs/GUIDE.md", "## Twice\n## Twice", "## Twice", "#twice-1 has no such heading"),
    ("docs/GUIDE.md", "# No heading", "# [x](y.md)\n```\n[x](y.md)", "docs/GUIDE.md:16: y.md is not there"),
    ("docs/GUIDE.md", "[in a table](#", "[in a table](../README.md#", "../README.md#twice-1 has no such heading"),
    ("worker/src/main.rs", "GUIDE.md#twice", "GUIDE.md#thrice", "main.rs:1: docs/GUIDE.md#thrice has no such heading"),
    ("worker/src/main.rs", "docs/GUIDE.md", "docs/OPERATIONS.md", "main.rs:1: docs/OPERATIONS.md#twice is not there"),
    ("worker/src/main.rs", "docs/images/", "docs/pictures/", "docs/pictures/ is not there"),
]


class Links(unittest.TestCase):
    def test_good_documents_have_no_fault(self):
        faults, elsewhere = links.look_at(FILES)
        self.assertEqual(faults, [])
        self.assertEqual([pointer.target for pointer in elsewhere], ["https://example.com"])

    def test_each_planted_fault_is_found(self):
        for file, old, new, says in PLANTED:
            with self.subTest(file=file, new=new):
                self.assertIn(old, FILES[file])
                faults, _ = links.look_at(FILES | {file: FILES[file].replace(old, new, 1)})
                self.assertTrue(any(says in fault for fault in faults), faults)

    def test_an_address_that_has_gone_is_a_fault_and_a_server_that_is_down_is_none(self):
        class Server(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(int(self.path[1:]))
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        here = f"http://127.0.0.1:{server.server_port}"
        self.assertEqual([links.ask(f"{here}/{status}") for status in (200, 404, 410, 503)], [200, 404, 410, 503])
        answers = {"https://a.dev/x": 404, "https://b.dev/": 503, "https://c.dev/": "refused", "https://d.dev/": 200}
        pointers = [links.Pointer("README.md", 7, address) for address in ("https://a.dev/x#part", *answers)]
        asked = links.ask
        self.addCleanup(setattr, links, "ask", asked)
        links.ask = answers.__getitem__
        with contextlib.redirect_stdout(io.StringIO()) as said:
            faults = links.look_elsewhere([*pointers, links.Pointer("README.md", 8, "https://posthog.example.com/")])
        self.assertEqual(faults, ["README.md:7: https://a.dev/x has gone"] * 2)
        self.assertIn("no answer  https://c.dev/", said.getvalue())


if __name__ == "__main__":
    unittest.main()
