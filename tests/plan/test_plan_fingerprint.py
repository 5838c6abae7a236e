import hashlib
import json
import math
import random
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from flare_ray.plan.fingerprint import LENGTH, NotCanonical, Part, canonical, fingerprint

IDENTITY = {"b": [1, {"y": "ü", "x": None}], "a": {"rate": 0.1, "on": True}, "text": ""}


@pytest.mark.parametrize(
    "same",
    [
        {"text": "", "a": {"on": True, "rate": 0.1}, "b": [1, {"x": None, "y": "ü"}]},
        {**IDENTITY, "b": (1, {"y": "ü", "x": None})},
        {**IDENTITY, "b": [1.0, {"y": "ü", "x": None}]},
        OrderedDict(reversed(IDENTITY.items())),
        MappingProxyType(IDENTITY),
        Part(IDENTITY),
        {**IDENTITY, "a": Part({"on": True, "rate": 0.1})},
        {**IDENTITY, "a": {"rate": 1e-1, "on": True}},
    ],
    ids=[
        "key order",
        "tuple for list",
        "1.0 for 1",
        "ordered dict",
        "any mapping",
        "a part",
        "of parts",
        "spelling of a float",
    ],
)
def test_what_means_the_same_has_the_same_fingerprint(same: Any) -> None:
    assert fingerprint(same) == fingerprint(IDENTITY)


@pytest.mark.parametrize(
    "other",
    [
        {**IDENTITY, "b": [{"y": "ü", "x": None}, 1]},
        {**IDENTITY, "b": [1.5, {"y": "ü", "x": None}]},
        {**IDENTITY, "b": [True, {"y": "ü", "x": None}]},
        {**IDENTITY, "b": ["1", {"y": "ü", "x": None}]},
        {**IDENTITY, "b": [1, {"y": "u", "x": None}]},
        {**IDENTITY, "b": [1, {"y": "ü"}]},
        {**IDENTITY, "a": {"rate": math.nextafter(0.1, 1), "on": True}},
        {**IDENTITY, "text": None},
        {**IDENTITY, "text": []},
        {**IDENTITY, "text": {}},
    ],
)
def test_what_means_something_else_has_another(other: Any) -> None:
    assert fingerprint(other) != fingerprint(IDENTITY)


def test_a_fingerprint_is_short_hexadecimal_and_never_changes_between_releases() -> None:
    assert len(fingerprint({})) == LENGTH
    assert set(fingerprint(IDENTITY)) <= set("0123456789abcdef")
    # printf '%s' '{"rank":8,"rate":0.0002,"seed":1}' | b2sum -l 80
    # stores outlive this code: whoever changes how identities are hashed loses every record in them
    assert fingerprint({"rank": 8, "seed": 1, "rate": 2e-4}) == "423f533a7e9739fc747d"


def test_a_runs_fingerprint_never_changes_between_releases() -> None:
    # printf '%s' "$TEXT" | b2sum -l 80: the canonical JSON of a run's identity, keys sorted
    text = (
        '{"base":"00112233445566778899","data":{"source":{"hub":"org/corpus","language":"eng","revision":"main"},'
        '"target":{"hub":"org/corpus","language":"ace","revision":"main"}},"kind":"run","language":"ace",'
        '"method":"flare","seed":1,"settings":{"alpha":128,"fusion":"add_relu","learning_rate":0.0002,'
        '"train_only":false,"validate_every":null},"version":["2","1"]}'
    )
    identity = json.loads(text)
    assert fingerprint(identity) == hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
    assert fingerprint(identity) == "b0ec80e4c50eede933b2"
    parts = {key: Part(value) if isinstance(value, dict) else value for key, value in identity.items()}
    assert fingerprint(parts) == "b0ec80e4c50eede933b2"


def test_the_canonical_form_is_its_own_canonical_form() -> None:
    assert canonical(canonical(IDENTITY)) == canonical(IDENTITY)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": {"b": [0, math.nan]}}, r"identity\.a\.b\[1\]: nan"),
        ({"a": math.inf}, r"identity\.a: inf"),
        ({"a": [{"b": Path("/x")}]}, r"identity\.a\[0\]\.b: a PosixPath"),
        ({"a": {1, 2}}, r"identity\.a: a set"),
        ({"a": object()}, r"identity\.a: a object"),
        ({"a": b"bytes"}, r"identity\.a: a bytes"),
        ({"a": np.int64(3)}, r"identity\.a: a int64"),
        ({"a": np.zeros(2)}, r"identity\.a: a ndarray"),
        ({"a": {"b": {1: "x", "y": 2}}}, r"identity\.a\.b: keys must be strings"),
    ],
)
def test_what_has_no_canonical_form_raises_with_its_dotted_place(value: Any, place: str) -> None:
    with pytest.raises(NotCanonical, match=place):
        fingerprint(value)


def a_value(chance: random.Random, depth: int = 0) -> Any:
    """Whatever an identity may have, lists and mappings at most three deep."""

    def several() -> list[Any]:
        return [a_value(chance, depth + 1) for _ in range(chance.randrange(4))]

    plain = [None, True, chance.randint(-9, 10**12), chance.random(), 3.0, f'ä"\\\n{chance.random()}']
    made = [several, lambda: tuple(several()), lambda: {str(chance.random()): one for one in several()}]
    return chance.choice(made)() if depth < 3 and chance.random() < 0.4 else chance.choice(plain)


def test_a_fingerprint_is_the_hash_of_the_canonical_identity() -> None:
    chance = random.Random(1)
    for _ in range(2000):
        identity = {name: a_value(chance) for name in "abcdef"[: chance.randrange(7)]}
        text = json.dumps(canonical(identity), ensure_ascii=False, separators=(",", ":"))
        wanted = hashlib.blake2b(text.encode(), digest_size=LENGTH // 2).hexdigest()
        assert fingerprint(identity) == wanted, identity
