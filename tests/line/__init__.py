"""The whole line on one machine: a real Kubernetes control plane, the simulated Azure and the
operator, for `make demo`, `make up` and the end-to-end tests. Standard library only, as it also
makes the Python environment of the project.

    with Line(Path("run/mine")) as line:
        subprocess.run(["kubectl", "get", "adsk"], env=line.environment)
"""

from line.running import Line, NotStarted

__all__ = ["Line", "NotStarted"]
