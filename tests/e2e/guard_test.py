"""Who may come in: names and origins (DNS rebinding, forged requests), users, certificates of clients; and new certificates
without a restart and without a lost connection."""
import base64
import contextlib
import http.client
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

from vane_e2e import Skip, Vane, free_port, http as ask, run, wait_for

TLS = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-guard-"))


def status(v, method="GET", path="/api/v1/query?query=1", **headers):
    c = http.client.HTTPConnection("127.0.0.1", v.port, timeout=10)
    c.putrequest(method, path, skip_host=True)
    for k, value in headers.items():
        c.putheader(k.replace("_", "-"), value)
    if method == "POST":
        c.putheader("Content-Length", "0")
    c.endheaders()
    r = c.getresponse()
    body = r.read().decode()
    c.close()
    return r.status, body


def hosts_and_origins():
    with Vane("web: {external_url: 'https://vane.example.com:8443/x', allowed_hosts: [other.example.org]}\n") as v:
        for host in ("localhost", f"localhost:{v.port}", "127.0.0.1:9090", "127.0.0.1", "[::1]:9090", "10.0.0.7", "myhost", "MyHost:80",
                     "app.localhost", "host.docker.internal:9090", "vane.example.com", "VANE.example.com:8443", "vane.example.com.",
                     "other.example.org"):
            assert status(v, Host=host)[0] == 200, host
        for host in ("evil.example", "evil.example:9090", "127.0.0.1.evil.example", "vane.example.com.evil", "localhost.evil.example",
                     "xvane.example.com", "internal.evil.example", ""):
            code, body = status(v, Host=host)
            assert code == 403 and "web.allowed_hosts" in body and "--external-url" in body, (host, code, body)
        # a page of another origin may read where CORS is meant, and change nothing
        own = f"127.0.0.1:{v.port}"
        for origin, path, code in ((f"http://{own}", "/-/reload", 200), ("https://vane.example.com:8443", "/-/reload", 200),
                                   ("http://evil.example", "/-/reload", 403), ("null", "/-/reload", 403),
                                   ("http://localhost:1", "/-/reload", 403), ("http://evil.example", "/api/v1/query?query=1", 200),
                                   ("http://evil.example", "/api/v1/write", 403)):
            got = status(v, "POST", path, Host=own, Origin=origin)
            assert got[0] == code, (origin, path, got)
        assert status(v, "GET", Host=own, Origin="http://evil.example")[0] == 200
        metrics = v.get("/metrics").body.decode()
        assert 'vane_http_refused_total{reason="host_or_origin"}' in metrics
    wide = free_port()
    with Vane(args=["--insecure", "--listen", f"0.0.0.0:{wide}"]) as v:  # others reach it: it cannot know its names
        v.port = wide
        assert status(v, Host="anything.example")[0] == 200


def bcrypt(password):
    """As htpasswd -nB makes it, at a low cost."""
    import ctypes
    import ctypes.util
    lib = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    lib.crypt.restype = ctypes.c_char_p
    return lib.crypt(password.encode(), b"$2y$05$abcdefghijklmnopqrstuu").decode()


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def users():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-users-"))
    web = folder / "web.yml"
    web.write_text(f"basic_auth_users: {{ann: '{bcrypt('to:mato')}'}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        v = Vane("scrape_configs: []\n", args=["--web.config.file", str(web)])
        v.ready = lambda: "msg=ready" in v.log_text()
        stack.enter_context(v)
        url = v.url + "/api/v1/query?query=1"
        for headers, code in (({}, 401), (basic("ann", "to:mato"), 200), (basic("ann", "tomato"), 401), (basic("bob", "to:mato"), 401),
                              ({"Authorization": "Bearer x"}, 401), ({"Authorization": "Basic %%%"}, 401)):
            a = wait_for(lambda: ask("GET", url, headers=headers), "an answer")
            assert a.status == code, (headers, a.status)
            assert a.headers["X-Frame-Options"] == "deny"
            assert code != 401 or a.headers["WWW-Authenticate"] == "Basic"
        for path in ("/", "/metrics", "/-/healthy", "/api/v1/write"):
            assert ask("POST" if "write" in path else "GET", v.url + path, b"" if "write" in path else None).status == 401, path
        assert ask("POST", v.otlp_url + "/v1/metrics", b"", {"Content-Type": "application/x-protobuf"}).status == 401
        start = time.monotonic()  # what was right is remembered: no bcrypt a request
        for _ in range(50):
            assert ask("GET", url, headers=basic("ann", "to:mato")).status == 200
        took = time.monotonic() - start
        # exchanged by a reload; a bad file changes nothing
        web.write_text(f"basic_auth_users: {{ben: '{bcrypt('leek')}'}}\n")
        assert ask("POST", v.url + "/-/reload", b"", basic("ann", "to:mato")).status == 200
        assert ask("GET", url, headers=basic("ann", "to:mato")).status == 401
        assert ask("GET", url, headers=basic("ben", "leek")).status == 200
        web.write_text("basic_auth_users: {ben: leek}\n")
        a = ask("POST", v.url + "/-/reload", b"", basic("ben", "leek"))
        assert a.status != 200 and b"no bcrypt hash" in a.body, a.body
        assert ask("GET", url, headers=basic("ben", "leek")).status == 200
        print(f"# 50 requests with a known password: {took * 20:.1f} ms each", flush=True)


def certificate(name, cn, issuer=None):
    cmd = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={cn}",
           "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(TLS / f"{name}.key"), "-out", str(TLS / f"{name}.pem")]
    if issuer:
        cmd += ["-CA", str(TLS / f"{issuer}.pem"), "-CAkey", str(TLS / f"{issuer}.key")]
    r = subprocess.run(cmd, capture_output=True, text=True)
    if r.returncode and issuer:  # openssl 3.0 has no -CA in req
        csr = TLS / f"{name}.csr"
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={cn}",
                        "-keyout", str(TLS / f"{name}.key"), "-out", str(csr)], check=True, capture_output=True)
        subprocess.run(["openssl", "x509", "-req", "-in", str(csr), "-CA", str(TLS / f"{issuer}.pem"), "-CAkey", str(TLS / f"{issuer}.key"),
                        "-CAcreateserial", "-days", "2", "-out", str(TLS / f"{name}.pem")], check=True, capture_output=True)
    else:
        assert r.returncode == 0, r.stderr


def connect(port, client=None, alpn=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if client:
        context.load_cert_chain(TLS / f"{client}.pem", TLS / f"{client}.key")
    if alpn:
        context.set_alpn_protocols(alpn)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10))


def subject(s):
    pem = ssl.DER_cert_to_PEM_cert(s.getpeercert(True))
    return subprocess.run(["openssl", "x509", "-noout", "-subject", "-nameopt", "multiline"], input=pem, capture_output=True,
                          text=True, check=True).stdout.split("=")[-1].strip()


def talk(s):
    s.sendall(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
    r = http.client.HTTPResponse(s)
    r.begin()
    r.read()
    return f"{r.status} {r.reason}"


def tls_vane(config, args=()):
    v = Vane(config, args=args)
    v.ready = lambda: "msg=ready" in v.log_text()  # /-/ready wants TLS, a name or a certificate here
    return v


def new_certificates():
    if not shutil.which("openssl"):
        raise Skip("no openssl")
    certificate("a", "first")
    certificate("b", "second")
    certificate("c", "third")
    live = TLS / "live"
    live.mkdir()

    def use(name):
        shutil.copy(TLS / f"{name}.key", live / "key.pem")
        shutil.copy(TLS / f"{name}.pem", live / "cert.pem")

    use("a")
    with tls_vane(f"web: {{tls_cert_file: {live}/cert.pem, tls_key_file: {live}/key.pem}}\n") as v:
        old = wait_for(lambda: connect(v.port), "TLS")
        assert subject(old) == "first" and talk(old).endswith("200 OK")
        assert subject(connect(v.grpc_port, alpn=["h2"])) == "first"
        use("b")
        v.process.send_signal(signal.SIGHUP)
        wait_for(lambda: subject(connect(v.port)) == "second", "the certificate of the reload")
        assert subject(connect(v.grpc_port, alpn=["h2"])) == "second"
        assert talk(old).endswith("200 OK")  # the connection of before goes on
        use("c")  # noticed by itself
        wait_for(lambda: subject(connect(v.port)) == "third", "the changed files")
        assert subject(connect(v.otlp_port)) == "third"
        (live / "cert.pem").write_text("nonsense")
        time.sleep(2.1)
        assert subject(connect(v.port)) == "third" and talk(old).endswith("200 OK")
        v.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "configuration was not reloaded" in v.log_text(), "the refusal in the log")
        assert subject(connect(v.port)) == "third"
        old.close()


def clients_with_certificates():
    if not shutil.which("openssl"):
        raise Skip("no openssl")
    certificate("server", "server")
    certificate("ca", "ca")
    certificate("good", "good", "ca")
    certificate("stranger", "stranger")
    web = TLS / "web.yml"
    web.write_text("tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem,\n"
                   "  client_auth_type: RequireAndVerifyClientCert}\n")
    with tls_vane("scrape_configs: []\n", args=["--web-config", str(web)]) as v:
        good = wait_for(lambda: connect(v.port, "good"), "TLS")
        assert talk(good).endswith("200 OK")
        good.close()
        for who in (None, "stranger"):
            try:
                with connect(v.port, who) as s:  # TLS 1.3: the client learns of it with its first bytes
                    answer = talk(s)
            except (OSError, http.client.HTTPException):
                answer = ""
            assert "200" not in answer, who
        with connect(v.grpc_port, "good", ["h2"]) as s:
            assert s.recv(1)


try:
    run([hosts_and_origins, users, new_certificates, clients_with_certificates])
finally:
    shutil.rmtree(TLS, ignore_errors=True)
