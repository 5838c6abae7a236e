import pytest

from flare_ray.sandbox import build


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A freshly built small sandbox."""
    return build.ensure(tmp_path_factory.mktemp("cache"), small=True)
