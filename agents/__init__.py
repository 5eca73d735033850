"""Example agents; copy one and change it."""
