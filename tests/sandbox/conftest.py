import pytest

from flare_ray.cache import cache_folder
from flare_ray.sandbox import build


@pytest.fixture(scope="session")
def small():
    """The small sandbox of the cache, built on first use."""
    return build.ensure(cache_folder(), small=True)
