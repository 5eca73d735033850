"""The nano model: the small GGUF that comes with the package, and how it is made.

`nano.gguf` beside this file is the model; MODEL_CARD.md says what it can and cannot do. The other modules generate its
training tasks (words, phrases, world, skills, combined, unseen, tasks, chat), train it (tokenizer, batches, network,
muon, training, gguf_file; these need the `train` extra) and measure it (evaluate). A running node needs only the GGUF.
"""
