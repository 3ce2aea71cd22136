"""The fleet of `sluice up --demo N`: N simulated devices, their secrets kept in `DIR/demo.json` (0600)."""

from sluice.children import Program
from sluice.provision import provision
from sluice.stack import Stack, ours


def prepare(planned: Stack, count: int) -> Program:
    """Makes the devices that are missing; the simulator with them. Raises `ProvisionError`."""
    kept = planned.data / "demo.json"
    names = [f"demo-{number:02}" for number in range(1, count + 1)]
    provision(planned.urls["http"], planned.data / "credentials.json", kept, names)
    arguments = ("--credentials", str(kept), "--devices", str(count), "--mqtt", planned.urls["mqtt"])
    return ours("simulate", planned.env, *arguments, name="simulator")
