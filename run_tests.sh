#!/usr/bin/env bash
# Runs the tests; installs what is missing first. Arguments go to pytest,
# e.g. bash run_tests.sh -k losses
set -euo pipefail
HMLC_EXTRAS=notebooks,meshes,test
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
install_packages
exec "$PYTHON" -m pytest -rs "$@"
