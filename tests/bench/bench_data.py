"""Memory and time of reading a zip archive in the layout of B2NERD_data.zip, without unpacking it.

    python tests/bench/bench_data.py --megabytes 500

Makes such an archive of random words (that size packed), counts it with `b2ner data stats`, and
prints the peak memory of that process, beside that of one with a hundredth of the rows.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROWS_AT_ONCE = 2000
LABELS = ["person", "organization -> company", "location"]


def words(rng):
    """Words that do not pack well."""
    return [
        "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in "x" * 40
    ]


def row(rng):
    sentence, entities, at = words(rng), [], 0
    for index, word in enumerate(sentence):
        if index % 17 == 3:
            entities.append({"name": word, "type": rng.choice(LABELS), "pos": [at, at + len(word)]})
        at += len(word) + 1
    return {"sentence": " ".join(sentence), "entities": entities}


def make(path, megabytes, rng):
    """Write one large train.json and a few small files; give the bytes unpacked."""
    size = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for collection in ("B2NERD", "B2NERD_raw"):
            folder = f"{collection}/NER_en/large"
            archive.writestr(f"{folder}/labels.json", json.dumps(LABELS))
            archive.writestr(f"{folder}/test.json", json.dumps([row(rng) for _ in range(100)]))
        with archive.open("B2NERD/NER_en/large/train.json", "w", force_zip64=True) as stream:
            lead = b"[\n"
            while os.path.getsize(path) < megabytes * 1e6:
                for _ in range(ROWS_AT_ONCE):
                    line = lead + json.dumps(row(rng)).encode()
                    size += stream.write(line)
                    lead = b",\n"
            stream.write(b"\n]\n")
    return size


def measure(path):
    """Count the archive in a process of its own: seconds and peak memory in MB."""
    began = time.monotonic()
    command = [sys.executable, "-m", "b2ner_cli", "data", "stats", str(path)]
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return time.monotonic() - began, used.ru_maxrss / 1024, used.ru_utime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=float, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for share in (0.01, 1):
            path = Path(folder) / "B2NERD_data.zip"
            size = make(path, options.megabytes * share, random.Random(7))
            seconds, peak, cpu = measure(path)
            print(
                f"{path.stat().st_size / 1e6:,.0f} MB packed, {size / 1e6:,.0f} MB of rows: "
                f"{seconds:.1f} s ({cpu:.1f} s CPU), peak {peak:.1f} MB"
            )


if __name__ == "__main__":
    main()
