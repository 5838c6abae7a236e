"""flare_ray: a whole cross-lingual-transfer study as one sweep on a Ray cluster."""

__version__ = "0.1.0"
