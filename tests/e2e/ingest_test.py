"""Metrics in by every door, and out again: remote write, OTLP/JSON, /metrics/custom, scraping; refusals are exact."""
import gzip
import json
import threading
import time
from http import server

from vane_e2e import REMOTE_WRITE_HEADERS, STALE, Vane, free_port, http, remote_write, run, snappy, wait_for

now = int(time.time() * 1000)


def remote_write_is_stored_and_survives_a_restart():
    with Vane() as v:
        series = [({"__name__": "rw_total", "job": "a", "i": str(i)}, [(now - 60000, i), (now, i + 1.5)]) for i in range(300)]
        a = v.write(series)
        assert a.status == 204, (a.status, a.body)
        assert v.value("sum(rw_total)", now / 1000) == sum(i + 1.5 for i in range(300))
        assert v.stop() == 0
        v.start()
        assert v.value("sum(rw_total)", now / 1000) == sum(i + 1.5 for i in range(300))
        r = v.range("sum(rw_total)", (now - 60000) / 1000, now / 1000, 30)
        assert [float(x[1]) for x in r[0]["values"]] == [sum(range(300))] * 2 + [sum(i + 1.5 for i in range(300))], r


def bad_remote_writes_are_refused_for_good():
    with Vane() as v:
        def post(body, headers=REMOTE_WRITE_HEADERS):
            return http("POST", v.url + "/api/v1/write", body, headers)
        assert post(b"not snappy at all").status == 400
        assert post(snappy(b"\xff\xff\xff")).status == 400
        assert post(remote_write([]), {**REMOTE_WRITE_HEADERS, "Content-Type": "text/plain"}).status == 415
        assert post(remote_write([])).status in (200, 204)
        # no metric name, and a name that is not UTF-8: the good series of the same request is kept
        good = ({"__name__": "good"}, [(now, 1)])
        a = v.write([good, ({"job": "nameless"}, [(now, 1)])])
        assert a.status == 400, (a.status, a.body)
        assert v.value("good", now / 1000) == 1
        # far in the future and far in the past
        assert v.write([({"__name__": "future"}, [(now + 86400000, 1)])]).status == 400
        v.write([({"__name__": "old"}, [(now, 1)])])
        assert v.write([({"__name__": "old"}, [(now - 40 * 86400000, 1)])]).status == 400
        assert v.value("old", now / 1000) == 1


def duplicates_resolve_to_the_last_write():
    with Vane() as v:
        for value in (1, 2, 2):
            assert v.write([({"__name__": "dup"}, [(now, value)])]).status in (204, 400)
        assert v.value("dup", now / 1000) == 2


def staleness_ends_a_series():
    with Vane() as v:
        v.write([({"__name__": "s"}, [(now - 20000, 1), (now - 10000, STALE)])])
        assert v.value("s", (now - 15000) / 1000) == 1
        assert v.value("s", now / 1000) is None


def otlp_json_and_custom_metrics():
    with Vane() as v:
        doc = {"resourceMetrics": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}},
                                        {"key": "service.instance.id", "value": {"stringValue": "c1"}},
                                        {"key": "cloud.region", "value": {"stringValue": "eu"}}]},
            "scopeMetrics": [{"metrics": [
                {"name": "queue.depth", "unit": "By", "gauge": {"dataPoints": [{"timeUnixNano": str(now * 1000000), "asInt": "42"}]}},
                {"name": "http.requests", "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [
                    {"timeUnixNano": str(now * 1000000), "asDouble": 7.5, "attributes": [{"key": "http.route", "value": {"stringValue": "/x"}}]}]}},
                {"name": "latency", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": [
                    {"timeUnixNano": str(now * 1000000), "count": "3", "sum": 1.5, "bucketCounts": ["1", "2", "0"], "explicitBounds": [0.5, 1]}]}},
            ]}]}]}
        body = gzip.compress(json.dumps(doc).encode())
        for url in (v.otlp_url + "/v1/metrics", v.url + "/v1/metrics"):
            a = http("POST", url, body, {"Content-Type": "application/json", "Content-Encoding": "gzip"})
            assert a.status == 200 and a.json == {}, (a.status, a.body)
            assert a.headers["Content-Type"].startswith("application/json")
        assert v.value('queue_depth_bytes{job="cart",instance="c1"}', now / 1000) == 42
        assert v.value('http_requests_total{http_route="/x"}', now / 1000) == 7.5
        assert v.value('latency_seconds_bucket{le="1.0"}', now / 1000) == 3
        assert v.value('target_info{cloud_region="eu",job="cart"}', now / 1000) == 1
        assert http("POST", v.otlp_url + "/v1/metrics", b"{", {"Content-Type": "application/json"}).status == 400
        assert http("POST", v.otlp_url + "/v1/metrics", b"\xff\xff", {"Content-Type": "application/x-protobuf"}).status == 400

        one = {"name": "orders", "value": 3, "labels": {"region": "eu"}}
        a = http("POST", v.url + "/metrics/custom", json.dumps(one).encode(), {"Content-Type": "application/json"})
        assert a.status in (200, 202, 204), (a.status, a.body)
        a = http("POST", v.url + "/metrics/custom", json.dumps([one | {"value": 4, "labels": {"region": "us"}}]).encode(),
                 {"Content-Type": "application/json"})
        assert a.status in (200, 202, 204), (a.status, a.body)
        a = http("POST", v.url + "/metrics/custom", json.dumps(one | {"value": 0, "labels": {"region": "curl"}}).encode())  # as curl -d
        assert a.status == 200, (a.status, a.body)
        assert http("POST", v.url + "/metrics/custom", b"<x/>", {"Content-Type": "text/xml"}).status == 415
        wait_for(lambda: v.value("sum(orders)") == 7, "custom metrics")
        a = http("POST", v.url + "/metrics/custom", b'{"name":"x"}', {"Content-Type": "application/json"})
        assert a.status == 400 and b"value" in a.body, a.body


class Exporter:
    """A target whose text the test changes; counts its scrapes."""

    def __init__(self, text):
        self.text, self.scrapes, self.status = text, 0, 200
        owner = self

        class Handler(server.BaseHTTPRequestHandler):
            def do_GET(self):
                owner.scrapes += 1
                body = owner.text.encode()
                self.send_response(owner.status)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *a):
                pass

        self.server = server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def scraping_follows_a_target():
    target = Exporter("# TYPE a_total counter\na_total{x=\"1\"} 5\nb 7\n")
    config = f"""
global: {{scrape_interval: 1s, scrape_timeout: 900ms}}
scrape_configs:
  - job_name: t
    static_configs: [{{targets: ['127.0.0.1:{target.port}'], labels: {{env: test}}}}]
    metric_relabel_configs: [{{source_labels: [__name__], regex: b, action: drop}}]
  - job_name: down
    static_configs: [{{targets: ['127.0.0.1:{free_port()}']}}]
"""
    with Vane(config) as v:
        wait_for(lambda: v.value('up{job="t"}') == 1, "the first scrape")
        wait_for(lambda: v.value('up{job="down"}') == 0, "the failed scrape")
        assert v.value('a_total{env="test",job="t",x="1"}') == 5
        assert v.value("b") is None
        assert v.value('scrape_samples_scraped{job="t"}') == 2
        assert v.value('scrape_samples_post_metric_relabeling{job="t"}') == 1
        target.text = "a_total{x=\"2\"} 1\n"
        wait_for(lambda: v.query('a_total') and v.query('a_total')[0]["metric"]["x"] == "2" and len(v.query("a_total")) == 1,
                 "the old series to go stale at once")
        targets = v.get("/api/v1/targets").json["data"]["activeTargets"]
        assert {t["labels"]["job"]: t["health"] for t in targets} == {"t": "up", "down": "down"}
        assert [t["lastError"] for t in targets if t["labels"]["job"] == "down"][0]
        target.text = "this is {not exposition\n"
        wait_for(lambda: v.value('up{job="t"}') == 0, "a malformed scrape to count as down")
        assert v.value("a_total") is None
        # reload: a broken file changes nothing, a good one applies
        good = v.config.read_text()
        v.config.write_text(good.replace("job_name: t", "job_nam: t"))
        a = http("POST", v.url + "/-/reload")
        assert a.status == 500 and b"job_nam" in a.body, (a.status, a.body)
        v.config.write_text(good.replace("job_name: down", "job_name: other"))
        assert http("POST", v.url + "/-/reload").status == 200
        wait_for(lambda: v.value('up{job="other"}') == 0, "the new job")
        wait_for(lambda: v.value('up{job="down"}') is None, "the removed job to go stale")


def own_and_host_metrics():
    with Vane(host_metrics=True, self_metrics=True) as v:
        wait_for(lambda: v.value("count(node_cpu_seconds_total)"), "host metrics")
        text = http("GET", v.url + "/metrics").body.decode()
        for name in ("vane_", "process_resident_memory_bytes", "process_cpu_seconds_total"):
            assert name in text, name


run([remote_write_is_stored_and_survives_a_restart, bad_remote_writes_are_refused_for_good,
     duplicates_resolve_to_the_last_write, staleness_ends_a_series, otlp_json_and_custom_metrics,
     scraping_follows_a_target, own_and_host_metrics])
