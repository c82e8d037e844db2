"""Limits that fold into overflow series, replicas of one Prometheus, tenants: from outside."""
from http import server as http_server
import json
import threading
import time
import urllib.parse

from vane_e2e import REMOTE_WRITE_HEADERS, Vane, http, remote_write, run, wait_for


class Target(http_server.BaseHTTPRequestHandler):
    """A target whose metric has a label with very many values."""
    protocol_version = "HTTP/1.1"
    users = 500
    scrapes = 0

    def do_GET(self):
        Target.scrapes += 1
        lines = ["# TYPE req counter"] + [f'req_total{{user="u{i}"}} {Target.scrapes}' for i in range(self.users)]
        lines += ["# TYPE lat histogram"]
        for u in range(30):
            for le, share in (("0.1", 1), ("1", 3), ("+Inf", 4)):
                lines.append(f'lat_bucket{{le="{le}",user="u{u}"}} {share * Target.scrapes}')
            lines += [f'lat_count{{user="u{u}"}} {4 * Target.scrapes}', f'lat_sum{{user="u{u}"}} {Target.scrapes}']
        body = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def overflow_does_not_fail_a_target():
    server = http_server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = f"""
limits: {{series_per_target: 100}}
scrape_configs:
- job_name: app
  scrape_interval: 1s
  static_configs: [{{targets: ["127.0.0.1:{server.server_port}"]}}]
"""
    with Vane(config) as v:
        over = 'req_total{otel_metric_overflow="true"}'
        wait_for(lambda: (v.value(f"count_over_time({over}[1m])") or 0) >= 4, "four scrapes")
        assert v.value("up") == 1
        assert v.value('count(req_total{user!=""})') == 100
        assert v.value("count(req_total)") == 101
        # 400 users are in it: each of its steps is 400 for one of theirs
        assert v.value(f"{over} / on() req_total{{user='u0'}}") == 400
        rate = v.value("sum(increase(req_total[3s])) / scalar(increase(req_total{user='u0'}[3s]))")
        assert abs(rate - 500) < 1, rate
        # the histogram was folded whole: its quantile is right
        q = v.value("histogram_quantile(0.5, sum by (le) (rate(lat_bucket[10s])))")
        assert abs(q - 0.55) < 1e-6, q
        o = v.get("/api/v1/status/cardinality").json["data"]["overflows"][0]
        assert (o["limit"], o["job"], o["max"], o["active"], o["label"]) == ("target", "app", 100, True, "user"), o
        assert 350 < o["labels"][0]["values"] < 450 and o["labels"][0]["examples"][0].startswith("u"), o["labels"][0]
        assert 'label=user' in v.log_text() and "job=app" in v.log_text()
        # the budget grows with a reload; what was folded gets series of its own
        v.config.write_text(config.replace("100}", "10000}"))
        assert http("POST", v.url + "/-/reload", b"").status == 200
        wait_for(lambda: v.value('count(req_total{user!=""})') == 500, "all users")
    server.shutdown()


def replicas_are_deduplicated():
    config = "ha_dedup: {replica_label: __replica__, cluster_label: cluster, failover_timeout: 2s}\n"
    with Vane(config) as v:
        def send(replica, value):
            at = int(time.time() * 1000)
            series = [({"__name__": name, "cluster": "eu", "__replica__": replica, "job": "j"}, [(at, value)]) for name in ("m", "n")]
            assert v.write(series).status == 204
            return v.value("m")
        assert send("a", 1) == 1
        assert send("b", 2) == 1
        assert send("a", 3) == 3
        assert v.query("m")[0]["metric"] == {"__name__": "m", "cluster": "eu", "job": "j"}
        v.kill()  # the election is kept
        v.start()
        assert send("b", 4) == 3
        deadline = time.monotonic() + 20
        while send("b", 5) != 5:  # nothing from a: b takes over
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert send("a", 6) == 5
        assert v.query("count(m)")[0]["value"][1] == "1"
        r = v.get("/api/v1/status/cardinality").json["data"]["replicas"]
        assert r[0]["cluster"] == "eu" and r[0]["replica"] == "b" and r[0]["changes"] == 1, r
        assert b'vane_ingest_ha_dropped_samples_total ' in v.get("/metrics").body


def tenants_are_apart():
    config = """
tenants:
  default: ops
  limits:
    small: {series_per_tenant: 5}
"""
    with Vane(config, args=["--web.enable-admin-api"], self_metrics=True) as v:
        now = int(time.time() * 1000)

        def ask(tenant, path, method="GET", body=None, headers=None, **params):
            url = v.url + path + ("?" + urllib.parse.urlencode(params, doseq=True) if params else "")
            return http(method, url, body, (headers or {}) | ({"X-Scope-OrgID": tenant} if tenant else {}))

        def names(tenant):
            return set(ask(tenant, "/api/v1/label/__name__/values").json["data"])

        series = [({"__name__": "shared", "i": str(i)}, [(now, i)]) for i in range(8)]
        for tenant in ("big", "small"):
            a = ask(tenant, "/api/v1/write", "POST", remote_write(series + [({"__name__": f"of_{tenant}"}, [(now, 1)])]), REMOTE_WRITE_HEADERS)
            assert a.status == 204, a.body
        a = ask(None, "/api/v1/write", "POST", remote_write(series), REMOTE_WRITE_HEADERS)
        assert a.status == 401 and b"no org id" in a.body
        a = ask(None, "/api/v1/query", query="shared")
        assert a.status == 401 and a.json["error"] == "no org id"
        assert ask("a|b", "/api/v1/query", query="shared").status == 400
        assert names("big") == {"shared", "of_big"}
        assert names("small") == {"shared", "of_small"}
        assert len(ask("big", "/api/v1/query", query="shared").json["data"]["result"]) == 8
        small = ask("small", "/api/v1/query", query="shared").json["data"]["result"]
        assert len([s for s in small if "otel_metric_overflow" in s["metric"]]) == 1 and len(small) in (5, 6), small
        assert all("__tenant__" not in s["metric"] for s in small)
        assert ask("small", "/api/v1/status/cardinality").json["data"]["limits"]["seriesPerTenant"] == 5
        i = next(s["metric"]["i"] for s in small if "i" in s["metric"])  # one that was not folded: it varies
        # the same label bytes of another tenant again, through what is known of them
        for tenant in ("big", "small", "big"):
            later = [({"__name__": "shared", "i": i}, [(now + 1000, 100 if tenant == "big" else 200)])]
            assert ask(tenant, "/api/v1/write", "POST", remote_write(later), REMOTE_WRITE_HEADERS).status == 204
        for tenant, want in (("big", "100"), ("small", "200")):
            got = ask(tenant, "/api/v1/query", query=f'shared{{i="{i}"}}', time=(now + 1000) / 1000).json["data"]["result"]
            assert got[0]["value"][1] == want, (tenant, got)
        # a pushed group is its tenant's, also in the rounds that come without a request
        assert ask("big", "/metrics/job/batch", "PUT", b"pushed 7\n").status == 200
        assert "pushed" in names("big") and "pushed" not in names("small")
        # vane's own metrics are the default tenant's
        wait_for(lambda: "vane_tsdb_head_series" in names("ops"), "own metrics")
        assert not any(n.startswith("vane_") for n in names("big"))
        # deleting touches one's own only
        everything = {"match[]": '{__name__=~".+"}'}
        assert ask("small", "/api/v1/admin/tsdb/delete_series", "POST", b"", **everything).status == 204
        assert names("small") == set() or not ask("small", "/api/v1/query", query="shared").json["data"]["result"]
        assert len(ask("big", "/api/v1/query", query="shared").json["data"]["result"]) == 8
        assert ask("small", "/api/v1/admin/tsdb/snapshot", "POST", b"").status == 403
        v.kill()
        v.start()
        assert len(ask("big", "/api/v1/query", query="shared").json["data"]["result"]) == 8
        assert not ask("nobody", "/api/v1/query", query='{__name__=~".+"}').json["data"]["result"]


run([overflow_does_not_fail_a_target, replicas_are_deduplicated, tenants_are_apart])
