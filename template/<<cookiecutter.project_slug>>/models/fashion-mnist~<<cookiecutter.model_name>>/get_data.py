"""Take Fashion-MNIST from an address or a folder, unpack it, and check it against SHA256SUMS."""

import gzip
import hashlib
import http.client
import shutil
import sys
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DATA = ROOT / "data" / "<<cookiecutter.model_name>>"

TIMEOUT = 30  # seconds without a single byte
ATTEMPTS = 3
PAUSE = 2.0  # seconds before the second attempt, twice that before the third
CHUNK = 1_000_000  # bytes
LARGEST_FILE = 200_000_000  # bytes, unpacked; the largest of Fashion-MNIST has 47 million

FOLDER_HINT = f"""name a folder with the files as `source` in {HERE.relative_to(ROOT)}/data.yaml;
on Debian and Ubuntu, `sudo apt-get install dataset-fashion-mnist` makes one:
/usr/share/datasets/fashion-mnist"""


class DataError(Exception):
    """The data cannot be had: what is wrong, and what helps."""

    def __init__(self, problem, hint=FOLDER_HINT):
        super().__init__(f"error: {problem}\n\nhint: {hint}")


def get_data(source, sums, target):
    """Put each file of `sums` (name to SHA-256) into the folder `target`.

    A file appears under its name only when it is complete and its sum is right. Those that are
    there already are kept.
    """
    if not isinstance(source, str):
        raise DataError(f"`source` in data.yaml is `{source}`, neither an address nor a folder")
    target.mkdir(parents=True, exist_ok=True)
    for name, expected in sums.items():
        path = target / name
        if path.is_file() and sha256(path) == expected:
            continue
        partial = target / f".{name}.partial"
        try:
            fetch(source, name, partial)
            if sha256(partial) != expected:
                raise DataError(f"`{name}` from {source} is not the file that SHA256SUMS names")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        print(f"{name}: {path.stat().st_size:,} bytes, checked")


def fetch(source, name, path):
    if source.startswith(("https://", "http://")):
        download(f"{source.rstrip('/')}/{name}.gz", path)
        return
    folder = ROOT / Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    if (folder / name).is_file():
        shutil.copyfile(folder / name, path)
    elif (folder / f"{name}.gz").is_file():
        with (folder / f"{name}.gz").open("rb") as packed:
            unpack(packed, path, f"{folder / name}.gz")
    else:
        raise DataError(f"{folder} holds neither `{name}` nor `{name}.gz`")


def download(url, path):
    """Write what `url` holds, unpacked, to `path`. What may pass is tried again."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                unpack(answer, path, url)
            return
        except (OSError, EOFError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS or is_refusal(error):
                reason = getattr(error, "reason", None) or error
                raise DataError(f"cannot download {url}: {reason}") from None
            print(f"trying again after {error}: {url}", file=sys.stderr)
        time.sleep(PAUSE * attempt)


def is_refusal(error):
    """Tell whether the server answered that it will not give the file, now or later."""
    return isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429


def unpack(packed, path, where):
    try:
        with gzip.GzipFile(fileobj=packed) as unpacked, path.open("wb") as file:
            while chunk := unpacked.read(CHUNK):
                file.write(chunk)
                if file.tell() > LARGEST_FILE:
                    raise DataError(f"{where} is larger than {LARGEST_FILE:,} bytes")
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{where} is not a gzip file: {error}") from None


def sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read_sums(path):
    """Read what `sha256sum` writes: name to sum."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return {name: expected for expected, name in lines}


if __name__ == "__main__":
    settings = yaml.safe_load((HERE / "data.yaml").read_text())
    try:
        get_data(settings["source"], read_sums(HERE / "SHA256SUMS"), DATA)
    except DataError as error:
        sys.exit(str(error))
    except OSError as error:  # such as a full disk
        sys.exit(f"error: {error}")
