"""The kernel's promises on an engine that fails, stalls, dies and runs out of memory: 150 seeds of the soak."""

from scripts.soak.kernel import soak


def test_every_syscall_ends_once_and_budgets_hold_whatever_the_engine_does() -> None:
    counts = soak(range(150))
    assert counts["begun"] == counts["ended"] > 500
    tried = {"BudgetExceeded", "Busy", "GenerationFailed", "AgentFailed", "WaitCycle", "DeadlineInfeasible"}
    assert tried <= counts.keys(), "the runs met each kind of trouble"
