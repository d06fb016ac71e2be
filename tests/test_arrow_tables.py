import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from minimagen.arrow_tables import columns_of, table_of
from minimagen.rows import FAILURE_SCHEMA, ROW_SCHEMA, Failure
from minimagen.sources.candidates import CANDIDATE_SCHEMA

MOMENTS = [None, datetime(2026, 11, 1, tzinfo=UTC), datetime(1950, 2, 3, 4, 5, 6, 7, tzinfo=UTC)]
TEXTS = ["", "a", "\u00e9\U0001f600\x00b" * 50]


def values_of(kind: pa.DataType, count: int) -> list:
    """Some values of a type, its limits among them."""
    if pa.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        columns = [values_of(kind.field(index).type, count) for index in range(kind.num_fields)]
        return [dict(zip(names, entry, strict=True)) for entry in zip(*columns, strict=True)]
    if pa.types.is_list(kind):
        return [TEXTS[: number % 4] for number in range(count)]
    samples = {
        "string": TEXTS,
        "binary": [b"", b"\x00\xff", b"x" * 1000],
        "bool": [True, False, False, True, True],
        "int32": [0, -(2**31), 2**31 - 1],
        "int64": [0, -(2**63), 2**63 - 1],
        "timestamp[us, tz=UTC]": MOMENTS,
    }[str(kind)]
    return [samples[number % len(samples)] for number in range(count)]


@pytest.mark.parametrize(
    "schema", [ROW_SCHEMA, FAILURE_SCHEMA, CANDIDATE_SCHEMA], ids=["rows", "failures", "candidates"]
)
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 300])
def test_a_table_is_the_one_that_pyarrow_makes(schema: pa.Schema, count: int) -> None:
    columns = {field.name: values_of(field.type, count) for field in schema}
    records = [dict(zip(columns, entry, strict=True)) for entry in zip(*columns.values(), strict=True)]

    table = table_of(schema, columns)

    table.validate(full=True)
    assert table.equals(pa.Table.from_pylist(records, schema), check_metadata=True)


def test_columns_are_the_fields_of_dataclasses() -> None:
    failures = [Failure("a", "http://a/", "dns", ""), Failure("b", "http://b/", "tls", "x")]

    assert columns_of(failures, ["key", "reason"]) == {"key": ["a", "b"], "reason": ["dns", "tls"]}


def test_a_column_of_two_gigabytes_is_refused() -> None:
    schema = pa.schema([("a", pa.binary())])

    with pytest.raises(OverflowError, match="2200000000 bytes"):
        table_of(schema, {"a": [b"x" * 100_000_000] * 22})


def test_pandas_is_not_imported(checkout: Path) -> None:
    code = (
        "import sys; from minimagen.rows import FAILURE_SCHEMA; from minimagen.arrow_tables import table_of;"
        "table_of(FAILURE_SCHEMA, {name: ['a'] for name in FAILURE_SCHEMA.names}); print('pandas' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True).stdout == b"False\n"
