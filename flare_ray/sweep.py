"""`python -m flare_ray.sweep FILE [--plan] [--set dotted.key=value …]`: the same as `flare-ray run`.

The program (`sweep.app`, a Typer) is made when it is asked for: a signal ends it while it loads as at any time.
"""

from __future__ import annotations

import sys
from typing import Any

from flare_ray.execution.stopping import interruptible


def __getattr__(name: str) -> Any:
    """Return the program as `app`."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import typer

    from flare_ray.cli import run
    from flare_ray.commands.guard import GuardedCommand

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=GuardedCommand)(run)
    return app


def main() -> None:
    """Run the program."""
    try:
        with interruptible():
            __getattr__("app")()
    except KeyboardInterrupt:  # before the command's own boundary is there
        sys.exit(130)


if __name__ == "__main__":
    main()
