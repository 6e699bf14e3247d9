"""The command: ``python -m m5jax.main --config configs/X.py [--config.field=value ...]``.

Parses, checks, and only then imports what computes: help and mistakes are answered at once, before any
device is touched. The exit code says how a run ended (`errors`).
"""

import logging
import os
import sys
import traceback
from typing import Any

from absl import flags
from ml_collections import config_flags

from m5jax import config as config_lib
from m5jax import settings
from m5jax.errors import ConfigError, M5Error

_CONFIG = "config"


def parse(argv: list[str]) -> config_lib.Config:
    """The checked configuration of a command line.

    Raises:
      ConfigError: naming the flag or field and the nearest valid name.
    """
    argv = [*map(_quoted, argv)]
    values = flags.FlagValues()
    given: dict[str, Any] = {"flag_values": values, "lock_config": True, "sys_argv": argv}
    named = any(argument.split("=")[0] == f"--{_CONFIG}" for argument in argv)
    try:
        if f"--{_CONFIG}.mode=compare" in argv and not named:
            config_flags.DEFINE_config_dict(_CONFIG, config_lib.default(), **given)  # the runs bring their settings
        else:
            config_flags.DEFINE_config_file(_CONFIG, None, "config file", **given)
        rest = values(argv)
        chosen = values[_CONFIG].value
        if chosen is None:
            raise ConfigError("which config? For a first run: --config configs/quickstart.py (or --help)")
        if len(rest) > 1:
            raise ConfigError(f"unexpected argument {rest[1]!r}: settings are given as --config.field=value")
        return config_lib.freeze(chosen.to_dict())
    except flags.Error as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(str(error).strip().splitlines()[-1].strip()) from error
    except (AttributeError, KeyError) as error:
        raise ConfigError(_unknown(argv, error)) from error


def _quoted(argument: str) -> str:
    """An argument that sets a list as "a,b", in quotes: ml_collections would read it as Python, which paths are not.

    `settings` takes it apart.
    """
    name, equals, value = argument.partition("=")
    lists = {path for path, default, _ in settings.describe(config_lib.Config, _CONFIG) if isinstance(default, tuple)}
    plain = equals and name.lstrip("-") in lists and value[:1] not in ("(", "[", "'", '"')
    return f"{name}={value!r}" if plain else argument


def _unknown(argv: list[str], error: Exception) -> str:
    """What to say of a field that does not exist: the nearest that does."""
    known = [path for path, _, _ in settings.describe(config_lib.Config, _CONFIG)]
    for argument in argv[1:]:
        name = argument.lstrip("-").split("=")[0]
        if name.startswith(f"{_CONFIG}.") and name not in known:
            return f"unknown setting {name}{settings.suggest(name, known)}"
    return f"the config file could not be read: {error}"


def usage() -> str:
    """Every setting with its default and its meaning."""
    rows = settings.describe(config_lib.Config, _CONFIG)
    width = max(len(f"--{path}={value}") for path, value, _ in rows if len(f"{path}{value}") < 46)
    lines = [f"  {f'--{path}={value}':<{width}}  {doc}" for path, value, doc in rows]
    return "\n".join([__doc__ or "", "Settings with their defaults (a config file changes some):", *lines])


def main(argv: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    if any(argument in ("-h", "--help", "-help", "--helpfull") for argument in argv[1:]):
        print(usage())
        return 0
    try:
        config = parse(argv)
        _run(config)
    except M5Error as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def _run(config: config_lib.Config) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if config.mode == "prepare":
        from m5jax.preparing.prepare import prepare

        prepared = prepare(config)
        print(f"{prepared.folder}: {prepared.splits}")
    elif config.mode == "validate":
        from m5jax.validate import validate

        validate(config)
    elif config.mode == "train":
        from m5jax.train import train

        train(config)
    elif config.mode == "table":
        from m5jax.tables import series

        series.make(config)
    elif config.mode == "sweep":
        from m5jax.series import sweep

        sweep.make(config)
    elif config.mode == "leaderboard":
        from m5jax.leaderboard import series

        series.make(config)
    elif config.mode == "compare":
        from m5jax.compare import compare

        compare(config)
    elif config.mode == "evaluate":
        from m5jax.evaluate import evaluate

        evaluate(config)
    else:
        from m5jax.export import export

        export(config)


def run() -> None:
    """Console entry point."""
    try:
        code = main(sys.argv)
    except BrokenPipeError:  # whoever read the output has seen enough: `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        traceback.print_exc()
        code = 73 if error.errno in (28, 30) else 1  # no space left, read-only file system
    if code and "jax" in sys.modules:
        from m5jax import distributed

        distributed.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
