"""The demo as `make up` starts it: four services under traffic, seen through vane, and their logs by trace."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

from vane_e2e import BINARY, PATIENCE, SOURCE, Vane, http, run, wait_for

BUILD = os.environ["VANE_BUILD"]
SERVICES = {"shop": 0, "payments": 1, "catalog": 2, "assistant": 3}


def four_ports():
    for base in range(20000 + os.getpid() % 20000, 60000, 4):
        try:
            for i in range(4):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", base + i))
            return base
        except OSError:
            continue
    raise AssertionError("no four free ports in a row")


class Demo:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-demo-"))
        self.vane = Vane()  # for its questions only; the script starts the process
        self.base = four_ports()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "LOG_", "VANE_LOG", "VANE_BLACKBOX"))} | {
            "DEMO_BUILD": BUILD, "DEMO_STATE": str(self.folder), "DETACH": "1", "DEMO_PORT": str(self.base), "VANE_PORT": str(self.vane.port),
            "VANE_OTLP_PORT": str(self.vane.otlp_port), "VANE_OTLP_GRPC_PORT": str(self.vane.grpc_port)}

    def up(self, *args):
        return subprocess.run(["sh", str(SOURCE / "tools/up.sh"), *args], env=self.env, capture_output=True, text=True, timeout=120 * PATIENCE)

    def __enter__(self):
        r = self.up()
        assert r.returncode == 0, r.stdout + r.stderr
        assert self.vane.url in r.stdout
        return self

    def __exit__(self, kind, value, trace):
        r = self.up("down")
        if kind:
            for log in sorted(self.folder.glob("*.log")):
                print(f"# {log.name}: " + log.read_text(errors="replace")[-1500:].replace("\n", "\n# "))
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.vane.folder, ignore_errors=True)
        assert "stopped" in r.stdout, r.stdout + r.stderr

    def url(self, service):
        return f"http://127.0.0.1:{self.base + SERVICES[service]}"

    def lines(self, service):
        path = self.folder / f"{service}.json"
        whole = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
        return [json.loads(line) for line in whole]


def ask(demo, method, path, body=None, token="", headers=None):
    a = http(method, demo.url("shop") + path, json.dumps(body).encode() if body is not None else None,
             {"Content-Type": "application/json", "Authorization": f"Bearer {token}"} | (headers or {}))
    return a.status, json.loads(a.body) if a.body else None


def the_demo():
    with Demo() as demo:
        v = demo.vane

        def some(expr, at_least=0):
            """Waits for a value above: a scrape comes every 5 s."""
            return wait_for(lambda: (v.value(expr) or 0) > at_least, f"{expr} > {at_least}", 60, 0.5)

        # a customer of our own, whose trace we know
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        traced = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "X-Correlation-Id": "order-17"}
        status, me = ask(demo, "POST", "/users", {"source": "mobile"})
        assert status == 201 and me["id"] > 200, (status, me)
        assert ask(demo, "POST", "/login", {"user": me["id"], "password": "wrong"})[0] == 401
        status, session = ask(demo, "POST", "/login", {"user": me["id"], "password": me["password"]})
        assert status == 200
        token = session["token"]
        assert ask(demo, "POST", "/cart", {"product": 5, "quantity": 2})[0] == 401, "without a token"
        assert ask(demo, "GET", "/account", None, token)[1]["id"] == me["id"]

        def order():  # a card may be declined, a provider may fail: as in life
            assert ask(demo, "POST", "/cart", {"product": 5, "quantity": 2}, token)[0] == 200
            return ask(demo, "POST", "/checkout", {"region": "eu"}, token, traced)[0] == 200
        wait_for(order, "an order that is paid", 30)
        assert ask(demo, "POST", "/ratings", {"product": 5, "stars": 5}, token)[0] == 200
        wait_for(lambda: ask(demo, "POST", "/ask", {"question": "Which jug is best for cats?"}, token)[0] == 200, "an answer", 30)
        assert ask(demo, "POST", "/ask/feedback", {"score": 5}, token)[0] == 200
        for method, path, body, want in (("GET", "/nowhere", None, 404), ("POST", "/cart", {"product": 1, "quantity": -3}, 400), ("POST", "/checkout", [1], 400),
                                         ("POST", "/ask", [1], 400), ("GET", "/search?q=%27%25", None, 400), ("POST", "/ratings", {"product": 1, "stars": 9}, 400)):
            assert ask(demo, method, path, body, token)[0] == want, (method, path)

        # rate, errors, duration of each service, through vane
        some("count(up == 1)", 4)
        for job in SERVICES:
            some(f'sum(rate(http_requests_total{{job="{job}",status=~"2.."}}[1m]))')
            p95 = v.value(f'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{{job="{job}"}}[1m])))')
            assert p95 and 0 < p95 < 30, (job, p95)
            some(f'sum(http_server_request_duration_seconds_count{{job="{job}"}})')
        some('sum(http_requests_total{job="shop",endpoint="/login",status="401"})')
        # business, users, database, model
        some('sum(orders_total{job="shop",product_category="accessories",region="eu"})')
        some('sum(order_value_count{currency="EUR"})')
        assert v.value('count(inventory_level{job="catalog"})') == 12
        some('sum(user_registrations_total{source="mobile"})')
        some('logins_total{outcome="failure"}')
        some('user_events_total{event="feature.used",feature="assistant"}')
        some('sum by (object_kind) (user_ratings_count{object_kind="product"})')
        some('sum(payments_total{outcome="approved"})')
        some('sum(gen_ai_client_token_usage_sum{gen_ai_token_type="output"})')
        some("sum(gen_ai_client_cost_total)")
        some("sum(ai_retrieval_recall_count)")
        for pool in ("shop", "catalog", "assistant"):
            wait_for(lambda: v.value(f'database_connections_idle{{pool="{pool}"}} + database_connections_active{{pool="{pool}"}}') == 4, f"the pool of {pool}", 60, 0.5)
            some(f'sum(database_query_duration_seconds_count{{job="{pool}",operation="SELECT"}})')
        # pushed, not scraped
        some('sum(customer_actions_total{job="traffic"})')
        # health, through vane and asked
        wait_for(lambda: v.value("count(health_check_status == 0)") == 10, "ten healthy checks", 60, 0.5)
        for service in SERVICES:
            assert http("GET", demo.url(service) + "/health/ready").status == 200
        assert http("POST", demo.url("payments") + "/incident?kind=errors&seconds=600", b"{}").status == 200
        some('health_check_status{job="payments",check="providers"}', 1)
        detail = http("GET", demo.url("payments") + "/health/detailed")
        assert detail.status == 200 and detail.json["status"] == "DEGRADED" and detail.json["checks"]["providers"]["status"] == "UNHEALTHY"

        # who is on call hears of it: the rule packs are loaded, a message goes the way of real ones
        wait_for(lambda: any(a["labels"]["alertname"] == "Watchdog" for a in v.get("/api/v2/alerts").json), "the Watchdog", 60, 0.5)
        r = subprocess.run([BINARY, "notify", "test", "--url", v.url, "duty-phone"], capture_output=True, text=True)
        assert r.returncode == 0, r.stdout + r.stderr
        wait_for(lambda: any(x["message"] == "told of an alert" and x["metadata"]["who"] == "duty-phone" for x in demo.lines("assistant")), "the message", 20)

        # one trace, one correlation id and one user through the logs of three services
        def mine(service):
            return [x for x in demo.lines(service) if x.get("trace_id") == trace and x.get("correlation_id") == "order-17"]
        found = wait_for(lambda: (lambda m: m if all(m.values()) and any(x["message"] == "Payment successful" for x in m["payments"]) else None)(
            {s: mine(s) for s in ("shop", "catalog", "payments")}), "the trace in three logs", 20)
        assert all(x["user_id"] == f"user-{me['id']}" for lines in found.values() for x in lines if not x["message"].startswith("POST ")), found
        assert len({x["span_id"] for lines in found.values() for x in lines}) >= 3
        paying = [x for x in found["payments"] if x["message"] == "Processing payment"]
        assert paying and all(x["metadata"]["card_number"] == "[redacted]" for x in paying)
        audit = [x for x in demo.lines("shop") if x.get("log.kind") == "audit" and x["actor"] == f"user-{me['id']}"]
        assert {(x["action"], x["outcome"]) for x in audit} >= {("login", "failure"), ("login", "success"), ("order", "success"), ("read", "success")}, audit
        everything = "".join(p.read_text(errors="replace") for p in demo.folder.glob("*.json"))
        assert "4000123412341234" not in everything and me["password"] not in everything
        # the library is used as it is meant to be
        misused = v.query('vane_sdk_problems_total{kind=~"stale_handles|bad_.*|replaced_strings|series_overflow|span_misuse|headers_refused|alloc_failures"} > 0')
        assert not misused, misused
        for job in SERVICES:
            assert not (demo.folder / f"{job}.log").read_text(), job


run([the_demo])
