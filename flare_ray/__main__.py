"""The console script `flare-ray`, also as `python -m flare_ray`: a signal ends it quietly while it loads too."""

from __future__ import annotations

import sys

from flare_ray.execution.stopping import interruptible

STOPPED = 130


def main() -> None:
    """Run the program."""
    try:
        with interruptible():
            from flare_ray.cli import app

            app()
    except KeyboardInterrupt:  # before the program's own boundary is there
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
