# Sourced by run_all.sh and run_tests.sh: sets $PYTHON to an interpreter that has every package of pyproject.toml.
# The active environment is used if it has them; else .venv is made here and filled, once. A torch that is already
# there, in .venv or in the active environment, is kept.

has_packages() {
    "$1" - 2>/dev/null <<'PY'
import importlib.metadata, sys, tomllib
from packaging.requirements import Requirement
wanted = map(Requirement, tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"])
sys.exit(not all(r.specifier.contains(importlib.metadata.version(r.name), prereleases=True) for r in wanted))
PY
}

find_python() {
    for candidate in python python3 python3.13 python3.12 python3.11 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "hmlc needs Python 3.11 or newer; none of python, python3, python3.11 .. python3.14 is." >&2
    return 1
}

make_venv() {
    echo "Installing into .venv (once; a few minutes) ..."
    if ! .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        rm -rf .venv
        "$1" -m venv .venv || {
            rm -rf .venv
            echo "$1 cannot make a virtual environment; on Debian or Ubuntu: apt install python3-venv. Then run again." >&2
            return 1
        }
        torch_at=$("$1" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])' 2>/dev/null) &&
            .venv/bin/python -c 'import sys, sysconfig; open(sysconfig.get_path("purelib") + "/torch_already_there.pth", "w").write(sys.argv[1])' "$torch_at"
    fi
    .venv/bin/python - >.venv/keep.txt <<'PY'
import importlib.metadata as m
for name in ("torch", "torchvision"):
    try:
        print(f"{name}=={m.version(name)}")
    except m.PackageNotFoundError:
        pass
PY
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint .venv/keep.txt --editable . || {
        echo "The installation failed; see the lines above. Run again to go on where it stopped." >&2
        return 1
    }
}

cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
PYTHON=$(find_python) || exit 1
if ! has_packages "$PYTHON"; then
    if ! has_packages .venv/bin/python; then make_venv "$PYTHON" || exit 1; fi
    PYTHON=$PWD/.venv/bin/python
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
