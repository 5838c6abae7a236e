"""The console script `flare-ray`, also as `python -m flare_ray`: Ctrl-C while it still loads ends it quietly too."""

from __future__ import annotations

import sys

STOPPED = 130


def main() -> None:
    """Run the program."""
    try:
        from flare_ray.cli import app

        app()
    except KeyboardInterrupt:  # before the program's own boundary is there
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
