"""The alerting pages in a browser: a vane with rules, an Alertmanager and a webhook, used by tests/ui/alerting/*.test.mjs."""
import http.server as web
import json
import os
import re
import subprocess
import threading

from vane_e2e import PATIENCE, SOURCE, Vane, free_port, run, wait_for

UI_TESTS = SOURCE / "tests/ui/alerting"
RULES = """groups:
  - name: shop
    interval: 1s
    rules:
      - {alert: TargetDown, expr: up == 0, labels: {severity: page, team: shop}, annotations: {summary: "{{ $labels.job }} is <b>down</b>"}}
      - {alert: Busy, expr: 'sum by (job) (vane_build_info) + 1 > 1.5', labels: {severity: warn, team: db}, annotations: {summary: "load {{ $value }}"}}
      - {alert: Waits, expr: 'vane_build_info > 0', for: 1h}
      - {record: "job:load:sum", expr: sum by (job) (vane_build_info)}
"""
ALERTMANAGER = """route:
  receiver: default
  group_by: [alertname]
  group_wait: 100ms
  group_interval: 300ms
  routes:
  - {matchers: [team=shop], receiver: shop, continue: true}
  - {matchers: ['severity=~"page|crit"'], receiver: on-call, group_by: ['...'], repeat_interval: 90m, mute_time_intervals: [always],
     routes: [{matchers: [team=db], receiver: db}]}
  - {matchers: [team=db], receiver: db}
receivers:
- name: default
- name: shop
  webhook_configs: [{url: 'http://127.0.0.1:PORT/shop'}]
- name: on-call
  webhook_configs: [{url: 'http://127.0.0.1:PORT/call'}]
- name: db
  webhook_configs: [{url: 'http://127.0.0.1:PORT/db', send_resolved: false}]
- name: broken
  webhook_configs: [{url: 'http://127.0.0.1:1/gone'}]
time_intervals:
- {name: always, time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}
"""


class Hook:
    """Takes messages; GET gives all that came, for the browser tests to look at."""

    def __enter__(self):
        seen = []

        class Handler(web.BaseHTTPRequestHandler):
            def answer(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                seen.append({"path": self.path, "body": json.loads(self.rfile.read(int(self.headers["Content-Length"])))})
                self.answer(b"")

            def do_GET(self):
                self.answer(json.dumps(seen).encode())

            def log_message(self, *args):
                pass

        self.server = web.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()


def alerting_pages_in_a_browser():
    v = Vane("")
    v.config = v.folder / "vane.yaml"
    v.config.write_text(f"""alertmanager: am.yml
global: {{scrape_interval: 1s, scrape_timeout: 900ms}}
rule_files: [rules.yml]
alerting: {{alertmanagers: [{{path_prefix: /alertmanager, static_configs: [{{targets: ["127.0.0.1:{v.port}"]}}]}}]}}
scrape_configs:
  - {{job_name: down, static_configs: [{{targets: ["127.0.0.1:{free_port()}"]}}]}}
  - {{job_name: self, static_configs: [{{targets: ["127.0.0.1:{v.port}"]}}]}}
""")
    (v.folder / "rules.yml").write_text(RULES)
    with Hook() as hook:
        (v.folder / "am.yml").write_text(ALERTMANAGER.replace("PORT", str(hook.port)))
        with v:
            wait_for(lambda: {a["labels"]["alertname"] for a in v.get("/api/v2/alerts").json} == {"TargetDown", "Busy"}, "the alerts")
            tests = sorted(str(p) for p in UI_TESTS.glob("*.test.mjs"))
            r = subprocess.run(["node", "--test", *tests], cwd=SOURCE / "ui", capture_output=True, text=True, timeout=280 * PATIENCE,
                               env=os.environ | {"VANE_URL": v.url, "HOOK_URL": f"http://127.0.0.1:{hook.port}"})
            counts = re.findall(r"^(?:#|ℹ) (?:pass|fail) \d+", r.stdout, re.M)
            print("# " + "; ".join(counts))
            assert r.returncode == 0, "\n".join(re.findall(r"^not ok.*?^  \.\.\.$", r.stdout, re.M | re.S)) or r.stdout[-4000:]


run([alerting_pages_in_a_browser])
