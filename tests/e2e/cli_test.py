"""The command line from outside: help, exit codes, tables and JSON, refusals that say what to do."""
import json
import pathlib
import subprocess
import tempfile
import time

from vane_e2e import BINARY, Vane, free_port, http, run


def vane(*args, **kw):
    return subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60, **kw)


def help_is_everywhere():
    r = vane("--help")
    assert r.returncode == 0 and "serve" in r.stdout
    for words in (["serve"], ["query"], ["check", "config"], ["check", "rules"], ["test", "rules"], ["fsck"], ["version"]):
        r = vane(*words, "--help")
        assert r.returncode == 0 and r.stdout.startswith("usage:"), (words, r)
        r = vane(*words, "--no-such-option")
        assert r.returncode == 2 and r.stderr, (words, r)
    r = vane("sevre")
    assert r.returncode == 2 and "did you mean 'serve'" in r.stderr
    assert vane().returncode == 2
    assert "vane" in vane("version").stdout
    assert "version" in json.loads(vane("version", "-o", "json").stdout)


def check_config_points_at_the_error():
    with tempfile.TemporaryDirectory() as d:
        bad = pathlib.Path(d) / "prometheus.yml"
        bad.write_text("global:\n  scrape_intervall: 15s\n")
        r = vane("check", "config", str(bad))
        assert r.returncode == 1, r
        assert f"{bad}:2:3" in r.stderr and "scrape_interval" in r.stderr, r.stderr
        bad.write_text("scrape_configs:\n  - job_name: a\n    static_configs:\n      - targets: ['x:1']\n")
        r = vane("check", "config", str(bad))
        assert r.returncode == 0, r
        r = vane("check", "config", d + "/none.yml")
        assert r.returncode == 1 and "none.yml" in r.stderr


RULES = """groups:
  - name: g
    rules:
      - {record: "job:up:sum", expr: sum by (job) (up)}
      - {alert: Down, expr: up == 0, for: 2m, labels: {severity: page}, annotations: {summary: "{{ $labels.job }} is down"}}
"""
RULE_TEST = """rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - name: goes down
    input_series: [{series: 'up{job="a"}', values: "1 0x5"}]
    alert_rule_test:
      - eval_time: 4m
        alertname: Down
        exp_alerts: [{exp_labels: {severity: page, job: a}, exp_annotations: {summary: a is down}}]
    promql_expr_test: [{expr: "job:up:sum", eval_time: 1m, exp_samples: [{labels: 'job:up:sum{job="a"}', value: 0}]}]
  - name: stays up
    input_series: [{series: 'up{job="b"}', values: "1x5"}]
    alert_rule_test: [{eval_time: 4m, alertname: Down, exp_alerts: []}]
"""


def rules_are_checked():
    with tempfile.TemporaryDirectory() as d:
        f, g = pathlib.Path(d) / "rules.yml", pathlib.Path(d) / "bad.yml"
        f.write_text(RULES)
        r = vane("check", "rules", str(f))
        assert r.returncode == 0 and r.stdout == f"Checking {f}\n  SUCCESS: 2 rules found\n\n" and not r.stderr, r
        g.write_text(RULES.replace("sum by (job) (up)", "sum by (job) (up") + "  - name: g\n")
        r = vane("check", "rules", str(f), str(g))
        assert r.returncode == 1 and "SUCCESS: 2 rules" in r.stdout and "  FAILED:\n" in r.stderr, r
        assert f"{g}:4:" in r.stderr and "repeated in the same file" in r.stderr, "every error is told: " + r.stderr
        f.write_text(RULES + RULES.splitlines()[3] + "\n")
        r = vane("check", "rules", str(f))
        assert r.returncode == 0 and "1 duplicate rule(s) found" in r.stderr and "job:up:sum" in r.stderr, r
        assert vane("check", "rules", "--lint-fatal", str(f)).returncode == 3
        assert vane("check", "rules", "--lint-fatal", "--lint=none", str(f)).returncode == 0
        f.write_text(RULES.replace("for:", "fro:"))
        assert vane("check", "rules", str(f)).returncode == 1
        assert vane("check", "rules", "--ignore-unknown-fields", str(f)).returncode == 0
        r = vane("check", "rules", d + "/none.yml")
        assert r.returncode == 1 and "none.yml" in r.stderr
    assert vane("check", "rules").returncode == 2
    assert vane("check", "rules", "--lint=what", "x").returncode == 2


def rules_are_tested():
    with tempfile.TemporaryDirectory() as d:
        (pathlib.Path(d) / "rules.yml").write_text(RULES)
        f = pathlib.Path(d) / "test.yml"
        f.write_text(RULE_TEST)
        r = vane("test", "rules", str(f))
        assert r.returncode == 0 and r.stdout == f"Unit Testing:  {f}\n  SUCCESS\n\n" and not r.stderr, r
        f.write_text(RULE_TEST.replace("a is down", "b is down"))
        r = vane("test", "rules", str(f))
        assert r.returncode == 1 and "  FAILED:\n" in r.stderr and "a is down" in r.stderr, r
        assert vane("test", "rules", "--run", "^stays", str(f)).returncode == 0
        f.write_text(RULE_TEST.replace("tests:", "testes:"))
        r = vane("test", "rules", str(f))
        assert r.returncode == 1 and f"{f}:3:1" in r.stderr, r
    assert vane("test", "rules", "--run", "(", "x").returncode == 2


def queries_as_tables_and_json():
    with Vane() as v:
        now = time.time()
        v.write([({"__name__": "cli", "job": "a b"}, [(int(now * 1000), 2.5)])])
        r = vane("query", "--url", v.url, "--time", str(now), "cli * 2")
        assert r.returncode == 0 and '{job="a b"}' in r.stdout and " 5\n" in r.stdout, r
        r = vane("query", "--url", v.url, "--time", str(now), "-o", "json", "cli")
        assert json.loads(r.stdout)["result"][0]["value"][1] == "2.5"
        r = vane("query", "--url", v.url, "--range", "1m", "cli")
        assert r.returncode == 0 and "cli" in r.stdout
        r = vane("query", "--url", v.url, "labels", "job")
        assert r.stdout == "a b\n", r
        r = vane("query", "--url", v.url, "series", "cli")
        assert r.stdout == 'cli{job="a b"}\n', r
        r = vane("query", "--url", v.url, "sum(")
        assert r.returncode == 1 and "parse error" in r.stderr, r
    r = vane("query", "--url", f"http://127.0.0.1:{free_port()}", "up")
    assert r.returncode == 1 and r.stderr


def serve_refuses_what_is_unsafe_or_taken():
    with Vane() as v:
        r = vane("serve", "--data", str(v.data), "--listen", f"127.0.0.1:{free_port()}", "--otlp-listen", f"127.0.0.1:{free_port()}")
        assert r.returncode == 1 and "another process" in r.stderr, r.stderr
        r = vane("serve", "--data", str(v.folder / "d2"), "--listen", f"127.0.0.1:{v.port}")
        assert r.returncode == 1 and str(v.port) in r.stderr, r.stderr
        r = vane("serve", "--data", str(v.folder / "d3"), "--listen", f"0.0.0.0:{free_port()}")
        assert r.returncode in (1, 2) and "--insecure" in r.stderr, r.stderr
        r = vane("fsck", str(v.data))
        assert r.returncode == 1 and "another process" in r.stderr.lower(), r
        v.write([({"__name__": "x"}, [(int(time.time() * 1000), 1)])])
        v.stop()
        r = vane("fsck", str(v.data))
        assert r.returncode == 0, r
        (v.data / "FORMAT").write_text("vane store 999\n")
        r = vane("serve", "--data", str(v.data), "--listen", f"127.0.0.1:{free_port()}")
        assert r.returncode == 1 and "newer" in r.stderr, r.stderr


def fsck_finds_a_flipped_bit():
    with Vane() as v:
        now = int(time.time() * 1000)
        for k in range(20):
            v.write([({"__name__": "x", "i": str(i)}, [(now + k, i * k)]) for i in range(500)])
        v.stop()
        segments = list(v.data.glob("seg/*/*"))
        assert segments, "a stop flushes the head into a segment"
        raw = bytearray(segments[0].read_bytes())
        raw[len(raw) // 3] ^= 0x10
        segments[0].write_bytes(raw)
        r = vane("fsck", str(v.data))
        assert r.returncode == 1 and segments[0].name in r.stdout + r.stderr, r
        v.start(wait=False)
        time.sleep(0.5)
        a = http("GET", v.url + "/-/healthy")
        assert a.status == 200
        v.kill()


run([help_is_everywhere, check_config_points_at_the_error, rules_are_checked, rules_are_tested, queries_as_tables_and_json, serve_refuses_what_is_unsafe_or_taken,
     fsck_finds_a_flipped_bit])
