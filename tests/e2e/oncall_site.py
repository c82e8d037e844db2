"""A site with an alert_policy for the end-to-end tests: receivers that are webhooks of one fake server."""
import http.server as web
import json
import subprocess
import threading
import time

from vane_e2e import BINARY, Vane, http

AM = """
route: {receiver: other, group_by: [alertname], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}
receivers:
- {name: other, webhook_configs: [{url: 'http://127.0.0.1:%(port)d/other'}]}
- {name: duty-phone, webhook_configs: [{url: 'http://127.0.0.1:%(port)d/phone'}]}
- {name: team-mail, webhook_configs: [{url: 'http://127.0.0.1:%(port)d/mail'}]}
- {name: lead-phone, webhook_configs: [{url: 'http://127.0.0.1:%(port)d/lead'}]}
- {name: dead, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}
"""
VANE = """
alertmanager: am.yml
rule_files: [rules.yml]
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs: [{job_name: hook, static_configs: [{targets: ['127.0.0.1:%(port)d']}]}]
alert_policy:
  channels: {phone: duty-phone, email: team-mail}
  severities: {P2: {group_wait: 100ms}}
  escalations:
    default:
      steps:
      - {after: %(after)s, channels: [lead-phone]}
  heartbeats:
    backup: {period: 3s, grace: 1s, labels: {severity: P3}}
    other-vane: {period: 1h}
  watchdog: {url: 'http://127.0.0.1:%(port)d/ping', period: 1s}
"""
RULES = """
groups:
- name: g
  interval: 1s
  rules:
  - alert: HighErrorRate
    expr: errors > 5
    for: 2s
    labels: {severity: P2, team: db}
    annotations: {summary: "too many errors: {{ $value }}", runbook_url: "http://runbook/x"}
  - alert: Watchdog
    expr: count(last_over_time(up{job="hook"}[3s]) == 1) > 0
"""


class Hook:
    """Keeps what was posted, by path."""

    def __enter__(self):
        hook = self
        self.seen, self.down = [], False

        class Handler(web.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.seen.append((self.path, {**body, "at": time.monotonic()}))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self):
                self.send_response(503 if hook.down else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"x 1\n")

            def log_message(self, *args):
                pass

        self.server = web.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()

    def told(self, path, name, status="firing"):
        return [b for p, b in list(self.seen)
                if p == path and b["status"] == status and b["commonLabels"].get("alertname") == name]


class Site:
    def __init__(self, hook, after="2s", extra=""):
        self.vane = Vane()
        names = {"port": hook.port, "after": after}
        (self.vane.folder / "am.yml").write_text(AM % names)
        (self.vane.folder / "rules.yml").write_text(RULES)
        self.vane.config = self.vane.folder / "vane.yaml"
        self.vane.config.write_text(VANE % names + extra)

    def __enter__(self):
        return self.vane.__enter__()

    def __exit__(self, *exc):
        return self.vane.__exit__(*exc)


def post(vane, path, body=None):
    return http("POST", vane.url + path, json.dumps(body).encode() if body is not None else b"",
                {"Content-Type": "application/json"})


def fire(vane, **labels):
    assert post(vane, "/api/v2/alerts", [{"labels": labels}]).status == 200


def drill(vane, *args, code=0):
    r = subprocess.run([BINARY, "drill", "--url", vane.url, *args], capture_output=True, text=True, timeout=100)
    assert r.returncode == code, f"{args}: {r.returncode} {r.stdout}{r.stderr}"
    return r.stdout
