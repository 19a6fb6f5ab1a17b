"""python .ci/check_release.py v0.2.0: the tag, vqnp/_version.py and a dated heading of CHANGELOG.md agree.

How to release: set __version__ to 0.2.0 and the heading to "## 0.2.0 (2026-12-24)", run .ci/run, commit, tag v0.2.0
and push the tag; then set __version__ to 0.3.0.dev0.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
tag = sys.argv[1].removeprefix("refs/tags/")
version = re.search(r'__version__ = "([^"]+)"', (ROOT / "vqnp" / "_version.py").read_text(encoding="utf-8"))
heading = re.search(r"^## (\S+) \(([^)]+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
assert version and heading
problems = []
if tag != f"v{version[1]}":
    problems.append(f"the tag is {tag}, and vqnp/_version.py says {version[1]}")
if heading[1] != version[1]:
    problems.append(f"the first heading of CHANGELOG.md is {heading[1]}, and vqnp/_version.py says {version[1]}")
if not re.fullmatch(r"\d{4}-\d\d-\d\d", heading[2]):
    problems.append(f'CHANGELOG.md has "{heading[2]}" where the date of {heading[1]} belongs')
if problems:
    sys.exit("not to be released: " + "; ".join(problems))
print(f"vqnp {version[1]} of {heading[2]}")
