#!/bin/sh
# Installs the npm clients of the end-to-end tests (lock file, no install scripts).
set -eu
cd "$(dirname "$0")/../tests/e2e/clients"
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    echo "vane: installing the clients of the end-to-end tests (npm ci)"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
fi
