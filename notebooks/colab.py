"""What a notebook needs on Colab: missing packages, without touching torch, torchvision or numpy;
runs and results on Drive if wanted."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))
# What Colab does not have.
NEEDED = ("papermill", "openTSNE", "mlxtend", "trimesh", "embreex", "pooch", "safetensors")
EVERY = 600  # seconds between two copies to Drive
CLOCK = 1  # seconds that times of files may differ by on Drive
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
    """Bring runs and results here from the folder hmlc of a mounted Drive, and copy to it what is
    new, now and every ten minutes as long as it is mounted and this notebook's kernel lives.

    Training writes to the disk of this machine: Drive puts each file that is replaced into its bin,
    which counts, so a checkpoint there after every epoch would fill it.
    """
    bring_from(drive)
    threading.Thread(target=_keep_copying, args=(drive,), daemon=True).start()


def bring_from(drive):
    """Copy what is on Drive, and not here or older here; also where a table is damaged, but it."""
    there, left = Path(drive) / "hmlc", []
    try:
        _add_results(drive)
    except ValueError:
        left = [there / "results" / path.name for path in _tables()]
        raise
    finally:
        _copy_newer(there, ROOT / "data", without=left)


def copy_to(drive):
    """Copy what is here, and not on Drive or older there; rows of results are added to those."""
    try:
        _copy_newer(ROOT / "data", Path(drive) / "hmlc", without=_tables())
    finally:
        _add_results(drive)


def _keep_copying(drive):
    while True:
        try:
            if Path(drive).is_dir():  # else it would be written where Drive is mounted later
                copy_to(drive)
            else:
                print(f"{drive} is not there, so nothing is copied to it")
        except (OSError, ValueError) as error:  # training goes on
            print(f"not all is on Drive: {error}. Tried again in {EVERY // 60} minutes")
        time.sleep(EVERY)


def _add_results(drive):
    """Add the rows of results here to those on Drive."""
    from study import results  # now that its packages are there

    for path in _tables():
        rows, there = results.read(path), Path(drive) / "hmlc" / "results" / path.name
        if len(rows.merge(results.read(there))) < len(rows):  # not all of them are there
            results.add(rows.to_dict("records"), there)


def _tables():
    """Paths of the tables of results here."""
    from study import results

    paths = (ROOT / "data" / "results").glob("*.csv")
    return [path for path in paths if path.read_text().startswith(",".join(results.COLUMNS))]


def _copy_newer(source, target, without=()):
    """Copy files of runs and results that are newer, but snapshots, features, which are made again
    in seconds, and what is not whole: Drive may have a part if a session ended while it was sent.

    Raises:
        OSError: one could not be copied; the others are.
    """
    failed = []
    for path in [*source.glob("runs/*/*"), *source.glob("results/*")]:
        if path.name.startswith((".", "outputs-")) or path in without:
            continue
        try:
            _copy_if_newer(path, target / path.relative_to(source))
        except OSError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _copy_if_newer(path, there):
    from hmlc_core import files

    if not path.is_file() or there.exists() and _is_not_older(there.stat(), path.stat()):
        return
    if not _is_whole(path):
        return print(f"{path} is not whole, and left out")
    with files.writing(there) as beside:
        shutil.copy2(path, beside)


def _is_not_older(there, here):
    return there.st_mtime + CLOCK * (there.st_size == here.st_size) >= here.st_mtime


def _is_whole(path):
    if path.suffix == ".pt":
        return zipfile.is_zipfile(path)
    text = path.read_bytes()
    if path.suffix == ".json":
        try:
            return json.loads(text) is not None
        except ValueError:
            return False
    return text.endswith(b"\n") or path.suffix != ".csv"
