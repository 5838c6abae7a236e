"""A worker that sees another folder in the store's place says so, instead of training into it."""

from pathlib import Path

import pytest

from flare_ray.execution.prefetch import read_from
from flare_ray.execution.retries import kind_of
from flare_ray.store import Store, shelf
from flare_ray.store.identity import OtherStore, check, identity


@pytest.fixture(autouse=True)
def _no_shelf() -> None:
    shelf.use(None)


def test_a_store_keeps_the_id_that_it_was_given_first(tmp_path: Path) -> None:
    files = Store(str(tmp_path)).files
    known = identity(files)
    assert identity(Store(str(tmp_path)).files) == known
    check(files, known)


def test_another_folder_in_its_place_is_told(tmp_path: Path) -> None:
    known = identity(Store(str(tmp_path / "one")).files)
    with pytest.raises(OtherStore, match="sees no store at"):
        check(Store(str(tmp_path / "two")).files, known)
    identity(Store(str(tmp_path / "two")).files)
    with pytest.raises(OtherStore, match="sees another store at") as error:
        read_from(str(tmp_path / "two"), offline=False, known=known)
    assert kind_of(error.value) == "io", "another node may see it"
    read_from(str(tmp_path / "one"), offline=False, known=known)
