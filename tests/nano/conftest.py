"""Leaves out what needs a package that is not installed: training is an extra."""

from importlib.util import find_spec

NEEDS = {
    "test_tokenizer.py": ("tokenizers",),
    "test_batches.py": ("tokenizers", "numpy"),
    "test_gguf_file.py": ("tokenizers", "gguf"),
    "test_training.py": ("tokenizers", "gguf", "torch"),
}
collect_ignore = [name for name, packages in NEEDS.items() if not all(find_spec(package) for package in packages)]
