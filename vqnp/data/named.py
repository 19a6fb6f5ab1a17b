"""mnist and fashion-mnist: found on this machine, else downloaded by pooch; recognized by their SHA-256."""

import hashlib
import os
from pathlib import Path

from vqnp._check import fail
from vqnp._files import one_line, reading
from vqnp.data.idx import find_idx
from vqnp.data.stream import open_content

# name -> file -> SHA-256 of its decompressed content: a file on this machine may be compressed in any way
SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}

# name -> file -> SHA-256 of the file as its publishers compressed it, which is what MIRRORS serve
DOWNLOADS = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
}

MIRRORS = {
    "mnist": ("https://ossci-datasets.s3.amazonaws.com/mnist",
              "https://storage.googleapis.com/cvdf-datasets/mnist"),
    "fashion-mnist": ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
                      "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"),
}  # fmt: skip

RETRIES = 2  # of one file from one mirror, after a broken transfer
TIMEOUT_SECONDS = 30.0  # without a byte, after which a transfer is broken
SYSTEM = Path("/usr/share/datasets")  # where Debian's package dataset-fashion-mnist puts its files


def cache_folder(name: str) -> Path:
    """Where downloads of a data set are kept: $XDG_CACHE_HOME/vqnp/NAME, by default under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vqnp" / name


def named_file(name: str, file: str) -> Path:
    """One of the four files, from $VQNP_DATA/NAME, $VQNP_DATA, the system's folder, the cache or a mirror."""
    own = Path(os.environ.get("VQNP_DATA", ""))
    for folder in ([own / name, own] if own.parts else []) + [SYSTEM / name, cache_folder(name)]:
        path = find_idx(folder, file)
        if path is not None and _is_right(path, name, file):
            return path
    return _download(name, f"{file}.gz")


def emoji_file() -> Path:
    """emoji.npz, which examples/make_emoji.py makes, from $VQNP_DATA/emoji, $VQNP_DATA or the cache."""
    own = Path(os.environ.get("VQNP_DATA", ""))
    for folder in ([own / "emoji", own] if own.parts else []) + [cache_folder("emoji")]:
        if (path := folder / "emoji.npz").is_file():
            return path
    needed = "must be in the folder that VQNP_DATA names (examples/make_emoji.py makes it)"
    fail("data set 'emoji'", "emoji.npz", needed, f"VQNP_DATA={own if own.parts else ''}")


def content_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, decompressed if it is gzipped."""
    with reading(path), open_content(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_right(path: Path, name: str, file: str) -> bool:
    """Whether path has the content wanted, not another data set's; any other content is refused."""
    digest = content_sha256(path)
    if digest not in [files[file] for files in SHA256.values()]:
        fail(str(path), f"the content of {name}'s {file}", f"must have SHA-256 {SHA256[name][file]}", digest)
    return digest == SHA256[name][file]


def _download(name: str, file: str) -> Path:
    """Fetch a file into the cache from $VQNP_MIRROR/NAME, if that is set, or the first mirror that has it."""
    where = f"data set {name!r}"
    otherwise = f"or put its four files, {file} and so on, into a folder and its path into VQNP_DATA"
    try:
        import pooch  # when needed: slow to import, and so is its requests
        from requests import RequestException
    except ImportError as error:
        needed = f"must be installed to download it (pip install 'vqnp[download]'; {otherwise})"
        fail(where, "pooch", needed, one_line(error))
    own = os.environ.get("VQNP_MIRROR")
    failures = []
    for url in [f"{own.rstrip('/')}/{name}"] if own else MIRRORS[name]:
        files = pooch.create(cache_folder(name), f"{url}/", registry=DOWNLOADS[name], retry_if_failed=RETRIES)
        try:
            downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT_SECONDS)
            return Path(files.fetch(file, downloader=downloader))
        except (RequestException, ValueError) as error:  # ValueError: another SHA-256
            failures.append(f"{url}: {one_line(error)}")
    fail(where, file, f"must be on a mirror that can be reached ({otherwise})", "; ".join(failures))
