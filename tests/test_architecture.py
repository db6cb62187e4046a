"""The layers, read from the source: nothing imports upwards, and importing does nothing."""

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from model import errors

ROOT = Path(__file__).parents[1]
PACKAGES = {"model": {"model"}, "service": {"model", "service"}, "training": {"model", "training"}}

# In each folder its modules and folders; each may import only those before it. A new one gets its place here.
ORDER = {
    "model": (
        "errors", "types", "cpus", "tiling", "config", "container", "options", "interest", "steps", "protocol",
        "images", "entropy", "context", "profiles", "loaded", "content_plane", "water_filling", "rate_control",
        "quality_search", "tile_cache", "hidden", "snapping", "lossless_files", "source", "patches", "encoder",
        "decoder", "encoding", "trials", "sample", "targets", "codec", "checkpoints", "command_line", "cli",
    ),
    "model.command_line": ("files", "encoding", "codecs", "outcomes", "inspection", "batch"),
    "model.container": ("lossless", "reader", "header", "directory", "format"),
    "model.images": (
        "tiff", "exif", "boxes", "avif", "colour", "files", "masks", "metadata", "writing", "maps", "distortion",
    ),
    "model.entropy": ("tables", "range_coder", "symbols", "fit"),
    "model.context": (
        "haar", "passes", "network", "rates", "integer", "conditions", "offsets", "quantise", "walk", "coder",
    ),
    "model.profiles": ("layers", "base", "cwic", "cvpr2018", "registry", "export"),
    "model.profiles.cwic": ("transforms", "network", "visual", "structure", "distortion", "refinement"),
    "model.profiles.cvpr2018": ("operators", "transforms", "network"),
    "service": (
        "client_types", "client", "version", "keys", "settings", "uploads", "healthcheck", "observe", "jobs", "api",
        "web", "app", "server", "__main__",
    ),
    "service.observe": (
        "timing", "answered", "tracing", "logs", "lag", "metrics", "telemetry", "otel_metrics", "otel",
    ),
    "service.jobs": (
        "errors", "memory", "models", "operations", "compare", "admission", "job", "pipeline", "engine",
        "replica", "ray",
    ),
    "service.api": (
        "query", "problems", "negotiation", "rate", "addresses", "taking", "ending", "framing", "guard", "auth",
        "browsers", "connections", "protocol", "requests", "openapi", "parameters", "schemas", "body", "dependencies",
        "codec_routes", "file_routes", "status_routes",
    ),
    "service.web": ("pages",),
    "training": ("config", "team", "data", "measure", "recipes", "run", "commands", "__main__"),
    "training.data": ("pictures", "pool", "synthetic", "screens"),
    "training.measure": (
        "metrics", "bd_rate", "pillow_codecs", "compressai_reference", "sheet", "memory", "tiles", "prefixes",
        "targets", "regions", "efforts", "screens", "files", "reuse", "curves", "report", "plot",
    ),
    "training.recipes": ("base", "klt", "transform_start", "cwic", "cvpr2018"),
    "training.run": ("calibrate", "validation", "soap", "optimisers", "precision", "state", "interrupt", "trainer"),
    "training.commands": (
        "arguments", "export", "train", "evaluate", "importance", "crops", "benchmark", "throughput", "progress",
    ),
}  # fmt: skip
# What reaches up all the same: the whole app is what a replica of Ray's runs, and tracing's other half is imported
# only where it is asked for.
REACHES = {("service.jobs.replica", "service.app"), ("service.observe.telemetry", "service.observe.otel")}
NO_TORCH = ORDER["model"][: ORDER["model"].index("entropy") + 1]
NO_PILLOW = frozenset(ORDER["model"]) - {"images", "container"}


def imported(tree: ast.Module) -> Iterator[str]:
    """The full names of the modules that a source imports anywhere, `from model import codec` as `model.codec`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module in ORDER
            yield from (f"{node.module}.{alias.name}" if whole else node.module for alias in node.names)


def violations(source: str, module: str) -> Iterator[str]:
    """What a source does that its place in the layers forbids; `module` is its dotted name."""
    tree = ast.parse(source)
    package, _, name = module.partition(".")
    for target in imported(tree):
        top, _, rest = target.partition(".")
        if top in PACKAGES and top not in PACKAGES[package]:
            yield f"{module} imports {target}"
        if (module, target) in REACHES:
            continue
        if package in ORDER and name and top == package and rest and not comes_before(target, module):
            yield f"{module} imports {target}, which does not come before it"
        room = name.split(".")[0]
        if package == "model" and (
            (top == "torch" and room in NO_TORCH) or (top == "PIL" and room in NO_PILLOW)
        ):
            yield f"{module} imports {target}"
    for node in ast.walk(tree) if package == "model" else ():
        if getattr(node, "attr", getattr(node, "name", "")) in ("environ", "environb", "getenv"):
            yield f"{module} reads the environment"
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Constant):
            yield f"{module}, line {statement.lineno}, does something at import"


def comes_before(target: str, module: str) -> bool:
    """Whether a module may import another one, by the places of the two where their paths part."""
    theirs, ours = target.split("."), module.split(".")
    shared = 1
    while shared < min(len(theirs), len(ours)) - 1 and theirs[shared] == ours[shared]:
        shared += 1
    order = ORDER[".".join(ours[:shared])]
    return order.index(theirs[shared]) < order.index(ours[shared])


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_no_layer_reaches_up_and_importing_does_nothing(package: str) -> None:
    paths = sources(package)
    assert paths
    found: list[str] = []
    for path in paths:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found.extend(violations(path.read_text(), module))
    assert found == []


def test_every_module_has_its_place() -> None:
    for folder, order in ORDER.items():
        path = ROOT / folder.replace(".", "/")
        rooms = {
            each.stem for each in path.iterdir() if each.suffix == ".py" or (each / "__init__.py").exists()
        }
        assert rooms - {"__init__"} == set(order), folder


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import service", "model.codec"),
        ("from service import app", "model.codec"),
        ("from training.commands.train import train", "model.codec"),
        ("def f():\n    import training.commands.train", "service.app"),
        ("from service.app import create_app", "training.commands.train"),
        ("from training.run.trainer import Trainer", "training.recipes.base"),
        ("from model import codec", "model.profiles.cwic.network"),
        ("from service.api import problems", "service.jobs.engine"),
        ("from service.app import create_app", "service.jobs.engine"),
        ("from model.codec import Codec", "model.container.format"),
        ("from model.container.format import pack", "model.container.format"),
        ("import torch", "model.container.format"),
        ("from torch import Tensor", "model.images.files"),
        ("import torch.nn", "model.types"),
        ("from PIL import Image", "model.codec"),
        ("import os\ndef f():\n    return os.environ['X']", "model.config"),
        ("import os\nX = os.getenv('X')", "model.config"),
        ("from os import getenv", "model.config"),
        ("from pathlib import Path\nPath('x').mkdir()", "service.app"),
    ],
)
def test_the_check_finds_what_is_planted(source: str, module: str) -> None:
    assert list(violations(source, module))


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from model.types import Pixels\nimport numpy", "model.images.files"),
        ("import torch", "model.codec"),
        ('"""Text."""\nfrom model import codec\nfrom service import app', "service.server"),
        ("import os\nX = os.environ", "service.settings"),
    ],
)
def test_the_check_lets_through_what_is_allowed(source: str, module: str) -> None:
    assert list(violations(source, module)) == []


def test_the_version_is_the_newest_of_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    headings = re.findall(r"^## \[([^\]]+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0][0] == project["version"]


def test_the_error_tree_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"^([│├└─ ]*)(\w+Error)\b", inspect.getdoc(errors) or "", re.MULTILINE)
    path: list[str] = []
    tree: dict[str, str] = {}
    for lines, name in drawn:
        depth = len(lines) // 4
        path[depth:] = [name]
        tree[name] = path[depth - 1] if depth else "Exception"
    classes = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
    assert tree == {name: kind.__mro__[1].__name__ for name, kind in classes.items()}
