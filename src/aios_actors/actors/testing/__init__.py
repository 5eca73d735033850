"""Tools for testing actors without real time: a probe, a manual clock, a fault injector and seeded simulation.

Public API: tests of programs that use the runtime are welcome to it. No tool here waits for real time unless a test
fails.
"""

from aios_actors.actors.testing.clock import ManualClock
from aios_actors.actors.testing.faults import Faults
from aios_actors.actors.testing.invariants import BrokenInvariant
from aios_actors.actors.testing.probe import Probe, settle
from aios_actors.actors.testing.simulation import Deadlock, SimulationFailed, SimulationLoop, simulate

__all__ = [
    "BrokenInvariant",
    "Deadlock",
    "Faults",
    "ManualClock",
    "Probe",
    "SimulationFailed",
    "SimulationLoop",
    "settle",
    "simulate",
]
