"""Peak memory and time of importing DeepSEA files, in processes of their own.

    python tests/bench/deepsea.py FOLDER [--rows 220000] [--test-rows 22752] [--chunks 64]

FOLDER takes the generated files and the imported data (3 GB at the default sizes: a twentieth of
the official train.mat and test.mat; --test-rows 455024 is the official test.mat, 5 GB more). The
rows are drawn by number, so that a sample of the imported ones is compared with what was written.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

SLAB = 4096
CHILD = r"""
import json, re, sys, time
from pathlib import Path
from dnabench.tasks import deepsea
from dnabench.tasks.io.imported import Writer, open_split
start = time.perf_counter()
with Writer(deepsea.NAME, "bench") as writer:
    for split, part in deepsea.read({sys.argv[2]: (Path(sys.argv[1]),)}):
        writer.add(split, part)
seconds = time.perf_counter() - start
status = Path("/proc/self/status").read_text()  # ru_maxrss would count the parent's too
peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
start = time.perf_counter()
split = open_split(deepsea.NAME, sys.argv[2])
print(json.dumps({"rows": len(split.y), "seconds": seconds, "peak": peak,
                  "open": time.perf_counter() - start}))
"""


def rows(a, b):
    """Channels (n, 1000) and labels (n, 919) of rows a to b; a is a multiple of SLAB."""
    rng = np.random.default_rng(a)
    channels = rng.integers(0, 4, (SLAB, 1000), np.uint8)[: b - a]
    return channels, (rng.random((SLAB, 919), np.float32) < 0.02).astype(np.uint8)[: b - a]


def one_hot(channels):
    """uint8 (n, 4, 1000)."""
    return (channels[:, None] == np.arange(4, dtype=np.uint8)[:, None]).view(np.uint8)


def write_hdf5(path, n, chunks):
    """As MATLAB 7.3: (1000, 4, N) and (919, N)."""
    import h5py

    packed = {"compression": "gzip", "compression_opts": 1} if chunks else {}
    with h5py.File(path, "w") as f:
        shape = (1000, 4, chunks) if chunks else None
        x = f.create_dataset("trainxdata", (1000, 4, n), "u1", chunks=shape, **packed)
        shape = (919, chunks) if chunks else None
        y = f.create_dataset("traindata", (919, n), "u1", chunks=shape, **packed)
        for a in range(0, n, SLAB):
            b = min(a + SLAB, n)
            channels, labels = rows(a, b)
            x[:, :, a:b], y[:, a:b] = one_hot(channels).transpose(2, 1, 0), labels.T


def element(kind, data):
    """An element of a level 5 MAT-file."""
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def write_level5(path, n):
    """As MATLAB before 7.3, not compressed: (N, 4, 1000) and (N, 919), N running fastest."""
    with path.open("wb") as f:
        f.write(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM")
        for name, shape in ((b"testxdata", (n, 4, 1000)), (b"testdata", (n, 919))):
            size = int(np.prod(shape))
            head = element(6, struct.pack("<II", 9, 0))  # class uint8
            head += element(5, struct.pack(f"<{len(shape)}i", *shape)) + element(1, name)
            head += struct.pack("<II", 2, size)
            padding = -size % 8
            f.write(struct.pack("<II", 14, len(head) + size + padding) + head)
            at = f.tell()
            f.truncate(at + size + padding)
            f.flush()
            array = np.memmap(path, np.uint8, "r+", at, shape, order="F")
            for a in range(0, n, SLAB):
                b = min(a + SLAB, n)
                channels, labels = rows(a, b)
                array[a:b] = one_hot(channels) if len(shape) == 3 else labels
            del array
            f.seek(0, os.SEEK_END)


def measure(path, split, n):
    """Import in a process of its own, compare a sample of the rows, say what it took."""
    env = {**os.environ, "DNABENCH_CACHE": str(path.parent / "cache"), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", CHILD, path, split]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["rows"] == n, found
    os.environ["DNABENCH_CACHE"] = env["DNABENCH_CACHE"]
    from dnabench.tasks import deepsea
    from dnabench.tasks.io.imported import open_split

    stored = open_split(deepsea.NAME, split)
    for a in range(0, n, max(SLAB, n // 8 // SLAB * SLAB)):
        b = min(a + SLAB, n)
        channels, labels = rows(a, b)
        codes = np.array([0, 2, 1, 3], np.uint8)[channels]  # A, G, C, T
        assert (stored.seqs.codes[a * 1000 : b * 1000].reshape(-1, 1000) == codes).all()
        assert (stored.y[a:b] == labels).all()
    size = path.stat().st_size / 1e9
    print(
        f"| {path.name} | {n:,} | {size:.2f} | {found['seconds']:.1f} | "
        f"{found['peak'] / 1e9:.2f} | {found['open'] * 1000:.0f} |"
    )


def main():
    """Generate, import, print rows of a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=220_000)
    parser.add_argument("--test-rows", type=int, default=22_752)
    parser.add_argument("--chunks", type=int, default=64, help="rows in a packed chunk of HDF5")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    print("| file | rows | GB | s | peak RSS, GB | opened in, ms |\n|---|---|---|---|---|---|")
    for name, chunks in (("contiguous.mat", 0), ("packed.mat", args.chunks)):
        if args.rows:
            write_hdf5(args.folder / name, args.rows, chunks)
            measure(args.folder / name, "train", args.rows)
            (args.folder / name).unlink()
    write_level5(args.folder / "test.mat", args.test_rows)
    measure(args.folder / "test.mat", "test", args.test_rows)
    (args.folder / "test.mat").unlink()


if __name__ == "__main__":
    main()
