"""The protocol between agents and the kernel: one module of message Structs a service."""
