"""The rules of the layout, read from the syntax tree: imports, sizes, names."""

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("server", "avse", "preprocessing", "models")
MAY_IMPORT = {
    "server": {"server", "avse", "preprocessing", "models"},
    "avse": {"avse", "preprocessing", "models"},
    "preprocessing": {"preprocessing", "models"},
    "models": {"models"},
}
# The small networks of the preprocessing, and what it takes to open them.
MODELS_FOR_PREPROCESSING = {
    "models.errors",
    "models.face_detector",
    "models.mel_bands",
    "models.mouth_clarity",
    "models.mouth_landmarks",
    "models.registry",
    "models.weights",
}
MODELS_MAY_IMPORT = {"torch", "einops", "safetensors", "models"}
BANNED = {"data", "process", "handle", "helper", "manager", "util", "utils", "misc", "tmp"}
SOURCES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.stat().st_size
)
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def each(condition: str) -> pytest.MarkDecorator:
    """One test for each source file, named by its path."""
    names = [str(path.relative_to(ROOT)) for path in SOURCES]
    return pytest.mark.parametrize(condition, SOURCES, ids=names)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import, line {node.lineno}"
            yield from _modules(node)


def _modules(node: ast.ImportFrom) -> Iterator[str]:
    """`from models import mmtm` imports models.mmtm where that is a file."""
    module = node.module or ""
    for alias in node.names:
        inner = f"{module}.{alias.name}"
        is_module = (ROOT / (inner.replace(".", "/") + ".py")).is_file()
        yield inner if is_module else module


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def n_body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines below signature and docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@each("path")
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for module in imported(path):
        if module.split(".")[0] in PACKAGES:
            assert module.split(".")[0] in MAY_IMPORT[package], f"{path.name} imports {module}"


@each("path")
def test_only_media_touches_pyav_and_models_only_torch(path: Path) -> None:
    package, *rest = path.relative_to(ROOT).parts
    tops = {module.split(".")[0] for module in imported(path)}
    is_media = package == "preprocessing" and rest[-1].startswith("media")
    assert is_media or "av" not in tops
    if package == "models":
        assert tops <= MODELS_MAY_IMPORT | set(sys.stdlib_module_names)
    if package == "preprocessing":
        used = {module for module in imported(path) if module.startswith("models")}
        assert used <= MODELS_FOR_PREPROCESSING


@each("path")
def test_functions_and_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350
    for function in functions(path):
        assert n_body_lines(function) <= 50, f"{function.name} is {n_body_lines(function)} lines"


def test_most_functions_are_very_short() -> None:
    lengths = sorted(n_body_lines(f) for path in SOURCES for f in functions(path))
    assert statistics.median(lengths) <= 10
    assert lengths[int(0.9 * len(lengths))] <= 30


@each("path")
def test_no_empty_names(path: Path) -> None:
    assert path.stem not in BANNED
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            words = set(re.sub(r"([a-z])([A-Z])", r"\1_\2", node.name).lower().split("_"))
            # "a model process" is a thing of the operating system; "process_clip" says nothing
            allowed = {"data", "process"} if isinstance(node, ast.ClassDef) else {"data"}
            assert not words & (BANNED - allowed), f"line {node.lineno}: {node.name}"
        name = {ast.arg: "arg", ast.Name: "id", ast.FunctionDef: "name"}.get(type(node))
        if name and not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)):
            assert getattr(node, name) not in BANNED, f"{path.name}: {getattr(node, name)}"


@each("path")
def test_environment_and_devices_have_one_owner(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ".cuda()" not in text
    if path.parts[-2:] != ("server", "settings.py"):
        assert "os.environ" not in text
        assert "getenv(" not in text


def run_python(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_help_loads_no_heavy_package() -> None:
    heavy = "{'torch', 'numpy', 'cv2', 'av', 'scipy', 'matplotlib', 'librosa', 'fastapi'}"
    code = f"import sys, avse.cli; print({heavy} & set(sys.modules) or 'none')"
    assert run_python(code).strip() == "none"


def test_importing_a_package_does_no_work() -> None:
    code = "import sys, avse, server, models, preprocessing; print('torch' in sys.modules)"
    assert run_python(code).strip() == "False"


def test_public_names_exist() -> None:
    assert run_python("import avse; [getattr(avse, n) for n in avse.__all__]; print(1)") == "1\n"
    code = "import avse\ntry: avse.nothing\nexcept AttributeError as e: print(e)"
    assert "has no attribute 'nothing'" in run_python(code)


def test_ci_runs_the_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(\./setup\.sh.*)$", readme, flags=re.MULTILINE)
    assert len(commands) >= 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_test_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_lock_names_only_the_public_index() -> None:
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")
    hosts = set(re.findall(r"(?:https?|file)://([^/\"]*)", lock))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


def test_a_wheel_asks_for_the_torch_that_is_locked() -> None:
    # torchaudio 2.11.1 does not load beside torch 2.11.0: a range lets them drift apart.
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    locked = {package["name"]: package.get("version") for package in lock["package"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in ("torch", "torchaudio"):
        assert f"{name}=={locked[name]}" in project["dependencies"]
