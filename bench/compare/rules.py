#!/usr/bin/env python3
"""What rules cost: 10,000 rules over 100,000 series, every 15 s, in vane and in Debian's prometheus.

    python3 bench/compare/rules.py --vane build-rel/vane --rwgen build-rel/bench/rwgen [--servers vane,prometheus]

100 targets x 1,000 series are stored first, up to some minutes ahead of now, so that nothing but rules runs while CPU time is
counted. Every rule reads one metric of two targets (8 or 40 series; together most series once): half of the rules alert on a sum
of rates over 5 minutes, a quarter record rates, a quarter averages. Groups of 50. Prints one JSON object a server.
"""
import argparse
import json
import pathlib
import re
import subprocess
import tempfile
import time

from servers import Server, cpu_fine, get, rss_mb

STEMS = ["cpu_seconds_total", "network_bytes_total", "disk_io_seconds_total", "memory_bytes", "filesystem_bytes", "http_requests_total"]


def rule(i, name, pair):
    select = f'{name}{{instance=~"{pair}"}}'
    if i % 2:
        return (f"      - {{alert: Busy{i}, expr: 'sum by (device) (rate({select}[5m])) > 1e12', for: 1m, "
                f"labels: {{severity: P3}}, annotations: {{summary: 'busy: {{{{ $value }}}}'}}}}\n")
    if i % 4:
        return f"      - {{record: 'bench:rate:{i}', expr: 'sum by (instance) (rate({select}[5m]))'}}\n"
    return f"      - {{record: 'bench:avg:{i}', expr: 'avg by (instance) ({select})'}}\n"


def write_rules(path, o):
    families = 6 + (o.series - 120) // 4
    address = lambda t: f"10.0.{t // 250}.{t % 250}:9100".replace(".", "[.]")
    n = 0
    with open(path, "w", encoding="utf-8") as f:
        f.write("groups:\n")
        for family in range(families):
            for target in range(0, o.targets, 2):
                if n == o.rules:
                    return n
                if n % 50 == 0:
                    f.write(f"  - name: g{n // 50}\n    rules:\n")
                name = f"bench_{STEMS[family % len(STEMS)]}_{family}"
                f.write(rule(n, name, f"{address(target)}|{address(target + 1)}"))
                n += 1
    return n


class RuleServer(Server):
    def command(self):
        config = self.folder / "rules-on.yml"
        if self.name == "vane":
            return super().command() + ["--config", str(config)]
        return [f"--config.file={config}" if a.startswith("--config.file") else a for a in super().command()]


def measure(name, folder, o):
    s = RuleServer(name, folder, o.vane)
    config = s.folder / "rules-on.yml"
    config.write_text(f"global: {{scrape_interval: 1h, evaluation_interval: {o.interval}s}}\n")
    s.start()
    end = int(time.time()) + 9 * 60
    subprocess.run([o.rwgen, "--url", s.base + "/api/v1/write", "--targets", str(o.targets), "--series", str(o.series), "--interval",
                    "15", "--duration", "20m", "--end", str(end)], check=True, stdout=subprocess.DEVNULL)
    idle = cpu_fine(s.p.pid)
    time.sleep(10)
    idle = (cpu_fine(s.p.pid) - idle) / 10
    n = write_rules(s.folder / "rules.yml", o)
    config.write_text(config.read_text() + f"rule_files: ['{s.folder}/rules.yml']\n")
    s.stop()
    s.start()
    time.sleep(2 * o.interval)  # everything has been evaluated once
    before, t0 = cpu_fine(s.p.pid), time.monotonic()
    time.sleep(o.rounds * o.interval)
    cpu, wall = cpu_fine(s.p.pid) - before, time.monotonic() - t0
    metrics = get(s.base + "/metrics").decode()
    missed = sum(float(x) for x in re.findall(r"^(?:vane|prometheus)_rule_group_iterations_missed_total(?:\{[^}]*\})? (\S+)", metrics, re.M))
    failed = sum(float(x) for x in re.findall(r"^(?:vane|prometheus)_rule_evaluation_failures_total(?:\{[^}]*\})? (\S+)", metrics, re.M))
    recorded = json.loads(get(s.base + "/api/v1/query?query=count({__name__=~%22bench:.*%22})"))["data"]["result"]
    print(json.dumps({"server": name, "rules": n, "series": o.targets * o.series, "interval_s": o.interval, "cores": round(cpu / wall, 3),
                      "cores_idle": round(idle, 3), "ms_per_round": round(cpu / wall * o.interval * 1000), "missed": missed,
                      "failed": failed, "recorded_series": recorded and float(recorded[0]["value"][1]), "rss_mb": round(rss_mb(s.p.pid))}), flush=True)
    s.stop()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--vane", required=True)
    p.add_argument("--rwgen", required=True)
    p.add_argument("--servers", default="vane,prometheus")
    p.add_argument("--targets", type=int, default=100)
    p.add_argument("--series", type=int, default=1000)
    p.add_argument("--rules", type=int, default=10000)
    p.add_argument("--interval", type=int, default=15)
    p.add_argument("--rounds", type=int, default=4)
    o = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="vane-rules-") as folder:
        for name in o.servers.split(","):
            measure(name, pathlib.Path(folder), o)


main()
