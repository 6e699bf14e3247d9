"""Every way a run may end, and the exit code a launcher can act on."""


class M5Error(Exception):
    """Base of all errors m5jax raises on purpose: the message names what is wrong and the fix."""

    exit_code = 1


class ConfigError(M5Error):
    """A setting is unknown, mistyped, out of range, or contradicts another."""

    exit_code = 64


class DataError(M5Error):
    """The catalogue or the records cannot be used, or too much of them was rejected."""

    exit_code = 65


class CheckpointError(M5Error):
    """Checkpoints exist, but none of them can be trusted or fits this run."""

    exit_code = 66


class SeriesError(M5Error):
    """Runs of a series failed; what the others gave is written."""

    exit_code = 69


class NumericError(M5Error):
    """Losses or gradients stayed non-finite; the weights on disk are the last finite ones."""

    exit_code = 70


class HangError(M5Error):
    """No progress for longer than the limit."""

    exit_code = 71


class RunFolderError(M5Error):
    """The run folder is held by another process or cannot be written."""

    exit_code = 73


class Preempted(M5Error):
    """The run was asked to stop; the state is saved and the same command continues it."""

    exit_code = 75
