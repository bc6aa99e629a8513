"""helm and promtool, and what asks the GitOps tools: from the PATH, or built from the modules of `tests/go-tools`, once
a machine."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from line import cache, go_build, long_step

SOURCES = Path(__file__).parents[1] / "go-tools"


class Tool(NamedTuple):
    name: str
    package: str
    # The variable that holds its version, which only its own builds set by themselves.
    version_variable: str
    # What makes it tell its version.
    asks_version: tuple[str, ...]
    # What the tests use is there from this version on.
    oldest: tuple[int, int]
    tags: str = ""


HELM = Tool(
    name="helm",
    package="helm.sh/helm/v4/cmd/helm",
    version_variable="helm.sh/helm/v4/internal/version.version",
    asks_version=("version", "--short"),
    oldest=(4, 0),
)
PROMTOOL = Tool(
    name="promtool",
    package="github.com/prometheus/prometheus/cmd/promtool",
    version_variable="github.com/prometheus/common/version.Version",
    asks_version=("--version",),
    oldest=(3, 0),
    # Service discovery is most of its size, and for scraping.
    tags="remove_all_sd",
)
TOOLS = (HELM, PROMTOOL)


def find(tool: Tool) -> Path:
    """The program: of the PATH if it is new enough, else of the cache, built if missing."""
    if (found := shutil.which(tool.name)) and (version := _version(tool, found)) and version >= tool.oldest:
        return Path(found).absolute()
    module = SOURCES / tool.name
    name = f"{tool.name}-{cache.key([module / 'go.mod', module / 'go.sum'], tool.package, tool.tags)}"
    return cache.made_once(name, lambda folder: _make(tool, module, folder)) / tool.name


def gitops() -> Path:
    """What asks the GitOps tools' own libraries: `tests/go-tools/gitops`."""
    module = SOURCES / "gitops"
    name = f"gitops-{cache.key(sorted(module.glob('*.go')) + [module / 'go.mod', module / 'go.sum'])}"
    return cache.made_once(name, lambda folder: _make_gitops(module, folder)) / "gitops"


def _make_gitops(module: Path, folder: Path) -> None:
    cache.say("building what asks Flux and Argo CD, once for this machine: 1 to 2 minutes on 2 cores")
    go_build.build(module, ".", folder / "gitops", folder / "build.log", counted=True)
    go_build.remove_what_builds_left()


def _make(tool: Tool, module: Path, folder: Path) -> None:
    pinned = _pinned(tool, (module / "go.mod").read_text())
    cache.say(
        f"building {tool.name} {pinned} from its Go module, once for this machine: 2 to 4 minutes on 2 cores"
    )
    link = f"-s -w -X {tool.version_variable}={pinned}"
    program, log = folder / tool.name, folder / "build.log"
    go_build.build(module, tool.package, program, log, link=link, tags=tool.tags, counted=True)
    go_build.remove_what_builds_left()


def _pinned(tool: Tool, go_mod: str) -> str:
    # The module is the longest path above the package that go.mod requires.
    required = dict(re.findall(r"^\s*(?:require )?(\S+/\S+) (v\S+)", go_mod, re.MULTILINE))
    within = [module for module in required if tool.package.startswith(f"{module}/")]
    if not within:
        raise long_step.StepFailed(f"the go.mod of {tool.name} requires no module of {tool.package}")
    return required[max(within, key=len)]


def _version(tool: Tool, program: str) -> tuple[int, int] | None:
    answer = subprocess.run([program, *tool.asks_version], capture_output=True, text=True)
    numbers = re.search(r"\bv?(\d+)\.(\d+)\.\d+", answer.stdout + answer.stderr)
    if numbers is None:
        return None
    major, minor = int(numbers[1]), int(numbers[2])
    # The Go module of Prometheus 3.15 is v0.315.
    return divmod(minor, 100) if tool is PROMTOOL and major == 0 else (major, minor)
