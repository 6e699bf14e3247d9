"""Exact search: queries a second, bytes, whether it is exact, and what the tasks of M5Product would take.

Unit vectors of random directions: nothing about them helps to leave rows out. Compiled before it is measured; then the
queries in parts, one after the other. `--compare faiss` has faiss's IndexFlatIP answer the same parts by turns, in the
same process with as many threads (`pip install 'm5jax[bench]'`). Wall-clock time is of use on a machine with nothing
else on it; processor seconds, and the ratio of the two searches, are less easily disturbed.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import os
import pathlib
import re
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import rich.console
import rich.table

from benchmarks import clocks
from m5jax.errors import ConfigError

TASKS = {"coarse": (24_410, 1_197_905), "fine": (1_991, 117_858)}  # queries and gallery of M5Product
TASK_DIM = 768
PARTS = 5  # of the queries, asked by turns; the median counts
SAMPLE = 32  # queries whose whole gallery is sorted
CLOSE = 2e-6  # between a score in float32 and in float64
COMPARED = ("faiss",)

Search = Callable[[np.ndarray], np.ndarray]  # queries to the rows of their neighbours


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--gallery", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=TASK_DIM, help="numbers of an embedding")
    parser.add_argument("--k", type=int, default=110, help="neighbours of a query; the release takes 110")
    parser.add_argument("--compare", choices=COMPARED, help="by turns with another library")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures, prints the table, and gives the figures.

    Raises:
      ConfigError: an argument is too small, or the library to compare with is not installed.
    """
    from m5jax.evals import search  # imports jax: not before the arguments are read

    for name in ("queries", "gallery", "dim", "k"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name} {getattr(arguments, name)} must be at least 1")
    gallery = _directions(arguments.gallery, arguments.dim, 0)
    queries = _directions(arguments.queries, arguments.dim, 1)
    searches = {"m5jax": _ours(gallery, arguments.k)}
    if arguments.compare == "faiss":
        searches["faiss"] = _faiss(gallery, arguments.k)
    figures = {
        "config": {name: getattr(arguments, name) for name in ("queries", "gallery", "dim", "k", "compare")},
        "load": os.getloadavg(),
        "threads": _threads(),
        "compared_with": importlib.metadata.version("faiss-cpu") if arguments.compare else None,
        **_by_turns(searches, queries, gallery),
        "device_bytes": search.device_bytes(arguments.queries, arguments.dim, arguments.k),
        "matrix_bytes": 4 * arguments.queries * arguments.gallery,
        "tasks": {name: {"device_bytes": search.device_bytes(n, TASK_DIM, 110)} for name, (n, _) in TASKS.items()},
    }
    products = arguments.queries * arguments.gallery * arguments.dim
    for name, (asked, searched) in TASKS.items():
        ratio = asked * searched * TASK_DIM / products
        figures["tasks"][name]["seconds"] = {
            key: made["seconds"] * ratio for key, made in figures["searches"].items()
        }  # by the products of a query with a row, at the width that was measured
    _say(figures)
    return figures


def _directions(rows: int, dim: int, seed: int) -> np.ndarray:
    """float32 [rows, dim] of unit length."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), np.float32)
    vectors /= np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    return vectors


def _ours(gallery: np.ndarray, k: int) -> Search:
    from m5jax.evals import search

    def ask(queries: np.ndarray) -> np.ndarray:
        rows, _ = search.top_k(
            queries,
            gallery,
            k,
            query_valid=np.ones(len(queries), bool),
            gallery_valid=np.ones(len(gallery), bool),
            exclude=np.full(len(queries), -1),
        )
        return rows

    return ask


def _faiss(gallery: np.ndarray, k: int) -> Search:
    try:
        faiss: Any = importlib.import_module("faiss")
    except ImportError as error:
        raise ConfigError("--compare faiss needs faiss-cpu: pip install 'm5jax[bench]'") from error
    faiss.omp_set_num_threads(_threads())
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    return lambda queries: index.search(queries, k)[1]


def _threads() -> int:
    """Processors of this process, all of which XLA uses."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_turns(searches: dict[str, Search], queries: np.ndarray, gallery: np.ndarray) -> dict[str, Any]:
    """What every search took, needed and found: the queries in parts, each part asked of one after the other."""
    parts = np.array_split(queries, min(PARTS, len(queries)))
    taken: dict[str, list[clocks.Reading]] = {name: [] for name in searches}
    found: dict[str, list[np.ndarray]] = {name: [] for name in searches}
    peaks: dict[str, list[tuple[int, int]]] = {name: [] for name in searches}
    for search in searches.values():
        search(queries[:1])  # compiles
    for part in parts:
        for name, search in searches.items():
            before = _memory("VmRSS")
            _forget_peak()
            start = clocks.Reading.now()
            found[name].append(search(part))
            taken[name].append(clocks.Reading.now() - start)
            peaks[name].append((_memory("VmHWM"), _memory("VmHWM") - before))
    rows = {name: np.concatenate(some) for name, some in found.items()}
    made = {}
    for name, readings in taken.items():
        wall, cpu = (
            statistics.median(
                getattr(reading, clock) / len(part) for reading, part in zip(readings, parts, strict=True)
            )
            for clock in ("wall", "cpu")
        )
        peak, more = map(max, zip(*peaks[name], strict=True))
        made[name] = {
            "queries_per_s": 1 / wall,
            "seconds": wall * len(queries),
            "cpu_seconds": cpu * len(queries),
            "gflop_per_cpu_s": 2 * gallery.size / cpu / 1e9,
            "peak_bytes": peak,
            "search_bytes": more,
            **_exactness(rows[name], queries, gallery),
        }
    ours = made["m5jax"]
    figures = {key: ours[key] for key in ("queries_per_s", "peak_bytes", "exact")} | {"searches": made}
    for name in made.keys() - {"m5jax"}:
        figures["times_as_fast"] = {name: made[name]["seconds"] / ours["seconds"]}
        figures["times_as_fast_by_cpu"] = {name: made[name]["cpu_seconds"] / ours["cpu_seconds"]}
        figures["same_rows"] = {name: float(np.mean(rows[name] == rows["m5jax"]))}
    return figures


def _exactness(rows: np.ndarray, queries: np.ndarray, gallery: np.ndarray) -> dict[str, Any]:
    """Whether some queries found what a full sort in float64 finds; scores closer than `CLOSE` may change places."""
    some = np.linspace(0, len(queries) - 1, min(SAMPLE, len(queries))).astype(int)
    asked = queries[some].astype(np.float64)
    blocks = np.array_split(gallery, 64)
    same, exact = [], True
    for query, scores in zip(some, np.concatenate([asked @ block.T for block in blocks], axis=1), strict=True):
        best = np.argsort(-scores, kind="stable")[: rows.shape[1]]
        mine = rows[query][: len(best)]
        same.append(np.mean(mine == best))
        exact &= len(set(mine.tolist())) == len(best) and bool(np.all(np.abs(scores[mine] - scores[best]) < CLOSE))
    return {"exact": exact, "sample": len(some), "sample_same_rows": float(np.mean(same))}


def _memory(field: str) -> int:
    """Bytes of this process: VmRSS, resident, or VmHWM, the most so far (proc(5)); 0 where there is no /proc."""
    status = pathlib.Path("/proc/self/status")
    found = re.search(rf"{field}:\s+(\d+)", status.read_text(encoding="utf-8")) if status.is_file() else None
    return int(found[1]) * 1024 if found else 0


def _forget_peak() -> None:
    """Has VmHWM begin again, where Linux lets a process do so (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _say(figures: dict[str, Any]) -> None:
    console = rich.console.Console(width=110)
    table = rich.table.Table(
        "search", "queries/s", "s", "CPU s", "GFLOP/CPU s", "more MiB", "exact", *(f"{task} s" for task in TASKS)
    )
    for name, made in figures["searches"].items():
        table.add_row(
            name, f"{made['queries_per_s']:,.0f}", f"{made['seconds']:,.1f}", f"{made['cpu_seconds']:,.1f}",
            f"{made['gflop_per_cpu_s']:,.0f}", f"{made['search_bytes'] / 2**20:,.0f}", str(made["exact"]),
            *(f"{task['seconds'][name]:,.1f}" for task in figures["tasks"].values()),
        )  # fmt: skip
    console.print(table)
    needs = ", ".join(f"{task['device_bytes'] / 2**20:,.0f} MiB for {name}" for name, task in figures["tasks"].items())
    console.print(f"on a device, however large the gallery: {needs}", highlight=False)
