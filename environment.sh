# Sourced by run_all.sh and run_tests.sh: goes to the project's folder and sets $PYTHON to a Python
# that is new enough; install_packages then sets it to one that has every package of pyproject.toml.
# That is the active environment if it has them; else .venv is made here and filled, once. A torch
# that is already there, in .venv or in the active environment, is kept.

HMLC_EXTRAS=${HMLC_EXTRAS:-notebooks,meshes} # of pyproject.toml
# The small build without CUDA, as pytorch.org documents it.
CPU_TORCH=https://download.pytorch.org/whl/cpu

has_packages() {
    "$1" - "$HMLC_EXTRAS" 2>/dev/null <<'PY'
import importlib.metadata, sys, tomllib
from packaging.requirements import Requirement
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = [project["optional-dependencies"][name] for name in sys.argv[1].split(",")]
wanted = map(Requirement, sum(extras, project["dependencies"]))
have = importlib.metadata.version
sys.exit(not all(r.specifier.contains(have(r.name), prereleases=True) for r in wanted))
PY
}

find_python() {
    for candidate in python python3 python3.13 python3.12 python3.11 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "hmlc needs Python 3.11 or newer;" \
        "none of python, python3, python3.11 .. python3.14 is." >&2
    return 1
}

folder_of_torch() {
    "$1" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])' 2>/dev/null
}

# A command that Ctrl-C ends, with all that it has started, without a word of theirs.
alone() {
    set -m # a process group of its own
    "$@" &
    child=$!
    set +m
    wait "$child"
}

make_venv() {
    if .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        return
    fi
    if [ -e .venv ] && [ ! -e .venv/keep.txt ]; then
        echo "$PWD/.venv is not of this script, and has no pip or no Python 3.11 or newer:" \
            "move it away, or activate an environment. Then run again." >&2
        return 1
    fi
    rm -rf .venv
    mkdir .venv && : >.venv/keep.txt || return
    alone "$1" -m venv .venv || {
        rm -rf .venv
        echo "$1 cannot make a virtual environment;" \
            "on Debian or Ubuntu: apt install python3-venv. Then run again." >&2
        return 1
    }
    torch_at=$(folder_of_torch "$1") || return 0
    .venv/bin/python - "$torch_at" <<'PY'
import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "torch_already_there.pth").write_text(sys.argv[1])
PY
}

note_what_is_kept() {
    .venv/bin/python - >.venv/keep.txt <<'PY'
import importlib.metadata as m
for name in ("torch", "torchvision"):
    try:
        print(f"{name}=={m.version(name)}")
    except m.PackageNotFoundError:
        pass
PY
}

# Whether a server answers within seconds.
reachable() {
    .venv/bin/python - "$1" 2>/dev/null <<'PY'
import os, sys, threading, urllib.request
limit = threading.Timer(8, os._exit, [1])  # looking up a name has no time limit of its own
limit.daemon = True
limit.start()
urllib.request.urlopen(sys.argv[1], timeout=5)
PY
}

pip_install() {
    alone .venv/bin/python -m pip install --disable-pip-version-check "$@"
}

# On Linux the usual torch brings CUDA; without a GPU the small build does.
install_torch() {
    if grep -q '^torch==' .venv/keep.txt || [ "$(uname)" != Linux ]; then return; fi
    if nvidia-smi >/dev/null 2>&1; then return; fi
    if reachable "$CPU_TORCH/torch/"; then
        echo "No GPU: the CPU build of torch, about 200 MB."
        pip_install --index-url "$CPU_TORCH" torch torchvision && note_what_is_kept && return
    fi
    echo "No GPU, but $CPU_TORCH cannot be had:" \
        "torch comes from the package index, with CUDA up to 3 GB."
}

stopped() {
    if [ -n "${child:-}" ]; then kill -- "-$child" 2>/dev/null; fi
    echo "Stopped. What is finished is kept: run again to go on from here." >&2
    exit 130
}

install_packages() {
    if has_packages "$PYTHON"; then return; fi
    if ! has_packages .venv/bin/python; then
        echo "Installing into .venv (once; about 500 MB beside torch, a few minutes) ..."
        make_venv "$PYTHON" && note_what_is_kept && install_torch || return
        pip_install --constraint .venv/keep.txt --editable ".[$HMLC_EXTRAS]" || {
            echo "The installation failed; see the lines above." \
                "Run again to go on where it stopped." >&2
            return 1
        }
    fi
    PYTHON=$PWD/.venv/bin/python
}

trap stopped INT

# A folder that was given from where the user stands, as a whole path.
make_absolute() {
    case ${!1:-} in '') unset "$1" ;; [/~]*) ;; *) export "$1=$PWD/${!1}" ;; esac
}

make_absolute HMLC_ROOT
make_absolute HMLC_DATA
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
PYTHON=$(find_python) || exit 1
# Threads that spin while they wait are slow where others work too.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
