#!/usr/bin/env python3
"""Verifies a repository that crates/trust wrote with python-tuf, the reference implementation of TUF.

    tests/checks/python_tuf.py FOLDER

FOLDER has pinned-root.json, metadata/ and targets/. Exit 1 names the first thing that does not hold.
"""

import pathlib
import sys
import tempfile
import urllib.parse

from tuf.api import exceptions
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

PATH = "releases/kiosk/1.0.0+b7/rootfs"
WITHDRAWN = "releases/kiosk/0.9.0/rootfs"


class Files(FetcherInterface):
    """Serves files of a folder; `alter` changes the bytes of those whose name contains a text."""

    def __init__(self, folder, alter=None):
        self.folder, self.alter, self.served = folder, alter, []

    def _fetch(self, url):
        name = urllib.parse.unquote(url.removeprefix("file:///"))
        path = self.folder / name
        if not path.is_file():
            raise exceptions.DownloadHTTPError(f"{name}: not found", 404)
        data = path.read_bytes()
        if self.alter and self.alter[0] in name:
            data = data.replace(self.alter[1], self.alter[2])
        self.served.append(name)
        yield data


def updater(folder, fetcher, scratch):
    return Updater(
        str(scratch), "file:///metadata/", str(scratch), "file:///targets/", fetcher,
        UpdaterConfig(), bootstrap=(folder / "pinned-root.json").read_bytes(),
    )


def verifies(folder):
    with tempfile.TemporaryDirectory() as scratch:
        fetcher = Files(folder)
        client = updater(folder, fetcher, scratch)
        client.refresh()
        assert "metadata/2.root.json" in fetcher.served, "the second root was not walked to"
        target = client.get_targetinfo(PATH)
        assert target is not None, f"{PATH} is not there"
        assert target.custom["manifest"] == "01" * 32, target.custom
        client.download_target(target, str(pathlib.Path(scratch) / "rootfs"))
        assert client.get_targetinfo(WITHDRAWN) is None, f"{WITHDRAWN} is still there"
        derived = f"derived/{target.hashes['sha256']}/{'03' * 32}"
        artifact = client.get_targetinfo(derived)
        assert artifact is not None and artifact.custom["index_length"] == 96, "the artifact is not there"
        assert client.get_targetinfo("releases/till/1.0.0/rootfs") is None


def refuses(folder, name, old, new, expected):
    with tempfile.TemporaryDirectory() as scratch:
        client = updater(folder, Files(folder, (name, old, new)), scratch)
        try:
            client.refresh()
            target = client.get_targetinfo(PATH)
            client.download_target(target, str(pathlib.Path(scratch) / "rootfs"))
        except expected:
            return
    raise AssertionError(f"{name} was altered and believed")


def main():
    folder = pathlib.Path(sys.argv[1])
    verifies(folder)
    # So that the check above cannot pass for the wrong reason: each altered file is refused.
    refuses(folder, "2.root.json", b'"version":2', b'"version":3', exceptions.RepositoryError)
    refuses(folder, "timestamp.json", b'"1.0.31"', b'"1.0.30"', exceptions.RepositoryError)
    refuses(folder, "snapshot.json", b'"version":', b'"version": ', (exceptions.RepositoryError, exceptions.DownloadError))
    refuses(folder, "product-kiosk.json", b'"sha256":"', b'"sha256":"0', (exceptions.RepositoryError, exceptions.DownloadError))
    refuses(folder, "targets/", b"root", b"toor", exceptions.RepositoryError)
    print("python-tuf: the repository verifies, five altered ones do not")


if __name__ == "__main__":
    main()
