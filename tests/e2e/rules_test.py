"""Rules from outside: recorded series of scraped data, an alert's life, kill -9 in the middle of `for`, reload, refusals."""
import base64
import http.server as web
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time

from vane_e2e import BINARY, Vane, background, free_port, http, run, wait_for

CONFIG = """global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
  evaluation_interval: 200ms
  external_labels: {site: here}
rule_files: [rules/*.yml]
scrape_configs:
  - job_name: app
    static_configs: [{targets: ['127.0.0.1:%d']}]
"""
RULES = """groups:
  - name: app
    rules:
      - {record: "job:queue:double", expr: sum by (job) (queue) * 2, labels: {kind: test}}
      - alert: QueueLong
        expr: queue > 10
        for: %s
        labels: {severity: page}
        annotations: {summary: "{{ $labels.job }} has {{ $value }} on {{ $externalLabels.site }}"}
"""


def cli(*args):
    done = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout


class App:
    """A target whose one gauge the test sets."""

    def __enter__(self):
        app = self
        self.queue = 3

        class Handler(web.BaseHTTPRequestHandler):
            def do_GET(self):
                body = f"queue {app.queue}\n".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = web.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *why):
        self.server.shutdown()
        self.server.server_close()


def prepared(app, hold="400ms"):
    v = Vane(CONFIG % app.port)
    (v.folder / "rules").mkdir()
    (v.folder / "rules/app.yml").write_text(RULES % hold)
    return v


def alerts(v, state=None):
    a = v.get("/api/v1/alerts")
    assert a.status == 200, a.body
    return [x for x in a.json["data"]["alerts"] if state in (None, x["state"])]


def groups(v, **params):
    a = v.get("/api/v1/rules", **params)
    assert a.status == 200, a.body
    return a.json["data"]["groups"]


def records_and_alerts():
    with App() as app, prepared(app) as v:
        wait_for(lambda: v.value("job:queue:double") == 6, "the recorded series")
        [series] = v.query("job:queue:double")
        assert series["metric"] == {"__name__": "job:queue:double", "job": "app", "kind": "test"}, series
        [g] = wait_for(lambda: [g for g in groups(v) if g["rules"][1]["health"] == "ok"], "an evaluation")
        record, alert = g["rules"]
        assert g["name"] == "app" and g["file"].endswith("rules/app.yml") and g["interval"] == 0.2 and g["limit"] == 0, g
        assert set(record) == {"name", "query", "labels", "health", "evaluationTime", "lastEvaluation", "type"}, record
        assert record["query"] == "sum by (job) (queue) * 2" and record["type"] == "recording"
        assert set(alert) == {"state", "name", "query", "duration", "keepFiringFor", "labels", "annotations", "alerts", "health",
                              "evaluationTime", "lastEvaluation", "type"}, alert
        assert alert["state"] == "inactive" and alert["duration"] == 0.4 and alert["alerts"] == [], alert
        app.queue = 12.5
        [pending] = wait_for(lambda: alerts(v, "pending"), "a pending alert")
        [firing] = wait_for(lambda: alerts(v, "firing"), "the alert to fire")
        assert firing["labels"] == {"alertname": "QueueLong", "instance": f"127.0.0.1:{app.port}", "job": "app", "severity": "page"}
        assert firing["annotations"] == {"summary": "app has 12.5 on here"} and firing["value"] == "1.25e+01", firing
        assert firing["activeAt"] == pending["activeAt"], "the clock of `for` began once"
        assert v.value('ALERTS{alertstate="firing"}') == 1 and v.value("ALERTS_FOR_STATE") > 1e9
        [g] = groups(v, type="alert")
        assert [r["name"] for r in g["rules"]] == ["QueueLong"] and g["rules"][0]["state"] == "firing"
        app.queue = 1
        wait_for(lambda: not alerts(v), "the alert to end")
        wait_for(lambda: v.value("ALERTS") is None, "ALERTS to be marked stale")
        text = v.get("/metrics").body.decode()
        assert "vane_rule_evaluation_failures_total 0" in text and 'rules/app.yml;app"} 2' in text, text[-2000:]


def pending_goes_on_after_kill9():
    with App() as app:
        app.queue = 20
        v = prepared(app, "6s").start()
        try:
            [before] = wait_for(lambda: alerts(v, "pending"), "a pending alert")
            wait_for(lambda: sqlite3.connect(v.data / "control.db").execute("SELECT count(*) FROM rules_alerts").fetchone()[0],
                     "its state in the control database")
            v.kill()
            v.start()
            [after] = alerts(v)
            assert after["activeAt"] == before["activeAt"] and after["state"] == "pending", (before, after)
            began = time.time()
            [firing] = wait_for(lambda: alerts(v, "firing"), "the alert to fire")
            assert firing["activeAt"] == before["activeAt"] and time.time() - began < 6 , "`for` did not begin anew"
            v.kill()
            v.start()
            [again] = alerts(v)
            assert again["state"] == "firing" and again["annotations"] == firing["annotations"], again
            app.queue = 0
            wait_for(lambda: not alerts(v), "the alert to end")
        finally:
            v.__exit__(None, None, None)


def reload_keeps_state_and_refuses_errors():
    with App() as app, prepared(app, "1h") as v:
        app.queue = 20
        [before] = wait_for(lambda: alerts(v, "pending"), "a pending alert")
        rules = v.folder / "rules/app.yml"
        rules.write_text((RULES % "1h").replace("queue > 10", "queue > > 10").replace("by (job) (queue)", "by (job (queue)"))
        a = http("POST", v.url + "/-/reload")
        assert a.status >= 400 and b"rules/app.yml:4:" in a.body, a.body
        assert v.log_text().count("parse error") >= 2, "every error is in the log"
        assert alerts(v) == [before] and groups(v)[0]["rules"][0]["health"] == "ok", "a bad reload changes nothing"
        rules.write_text((RULES % "0s") + "  - {name: more, interval: 1h, rules: [{record: one, expr: vector(1)}]}\n")
        assert http("POST", v.url + "/-/reload").status == 200
        assert [g["name"] for g in groups(v)] == ["app", "more"]
        [firing] = wait_for(lambda: alerts(v, "firing"), "the alert to fire with the new `for`")
        assert firing["activeAt"] == before["activeAt"]
        rules.unlink()
        assert http("POST", v.url + "/-/reload").status == 200
        assert groups(v) == [] and alerts(v) == []
        wait_for(lambda: v.value("job:queue:double") is None and v.value("ALERTS") is None, "series of rules that are gone to end")
        rows = sqlite3.connect(v.data / "control.db").execute("SELECT count(*) FROM rules_alerts").fetchone()
        assert rows == (0,), rows


def filters_and_pages():
    many = "groups:\n" + "".join(f"  - {{name: g{i}, rules: [{{record: 'r{i}', expr: vector({i}), labels: {{n: '{i % 2}'}}}}]}}\n"
                                 for i in range(5))
    with App() as app:
        v = prepared(app)
        (v.folder / "rules/many.yml").write_text(many)
        with v:
            names = lambda **kw: [g["name"] for g in groups(v, **kw)]
            assert names() == ["app", "g0", "g1", "g2", "g3", "g4"]
            assert names(**{"rule_group[]": ["g1", "g3"]}) == ["g1", "g3"]
            assert names(**{"rule_name[]": "r4"}) == ["g4"]
            assert names(**{"file[]": str(v.folder / "rules/app.yml")}) == ["app"]
            assert names(**{"match[]": '{n="1"}'}) == ["g1", "g3"]
            assert names(type="record", **{"rule_name[]": "QueueLong"}) == []
            seen, token = [], None
            while True:
                page = v.get("/api/v1/rules", group_limit=4, **({"group_next_token": token} if token else {})).json["data"]
                seen.append([g["name"] for g in page["groups"]])
                token = page.get("groupNextToken")
                if not token:
                    break
            assert seen == [["app", "g0", "g1", "g2"], ["g3", "g4"]], seen
            for bad in ({"type": "what"}, {"group_limit": 0}, {"group_next_token": "x"}, {"group_limit": 1, "group_next_token": "x"},
                        {"exclude_alerts": "maybe"}, {"match[]": "{"}):
                assert v.get("/api/v1/rules", **bad).status == 400, bad


ALERTING = """alerting:
  alert_relabel_configs:
    - {action: labeldrop, regex: instance}
  alertmanagers:
    - path_prefix: /am/
      basic_auth: {username: ann, password: tomato}
      static_configs: [{targets: ['127.0.0.1:%d', 'dropped:1']}]
      relabel_configs: [{source_labels: [__address__], regex: dropped.*, action: drop}]
    - static_configs: [{targets: ['127.0.0.1:%d']}]
      timeout: 1s
"""


class Alertmanager:
    """Takes what is posted to it; answers with `status`."""

    def __enter__(self):
        am = self
        self.got, self.status = [], 200

        class Handler(web.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                am.got.append((self.path, self.headers["Authorization"], self.headers["Content-Type"], json.loads(body)))
                self.send_response(am.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = web.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *why):
        self.server.shutdown()
        self.server.server_close()

    def alerts(self):
        return [a for post in self.got for a in post[3]]


def alerts_reach_alertmanagers():
    down = free_port()
    with App() as app, Alertmanager() as am:
        app.queue = 20
        v = prepared(app, "0s")
        v.config.write_text(CONFIG % app.port + ALERTING % (am.port, down))
        with v:
            [first] = wait_for(am.alerts, "the alert to be sent")
            path, auth, kind, _ = am.got[0]
            assert path == "/am/api/v2/alerts" and kind == "application/json", am.got[0]
            assert base64.b64decode(auth.split()[1]) == b"ann:tomato"
            assert first["labels"] == {"alertname": "QueueLong", "job": "app", "severity": "page", "site": "here"}, first
            assert first["annotations"] == {"summary": "app has 20 on here"}
            assert first["generatorURL"].endswith("/graph?g0.expr=queue%20%3E%2010&g0.tab=1"), first
            assert first["startsAt"] < first["endsAt"]
            told = v.get("/api/v1/alertmanagers").json["data"]
            assert told == {"activeAlertmanagers": [{"url": f"http://127.0.0.1:{am.port}/am/api/v2/alerts"},
                                                    {"url": f"http://127.0.0.1:{down}/api/v2/alerts"}],
                            "droppedAlertmanagers": [{"url": "http://dropped:1/am/api/v2/alerts"}]}, told
            wait_for(lambda: f'errors_total{{alertmanager="http://127.0.0.1:{down}/api/v2/alerts"}} 1' in
                     v.get("/metrics").body.decode(), "the one that is down to be counted")
            assert "were not taken by an Alertmanager" in v.log_text() and "tomato" not in v.log_text()
            time.sleep(1)
            assert len(am.alerts()) == 1, "a firing alert is told again every minute only"
            app.queue = 0
            _, resolved = wait_for(lambda: len(am.alerts()) == 2 and am.alerts(), "the end of the alert to be sent")
            assert resolved["labels"] == first["labels"] and resolved["startsAt"] == first["startsAt"]
            assert resolved["endsAt"] < first["endsAt"], "it ended now, not when the first would have run out"
            am.status = 500
            app.queue = 20
            wait_for(lambda: len(am.alerts()) == 3, "it fires again")
            wait_for(lambda: "status 500" in v.log_text(), "the refusal in the log")
            v.config.write_text(CONFIG % app.port)
            assert http("POST", v.url + "/-/reload").status == 200
            assert v.get("/api/v1/alertmanagers").json["data"] == {"activeAlertmanagers": [], "droppedAlertmanagers": []}


def absent_data_and_failing_rules():
    """A source that dies is one alert for all rules that want it; a rule that cannot be evaluated is another."""
    text = """groups:
  - name: app
    on_absent: {for: 400ms, severity: P3}
    on_error: {for: 400ms, severity: P2}
    rules:
      - {alert: Long, expr: queue > 10}
      - {alert: Negative, expr: queue < 0}
      - {alert: Broken, expr: 'label_replace(vector(1), "a", "", "", "(")'}
"""
    with App() as app:
        v = Vane(CONFIG % app.port)
        (v.folder / "rules").mkdir()
        (v.folder / "rules/app.yml").write_text(text)
        with v:
            def named(name):
                return [a for a in alerts(v, "firing") if a["labels"]["alertname"] == name]
            [failing] = wait_for(lambda: named("RuleFailing"), "the broken rule to be told")
            assert failing["labels"]["severity"] == "P2" and failing["annotations"]["description"].endswith(": Broken"), failing
            wait_for(lambda: v.value("queue") == 3, "a scrape")
            wait_for(lambda: v.value("count(vane_rule_absent)") is None, "the data to be seen")
            app.server.shutdown()
            app.server.server_close()
            [absent] = wait_for(lambda: named("DataAbsent"), "the dead source to be told")
            assert absent["labels"] == {"alertname": "DataAbsent", "job": "app", "severity": "P3"}, absent
            wait_for(lambda: named("DataAbsent")[0]["annotations"]["description"].endswith(": Long Negative"), "both rules in one alert")
            v.kill()
            v.start()
            wait_for(lambda: named("DataAbsent"), "the alert after kill -9")
            app.server = web.ThreadingHTTPServer(("127.0.0.1", app.port), app.server.RequestHandlerClass)
            threading.Thread(target=app.server.serve_forever, daemon=True).start()
            wait_for(lambda: not named("DataAbsent"), "the alert to end with the data back")


SAME = """groups:
  - name: first
    interval: 200ms
    limit: 20
    rules:
      - {record: "job:queue:double", expr: 'sum by(job) (queue)  * 2', labels: {kind: test}}
      - {record: plain, expr: vector(1)}
      - alert: QueueLong
        expr: queue>10
        labels: {severity: page, who: "{{ $labels.job }}"}
        annotations: {summary: "{{ $labels.job }} has {{ $value | humanize }} on {{ $externalLabels.site }}", odd: '<a href="x">&"'}
      - {alert: Later, expr: 'job:queue:double > 10', for: 1h30m, keep_firing_for: 5m, annotations: {text: '{{ printf "%.1f" $value }}'}}
      - {alert: Calm, expr: queue < 0, labels: {severity: none}}
  - name: second
    rules:
      - {alert: Broken, expr: 'label_replace(vector(1), "a", "", "", "(")'}
      - {record: twice, expr: '{__name__=~"job:queue:double|plain"}'}
"""


def as_a_real_prometheus_has_it():
    """The same rule file over the same target: /api/v1/rules and /alerts have the same members, values and order."""
    if not shutil.which("prometheus"):
        return print("# skipped: prometheus is not installed")
    with App() as app, prepared(app) as v, tempfile.TemporaryDirectory() as d:
        d = pathlib.Path(d)
        app.queue = 20
        (d / "rules").mkdir()
        for folder in (v.folder, d):
            (folder / "rules/app.yml").write_text(SAME)
        (d / "prometheus.yml").write_text(CONFIG % app.port)
        assert http("POST", v.url + "/-/reload").status == 200
        port = free_port()
        with background(["prometheus", f"--config.file={d}/prometheus.yml", f"--storage.tsdb.path={d}/data",
                         f"--web.listen-address=127.0.0.1:{port}"], d / "prometheus.log"):
            def there(path):
                return json.loads(http("GET", f"http://127.0.0.1:{port}{path}").body)

            def here(path):
                return http("GET", v.url + path).json

            def plain(x):
                """Without times, durations and folders."""
                if isinstance(x, dict):
                    # Prometheus 2 says how long it was since the epoch to a rule that never failed; error texts differ in a prefix
                    return {k: plain(v) if k not in ("evaluationTime", "lastEvaluation", "activeAt", "keepFiringSince", "lastError")
                            else (k in x) for k, v in x.items()}
                if isinstance(x, list):
                    return [plain(i) for i in x]
                return os.path.basename(x) if isinstance(x, str) and x.endswith("rules/app.yml") else x

            def ripe(ask):
                try:
                    g = ask("/api/v1/rules")["data"]["groups"]
                    states = {r["name"]: r.get("state", r["health"]) for x in g for r in x["rules"]}
                    health = {r["name"]: r["health"] for x in g for r in x["rules"]}
                    # seconds after the start: a rule of the second group has seen what the first recorded
                    return states["QueueLong"] == "firing" and states["Later"] == "pending" and health["Broken"] == "err" \
                        and health["twice"] in ("ok", "err") and health["Calm"] == "ok"
                except OSError:
                    return False
            for ask in (there, here):
                wait_for(lambda: ripe(ask), "rules to be evaluated", 40)
            for path in ("/api/v1/rules", "/api/v1/rules?type=alert", "/api/v1/rules?type=record", "/api/v1/alerts"):
                wait_for(lambda: plain(there(path)) == plain(here(path)) or print("#", plain(there(path)), "\n#", plain(here(path))),
                         f"{path} to be the same", 20)
            assert there("/api/v1/rules?type=x")["errorType"] == here("/api/v1/rules?type=x")["errorType"]


def backtest_and_backfill():
    """Rules tried on two days of stored samples: when they would have fired, who would have been told; then their past stored."""
    end = int(time.time()) // 60 * 60
    lines = ["# TYPE load gauge"]
    for host in "ab":
        for i in range(2 * 1440):
            high = host == "a" and i % 720 < 30 or host == "b" and i % 1440 < 10
            lines.append(f'load{{host="{host}"}} {90 if high else 20} {end - (2 * 1440 - i) * 60}')
    rules = """groups:
  - name: g
    interval: 1m
    rules:
      - {record: "app:load", expr: load * 2}
      - {alert: High, expr: "app:load > 150", for: 5m, labels: {severity: P1}, annotations: {summary: "load {{ $value }}"}}
      - {alert: Never, expr: "app:load > 1000"}
"""
    routes = "route: {receiver: mail, group_by: [alertname], routes: [{matchers: ['severity=\"P1\"'], receiver: pager}]}\n" \
             "receivers: [{name: mail}, {name: pager}]\n"
    v = Vane("alertmanager: am.yml\n", args=["--web.enable-admin-api"])
    (v.folder / "am.yml").write_text(routes)
    (v.folder / "load.txt").write_text("\n".join(lines + ["# EOF", ""]))
    (v.folder / "app.yml").write_text(rules)
    with v:
        cli("import", "openmetrics", str(v.folder / "load.txt"), "--url", v.url)
        span = ["--start", str(end - 2 * 86400), "--end", str(end - 60)]
        told = json.loads(cli("backtest", "--url", v.url, *span, "-o", "json", str(v.folder / "app.yml")))
        record, high, never = told["rules"]
        assert told["complete"] and told["routed"] and record["samples"] == 2 * 2880, told
        assert never["fired"] == 0 and never["pages"] == 0 and never["episodes"] == []
        # a: four times, b: two times with it: one page each, as both are one group of the route
        assert high["fired"] == 6 and high["pages"] == 4 and high["receivers"][0]["name"] == "pager", high
        first = high["episodes"][0]
        assert first["labels"]["severity"] == "P1" and first["annotations"] == {"summary": "load 180"}, first
        assert [(r["name"], r["pages"]) for r in told["receivers"]] == [("pager", 4)] and abs(told["pagesPerWeek"] - 14) < 0.1, told
        table = cli("backtest", "--url", v.url, *span, "--episodes", str(v.folder / "app.yml"))
        assert "pager (14)" in table and "load 180" in table, table
        assert v.value("count(app:load)") is None, "nothing is stored"
        bad = http("POST", v.url + "/api/v1/rules/backtest", b"groups: [{name: a, rules: [{alert: x, expr: '1 +'}]}]")
        assert bad.status == 400 and b"rules.yml:1:" in bad.body and b"parse error" in bad.body, bad.body
        cli("rules", "backfill", "--url", v.url, *span, str(v.folder / "app.yml"))
        assert v.value("count_over_time(app:load{host='b'}[3d])") == 2880 and v.value("max(max_over_time(app:load[3d]))") == 180
        cli("rules", "backfill", "--url", v.url, *span, str(v.folder / "app.yml"))
        assert v.value("count_over_time(app:load{host='b'}[3d])") == 2880, "the same again adds nothing"


def baseline_of_past_weeks():
    """The rules that `vane rules baseline` prints, backfilled over five weeks: the same peak every week is normal, once it is not."""
    end = int(time.time()) // 300 * 300
    lines, start = ["# TYPE load gauge"], end - 35 * 86400
    for i in range(35 * 288):
        t = start + i * 300
        peak = (end - t) % (7 * 86400) < 7200  # the last two hours, and those of each week before
        strange = 2 * 7 * 86400 <= end - t < 2 * 7 * 86400 + 86400  # one week was strange
        lines.append(f'load{{job="weekly"}} {1000 if strange else 100 if peak else 10} {t}')
        lines.append(f'load{{job="new"}} {1000 if strange else 100 if end - t < 7200 else 10} {t}')
    v = Vane("", args=["--web.enable-admin-api", "--storage.tsdb.retention.time", "60d"])
    (v.folder / "load.txt").write_text("\n".join(lines + ["# EOF", ""]))
    (v.folder / "load.yml").write_text(cli("rules", "baseline", "job:load", "sum by (job) (load)"))
    with v:
        cli("check", "rules", str(v.folder / "load.yml"))
        cli("import", "openmetrics", str(v.folder / "load.txt"), "--url", v.url)
        cli("rules", "backfill", "--url", v.url, "--interval", "5m", "--start", str(start), "--end", str(end), str(v.folder / "load.yml"))
        assert v.value(f'max_over_time(job:load:normal{{job="new"}}[1h] @ {end})') == 10
        assert v.value(f'job:load:ratio{{job="new"}} @ {end - 300}') == 10, "ten times what was normal, whatever the strange week"
        assert v.value(f'job:load:ratio{{job="weekly"}} @ {end - 900}') == 1, "the same every week"
        assert v.value(f'job:load:mad{{job="weekly"}} @ {end - 900}') == 0


def packs_and_runbooks():
    with Vane("rule_packs: [availability, vane]\nglobal: {evaluation_interval: 200ms}\n") as v:
        [watchdog] = wait_for(lambda: [a for a in alerts(v, "firing") if a["labels"]["alertname"] == "Watchdog"], "the watchdog")
        assert watchdog["labels"] == {"alertname": "Watchdog", "severity": "P4"}, watchdog
        assert {g["file"] for g in groups(v)} == {"pack:availability", "pack:vane"}
        url = watchdog["annotations"]["runbook_url"]
        page = http("GET", v.url + url[url.index("/runbook/"):])
        text = page.body.decode()
        assert page.status == 200 and "<h1>Watchdog</h1>" in text and '<a href="VaneRulesFailing">' in text, text
        assert '<a href="/explore?g0.expr=ALERTS%7Balertname%3D%22Watchdog%22%7D">ALERTS{alertname=&quot;Watchdog&quot;}' in text, text
        assert http("GET", v.url + "/runbook/VaneRulesFailing").status == 200
        assert http("GET", v.url + "/runbook/No%3Cscript%3E").status == 404
        assert 'href="/runbook/HighErrorRate"' in v.get("/runbook").body.decode()
        v.config.write_text("rule_packs: [availabilty]\n")
        refused = http("POST", v.url + "/-/reload")
        assert refused.status >= 400 and b"did you mean availability" in refused.body, refused.body
        assert len(groups(v)) == 2


def start_refuses_bad_rules_but_not_a_damaged_database():
    with App() as app:
        v = prepared(app)
        (v.folder / "rules/bad.yml").write_text("groups:\n  - name: a\n    rules: [{record: x, exprr: 1}]\n")
        v.start(wait=False)
        assert v.process.wait(20) == 1 and "rules/bad.yml:3:" in v.log_text(), v.log_text()
        os.remove(v.folder / "rules/bad.yml")
        v.data.mkdir(exist_ok=True)
        (v.data / "control.db").write_bytes(b"not a database, not at all" * 100)
        v.start()  # rules go on, in memory, and say so
        assert "WITHOUT THEIR DATABASE" in v.log_text() and "move this file away" in v.log_text(), v.log_text()
        assert "\nvane_control_durable 0\n" in v.get("/metrics").body.decode()
        wait_for(lambda: v.get("/api/v1/rules").json["data"]["groups"][0]["evaluationTime"] > 0, "rules to be evaluated")
        assert v.stop() == 0
        assert (v.data / "control.db").read_bytes().startswith(b"not a database"), "what is damaged stays for whoever repairs it"
        for f in v.data.glob("control.db*"):
            f.unlink()
        v.start()
        v.__exit__(None, None, None)


run([records_and_alerts, absent_data_and_failing_rules, as_a_real_prometheus_has_it, backtest_and_backfill, baseline_of_past_weeks, packs_and_runbooks, pending_goes_on_after_kill9, reload_keeps_state_and_refuses_errors, filters_and_pages, alerts_reach_alertmanagers,
     start_refuses_bad_rules_but_not_a_damaged_database])
