"""Do m5jax's networks compute what another implementation computed, with that implementation's weights?

    python tools/check_golden.py FOLDER [FOLDER ...] [--kind KIND]

A folder holds the configuration, the weights, the inputs and the outputs of the other implementation; what files these
are, the module of its kind in tools/golden/ says. The kind is the folder's name unless --kind says otherwise. Prints
the largest absolute difference of every output (of gradient norms: relative), and last the same as one line of JSON.
Exit code 0: everything is within its limit; 1: something is not; otherwise as m5jax.errors. States at padding are not
compared, and no label may lie there. The first token of a sequence stands for it, and is never masked where the
modality is there.
"""

import argparse
import json
import os
import pathlib
import sys
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the references were computed in float32 on a CPU

import golden
import numpy as np

from m5jax.errors import M5Error


def check(folder: pathlib.Path, kind: str) -> dict[str, Any]:
    """What is to be said of one folder: its differences, or why there are none."""
    try:
        differences = golden.check(folder, kind)
    except M5Error as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return {"kind": kind, "passed": False, "error": str(error), "exit_code": error.exit_code}
    width = max(map(len, differences))
    for name, (value, limit) in differences.items():
        print(f"  {name:<{width}}  {value:9.2e}  {'within' if value <= limit else 'BEYOND'} {limit:g}")
    passed = all(value <= limit for value, limit in differences.values())
    return {
        "kind": kind,
        "passed": passed,
        "differences": {name: value if np.isfinite(value) else None for name, (value, _) in differences.items()},
        "limits": {name: limit for name, (_, limit) in differences.items()},
        "exit_code": 0 if passed else 1,
    }


def main(argv: list[str]) -> int:
    """Checks every folder; returns the first exit code that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--kind", choices=sorted(golden.KINDS), help="what the folders hold, whatever their names")
    arguments = parser.parse_args(argv)
    results = {
        str(folder): check(folder, arguments.kind or pathlib.Path(os.path.abspath(folder)).name)
        for folder in arguments.folders
    }
    print(json.dumps({"passed": all(result["passed"] for result in results.values()), "folders": results}))
    return next((result["exit_code"] for result in results.values() if result["exit_code"]), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
