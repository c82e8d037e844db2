"""Thirty days of data, then a shorter retention with rollups and rules: the dry run says what will go, the restart lets
it go, and what windows answer is what the samples answered. A reload changes rules at once."""
import json
import math
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from vane_e2e import Vane, http, run, wait_for

DAY = 86400
DAYS = 30
ROLLUPS = "rollups: [{resolution: 5m, keep: 90d}, {resolution: 1h, keep: 2y}]\n"
QUERIES = [
    ("c_total", 0),
    ("count_over_time(g[2h])", 0),
    ("max_over_time(g[3h])", 0),
    ("min_over_time(g[1d])", 0),
    ("last_over_time(g[1h])", 0),
    ("sum by (instance) (rate(c_total[2h]))", 1e-9),
    ("increase(c_total[1d])", 1e-9),
    ("avg_over_time(g[6h])", 1e-9),
]


def fill(v, start):
    """One sample a minute: two counters with resets, two gauges, debug and audit."""
    total = [0, 0]
    for day in range(DAYS):
        series = {("c_total", "a"): [], ("c_total", "b"): [], ("g", "a"): [], ("g", "b"): [], ("debug_x", "a"): [], ("audit", "a"): []}
        for minute in range(1440):
            t = start + day * DAY + minute * 60
            for i, name in enumerate("ab"):
                total[i] = 0 if (minute * 7 + day + i) % 1013 == 0 else total[i] + (minute * (i + 3)) % 17
                series["c_total", name].append((t * 1000, total[i]))
                series["g", name].append((t * 1000, ((minute * 37 + day * 11) % 211) / 8))
            series["debug_x", "a"].append((t * 1000, minute))
            if minute % 10 == 0:
                series["audit", "a"].append((t * 1000, day))
        answer = v.write([({"__name__": n, "instance": i}, p) for (n, i), p in series.items()])
        assert answer.status == 204, (answer.status, answer.body)


def answers(v, start, end):
    return [{json.dumps(s["metric"], sort_keys=True): dict(s["values"]) for s in v.range(q, start, end, 3600)} for q, _ in QUERIES]


def same(want, got):
    for (query, tolerance), x, y in zip(QUERIES, want, got):
        assert x.keys() == y.keys(), (query, x.keys(), y.keys())
        for series in x:
            assert x[series].keys() == y[series].keys(), (query, series, len(x[series]), len(y[series]))
            for t in x[series]:
                a, b = float(x[series][t]), float(y[series][t])
                assert a == b or math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance), (query, series, t, a, b)


def plan(v):
    return http("GET", v.url + "/api/v1/status/retention").json["data"]


def vane(*args):
    return subprocess.run([os.environ["VANE_BINARY"], *args], capture_output=True, text=True)


def thirty_days_into_five():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-retention-"))
    try:
        today = int(time.time()) // DAY * DAY
        start, end = today - DAYS * DAY, today - 2 * DAY
        long = "retention: {time: 90d}\n" + ROLLUPS
        with Vane(config=long, folder=str(folder)) as v:
            fill(v, start)
        with Vane(config=long, folder=str(folder)) as v:
            want = answers(v, start + DAY, end)
            assert not v.get("/api/v1/query_range", query="g", start=start, end=end, step=3600).json.get("infos")
            # every day is rolled up in the background: 288 and 24 windows of 6 series
            wait_for(lambda: [r["windows"] for r in plan(v)["rollups"]] >= [DAYS * 6 * 144, DAYS * 6 * 24], "rollups", 120, 0.5)
            same(want, answers(v, start + DAY, end))
            samples = sum(r["samples"] for r in plan(v)["rules"])
            data = v.get("/api/v1/status/flags").json["data"]["storage.tsdb.path"]
        config = folder / "short.yaml"
        short = ("retention:\n- {match: '{__name__=~\"debug_.*\"}', keep: 3d}\n- {match: audit, keep: forever}\n"
                 "- {match: nothing, keep: 1d}\n- keep: 5d\n" + ROLLUPS)
        config.write_text(short)
        dry = vane("retention", "--data", data, "--config", str(config))
        assert dry.returncode == 0, dry.stderr
        assert "warning: the rule {__name__=\"nothing\"} matches no series" in dry.stdout, dry.stdout
        rules = json.loads(vane("retention", "--data", data, "--config", str(config), "--output", "json").stdout)["data"]["rules"]
        assert sum(r["samples"] for r in rules) >= samples  # nothing went
        debug, audit, nothing, rest = rules
        assert debug["series"] == 1 and 1440 * (DAYS - 4) <= debug["expired"]["samples"] <= 1440 * (DAYS - 2), debug
        assert debug["expires24h"]["samples"] - debug["expired"]["samples"] == 1440, debug
        assert audit["expires7d"]["samples"] == 0 and nothing["series"] == 0
        assert rest["expired"]["samples"] == 4 * 1440 * (DAYS - 5), rest
        with Vane(config=short, folder=str(folder)) as v:
            # debug is expired at once, before anything was rewritten
            assert v.range("debug_x", start, today - 3 * DAY, 3600) == []
            assert v.range("debug_x", today - 2 * DAY, today - DAY, 3600) != []
            left = wait_for(lambda: (r := plan(v)["rules"])[3]["samples"] < 4 * 1440 * 7 and r[0]["expired"]["samples"] < 1440 * 5 and r, "the old samples to go", 120, 0.5)
            same(want, answers(v, start + DAY, end))
            answer = v.get("/api/v1/query_range", query="max_over_time(g[3h])", start=start, end=end, step=3600).json
            assert answer["infos"] == ["PromQL info: rollups of resolution 5m were used where samples are no longer kept (1:15)"], answer["infos"]
            assert v.range("count_over_time(audit[1d])", start + DAY, end, DAY)[0]["values"][0][1] == "144"
            assert left[1]["samples"] == 144 * DAYS
            assert v.range("debug_x", start, today - 3 * DAY, 3600) == []
            table = vane("retention", "--url", v.url)
            assert table.returncode == 0 and "5m" in table.stdout and "90d" in table.stdout, (table.stdout, table.stderr)
            v.kill()  # and after a crash
            v.start()
            same(want, answers(v, start + DAY, end))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def mistakes_have_places():
    with tempfile.TemporaryDirectory(prefix="vane-e2e-retention-") as folder:
        file = pathlib.Path(folder) / "v.yaml"
        for text, error in [
            ("retention:\n- {match: '{a=', keep: 3d}\n", ":2:11: not a series selector"),
            ("retention:\n- {match: a, keep: -3d}\n", ":2:20: keep must not be negative"),
            ("rollups:\n- {resolution: 7m, keep: 3d}\n", ":2:16: a resolution is at least 1m and divides a day"),
        ]:
            file.write_text(text)
            for command in (["check", "config", str(file)], ["retention", "--data", folder, "--config", str(file)]):
                got = vane(*command)
                assert got.returncode == 1 and error in got.stdout + got.stderr, (command, got.stdout, got.stderr)
        assert "no data folder" in vane("retention", "--data", folder).stderr
        assert vane("retention", "--url", "http://127.0.0.1:1", "--data", folder).returncode == 2


run([thirty_days_into_five, mistakes_have_places])
