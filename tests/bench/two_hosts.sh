#!/usr/bin/env bash
# Two hosts run one sweep over one folder, each through a mount of its own, which keeps locks local.
#
#     bash tests/bench/two_hosts.sh FOLDER [PYTHON]      as root, with bindfs and util-linux
#
# Prints how many trials were started, or ended, more than once. FOLDER is made new.
set -euo pipefail
folder=$(realpath -m "$1") python=${2:-python}
rm -rf "$folder" && mkdir -p "$folder" /mnt/shared
"$python" - > "$folder/noise.csv" <<'PY'
import random

random.seed(1)
print("sequence,label")
for i in range(200):
    print("".join(random.choices("ACGT", k=60)), i % 2, sep=",")
PY
for name in first second; do
    unshare --uts --net --pid --fork --mount --mount-proc --propagation private bash -c '
        hostname "$1"; bindfs --no-allow-other "$2" /mnt/shared; cd /mnt/shared
        OMP_NUM_THREADS=1 "$3" -m dnabench run -m cnn --data noise.csv --seeds 8 --epochs 30 \
            --jobs 1 --out runs > "$1.log" 2>&1
    ' - "$name" "$folder" "$python" &
done
wait
"$python" - "$folder/runs" <<'PY'
import collections, json, pathlib, sys

events = collections.Counter()
for path in pathlib.Path(sys.argv[1]).glob("journal*"):
    for line in path.read_text().splitlines():
        event = json.loads(line)
        events[event["event"], event["trial"]] += 1
print(len({trial for _, trial in events}), "trials")
for what in ("started", "ended"):
    print(sum(n > 1 for (kind, _), n in events.items() if kind == what), f"{what} more than once")
PY
