"""The other engine: atheris (libFuzzer) mutates what the targets make, guided by coverage of Python code.

It is in no lock file, since its wheels lag behind Python's releases: `.venv/bin/pip install atheris` first, then
`python -m tests.fuzz.coverage_guided TARGET RUNS SEED`. It ends at the first finding and stores it in the corpus.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.fuzz.findings import CORPUS, LIMIT_S, Finding, kind_of, load, problem

_SEEDS = 300
_LONGEST = 4096


def main(name: str, runs: int, seed: int) -> None:
    """Fuzz a target that needs no servers; exit code 0 without a finding."""
    import atheris

    with atheris.instrument_imports(include=["streamproc", "schemas"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="streamproc-fuzz-") as folder, target.open() as check:
        known = [load(path) for path in (CORPUS / name).glob("*")]
        for number, value in enumerate([*target.inputs(seed, 0)[:_SEEDS], *known]):
            (Path(folder) / str(number)).write_bytes(value)

        def one(value: bytes) -> None:
            error = problem(check, value)
            if error is not None:
                print(f"input {Finding(name, kind_of(error), repr(error), value).save()}", flush=True)
                raise error

        limits = [f"-runs={runs}", f"-seed={seed}", f"-max_len={_LONGEST}", f"-timeout={int(LIMIT_S * 30)}"]
        atheris.Setup([sys.argv[0], *limits, folder], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
