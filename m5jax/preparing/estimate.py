"""What a preparation would take: every row is read, a sample of the listings is converted, and nothing is written."""

import collections
import random
import time
from typing import Any

from m5jax.catalogues import layouts
from m5jax.catalogues.catalogue import Listing, Rejection
from m5jax.config import Config
from m5jax.data import records
from m5jax.errors import DataError
from m5jax.preparing import plan, shards
from m5jax.progress import progress

SAMPLE = 256


def estimate(found: layouts.Catalogue, config: Config, quiet: bool = False, sample: int = SAMPLE) -> dict[str, Any]:
    """Hours and bytes of a preparation on this machine, from a sample drawn evenly over the listings.

    Returns:
      rows_in; listings; rejected while reading, rows by reason; lost, files and parts by "modality/reason"; sample, its
      listings; sample_rejected, sample_lost, likewise of these; states of the sample by modality; read_hours,
      decode_hours, hours; bytes of all records.

    Raises:
      DataError: the catalogue has no usable listing, or a decoder is not installed.
    """
    rng, kept = random.Random(0), list[Listing]()  # noqa: S311 (a sample, not a secret)
    rows = listings = 0
    rejected = collections.Counter[str]()
    start = time.perf_counter()
    with shards.processes(config, found.root) as workers:
        with progress("reading", None, "rows", quiet=quiet) as advance:
            for row in found.read(config.inputs, workers, quiet):
                advance(1)
                if isinstance(row, Rejection):
                    rows += row.lost and not row.modality
                    if row.lost:
                        rejected[plan.count_key(vars(row))] += 1
                    continue
                rows, listings = rows + 1, listings + 1
                if len(kept) < sample:
                    kept.append(row)
                elif (place := rng.randrange(listings)) < sample:
                    kept[place] = row
        reading = time.perf_counter() - start
        if not kept:
            raise DataError(f"{found.path} holds no usable listing: {rows:,} rows, {dict(rejected)}")
        list(shards.converted(kept[:1], found.root, config, workers))  # processes start, libraries load
        start, size, index = time.perf_counter(), 0, []
        codec, lost = records.RecordCodec(config.inputs), collections.Counter[str]()
        with progress("decoding a sample", len(kept), quiet=quiet) as advance:
            for conversion in shards.converted(kept, found.root, config, workers):
                lost.update(plan.count_key(vars(rejection)) for rejection in conversion.rejections if rejection.lost)
                if conversion.record is not None:
                    index.append({"states": conversion.record.states})
                    size += len(codec.encode(conversion.record))
                advance(1)
    if missing := [key for key in lost if key.endswith("/decoder_missing")]:
        raise DataError(f"{missing[0]}: pip install 'm5jax[media]', or leave it out of config.inputs.modalities")
    decoding = (time.perf_counter() - start) / len(kept) * listings
    (rows_lost, parts_lost), (sample_rows, sample_parts) = plan.by_reason(rejected), plan.by_reason(lost)
    return {
        "rows_in": rows,
        "listings": listings,
        "rejected": rows_lost,
        "lost": parts_lost,
        "sample": len(kept),
        "sample_rejected": sample_rows,
        "sample_lost": sample_parts,
        "states": shards.count_states(index),
        "read_hours": reading / 3600,
        "decode_hours": decoding / 3600,
        "hours": (reading + decoding) / 3600,
        "bytes": round(size / len(kept) * listings),
    }
