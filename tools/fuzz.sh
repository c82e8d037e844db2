#!/bin/sh
# Runs every libFuzzer target of a build folder for some seconds, on a copy of its corpus. A finding is kept
# in the build folder and fails the run.
# Usage: tools/fuzz.sh BUILD SECONDS
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/$1
seconds=$2
failed=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ASAN_OPTIONS=detect_leaks=1
for target in "$build"/fuzz/fuzz_*; do
    [ -x "$target" ] && [ -f "$target" ] || continue
    name=${target##*/fuzz_}
    work=$build/corpus/$name
    mkdir -p "$work" "$build/findings"
    printf '%-28s' "$name"
    if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$build/findings/$name-" \
        "$work" "$root/fuzz/corpus/$name" >"$build/$name.log" 2>&1; then
        sed -n 's/^Done \([0-9]*\) runs.*/\1 runs/p' "$build/$name.log"
    else
        echo "FINDING: see $1/$name.log"
        failed=1
    fi
done
exit $failed
