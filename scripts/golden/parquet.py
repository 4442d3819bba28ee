"""Writes tests/golden/data/*.parquet with pyarrow, one per codec and layout, and rows.json: what pyarrow reads back.

Run with the oracle venv: python scripts/golden/parquet.py"""

import datetime
import decimal
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet

OUT = Path(__file__).resolve().parents[2] / "tests/golden/data"
UTC = datetime.timezone.utc
MOMENT = datetime.datetime(2024, 2, 29, 23, 59, 58, 123456)
COUNT = 24

SCHEMA = pyarrow.schema([
    ("text", pyarrow.string()), ("large", pyarrow.large_string()), ("bytes", pyarrow.binary()), ("flag", pyarrow.bool_()),
    ("small", pyarrow.int8()), ("count", pyarrow.int64()), ("natural", pyarrow.uint64()), ("single", pyarrow.float32()),
    ("half", pyarrow.float16()), ("real", pyarrow.float64()), ("price", pyarrow.decimal128(12, 2)), ("day", pyarrow.date32()),
    ("clock", pyarrow.time64("us")), ("millis", pyarrow.timestamp("ms")), ("micros", pyarrow.timestamp("us", tz="UTC")),
    ("nanos", pyarrow.timestamp("ns")), ("word", pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
    ("numbers", pyarrow.list_(pyarrow.int32())), ("moments", pyarrow.list_(pyarrow.timestamp("ns", tz="UTC"))),
    ("scores", pyarrow.map_(pyarrow.string(), pyarrow.float64())), ("nothing", pyarrow.null()),
    ("messages", pyarrow.list_(pyarrow.struct([
        ("role", pyarrow.string()), ("content", pyarrow.string()),
        ("tool_calls", pyarrow.list_(pyarrow.struct([("name", pyarrow.string()), ("weight", pyarrow.float64())])))]))),
])


def row(i):
    call = [{"name": f"look_{i}", "weight": i / 8}] if i % 3 == 0 else None
    value = {
        "text": f"row {i}: zażółć \"quoted\"\n\t\u0001 😀", "large": "", "bytes": b"plain", "flag": i % 2 == 0, "small": -i,
        "count": -(2**62) + i, "natural": 2**63 + i, "single": 0.1 * i, "half": i / 4, "real": i / 3 * 1e-7,
        "price": decimal.Decimal(i - 25) / 4, "day": MOMENT.date() - datetime.timedelta(days=700 * i),
        "clock": datetime.time(23, 59, 59, i), "millis": MOMENT.replace(microsecond=1000 * i),
        "micros": (MOMENT - datetime.timedelta(days=9000 * i)).replace(tzinfo=UTC), "nanos": MOMENT,
        "word": "even" if i % 2 == 0 else "odd", "numbers": list(range(i % 4)) + [None] * (i % 2), "moments": [MOMENT.replace(tzinfo=UTC)],
        "scores": [("a", i / 2), ("b", None)], "nothing": None,
        "messages": [{"role": "user", "content": f"question {i}", "tool_calls": None},
                     {"role": "assistant", "content": None if call else "answer", "tool_calls": call or []}],
    }
    return {name: None if i % 7 == 6 and name != "text" else part for name, part in value.items()}


def plain(value, kind):
    """The value as a line of JSON Lines has it."""
    if value is None:
        return None
    if pyarrow.types.is_map(kind):
        return {key: plain(item, kind.item_type) for key, item in value}
    if pyarrow.types.is_list(kind):
        return [plain(item, kind.value_type) for item in value]
    if pyarrow.types.is_struct(kind):
        return {field.name: plain(value[field.name], field.type) for field in kind}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value


def main():
    table = pyarrow.Table.from_pylist([row(i) for i in range(COUNT)], schema=SCHEMA)
    layouts = {"snappy": {}, "gzip": {"row_group_size": 16}, "zstd": {"data_page_version": "2.0", "row_group_size": 7},
               "none": {"use_dictionary": False, "data_page_size": 64, "store_schema": False}}
    for codec, layout in layouts.items():
        pyarrow.parquet.write_table(table, OUT / f"{codec}.parquet", compression=codec, **layout)
    read = pyarrow.parquet.read_table(OUT / "zstd.parquet").to_pylist()
    rows = [{field.name: plain(record[field.name], field.type) for field in SCHEMA} for record in read]
    (OUT / "parquet_rows.json").write_text(json.dumps(rows, indent=0) + "\n")


if __name__ == "__main__":
    main()
