"""contrib_test.py ADAPTER EXAMPLE: real requests and queries through an adapter; metrics, request logs and trace ids as promised."""
import http.client
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

adapter, exe = sys.argv[1:3]
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "LOG_", "VANE_"))} | {"OTEL_SERVICE_NAME": "example"}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def lines(stderr):
    return [json.loads(line) for line in stderr.decode().splitlines() if line.startswith("{")]


def has(text, *wanted):
    for w in wanted:
        assert w + "\n" in text, f"{w}\nis not in\n" + "\n".join(x for x in text.splitlines() if "_bucket" not in x)


def server():
    errors = tempfile.TemporaryFile()  # not a pipe: nobody would read it meanwhile
    p = subprocess.Popen([exe], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=ENV)
    try:
        port = int(p.stdout.readline())
        keep = http.client.HTTPConnection("127.0.0.1", port, timeout=5)

        def ask(path, conn=None, method="GET", body=None, headers=None):
            c = conn or http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, r.read().decode()
        for i in range(3):
            status, text = ask(f"/users/{i}?token=secret", keep)
            assert status == 200 and text.startswith(str(i)), (status, text)
        assert ask("/users/7", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Correlation-Id": "order-17"})[0] == 200
        assert ask("/users/8", method="POST", body=b"x" * 20000)[0] == 200
        others = [threading.Thread(target=lambda: [ask("/users/9") for _ in range(20)]) for _ in range(4)]
        [t.start() for t in others]
        [t.join() for t in others]
        with socket.create_connection(("127.0.0.1", port)) as s:  # goes away in the middle of its request
            s.sendall(b"POST /users/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(b"garbage\r\n\r\n")
            s.recv(1000)
        status, metrics = ask("/metrics")
        assert status == 200
        has(metrics, 'http_requests_total{method="GET",endpoint="/users/{id}",status="200"} 84',
            'http_requests_total{method="POST",endpoint="/users/{id}",status="200"} ' + ("2" if adapter == "civetweb" else "1"),  # its handler answers before the body came
            'http_request_duration_seconds_count{method="GET",endpoint="/users/{id}"} 84',
            'http_server_active_requests{http_request_method="GET",url_scheme="http"} 0')
    finally:
        p.stdin.close()
        p.wait(20)
    assert p.returncode == 0, p.returncode
    errors.seek(0)
    log = lines(errors.read())
    mine = [x for x in log if x.get("correlation_id") == "order-17"]
    assert {x["message"] for x in mine} == {"looking up a user", "GET /users/{id}"}, mine
    assert all(x["trace_id"] == TRACE and x["span_id"] != PARENT for x in mine), mine
    assert len({x["span_id"] for x in mine}) == 1
    asked = [x for x in log if "users" in x["message"]]
    assert len(asked) >= 85 and not any("secret" in json.dumps(x) for x in log)


def curl():
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers)
            self.send_response(500 if self.path == "/broken" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass
    s = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{s.server_port}"
    out = subprocess.run([exe, base + "/a", base + "/b?token=x", base + "/broken", "http://127.0.0.1:1/"], env=ENV, capture_output=True,
                         check=True, timeout=30)
    s.shutdown()
    name = 'http_client_request_duration_seconds_count{http_request_method="GET",server_address="127.0.0.1",'
    has(out.stdout.decode(), name + 'http_response_status_code="200",error_type=""} 2', name + 'http_response_status_code="500",error_type="500"} 1',
        name + 'http_response_status_code="",error_type="connect_error"} 1')
    parents = [h["traceparent"].split("-") for h in seen]
    assert len(seen) == 3 and all(len(p) == 4 and len(p[1]) == 32 and len(p[2]) == 16 for p in parents)
    assert len({p[2] for p in parents}) == 3 and all(h["X-Own"] == "yes" for h in seen)


def sqlite():
    out = subprocess.run([exe], env=ENV, capture_output=True, check=True, timeout=30).stdout.decode()
    name = 'database_query_duration_seconds_count{system="sqlite",'
    has(out, name + 'operation="INSERT",collection="users"} 3', name + 'operation="SELECT",collection="users"} 1',
        name + 'operation="SELECT",collection="seen"} 2', name + 'operation="CREATE",collection="users"} 1')
    assert "anna" not in out


def postgres_server(s):
    """As much of PostgreSQL's protocol (version 3) as the example needs."""
    def msg(kind, body=b""):
        return kind + struct.pack("!I", len(body) + 4) + body
    ready = msg(b"Z", b"I")
    conn, _ = s.accept()
    f = conn.makefile("rb")
    while True:
        n, code = struct.unpack("!II", f.read(8))
        f.read(n - 8)
        if code == 196608:
            break
        conn.sendall(b"N")  # neither TLS nor GSSAPI
    conn.sendall(msg(b"R", struct.pack("!I", 0)) + msg(b"S", b"server_version\0" + b"15.0\0") + ready)
    while kind := f.read(1):
        body = f.read(struct.unpack("!I", f.read(4))[0] - 4)
        if kind == b"Q" and b"missing" in body:
            conn.sendall(msg(b"E", b"SERROR\0C42P01\0Mrelation does not exist\0\0") + ready)
        elif kind == b"Q":
            conn.sendall(msg(b"T", struct.pack("!H", 1) + b"name\0" + struct.pack("!IHIHIH", 0, 0, 25, 65535, 0xFFFFFFFF, 0)) +
                         msg(b"D", struct.pack("!HI", 1, 4) + b"anna") + msg(b"C", b"SELECT 1\0") + ready)
        elif kind == b"S":
            conn.sendall(msg(b"1") + msg(b"2") + msg(b"n") + msg(b"C", b"UPDATE 1\0") + ready)
        elif kind == b"X":
            break


def pq():
    s = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=postgres_server, args=(s,), daemon=True).start()
    out = subprocess.run([exe, f"host=127.0.0.1 port={s.getsockname()[1]} user=u dbname=shop connect_timeout=5 sslmode=disable gssencmode=disable"],
                         env=ENV, capture_output=True, check=True, timeout=30).stdout.decode()
    name = 'database_query_duration_seconds_count{system="postgresql",'
    has(out, name + 'operation="SELECT",collection="users"} 1', name + 'operation="SELECT",collection="missing"} 1',
        name + 'operation="UPDATE",collection="users"} 1', 'database_errors_total{system="postgresql",operation="SELECT",error_type="42P01"} 1',
        'database_errors_total{system="postgresql",operation="SELECT",error_type="connection_lost"} 1',
        'database_connections_failed_total{pool="broken"} 1', 'database_connections_active{pool="main"} 1')


{"libcurl": curl, "sqlite": sqlite, "libpq": pq}.get(adapter, server)()
print("ok")
