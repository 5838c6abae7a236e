"""Base class of everything that a sweep file is validated by: a value is of its field's type or it is an error.

Without it pydantic would take true for 1 and yes for true. Numbers have one freedom: a whole one may be written 3.0
or 1e2, and either may stand in quotes.

    epochs: Annotated[int, Field(gt=0), INTEGRAL]
    warmup: Annotated[float, Field(ge=0), REAL]
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError


class Strict(BaseModel):
    """A frozen part of the sweep file; unknown keys are errors, and no value is converted to another type."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _integral(value: Any) -> Any:
    """Return 3 for 3.0 and for "3", anything else as it is."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _real(value: Any) -> Any:
    """Return 0.5 for "0.5", anything else as it is."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _refuse_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "{wanted}", {"wanted": "a number, not true or false"})
    return value


_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,30})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?")
INTEGRAL, REAL = BeforeValidator(_integral), BeforeValidator(_real)
NO_FLAG = BeforeValidator(_refuse_flag)
"""For `Annotated[Literal[0, 1], NO_FLAG]`: for Python true equals 1, and pydantic takes either for the other."""
