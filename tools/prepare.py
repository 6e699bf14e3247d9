"""Prepares a catalogue of any form: ``python tools/prepare.py --source KIND --input PATH --output DIR``.

What records hold is what a configuration says (`--config`, `--config.inputs.image.size=128`, ...). The folder is then
trained on with ``--config.data.catalogue=DIR`` and the same inputs. The last line of the output is one JSON object:
rows_in = records + all of rejected, always. Exit codes: 0 done, 64 settings, 65 data, above all `--max-rejected`.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import importers

from m5jax import main as command
from m5jax.config import Config
from m5jax.errors import M5Error
from m5jax.progress import duration

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"


def main(argv: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    try:
        config = _config(arguments, rest)
        found = importers.open_catalogue(arguments.source, arguments.input, importers.options(arguments))
        if arguments.dry_run:
            from m5jax.preparing import estimate

            result = estimate.estimate(found, config)
            _say_estimate(result)
        else:
            result = _prepare(arguments, config, found)
    except M5Error as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        print(json.dumps({"error": str(error).splitlines()[0], **getattr(error, "summary", {})}, ensure_ascii=False))
        return error.exit_code
    print(json.dumps(result, ensure_ascii=False), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/prepare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--source", required=True, choices=sorted(importers.KINDS), help="what the input is (docs/data.md)")
    add("--input", required=True, type=pathlib.Path, metavar="PATH", help="its file or folder")
    add("--output", type=pathlib.Path, metavar="DIR", help="the prepared folder; not needed with --dry-run")
    add(
        "--config",
        metavar="FILE",
        help="what records hold (default: configs/catalogue.py, scale_base.py for m5product)",
    )
    add("--workers", type=int, default=0, metavar="N", help="decoding processes; 0: one a core")
    add("--dry-run", action="store_true", help="read all, decode a sample, say hours and bytes, write nothing")
    add("--overwrite", action="store_true", help="prepare anew what --output holds already")
    add("--max-rejected", type=float, metavar="SHARE", help="stop with 65 when more listings lost a row or a file")
    add("--runner", choices=("local", "beam"), default="local", help="who makes the shards")
    add(
        "--beam-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="of Apache Beam: --beam-option=--runner=X",
    )
    importers.add_arguments(parser)
    return parser


def _config(arguments: argparse.Namespace, rest: list[str]) -> Config:
    default = CONFIGS / ("scale_base.py" if arguments.source == "m5product" else "catalogue.py")
    line = ["prepare", f"--config={arguments.config or default}", f"--config.data.prepare_workers={arguments.workers}"]
    if arguments.max_rejected is not None:
        line.append(f"--config.data.max_rejected={arguments.max_rejected}")
    return command.parse([*line, *rest])


def _prepare(arguments: argparse.Namespace, config: Config, found: Any) -> dict[str, Any]:
    if arguments.output is None:
        _parser().error("--output is required, unless with --dry-run")
    from m5jax.preparing import prepare, shards

    runner = shards.run_here
    if arguments.runner == "beam":
        from m5jax.preparing import beam_runner

        runner = beam_runner.BeamRunner(arguments.beam_option)
    facts = prepare.what_decides(found, config)
    made = prepare.prepare_into(arguments.output, found, config, facts, runner=runner, overwrite=arguments.overwrite)
    return prepare.summary(made.manifest)


def _say_estimate(result: dict[str, Any]) -> None:
    print(
        f"{result['listings']:,} listings of {result['rows_in']:,} rows; of {result['sample']:,} decoded ones:"
        f" {duration(result['hours'] * 3600)} on this machine, {duration(result['read_hours'] * 3600)} of it reading,"
        f" {result['bytes'] / 1e9:.3g} GB of records"
    )
    for name in ("rejected", "lost", "sample_rejected", "sample_lost"):
        for reason, count in result[name].items():
            print(f"  {name.rpartition('_')[2]} {count:,} {reason}" + (" of the sample" if "sample" in name else ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
