"""The repository's own files, also in a copy that git does not know: an archive, or a machine without git."""

import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What is made here and not kept, where git cannot say so.
MADE = {".git", "target", "node_modules", "__pycache__", ".env"}


def names():
    """The paths from the top of all files that are in git, or will be."""
    # The checkout may belong to somebody else.
    listing = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        return list(walked(ROOT))
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def walked(folder):
    """The paths of all files below a folder, without what is made there."""
    for path in sorted(folder.iterdir()):
        if path.name in MADE:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from walked(path)
        elif path.is_file():
            yield str(path.relative_to(ROOT))
