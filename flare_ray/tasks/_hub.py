"""Rows of a dataset on the Hugging Face hub, a chunk at a time, class indices as label names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flare_ray.loading import load_hub_dataset

_CHUNK = 5000


def hub_rows(reference: str, config: str, split: str, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Rows of one config and split of `org/name` or `org/name@revision`; class indices become names."""
    import datasets

    name, _, revision = reference.partition("@")
    loaded = load_hub_dataset(name, config, split, revision or None)
    classes = {
        column: feature.names
        for column, feature in loaded.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    table = loaded.data.table.select(list(columns))
    for batch in table.to_batches(max_chunksize=_CHUNK):
        for row in batch.to_pylist():
            for column in classes:
                if column in row:
                    row[column] = _class_name(classes[column], row[column])
            yield row


def _class_name(names: list[str], index: int | None) -> str | None:
    """The class's name; datasets write -1 for a row without a label."""
    return names[index] if index is not None and 0 <= index < len(names) else str(index)
