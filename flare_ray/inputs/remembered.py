"""Results of checks in this machine's cache (tasks/_remembered.py)."""

from flare_ray.tasks._remembered import remembered

__all__ = ["remembered"]
