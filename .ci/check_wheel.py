"""Every file of the package that git tracks is in the wheel, and so are the licences; nothing else is."""

import subprocess
import sys
import zipfile

tracked = set(subprocess.run(["git", "ls-files", "vqnp"], capture_output=True, text=True, check=True).stdout.split())
names = zipfile.ZipFile(sys.argv[1]).namelist()
packed = {name for name in names if name.startswith("vqnp/")}
licences = [name for name in names if "LICENSE" in name and ".dist-info/" in name]
assert packed == tracked, f"missing {sorted(tracked - packed)}, more {sorted(packed - tracked)}"
assert len(licences) == 3, licences
weights = zipfile.ZipFile(sys.argv[1]).getinfo("vqnp/evaluation/classifier.npz").file_size
assert weights <= 300_000, f"the classifier's weights have {weights} bytes"
print(f"{sys.argv[1].rsplit('/', 1)[-1]}: {len(packed)} files of the package, {len(licences)} licences")
