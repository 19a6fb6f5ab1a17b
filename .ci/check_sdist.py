"""The sdist has every file that git tracks, and nothing else but what setuptools writes; the metadata is complete."""

import subprocess
import sys
import tarfile
from email.parser import Parser

WRITTEN = ("PKG-INFO", "vqnp.egg-info/")
FIELDS = ("Name", "Version", "Summary", "License", "Requires-Python", "Keywords", "Description-Content-Type")

tracked = set(subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.split("\n")[:-1])
with tarfile.open(sys.argv[1]) as archive:
    root = archive.getnames()[0].split("/", 1)[0]
    files = {member.name.removeprefix(f"{root}/") for member in archive.getmembers() if member.isfile()}
    pkg_info = archive.extractfile(f"{root}/PKG-INFO")
    assert pkg_info is not None
    metadata = Parser().parsestr(pkg_info.read().decode("utf-8"))
packed = {name for name in files if not name.startswith(WRITTEN)}
assert packed == tracked, f"missing {sorted(tracked - packed)[:20]}, more {sorted(packed - tracked)[:20]}"
missing = [field for field in FIELDS if not metadata[field]]
assert not missing, f"the metadata has no {missing}; it has {sorted(set(metadata.keys()))}"
assert root == f"vqnp-{metadata['Version']}", root
assert metadata.get_payload().startswith("# vqnp"), "the description is not the README"
extras = set(metadata.get_all("Provides-Extra", []))
assert {"test", "download", "crosscheck", "docs"} <= extras, extras
print(f"{root}.tar.gz: {len(packed)} files, version {metadata['Version']}, extras {', '.join(sorted(extras))}")
