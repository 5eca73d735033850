"""The scheduler: the door to the kernel, and the lines before the models."""

from aios_actors.kernel.scheduler.actor import Scheduler

__all__ = ["Scheduler"]
