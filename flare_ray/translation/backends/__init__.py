"""Ways to run a translation model: one file each, loaded by `base.load`."""
