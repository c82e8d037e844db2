#!/bin/sh
# Builds ui/dist when a source is newer than it. npm reads the lock file and runs no install scripts.
set -eu
cd "$(dirname "$0")/../ui"
stamp=dist/manifest.json
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    echo "vane: installing the UI's build tools (npm ci)"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
fi
if [ -e "$stamp" ] && [ -z "$(find . -path ./node_modules -prune -o -path ./dist -prune -o -path ./.cache -prune -o -type f -newer "$stamp" -print | head -n 1)" ]; then
    exit 0
fi
echo "vane: building the UI"
npm run --silent build
