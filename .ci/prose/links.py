"""Looks whether what the repository's files point to is there: `python links.py [--external]`.

Two kinds of pointers are followed, offline and exactly. Links, images and HTML of every Markdown file lead to a file or a
folder of the repository, and to a heading in it if they name one. Paths that any file mentions (`docs/ALERTS.md#alerts`, in a
comment, a message or a setting) lead to one, too. Links to other places are listed, and asked for where the network answers:
only an address that says that it has gone is a fault, since a server of somebody else may be down.
"""

import argparse
import collections
import concurrent.futures
import html.parser
import pathlib
import re
import sys
import typing
import urllib.error
import urllib.parse
import urllib.request

import markdown_it

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ci"))
import sources  # noqa: E402

MARKDOWN = markdown_it.MarkdownIt("commonmark").enable("table")

# A path from the top of the repository, as prose, comments and messages write it: it ends in a name with a dot, or in a slash.
TOP = r"\.ci|\.cargo|\.github|bench|deploy|docs|migrations|producer|shared|testkit|worker"
MENTION = re.compile(rf"(?<![\w/.{{}}<>$*-])((?:{TOP})/(?:[\w.-]+/)*(?:[\w-]*\.\w+(?:\.\w+)*)?)(?![\w*{{<$])(#[\w-]+)?")

# Names that never lead anywhere: RFC 2606 and this machine.
NOWHERE = re.compile(r"(^|\.)(example|example\.(com|org|net)|test|invalid|localhost|internal)$|^127\.|^\[|^0\.0\.0\.0$")

# What the tests of the checks plant is wrong on purpose.
PLANTED = re.compile(r"(^|/)test_\w+\.py$")


class Pointer(typing.NamedTuple):
    """From which file and line, to what."""

    file: str
    line: int
    target: str


class Html(html.parser.HTMLParser):
    """Targets and anchors of HTML within Markdown."""

    def __init__(self):
        super().__init__()
        self.targets, self.anchors = [], []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append(value)
            elif name == "srcset" and value:
                self.targets += [candidate.split()[0] for candidate in value.split(",") if candidate.strip()]
            elif name in ("id", "name") and value:
                self.anchors.append(value)


def parse_html(text):
    parser = Html()
    parser.feed(text)
    parser.close()
    return parser


def tokens_of(text):
    """Tokens of a document, those within a line with the number of the line."""
    for token in MARKDOWN.parse(text):
        line = token.map[0] + 1 if token.map else 0
        yield token, line
        for child in token.children or []:
            yield child, line
            line += child.type in ("softbreak", "hardbreak")


def slug(heading):
    """What GitHub makes of a heading: lower case, without punctuation, hyphens for spaces."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def anchors_of(text):
    """Anchors of a Markdown document; a heading that comes twice is numbered."""
    found, seen = set(), collections.Counter()
    tokens = list(MARKDOWN.parse(text))
    for token, inline in zip(tokens, tokens[1:]):
        if token.type == "heading_open":
            words = "".join(child.content for child in inline.children if child.type in ("text", "code_inline"))
            name = slug(words)
            found.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    for token, _ in tokens_of(text):
        if token.type in ("html_block", "html_inline"):
            found.update(parse_html(token.content).anchors)
    return found


def links_of(file, text):
    """Pointers of a Markdown document; a reference that is defined nowhere is one to itself, which is not there."""
    for token, line in tokens_of(text):
        if token.type == "link_open":
            yield Pointer(file, line, token.attrGet("href"))
        elif token.type == "image":
            yield Pointer(file, line, token.attrGet("src"))
        elif token.type in ("html_block", "html_inline"):
            for target in parse_html(token.content).targets:
                yield Pointer(file, line, target)
        elif token.type == "text":
            for words in re.findall(r"\[[^\]]+\]\[([^\]]*)\]", token.content):
                yield Pointer(file, line, f"[{words}]")


def mentions_of(file, text):
    """Paths that a file of any kind mentions."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in MENTION.finditer(line):
            yield Pointer(file, number, match[1] + (match[2] or ""))


def fault_of(pointer, files, from_top):
    """What is wrong with a pointer within the repository, or nothing. `files`: the text of each file, by its path."""
    path, _, anchor = urllib.parse.unquote(pointer.target).partition("#")
    if path.startswith("/"):
        return "is absolute"
    start = pathlib.PurePosixPath() if from_top else pathlib.PurePosixPath(pointer.file).parent
    parts = []
    for part in (start / path).parts if path else pathlib.PurePosixPath(pointer.file).parts:
        if part == "..":
            if not parts:
                return "leaves the repository"
            parts.pop()
        else:
            parts.append(part)
    target = "/".join(parts)
    if target not in files:
        is_folder = target == "" or any(name.startswith(f"{target}/") for name in files)
        return None if is_folder and not anchor else "is not there"
    if anchor and target.endswith(".md") and anchor not in anchors_of(files[target]):
        return "has no such heading"
    return None


def is_external(target):
    return re.match(r"[a-z][a-z0-9+.-]*:", target, re.IGNORECASE) is not None or target.startswith("//")


def look_at(files):
    """All faults as lines, and all pointers to other places. Texts that are no UTF-8 are `None`."""
    faults, elsewhere = [], []
    for file, text in files.items():
        if text is None:
            continue
        pointers = []
        if file.endswith(".md"):
            links = list(links_of(file, text))
            elsewhere += [link for link in links if is_external(link.target)]
            pointers += [(link, False) for link in links if not is_external(link.target)]
        if not PLANTED.search(file):
            pointers += [(mention, True) for mention in mentions_of(file, text)]
        for pointer, from_top in pointers:
            fault = fault_of(pointer, files, from_top)
            if fault:
                faults.append(f"{pointer.file}:{pointer.line}: {pointer.target} {fault}")
    return faults, elsewhere


def ask(address):
    """The status that an address answers, or why it does not."""
    request = urllib.request.Request(address, headers={"User-Agent": "link check", "Range": "bytes=0-0"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError) as error:
        return str(error)


def look_elsewhere(pointers):
    """Faults of addresses that say that they have gone, printing what became of all."""
    by_address = collections.defaultdict(list)
    for pointer in pointers:
        address = urllib.parse.urldefrag(pointer.target)[0]
        host = urllib.parse.urlsplit(address).hostname or ""
        if address.startswith("http") and not NOWHERE.search(host):
            by_address[address].append(pointer)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = dict(zip(by_address, pool.map(ask, by_address)))
    for address, answer in sorted(answers.items()):
        print(f"{answer if isinstance(answer, int) else 'no answer'}  {address}")
    gone = [address for address, answer in answers.items() if answer in (404, 410)]
    return [f"{at.file}:{at.line}: {address} has gone" for address in gone for at in by_address[address]]


def read_repository():
    """All files that are in git, or will be: with their text."""
    files = {}
    for name in sources.names():
        try:
            files[name] = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            files[name] = None
    return files


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--external", action="store_true", help="also ask for the links to other places")
    files = read_repository()
    faults, elsewhere = look_at(files)
    if arguments.parse_args().external:
        faults += look_elsewhere(elsewhere)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(files)} files; {len(elsewhere)} links to other places; {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
