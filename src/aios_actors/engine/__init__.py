"""The inference engine: many agents' generations on one llama.cpp context, in a worker process of its own.

The node imports `messages`, `spec`, `protocol` and `gguf` only; none of them loads llama.cpp.
"""
