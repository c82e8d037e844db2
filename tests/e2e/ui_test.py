"""The pages in a browser: a vane with its own, the host's and a scraped target's metrics, looked at by tests/ui/*.test.mjs."""
import os
import pathlib
import re
import subprocess
import time

from vane_e2e import SOURCE, Vane, free_port, run, wait_for

UI_TESTS = SOURCE / "tests/ui"


def unit_tests_of_the_ui():
    r = subprocess.run(["npm", "test", "--silent"], cwd=SOURCE / "ui", capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stdout[-3000:] + r.stderr[-1000:]


RULES = """groups:
  - name: shop
    interval: 1s
    rules:
      - {record: "job:up:sum", expr: sum by (job) (up)}
      - {alert: TargetDown, expr: up == 0, labels: {severity: page}, annotations: {summary: "{{ $labels.job }} is <b>down</b>", runbook_url: "https://runbook.example/down"}}
      - {alert: ShopSlow, expr: 'up{job="shop"} == 1', for: 1h}
      - {alert: NeverHere, expr: up > 1}
      - {record: broken, expr: up * on () group_left () up}
"""


def every_page_in_a_browser():
    # history, so that graphs have something to draw at once: http metrics of a small service over half an hour
    port = free_port()
    config = f"""
limits: {{series_per_job: 2000}}
global: {{scrape_interval: 1s, scrape_timeout: 900ms}}
rule_files: [rules.yml]
scrape_configs:
  - {{job_name: shop, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}
  - {{job_name: down, static_configs: [{{targets: ["127.0.0.1:{free_port()}"]}}]}}
"""
    build = pathlib.Path(os.environ["VANE_BUILD"])
    service = subprocess.Popen([str(build / "examples/shop"), "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        v = Vane(config, host_metrics=True, self_metrics=True)
        (v.folder / "rules.yml").write_text(RULES)
        with v:
            now = int(time.time() * 1000) // 15000 * 15000
            labels = {"job": "demo", "instance": "demo:1", "method": "GET", "route": "/", "status": "200"}
            series = []
            for k, (name, per_step) in enumerate([("http_requests_total", 30), ("http_request_duration_seconds_count", 30),
                                                  ("http_request_duration_seconds_sum", 0.9), ("process_cpu_seconds_total", 0.3)]):
                points = [(now - 1800000 + i * 15000, i * per_step) for i in range(120)]
                series.append(({"__name__": name} | (labels if k < 3 else {"job": "demo", "instance": "demo:1"}), points))
            for le, share in (("0.01", 0.2), ("0.1", 0.9), ("1", 0.99), ("+Inf", 1)):
                points = [(now - 1800000 + i * 15000, round(i * 30 * share)) for i in range(120)]
                series.append(({"__name__": "http_request_duration_seconds_bucket", "le": le} | labels, points))
            for name, value in (("up", 1), ("scrape_duration_seconds", 0.01)):
                points = [(now - 1800000 + i * 15000, value) for i in range(121)]
                series.append(({"__name__": name, "job": "demo", "instance": "demo:1"}, points))
            for s in series:  # one request a series: samples of different series at one time arrive in any order
                assert v.write([s]).status == 204
            flood = [({"__name__": "flood_total", "job": "flood", "instance": "f:1", "user_id": f"user-{i}"}, [(now, 1)]) for i in range(2500)]
            assert v.write(flood).status == 204
            wait_for(lambda: v.value('up{job="shop"}') == 1 and v.value("count(node_load1)"), "the first scrapes")
            wait_for(lambda: v.value('count(ALERTS{alertname=~"TargetDown|ShopSlow"})') == 2, "the alerts")
            tests = sorted(str(p) for p in UI_TESTS.glob("*.test.mjs"))
            r = subprocess.run(["node", "--test", *tests], cwd=SOURCE / "ui", capture_output=True, text=True, timeout=280,
                               env=os.environ | {"VANE_URL": v.url})
            counts = re.findall(r"^(?:#|ℹ) (?:pass|fail) \d+", r.stdout, re.M)
            print("# " + "; ".join(counts))
            assert r.returncode == 0, "\n".join(re.findall(r"^not ok.*?^  \.\.\.$", r.stdout, re.M | re.S)) or r.stdout[-4000:]
    finally:
        service.terminate()
        service.wait(10)


run([unit_tests_of_the_ui, every_page_in_a_browser])
