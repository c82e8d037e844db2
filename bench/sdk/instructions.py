#!/usr/bin/env python3
"""How many instructions instrumentation adds to a request: the demo's catalog (HTTP, JSON, SQLite) under callgrind, one
request as the other, without libvane, with each part of it and with everything. Counted, not timed: user-space instructions
of all threads, the exporters' too, so that the figures hold on a machine that does other things. Prints a line of JSON a
variant; with --functions also those of the functions that have more of them than without libvane.

usage: bench/sdk/instructions.py [--build build] [--requests 1000] [--variants none,metrics,...] [--functions 25]"""
import argparse
import collections
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import ThreadingHTTPServer

from budget import Sink, VARIANTS, environment, free_port


class Counting(Sink):
    posts = 0

    def do_POST(self):
        super().do_POST()
        Counting.posts += 1


def requests(connection, n):
    for _ in range(n):
        connection.request("GET", "/products/7", headers={"User-Agent": "wrk/4.1", "Accept": "*/*"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status


def control(p, *what):
    subprocess.run(["callgrind_control", *what, str(p.pid)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


def run(args, on, sink, folder):
    """The callgrind profile of so many requests."""
    folder.mkdir()
    Counting.posts = 0
    port = free_port()
    env = environment(on, sink, folder, args.sample_rate)
    p = subprocess.Popen(["valgrind", "--quiet", "--tool=callgrind",  f"--callgrind-out-file={folder}/out", args.build / "examples/catalog",
                          "--port", str(port), "--db", folder / "catalog.db"], env=env, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                c.connect()
                break
            except OSError:
                time.sleep(0.1)
        requests(c, 200)  # caches, the connection's thread
        while "tracing" in on and not Counting.posts:  # the exporter has loaded what it needs
            requests(c, 50)
        control(p, "--zero")
        requests(c, args.requests)
        control(p, "--dump")
        out = max(folder.glob("out.*"), key=lambda f: f.stat().st_size)
    finally:
        p.kill()
        p.wait()
    return out


def total(out):
    return sum(int(m) for m in re.findall(r"^(?:totals|summary): (\d+)", out.read_text(), re.M)[-1:])


def functions(out):
    """Instructions a function, without those it calls."""
    counts = collections.Counter()
    text = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", out], check=True, stdout=subprocess.PIPE, text=True).stdout
    for m in re.finditer(r"^ *([\d,]+) \([ \d.]+%\)  [^ ]*:(\S+)", text, re.M):
        counts[m[2]] += int(m[1].replace(",", ""))
    return counts


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--build", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2] / "build")
    a.add_argument("--requests", type=int, default=1000)
    a.add_argument("--sample-rate", type=float, default=0.1, help="of traces; the default is the usual one in production")
    a.add_argument("--variants", default="none,metrics,logging,tracing,everything")
    a.add_argument("--functions", type=int, default=0, help="so many of them")
    args = a.parse_args()
    for tool in ("valgrind", "callgrind_control"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: tools/setup.sh dev")
    sink = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    without = plain = None
    with tempfile.TemporaryDirectory(prefix="vane-instructions-") as folder:
        for name in args.variants.split(","):
            out = run(args, VARIANTS[name][0], sink.server_port, pathlib.Path(folder) / name)
            each = total(out) / args.requests
            without = each if name == "none" else without
            more = {} if without is None or name == "none" else {"added": round(each - without), "added_percent": round(100 * (each / without - 1), 2)}
            print(json.dumps({"variant": name, "instructions_per_request": round(each)} | more), flush=True)
            if args.functions:
                counts = functions(out)
                plain = plain or counts
                for f, n in (counts - plain).most_common(args.functions):
                    print(f"{n / args.requests:10.1f}  {f}")


main()
