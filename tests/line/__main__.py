"""The commands behind the Makefile."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from line import control_plane_build, go_tools, python_environment, session
from line.long_step import StepFailed
from line.running import REPOSITORY, NotStarted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m line", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("python", help="print the Python of the project's environment; make it if missing")
    commands.add_parser("control-plane", help="print the control plane's launcher; build it if missing")
    commands.add_parser("go-tools", help="print helm, promtool and what asks the GitOps tools; build them if missing")
    commands.add_parser("hadolint", help="print what lints the Dockerfile; install it if missing")
    commands.add_parser("lock", help="pin the Python requirements anew")
    run = commands.add_parser("run", help="run a command in the environment that the tests expect")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")
    sdk = commands.add_parser("azure-sdk", help="run a command in the environment of tests/azure-sdk")
    sdk.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")
    for name, purpose in [
        ("up", "start a line in the background"),
        ("supervise", "what `up` starts"),
        ("down", "end what `up` started"),
    ]:
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--directory", type=Path, default=REPOSITORY / "run")
        if name != "down":
            command.add_argument("--simulator-arguments", type=shlex.split, default=[])
            command.add_argument("--operator-arguments", type=shlex.split, default=[])
    given = parser.parse_args()

    match given.command:
        case "python":
            print(python_environment.python())
        case "control-plane":
            print(control_plane_build.launcher())
        case "go-tools":
            for tool in go_tools.TOOLS:
                print(go_tools.find(tool))
            print(go_tools.gitops())
        case "hadolint":
            print(python_environment.hadolint())
        case "lock":
            python_environment.lock()
        case "run":
            _run(_command(given.arguments))
        case "azure-sdk":
            _run_in(python_environment.azure_sdk().parent, _command(given.arguments))
        case "up":
            return session.up(given.directory, given.simulator_arguments, given.operator_arguments)
        case "supervise":
            return session.supervise(given.directory, given.simulator_arguments, given.operator_arguments)
        case "down":
            return session.down(given.directory)
    return 0


def _command(arguments: list[str]) -> list[str]:
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        raise StepFailed("which command?")
    return command


def _run(command: list[str]) -> None:
    """Becomes the command, with what the tests need built and named."""
    launcher, kubectl = control_plane_build.launcher(), control_plane_build.kubectl()
    python = python_environment.python()
    os.environ["DASK_AZUREML_CONTROL_PLANE"] = str(launcher)
    os.environ["DASK_AZUREML_PYTHON"] = str(python)
    os.environ["PATH"] = os.pathsep.join([str(kubectl.parent), os.environ["PATH"]])
    _run_in(python.parent, command)


def _run_in(folder: Path, command: list[str]) -> None:
    os.environ["PATH"] = os.pathsep.join([str(folder), os.environ["PATH"]])
    os.execvp(command[0], command)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (NotStarted, StepFailed) as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
