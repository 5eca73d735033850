"""The kernel: one module or package an actor; `kernel.py` is their supervision tree, as data."""
