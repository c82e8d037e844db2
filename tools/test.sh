#!/bin/sh
# Runs the tests of a build folder and closes with one line "N passed, N failed".
# Usage: tools/test.sh BUILD [meson test options]
set -u
build=$1
shift
log=$build/meson-logs/testlog.txt
meson test -C "$build" --no-rebuild --print-errorlogs "$@"
rc=$?
passed=$(sed -n 's/^Ok: *\([0-9]*\).*/\1/p' "$log" | tail -n 1)
failed=$(sed -n -e 's/^Fail: *\([0-9]*\).*/\1/p' -e 's/^Timeout: *\([0-9]*\).*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
skipped=$(sed -n 's/^Skipped: *\([0-9]*\).*/\1/p' "$log" | tail -n 1)
echo "${passed:-0} passed, ${failed:-0} failed, ${skipped:-0} skipped"
exit $rc
