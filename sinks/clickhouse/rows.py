"""The rows of a run as ClickHouse takes them: column by column, no Python per row."""

import numpy as np
import orjson
import pyarrow as pa

from schemas.block import Span
from schemas.formats import COLUMNS
from schemas.kinds import NAMES, Kind
from schemas.topics import app_of
from schemas.verdicts import CODES
from sinks.clickhouse.run import Insert, Run

_MS = pa.timestamp("ms", "UTC")
_AS_THEY_ARE = (
    "source", "offset", "last_offset", "uid", "report_id", "methodology", "methodology_version",
    "exchange_version", "unit", "activity", "reduction_mg", "points_milli", "balance_milli", "tells_balance",
    "certifiable", "id_member", "claim_member", "source_txn", "region", "inputs", "detail", "bytes_size",
    "bytes_hash", "by", "approved_by", "reason",
)  # fmt: skip
_CONVERTED = {
    "broker_time": ("broker_ms", _MS),
    "time": ("time_ms", _MS),
    "occurred_at": ("occurred_ms", _MS),
    "expires_on": ("expiry_day", pa.date32()),
}
assert {"kind", "verdict", "lots", *_AS_THEY_ARE, *(of for of, _ in _CONVERTED.values())} == set(COLUMNS)
_VERDICT_INDEX = np.full(256, -1, np.int8)
_VERDICT_INDEX[list(CODES)] = range(len(CODES))
_VERDICTS = pa.array(CODES.values())
_KINDS = pa.array([NAMES.get(code, "") for code in range(256)]).dictionary_encode()
_NO_SOURCE = Span("", "", 0, 0)


def rows_of(run: Run) -> pa.RecordBatch:
    """All rows of a run, in the columns of the table `ledger_rows`."""
    blocks = [b.block for b in run.blocks]
    table = pa.Table.from_batches([block.rows for block in blocks]).combine_chunks()
    said = {name: table.column(name).chunk(0) for name in table.schema.names}
    counts = np.array([block.rows.num_rows for block in blocks])
    starts = np.cumsum(counts) - counts
    block_of = np.repeat(np.arange(len(blocks), dtype=np.int32), counts)

    def by_block(values: list[int], kind: str) -> pa.Array:
        return pa.array(np.array(values, kind)[block_of])

    topics, topic_ids, place = _topics(run, block_of, said["source"].to_numpy())
    columns = {
        "shard": pa.array(np.full(len(block_of), run.shard, "u2")),
        "seq": by_block([block.meta.seq for block in blocks], "u8"),
        "row": pa.array((np.arange(len(block_of)) - starts[block_of]).astype("u4")),
        "block_hash": _dictionary([block.hash for block in blocks], block_of, pa.binary(32)),
        "block_rows": by_block(list(counts), "u4"),
        "block_time": by_block([block.meta.time_ms for block in blocks], "i8").cast(_MS),
        "ledger_offset": by_block([b.ledger_offset for b in run.blocks], "i8"),
        "rules": _dictionary([block.meta.rules for block in blocks], block_of),
        "app": _apps(topics, place, said["kind"].to_numpy(), said["inputs"]),
        "topic": _dictionary(topics, place),
        "topic_id": _dictionary(topic_ids, place),
        "release": _dictionary([block.meta.release for block in blocks], block_of),
        "kind": _KINDS.take(said["kind"]),
        "verdict": _verdicts(said["verdict"].to_numpy()),
        "lots": _lots(said["lots"]),
    }
    columns |= {name: said[name] for name in _AS_THEY_ARE}
    columns |= {name: said[of].cast(kind) for name, (of, kind) in _CONVERTED.items()}
    return pa.RecordBatch.from_pydict(columns)


def insert_of(run: Run) -> Insert:
    """A run, ready to be sent."""
    rows = rows_of(run)
    return Insert(run.shard, run.first_seq, run.last_seq, run.token, rows.schema.names, arrow_stream(rows))


def arrow_stream(rows: pa.RecordBatch) -> bytes:
    """Rows in Arrow's stream format: one record batch, which ClickHouse takes as one insert block."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return sink.getvalue().to_pybytes()


def _topics(run: Run, block_of: np.ndarray, source: np.ndarray) -> tuple[list[str], list[str], np.ndarray]:
    """The blocks' lists of source topics and of their ids, one after the other, each with '' at its end for
    rows of none; and each row's place in these lists."""
    lists = [[*b.block.meta.sources, _NO_SOURCE] for b in run.blocks]
    sizes = np.array([len(names) for names in lists])
    ends = np.cumsum(sizes)
    place = np.where(source < 0, ends[block_of] - 1, (ends - sizes)[block_of] + source)
    spans = [span for spans in lists for span in spans]
    return [span.topic for span in spans], [span.topic_id for span in spans], place


def _apps(topics: list[str], place: np.ndarray, kinds: np.ndarray, inputs: pa.Array) -> pa.DictionaryArray:
    """Whose record each row is; a replay stands in `commands`, and names the topic of its record."""
    apps = [app_of(topic) for topic in topics]
    replays = np.flatnonzero(kinds == int(Kind.REPLAY))
    place = place.copy()
    place[replays] = len(apps) + np.arange(len(replays))
    apps += [app_of(orjson.loads(inputs[int(row)].as_py())["topic"]) for row in replays]
    return _dictionary(apps, place)


def _lots(lots: pa.ListArray) -> pa.ListArray:
    """As ClickHouse's Array(Tuple(Date32, Int64))."""
    parts = lots.values.flatten()
    days = pa.StructArray.from_arrays([parts[0].cast(pa.date32()), parts[1]], ["expires_on", "points_milli"])
    return pa.ListArray.from_arrays(lots.offsets, days)


def _dictionary(values: list, place: np.ndarray, kind: pa.DataType | None = None) -> pa.Array:
    """values[place] in Arrow's dictionary encoding, whose values ClickHouse wants distinct."""
    distinct = {value: number for number, value in enumerate(dict.fromkeys(values))}
    numbers = np.array([distinct[value] for value in values], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(numbers[place]), pa.array(list(distinct), kind))


def _verdicts(codes: np.ndarray) -> pa.Array:
    index = _VERDICT_INDEX[codes]
    if index.size and index.min() < 0:
        raise ValueError(f"verdict {codes[index < 0][0]} is not of this version")
    return pa.DictionaryArray.from_arrays(pa.array(index), _VERDICTS)
