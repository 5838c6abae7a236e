"""Rows of a Parquet file; classes of a Hugging Face dataset by their names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_BATCH = 1000  # rows


def column_names(file: Path) -> list[str]:
    """Return the columns. Raises ValueError and OSError for what is no Parquet file."""
    import pyarrow.parquet as pq

    return list(pq.read_schema(file).names)


def rows(file: Path, *, class_names: bool = True) -> Iterator[dict[str, Any]]:
    """Yield all rows. class_names: a label that the file's metadata numbers, by its name."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as source:
        names = _class_names(source.schema_arrow.metadata or {}) if class_names else {}
        for batch in source.iter_batches(_BATCH):
            for row in batch.to_pylist():
                for column, classes in names.items():
                    index = row.get(column)
                    if isinstance(index, int) and 0 <= index < len(classes):
                        row[column] = classes[index]
                yield row


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of classes by column, as datasets writes them into a file's metadata."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            column: list(feature["names"])
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    return {}
