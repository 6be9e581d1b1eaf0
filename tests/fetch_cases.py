"""Published files on a loopback server, and tasks that are fetched from it."""

import hashlib
import io
import tarfile
import zipfile

import numpy as np
import pytest
from conftest import planted_split
from fileserver import FileServer
from hub import REVISION

from dnabench import TASKS
from dnabench.tasks._declare import ORIGINS, Origin, declare
from dnabench.tasks.io import download as _download
from dnabench.tasks.io.fetching import fetch

PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>please</body></html>"


def fasta(n, seed):
    """As the NT suite publishes it."""
    part = planted_split(n, seed, length=500)
    return "".join(f">s{i}|{part.y[i]}\n{part.seqs[i]}\n" for i in range(n)).encode()


def csv_of(n, seed):
    """As GUE publishes it."""
    part = planted_split(n, seed, length=70)
    return (
        "sequence,label\n" + "".join(f"{part.seqs[i]},{part.y[i]}\n" for i in range(n))
    ).encode()


def gue_zip():
    return zipped({f"GUE/mouse/0/{s}.csv": csv_of(30, i) for i, s in enumerate(SPLITS)})


SPLITS = ("train", "dev", "test")


def zipped(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members.items():
            z.writestr(name, data)
    return out.getvalue()


def tarred(members, mode="w:gz"):
    """Members are bytes, or TarInfo for what is no file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as t:
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(data, bytes):
                info.size = len(data)
            t.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return out.getvalue()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def noise(n, seed=0):
    return np.random.default_rng(seed).bytes(n)


@pytest.fixture(scope="module")
def running():
    one = FileServer()
    with one.serving() as url:
        one.url = url
        yield one


@pytest.fixture
def server(running, tmp_path, monkeypatch):
    """An empty server that huggingface_hub takes for the hub, with an empty cache; no waiting."""
    from huggingface_hub import constants

    for kept in (running.files, running.asked, running.tokens):
        kept.clear()
    template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", running.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(_download, "PAUSE", 0.01)
    return running


@pytest.fixture
def task():
    """Declare a stand-in, and take it out of the registry again."""
    names = []

    def add(name="standin/h3", **origin):
        declare(
            name, kind="binary", classes=("0", "1"), metric="mcc", length=500, official={},
            source="here", license="CC0-1.0", origin=Origin(**origin),
        )  # fmt: skip
        names.append(name)
        return name

    yield add
    for name in names:
        TASKS._entries.pop(name)
        ORIGINS.pop(name)


NT = {
    "repo": "org/nt",
    "revision": REVISION,
    "files": {"train": ("H3/H3_train.fna",), "test": ("H3/H3_test.fna",)},
}


def put_nt(server, revision=REVISION):
    data = {"H3/H3_train.fna": fasta(40, 0), "H3/H3_test.fna": fasta(20, 1)}
    for path, content in data.items():
        server.put_dataset("org/nt", path, content, revision)
    return data


def refused(name, folder, *says):
    with pytest.raises(ValueError, match=f"^{name}: ") as e:
        fetch(name, folder)
    for text in says:
        assert text in str(e.value), str(e.value)
    return str(e.value)


def visible(folder):
    """Paths of the files that are no traces of a download."""
    if not folder.exists():
        return []
    paths = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(str(p) for p in paths if not any(x.startswith(".") for x in p.parts))


def web(server, task, data, path="/h3.fna", **trouble):
    """A task of one file at a URL: its name and how it is served."""
    served = server.put_file(path, data, **trouble)
    return task(urls=(server.url + path,), sha256={server.url + path: sha(data)}), served
