"""A simulator that runs, and a browser that looks at it."""

import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from chromium import Chromium, program
from simulated_azure import SimulatedAzure

# Azure's own durations, so many times faster.
TIME_SCALE = 600


@pytest.fixture
def azure(tmp_path):
    running = SimulatedAzure(tmp_path / "azure", {"time_scale": TIME_SCALE})
    yield running
    running.end()


@pytest.fixture
def browser(tmp_path):
    command, why_not = program()
    if command is None:
        reason = f"NOBODY LOOKED AT THE PAGES: {why_not}"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    running = Chromium(command, tmp_path / "chromium.log")
    yield running
    running.end()
