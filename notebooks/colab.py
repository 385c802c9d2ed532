"""What a notebook needs on Colab: missing packages, without touching torch, torchvision or numpy;
runs and results on Drive if wanted."""

import importlib.util
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("papermill", "openTSNE", "mlxtend", "trimesh", "embreex", "pooch")
NEEDED += ("safetensors", "tabulate")  # Colab has the others
UNTOUCHED = ("torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "matplotlib")
UNTOUCHED += ("pillow",)


def missing():
    """Packages of NEEDED that cannot be imported."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def install():
    """Install what is missing; what is there keeps its version."""
    names = missing()
    if not names:
        return
    print(f"installing {', '.join(names)}")
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins()))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint"]
        subprocess.run([*command, str(constraints), *names], check=True)
    importlib.invalidate_caches()


def pins():
    """The installed version of each package of UNTOUCHED, as pip writes it."""
    lines = []
    for name in UNTOUCHED:
        try:
            lines.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return lines


def keep_on(drive):
    """Keep runs and results in the folder hmlc of a mounted Drive, now and in later sessions."""
    for name in ("runs", "results"):
        here, there = ROOT / "data" / name, Path(drive) / "hmlc" / name
        there.mkdir(parents=True, exist_ok=True)
        if here.is_symlink() or not here.exists():
            here.unlink(missing_ok=True)
            here.symlink_to(there, target_is_directory=True)
        else:
            print(f"{here} is there already and stays where it is; delete it to keep it on Drive")
