"""How fast m5jax is, on this machine.

``python tools/benchmark.py input --config configs/X.py [--config.field=value]`` and ``python tools/benchmark.py
retrieval``. A table for people, then one JSON object as the last line: mode, config (the settings that were measured),
commit, hardware, versions, and the figures. No data set is needed.
"""

import argparse
import json
import sys

from benchmarks import facts, input_pipeline, retrieval

from m5jax import main as command
from m5jax import settings
from m5jax.errors import M5Error

MODES = {"input": input_pipeline, "retrieval": retrieval}  # each adds its arguments, measures, and gives its figures
CONFIGURED = ("input",)  # of them those that measure a config


def main(argv: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    for name, mode in MODES.items():
        part = modes.add_parser(name, description=mode.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in CONFIGURED:
            part.add_argument("--config", required=True, help="config file; --config.field=value as for m5jax.main")
        mode.add_arguments(part)
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.mode not in CONFIGURED:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if arguments.mode in CONFIGURED:
            config = command.parse(["benchmark", "--config", arguments.config, *rest])
            figures = {"config": settings.to_dict(config)} | MODES[arguments.mode].measure(config, arguments)
        else:
            figures = MODES[arguments.mode].measure(arguments)
    except M5Error as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    print(json.dumps({"mode": arguments.mode, **facts.of_this_machine()} | figures))
    return 0


if __name__ == "__main__":  # worker processes import this file
    sys.exit(main(sys.argv[1:]))
