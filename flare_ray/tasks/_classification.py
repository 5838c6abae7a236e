"""Tasks that give a row one of a few labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from flare_ray.tasks import _scores
from flare_ray.tasks._rows import Row, Unusable, text_fault
from flare_ray.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST_WORD = re.compile(r"[\W_]*(\w+)")


class Classification(Task):
    """Macro F1 and accuracy over label names."""

    kind = "classification"
    spellings: ClassVar[Mapping[str, str]] = {}
    """How files may also write a label, in lower case -> its name."""

    def schema(self) -> pa.Schema:
        """Id, the texts, and the label's name."""
        import pyarrow as pa

        return pa.schema([(column, pa.string()) for column in ("id", *self.text_columns, "label")])

    def examine(self, row: Row, *, translated: bool = False) -> Row | Unusable:
        """The row with its label's name."""
        fault = text_fault(row, self.text_columns)
        if fault is not None:
            return fault
        label = self.label_name(row["label"])
        if label is None:
            return Unusable(
                row["id"], "unknown label", f"label {str(row['label'])!r}", " | ".join(self.labels)
            )
        return {"id": row["id"], **{column: row[column] for column in self.text_columns}, "label": label}

    def label_name(self, value: Any) -> str | None:
        """Return the name of a label as a file writes it; None for what is no label."""
        found = str(value)
        name = found if found in self.labels else self.spellings.get(found.strip().casefold())
        return name if name in self.labels else None

    def answer(self, row: Row) -> str:
        """The label's name."""
        return str(row["label"])

    def parse(self, generated: str) -> str | None:
        """The label that the generated text begins with: `Positive.` is positive, `not positive` is none."""
        first = _FIRST_WORD.match(generated.casefold())
        return first[1] if first and first[1] in self.labels else None

    def gold(self, table: pa.Table) -> list[tuple[str, ...]]:
        """Each row's label."""
        return [(label,) for label in table["label"].to_pylist()]

    def score(self, gold: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> dict[str, float]:
        """Macro F1, accuracy and unparsed, in points."""
        return _scores.classification(gold, predictions, self.labels)
