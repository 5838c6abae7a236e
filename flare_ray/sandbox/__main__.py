"""``python -m flare_ray.sandbox [--small] [--cache FOLDER]``: builds the sandbox and prints where it is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flare_ray.cache import cache_folder
from flare_ray.sandbox.build import ensure, timed


def main() -> None:
    """Builds what is missing; progress goes to standard error, the folder to standard output."""
    parser = argparse.ArgumentParser(prog="python -m flare_ray.sandbox", description=main.__doc__)
    parser.add_argument(
        "--cache", type=Path, default=None, help="default: $FLARE_RAY_CACHE or ~/.cache/flare_ray"
    )
    parser.add_argument("--small", action="store_true", help="the version for tests, built in seconds")
    arguments = parser.parse_args()
    cache = arguments.cache or cache_folder()
    if not sys.stderr.isatty():
        folder = ensure(
            cache, timed(lambda line: print(line, file=sys.stderr, flush=True)), small=arguments.small
        )
    else:
        from rich.console import Console

        with Console(stderr=True).status("building the sandbox") as status:
            folder = ensure(cache, timed(status.update), small=arguments.small)
    print(folder)


if __name__ == "__main__":
    main()
