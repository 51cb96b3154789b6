"""The same small bank as at the gate."""

from tests.unit.gate.conftest import policy, world

__all__ = ["policy", "world"]
