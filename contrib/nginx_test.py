"""nginx_test.py MODULE: a real nginx with two workers and the module, before an upstream: requests, propagation, logs, reload."""
import collections
import http.client
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

module = pathlib.Path(sys.argv[1]).resolve()
nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
if not nginx or not module.exists():
    print("skipped: no nginx")
    sys.exit(77)
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PATIENCE = float(os.environ.get("VANE_TEST_PATIENCE", 1))
seen = collections.defaultdict(list)


class Upstream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        seen[self.path].append(self.headers)
        if self.path.startswith("/api/slow"):
            time.sleep(0.3)
        self.send_response(503 if self.path.startswith("/api/broken") else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(check, what):
    for _ in range(int(400 * PATIENCE)):
        try:
            if value := check():
                return value
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("waited for " + what + "\n" + errors())


folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-nginx-"))
(folder / "metrics").mkdir()
(folder / "www").mkdir()
(folder / "www/page.html").write_text("hello")
for path in (folder, folder / "metrics", folder / "www"):
    path.chmod(0o777)  # the workers of a root's nginx are somebody else
upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
upstream.handle_error = lambda *_: None  # who asked may have gone
threading.Thread(target=upstream.serve_forever, daemon=True).start()
port = free_port()
CONFIG = f"""
load_module {module};
daemon off; master_process on; worker_processes 2;
pid {folder}/pid; error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    vane on;
    vane_service edge;
    vane_dir {folder}/metrics;
    vane_log file:{folder}/requests.json;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
        location / {{ index page.html; }}
        location /api/ {{ proxy_pass http://127.0.0.1:{upstream.server_port}; error_page 503 /sorry; }}
        location /dead/ {{ proxy_pass http://127.0.0.1:1; }}
        location ~ ^/users/ {{ vane_route "/users/{{id}}"; return 200 "user\\n"; }}
        location = /old {{ return 301 /new; }}
        location = /sorry {{ internal; return 503 "sorry\\n"; }}
        location = /quiet {{ vane off; return 200 "q\\n"; }}
        location = /metrics {{ vane_pages; }}
        location /health {{ vane_pages; }}
    }}
}}
"""
(folder / "nginx.conf").write_text(CONFIG)


def errors():
    log = folder / "error.log"
    return log.read_text() if log.exists() else ""


def ask(path, method="GET", headers=None, body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=20 * PATIENCE)
    c.request(method, path, body, headers or {})
    r = c.getresponse()
    return r.status, r.read().decode(), r.headers


def has(text, *wanted):
    for w in wanted:
        assert w + "\n" in text, f"{w}\nis not in\n" + "\n".join(x for x in text.splitlines() if "_bucket" not in x)


def count(method, endpoint, status, n):
    return f'http_requests_total{{method="{method}",endpoint="{endpoint}",status="{status}"}} {n}'


p = subprocess.Popen([nginx, "-c", folder / "nginx.conf", "-p", folder], env={k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "VANE_", "LOG_"))},
                     stderr=subprocess.DEVNULL)
try:
    wait_for(lambda: ask("/quiet")[0] == 200, "nginx")
    # plain pages, routes, methods, what never reaches a location
    for i in range(5):
        status, text, headers = ask(f"/users/{i}?token=secret")
        assert status == 200 and len(headers["X-Correlation-Id"]) == 36
    assert ask("/page.html")[1] == "hello" and ask("/")[1] == "hello" and ask("/nowhere")[0] == 404
    assert ask("/old")[0] == 301 and ask("/page.html", "HEAD")[0] == 200 and ask("/page.html", "POST", body=b"x" * 5000)[0] == 405
    # through to the upstream: the context is passed on, as a child of the caller's
    status, text, headers = ask("/api/a", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Correlation-Id": "order-17", "baggage": "user_id=u7"})
    assert status == 200 and headers.get_all("X-Correlation-Id") == ["order-17"], headers.items()
    got = seen["/api/a"][0]
    parent = got["traceparent"].split("-")
    assert got.get_all("traceparent") == [got["traceparent"]] and parent[1] == TRACE and parent[2] != PARENT and got["X-Correlation-Id"] == "order-17"
    assert "user_id=u7" in got["baggage"]
    ask("/api/b", headers={"traceparent": "garbage"})
    made = seen["/api/b"][0]["traceparent"].split("-")
    assert len(made) == 4 and made[1] != TRACE, made
    # slow ones run side by side on a worker; failures; an error page by way of another location
    together = [threading.Thread(target=ask, args=(f"/api/slow{i}",), kwargs={"headers": {"X-Correlation-Id": f"slow-{i}"}}) for i in range(20)]
    [t.start() for t in together]
    [t.join() for t in together]
    assert all(seen[f"/api/slow{i}"][0]["X-Correlation-Id"] == f"slow-{i}" for i in range(20))
    assert len({seen[f"/api/slow{i}"][0]["traceparent"] for i in range(20)}) == 20
    assert ask("/api/broken")[0] == 503 and ask("/dead/x")[0] == 502
    # one who goes away, one who talks nonsense
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"GET /api/slow-gone HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: seen["/api/slow-gone"], "the upstream")
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"garbage\r\n\r\n")
        assert b"400" in s.recv(1000)
    wait_for(lambda: 'status="0"' in ask("/metrics")[1] or 'error_type="connection_lost"' in ask("/metrics")[1], "the lost connection")
    status, metrics, headers = ask("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain"), headers.items()
    has(metrics, count("GET", "/users/{id}", 200, 5), count("GET", "/", 200, 2), count("GET", "/", 404, 1), count("GET", "/old", 301, 1),
        count("HEAD", "/", 200, 1), count("POST", "/", 405, 1), count("GET", "/api/", 200, 22), count("GET", "/dead/", 502, 1),
        'http_request_duration_seconds_count{method="GET",endpoint="/users/{id}"} 5')
    assert count("GET", "/api/", 503, 1) in metrics and "quiet" not in metrics and "/metrics" not in metrics and "secret" not in metrics
    assert ask("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})[1].endswith("# EOF\n")
    status, text, headers = ask("/health/live")
    assert status == 200 and json.loads(text)["status"] == "HEALTHY", text
    assert ask("/health/nonsense")[0] == 404 and ask("/metrics", "HEAD")[:2] == (200, "") and ask("/metrics", "POST", body=b"x")[0] == 405
    # a reload: new workers go on with the counts of the old
    p.send_signal(signal.SIGHUP)
    wait_for(lambda: errors().count("exited with code 0") >= 2, "the old workers to go")
    ask("/users/9")
    has(ask("/metrics")[1], count("GET", "/users/{id}", 200, 6))
    lines = [json.loads(x) for x in (folder / "requests.json").read_text().splitlines()]
    mine = [x for x in lines if x.get("correlation_id") == "order-17"]
    assert len(mine) == 1 and mine[0]["trace_id"] == TRACE and mine[0]["span_id"] == parent[2] and mine[0]["message"] == "GET /api/", mine
    assert not any("secret" in json.dumps(x) for x in lines) and len({x["correlation_id"] for x in lines}) == len(lines)
    slow = [x for x in lines if x["correlation_id"].startswith("slow-")]
    assert len(slow) == 20 and all(x["metadata"]["duration_ms"] > 250 for x in slow), slow
finally:
    p.send_signal(signal.SIGQUIT)
    try:
        p.wait(30 * PATIENCE)
    except subprocess.TimeoutExpired:
        p.kill()
    log = errors()
    shutil.rmtree(folder, ignore_errors=True)
assert p.returncode == 0, p.returncode
bad = [x for x in log.splitlines() if "[alert]" in x or "[emerg]" in x or "libvane" in x or "signal 11" in x]
assert not bad, bad
print("ok")
