"""The scheduler: the door to the kernel, and the lines before the models. Policies can be imported without it."""
