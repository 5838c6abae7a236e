"""`python -m flare_ray.sweep FILE [--plan] [--set dotted.key=value …]`: the same as `flare-ray run`."""

from __future__ import annotations

import sys

from flare_ray.execution.stopping import interruptible


def main() -> None:
    """Run the program."""
    try:
        with interruptible():
            import typer

            from flare_ray.cli import run
            from flare_ray.commands.guard import GuardedCommand

            app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command(cls=GuardedCommand)(run)
            app()
    except KeyboardInterrupt:  # before the command's own boundary is there
        sys.exit(130)


if __name__ == "__main__":
    main()
