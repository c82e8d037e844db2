"""Real clients: the OpenTelemetry JS SDK over HTTP/protobuf and HTTP/JSON, prom-client, Debian's prometheus (remote write,
and as the reference for fifty queries), promtool."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
from urllib.parse import urlencode

from vane_e2e import Vane, background, free_port, http, run, wait_for

HERE = pathlib.Path(__file__).resolve().parent
CLIENTS = pathlib.Path(os.environ.get("VANE_E2E_CLIENTS", HERE / "clients"))


def node(script, *args, **kw):
    return ["node", str(CLIENTS / script), *args]


def opentelemetry_js():
    for kind in ("proto", "json"):
        with Vane() as v:
            r = subprocess.run(node("otel_metrics.mjs", kind, v.otlp_url + "/v1/metrics"), capture_output=True, text=True, timeout=60)
            assert r.returncode == 0 and "Error" not in r.stderr, r.stderr
            job = f'job="e2e/js-{kind}",instance="i1"'
            assert v.value(f'orders_total{{{job},region_name="eu"}}') == 3
            assert v.value(f"queue_size{{{job}}}") == -2
            assert v.value(f"temperature_celsius{{{job}}}") == 21.5
            assert v.value(f'request_duration_seconds_bucket{{{job},le="0.5"}}') == 2
            assert v.value(f"request_duration_seconds_count{{{job}}}") == 4
            assert v.value(f"observed{{{job}}}") == 7
            assert v.value(f"histogram_count(exp_latency_milliseconds{{{job}}})") == 100
            median = v.value(f"histogram_quantile(0.5, exp_latency_milliseconds{{{job}}})")
            assert 48 < median < 53, median
            assert v.value(f'target_info{{{job},cloud_region="eu"}}') == 1
            assert v.query("orders_total")[0]["metric"]["otel_scope_name"] == "shop"


QUERIES = """
up
count(up)
go_goroutines
sum by (job) (up)
sum by (code) (e2e_requests_total)
count by (__name__) ({job="prom-client"})
rate(e2e_requests_total[1m])
sum(rate(e2e_requests_total[30s]))
increase(e2e_requests_total[30s])
irate(e2e_requests_total[30s])
delta(e2e_level[30s])
deriv(e2e_level[30s])
idelta(e2e_level[30s])
avg_over_time(e2e_level[30s])
max_over_time(e2e_level[30s])
min_over_time(e2e_level[30s])
stddev_over_time(e2e_level[30s])
quantile_over_time(0.7, e2e_level[30s])
changes(e2e_level[30s])
resets(e2e_requests_total[30s])
predict_linear(e2e_level[30s], 60)
last_over_time(e2e_level[30s])
count_over_time(e2e_level[30s])
histogram_quantile(0.9, sum by (le) (rate(e2e_seconds_bucket[30s])))
histogram_quantile(0.5, sum by (le, route) (rate(e2e_seconds_bucket[1m])))
e2e_seconds_sum / e2e_seconds_count
rate(e2e_seconds_sum[30s]) / rate(e2e_seconds_count[30s])
e2e_size{quantile="0.5"}
sum without (cpu) (node_cpu_seconds_total{mode="idle"})
sum by (mode) (rate(node_cpu_seconds_total[30s]))
topk(3, node_filesystem_avail_bytes)
bottomk(2, node_network_receive_bytes_total)
node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes
100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[30s])))
node_load1 > bool 0
node_load1 and on (instance) up
up or node_load1
up unless on (job) node_load1
node_cpu_seconds_total{mode=~"user|system"} > 0
{__name__=~"node_load.+"}
{__name__=~"node_.*_bytes", __name__!~".*avail.*", device!=""}
label_replace(up, "host", "$1", "instance", "(.*):.*")
label_join(up, "x", "-", "job", "instance")
clamp_max(node_load1, 0.01)
round(e2e_level, 5)
abs(e2e_level) + ceil(e2e_level) - floor(e2e_level)
sort_desc(node_load1)
absent(nonexistent{job="x"})
absent_over_time(up{job="prom-client"}[30s])
time() - process_start_time_seconds
group by (job) (up) * on (job) group_left count by (job) ({__name__=~".+"})
quantile(0.5, e2e_level)
count_values("v", up)
stdvar(node_load1)
max_over_time(rate(e2e_requests_total[20s])[30s:5s])
e2e_requests_total offset 10s
sum(e2e_requests_total @ end()) by (code)
scrape_samples_scraped
-e2e_level ^ 2
hour(vector(1700000000)) + day_of_week(vector(1700000000))
""".strip().splitlines()


def canonical(answer):
    """A result as {series: values}: order of series does not matter."""
    data = answer["data"]
    if data["resultType"] in ("scalar", "string"):
        return data["result"]
    key = "value" if data["resultType"] == "vector" else "values"
    return {json.dumps(r["metric"], sort_keys=True): r[key] for r in data["result"]}


def close(a, b):
    if a == b:
        return True
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    return abs(x - y) <= 1e-9 * max(abs(x), abs(y))


def same(a, b):
    if isinstance(a, list):
        flat = a if a and isinstance(a[0], list) else [a]
        other = b if b and isinstance(b[0], list) else [b]
        return len(flat) == len(other) and all(p[0] == q[0] and close(p[1], q[1]) for p, q in zip(flat, other))
    return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)


def prometheus_agrees_on_fifty_queries():
    """Debian's prometheus scrapes node-exporter and prom-client and remote-writes all of it here: with the same samples
    both must give the same answers."""
    for program in ("prometheus", "prometheus-node-exporter", "promtool"):
        assert shutil.which(program), f"{program} is not installed"
    d = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-prom-"))
    node_port, prom_port = free_port(), free_port()
    exporter = subprocess.Popen(node("prom_client.mjs"), stdout=subprocess.PIPE, text=True)
    try:
        client_port = int(exporter.stdout.readline())
        with Vane() as v:
            (d / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s, scrape_timeout: 900ms}}
remote_write: [{{url: "{v.url}/api/v1/write", queue_config: {{batch_send_deadline: 200ms}}}}]
scrape_configs:
  - {{job_name: node, static_configs: [{{targets: ["127.0.0.1:{node_port}"]}}]}}
  - {{job_name: prom-client, static_configs: [{{targets: ["127.0.0.1:{client_port}"]}}]}}
  - {{job_name: down, static_configs: [{{targets: ["127.0.0.1:{free_port()}"]}}]}}
""")
            prom = f"http://127.0.0.1:{prom_port}"
            with background(["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{node_port}"], d / "node.log"), \
                    background(["prometheus", f"--config.file={d}/prometheus.yml", f"--storage.tsdb.path={d}/data",
                                f"--web.listen-address=127.0.0.1:{prom_port}"], d / "prometheus.log"):
                wait_for(lambda: v.value("count(count_over_time(up[1m]) > 25)") == 3, "half a minute of samples", 60)
                end = int(time.time()) - 3  # both have everything up to here
                wait_for(lambda: v.value('max(timestamp(up{job="node"}))') > end, "the sender to catch up")
                wrong = []
                for q in QUERIES:
                    asks = [("query", {"query": q, "time": end})]
                    if not q.startswith(("topk", "bottomk", "sort")):
                        asks.append(("query_range", {"query": q, "start": end - 20, "end": end, "step": 5}))
                    for path, params in asks:
                        ours = v.get("/api/v1/" + path, **params)
                        theirs = http("GET", f"{prom}/api/v1/{path}?{urlencode(params)}")
                        if ours.status != theirs.status or not same(canonical(ours.json), canonical(theirs.json)):
                            wrong.append(f"{path} {q}\n#   ours   {ours.body[:700]}\n#   theirs {theirs.body[:700]}")
                assert not wrong, f"{len(wrong)} answers differ:\n# " + "\n# ".join(wrong)
                print(f"# {len(QUERIES)} queries agree, instant and range")
                for cmd in (["query", "instant", v.url, "up"], ["query", "labels", v.url, "job"],
                            ["query", "series", "--match=up", v.url],
                            ["query", "range", f"--start={end - 60}", f"--end={end}", v.url, "rate(e2e_requests_total[30s])"]):
                    r = subprocess.run(["promtool", *cmd], capture_output=True, text=True, timeout=30)
                    assert r.returncode == 0 and r.stdout.strip(), (cmd, r)
            # vane scrapes the same exporters itself, with its own scraper
            own = f"""
global: {{scrape_interval: 1s, scrape_timeout: 900ms}}
scrape_configs:
  - {{job_name: own, static_configs: [{{targets: ["127.0.0.1:{client_port}"]}}]}}
"""
            (v.folder / "prometheus.yml").write_text(own)
        with Vane(own) as w:
            wait_for(lambda: w.value('up{job="own"}') == 1, "own scrape")
            text = http("GET", f"http://127.0.0.1:{client_port}/metrics").body.decode()
            lines = [x for x in text.splitlines() if x and not x.startswith("#")]
            wait_for(lambda: w.value('scrape_samples_scraped{job="own"}') == len(lines), "every line to be scraped")
            wait_for(lambda: w.query('histogram_quantile(0.5, rate(e2e_seconds{job="own"}[30s]))'), "the native view of a classic histogram")
    finally:
        exporter.terminate()
        exporter.wait(10)
        shutil.rmtree(d, ignore_errors=True)


run([opentelemetry_js, prometheus_agrees_on_fifty_queries])
