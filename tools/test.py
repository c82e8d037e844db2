#!/usr/bin/env python3
"""Runs the tests of a build folder, shows what the failed ones said, and closes with "N passed, N failed, N skipped".

    tools/test.py BUILD [meson test options]

The exit code is meson's: 0 only when nothing failed. Cases of a test (TAP) show in the list; the closing line counts tests.
"""
import json
import os
import pathlib
import subprocess
import sys

LINES_MAX = 80  # shown of a failed test, from its end; the log has all


def report(test):
    print(f"\n---- {test['name']}: {test['result']} after {test['duration']:.1f} s, exit code {test['returncode']}")
    said = [line for stream in ("stdout", "stderr") for line in test.get(stream, "").splitlines()
            if not line.startswith("ok ")]
    print("\n".join(said[-LINES_MAX:]))


def main():
    build, options = pathlib.Path(sys.argv[1]), sys.argv[2:]
    log = build / "meson-logs/testlog.json"
    log.unlink(missing_ok=True)
    env = os.environ.copy()
    for name in ("no_proxy", "NO_PROXY"):  # tests talk to loopback, whatever proxy the environment names
        env[name] = ",".join(filter(None, [env.get(name), "127.0.0.1,localhost"]))
    code = subprocess.run(["meson", "test", "-C", build, "--no-rebuild", *options], env=env).returncode
    tests = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    passed = [t for t in tests if t["result"] in ("OK", "EXPECTEDFAIL")]
    skipped = [t for t in tests if t["result"] == "SKIP"]
    failed = [t for t in tests if t not in passed and t not in skipped]
    for t in failed:
        report(t)
    print(f"\n{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped", flush=True)
    return code or bool(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
