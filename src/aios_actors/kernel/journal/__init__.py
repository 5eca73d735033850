"""The journal of a run: what its agents asked for and were answered, so that a run that was killed goes on."""

from aios_actors.kernel.journal.journal import Journal, JournalledKernel, run_file

__all__ = ["Journal", "JournalledKernel", "run_file"]
