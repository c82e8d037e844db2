"""Runs a cmocka program and passes its TAP on, with skipped cases as TAP wants them: cmocka 1.1.7 says
"not ok 3 # SKIP name", which counts as a failure. The exit code is the program's; 1 when a signal ended it."""
import re
import signal
import subprocess
import sys

program = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True, errors="replace")
for line in program.stdout:
    print(re.sub(r"^not (ok \d+) # SKIP (.*)", r"\1 - \2 # SKIP", line), end="", flush=True)
code = program.wait()
if code < 0:
    print(f"ended by {signal.Signals(-code).name}", file=sys.stderr)
sys.exit(code if code >= 0 else 1)
