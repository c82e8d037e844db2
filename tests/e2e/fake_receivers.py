"""Fake providers on loopback that keep what they are told: HTTP with answers by path, and SMTP with TLS and logins."""
import base64
import email
import hashlib
import hmac
import http.server as web
import socket
import ssl
import subprocess
import threading
import urllib.parse


class Post:
    def __init__(self, method, path, headers, body):
        self.method, self.headers, self.body = method, headers, body
        self.path, _, self.query = path.partition("?")

    @property
    def form(self):
        return dict(urllib.parse.parse_qsl(self.body.decode(), keep_blank_values=True))


class Providers:
    """answers: path prefix -> (status, body, headers) or a function of the Post that gives it. echo: every answer is 400
    and repeats the request, credentials included. down: the connection is cut."""

    def __init__(self, answers=None):
        self.answers, self.posts, self.echo, self.slow = answers or {}, [], False, 0
        self.stopped = threading.Event()

    def __enter__(self):
        me = self

        class Handler(web.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                post = Post(self.command, self.path, dict(self.headers), body)
                me.posts.append(post)
                status, text, headers = me.answer(post)
                if me.slow:
                    me.stopped.wait(me.slow)
                data = text if isinstance(text, bytes) else text.encode()
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = handle_any

            def log_message(self, *args):
                pass

        class Server(web.ThreadingHTTPServer):
            def handle_error(self, request, address):  # a client that went away is none of the test's
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, post):
        if self.echo:
            text = f"{post.method} {post.path}?{post.query} {post.headers} {post.body.decode(errors='replace')}"
            auth = post.headers.get("Authorization", "")
            if auth.startswith("Basic "):
                text += base64.b64decode(auth[6:]).decode()
            return 400, text, {}
        for prefix in sorted(self.answers, key=len, reverse=True):
            if post.path.startswith(prefix):
                a = self.answers[prefix]
                return a(post) if callable(a) else a
        return 200, "", {}

    def to(self, prefix):
        return [p for p in list(self.posts) if p.path.startswith(prefix)]


def sigv4_is_right(post, secret, host):
    """Recomputes Amazon's signature of a request."""
    fields = dict(f.strip().split("=", 1) for f in post.headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(","))
    key_id, day, region, service, _ = fields["Credential"].split("/")
    names = fields["SignedHeaders"].split(";")
    have = {k.lower(): v for k, v in post.headers.items()}
    assert have["host"] == host
    canonical = "\n".join([post.method, post.path, post.query] + [f"{n}:{have[n].strip()}" for n in names] +
                          ["", ";".join(names), hashlib.sha256(post.body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", have["x-amz-date"], f"{day}/{region}/{service}/aws4_request",
                      hashlib.sha256(canonical.encode()).hexdigest()])
    k = ("AWS4" + secret).encode()
    for part in (day, region, service, "aws4_request"):
        k = hmac.new(k, part.encode(), hashlib.sha256).digest()
    return hmac.new(k, text.encode(), hashlib.sha256).hexdigest() == fields["Signature"]


def certificate(folder):
    """A key and a certificate for 127.0.0.1, made once."""
    cert, key = folder / "smtp.pem", folder / "smtp.key"
    if not cert.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                        "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key),
                        "-out", str(cert)], check=True, capture_output=True)
    return cert, key


class Smtp:
    """auth: mechanisms that are offered (once TLS is there, if tls is not None); every login must be user/word.
    tls: None, "starttls" or "implicit". refuse: the answer to RCPT."""

    def __init__(self, auth="", tls=None, cert=None, user="user", word="word", refuse=None):
        self.auth, self.tls, self.user, self.word, self.refuse = auth, tls, user, word, refuse
        self.mails, self.logins, self.lines = [], [], []
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*map(str, cert))

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def serve(self):
        while True:
            try:
                c, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.guarded, args=(c,), daemon=True).start()

    def guarded(self, c):
        try:
            self.talk(c)
        except (OSError, ssl.SSLError):
            pass

    def talk(self, c):
        secure = self.tls == "implicit"
        if secure:
            c = self.context.wrap_socket(c, server_side=True)
        f = c.makefile("rb")
        say = lambda text: c.sendall(text.encode() + b"\r\n")  # noqa: E731
        ask = lambda text: (say("334 " + base64.b64encode(text.encode()).decode()), base64.b64decode(f.readline()))[1]  # noqa: E731
        to = []
        say("220 fake")
        while line := f.readline().decode().strip():
            self.lines.append(line)
            word = line.split()[0].upper()
            if word == "EHLO":
                more = ["STARTTLS"] if self.tls == "starttls" and not secure else []
                more += ["AUTH " + self.auth] if self.auth and (secure or not self.tls) else []
                lines = ["fake"] + more
                for i, x in enumerate(lines):
                    say(f"250{' ' if i + 1 == len(lines) else '-'}{x}")
            elif word == "STARTTLS":
                say("220 go")
                c = self.context.wrap_socket(c, server_side=True)
                f, secure = c.makefile("rb"), True
            elif word == "AUTH":
                say("235 welcome" if self.login(line, ask) else "535 who are you?")
            elif word == "RCPT" and self.refuse:
                say(self.refuse)
            elif word == "DATA":
                say("354 go")
                body = b""
                while (part := f.readline()) != b".\r\n":
                    body += part[1:] if part.startswith(b"..") else part
                self.mails.append((list(to), body))
                say("250 taken")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                if word == "RCPT":
                    to.append(line.split("<")[1].split(">")[0])
                say("250 ok")

    def login(self, line, ask):
        mechanism, *first = line.split()[1:]
        if mechanism == "PLAIN":
            _, user, word = (base64.b64decode(first[0]) if first else ask("")).decode().split("\0")
        elif mechanism == "LOGIN":
            user = (base64.b64decode(first[0]) if first else ask("Username:")).decode()
            word = ask("Password:").decode()
        else:
            challenge = "<1.2@fake>"
            user, digest = ask(challenge).decode().split()
            word = self.word if hmac.new(self.word.encode(), challenge.encode(), "md5").hexdigest() == digest else None
        self.logins.append(mechanism)
        return (user, word) == (self.user, self.word)

    def parsed(self, i=-1):
        return email.message_from_bytes(self.mails[i][1])
