"""Facts and functions that every other package may import."""
