"""docs_test.py PAGE SOURCE BUILD: every code block of a page is taken as its reader would: files are saved, differences applied,
commands run, servers started, and what the page says they print is what they print.

A comment before each block says what it is:
  file NAME       saved
  patch           a difference, applied to the files saved so far
  run [cmake]     commands of a shell, which must succeed (skipped where the named program is missing)
  run again       the same, tried until what the next block says comes
  serve [NAME]    commands that end with a server, in the background; an earlier one of the name is stopped
  output          lines that the last commands print, in any order (programs buffer); ... stands for anything
  log             lines that the last server writes, in this order
"""
import gzip
import http.server
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

page, source, build = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
PATIENCE = float(os.environ.get("VANE_TEST_PATIENCE", 1))
for tool in ("cc", "curl", "patch", "pkg-config"):
    if not shutil.which(tool):
        print(f"skipped: no {tool}")
        sys.exit(77)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Receiver(http.server.BaseHTTPRequestHandler):
    """An OTLP receiver that keeps what it gets."""
    got = []

    def do_POST(self):
        self.got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def blocks(text):
    """(line, directive, content) of each fenced block; one without a directive is a mistake."""
    what, inside, at = None, None, 0
    for n, line in enumerate(text.splitlines(), 1):
        if inside is not None:
            if line.startswith("```"):
                yield at, what, "\n".join(inside) + "\n"
                what = inside = None
            else:
                inside.append(line)
        elif line.startswith("```"):
            assert what, f"{page.name}:{n}: a code block without a word on what to do with it"
            inside, at = [], n
        elif m := re.fullmatch(r"<!-- (.+) -->", line):
            what = m.group(1).split()
        elif line.strip():
            what = None


def missing(wanted, have, in_order):
    """The first wanted line that is not in the text (after those before it); None when all are."""
    lines, at = have.splitlines(), 0
    for w in wanted.splitlines():
        rx = re.compile(".*".join(re.escape(p) for p in w.split("...")) + "$")
        at = at if in_order else 0
        while at < len(lines) and not rx.match(lines[at]):
            at += 1
        if at == len(lines):
            return w
        at += 1
    return None


class Run:
    def __init__(self, folder):
        self.folder, self.servers, self.output, self.last = folder, {}, "", None
        root = folder / "root"
        subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", root], check=True, capture_output=True)
        pc = next(root.rglob("libvane.pc"))
        self.ports = {p: str(free_port()) for p in ("8080", "9090")}
        self.receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()
        self.ports["4319"] = str(self.receiver.server_port)
        self.words = {f":{k}": f":{v}" for k, v in self.ports.items()} | {
            "8080": self.ports["8080"], "/usr/share/doc/libvane-dev/examples": str(source / "contrib"),
            "vane serve": f"vane serve --no-host-metrics --no-self-metrics --listen 127.0.0.1:{self.ports['9090']} --otlp-listen 127.0.0.1:{free_port()} "
                          f"--otlp-grpc-listen 127.0.0.1:{free_port()}",
            "vane query": f"vane query --url http://127.0.0.1:{self.ports['9090']}", "5s": "1s"}
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "LOG_", "VANE_", "HEALTH_", "PROFILING_"))} | {
            "PKG_CONFIG_PATH": str(pc.parent), "PKG_CONFIG_SYSROOT_DIR": str(root), "LD_LIBRARY_PATH": str(pc.parents[1]),
            "CMAKE_PREFIX_PATH": str(pc.parents[2]), "PATH": f"{build}:{os.environ['PATH']}", "no_proxy": "127.0.0.1",
            "vane_DIR": str(next(root.rglob("vane-config.cmake")).parent), "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def words_of(self, text):
        return re.sub("|".join(map(re.escape, self.words)), lambda m: self.words[m.group()], text)

    def sh(self, text):
        r = subprocess.run(["sh", "-euc", self.words_of(text)], cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=100 * PATIENCE)
        self.output = r.stdout
        assert r.returncode == 0, f"exit code {r.returncode}:\n{r.stdout}"
        warnings = [x for x in r.stdout.splitlines() if "warning:" in x]
        assert not warnings, warnings

    def stop(self, name):
        p = self.servers.pop(name, None)
        if p:
            os.killpg(p.pid, signal.SIGTERM)
            code = p.wait(20 * PATIENCE)
            assert code == 0, f"{name} ended with {code}:\n{(self.folder / (name + '.log')).read_text()}"

    def serve(self, text, name="service"):
        self.stop(name)
        lines = self.words_of(text).rstrip().splitlines()
        self.last = self.folder / (name + ".log")
        with open(self.last, "w") as log:
            p = subprocess.Popen(["sh", "-euc", "\n".join(lines[:-1] + ["exec " + lines[-1]])], cwd=self.folder, env=self.env, stdout=log, stderr=log,
                                 start_new_session=True)
        self.servers[name] = p
        port = int(self.ports["9090" if name == "vane" else "8080"])
        for _ in range(int(600 * PATIENCE)):
            assert p.poll() is None, self.last.read_text()
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"nobody listens on {port}:\n" + self.last.read_text())

    def wait(self, wanted, have, in_order, again=None):
        for _ in range(int(100 * PATIENCE)):
            what = missing(self.words_of(wanted), have(), in_order)
            if what is None:
                return
            time.sleep(0.2)
            if again:
                self.sh(again)
        raise AssertionError(f"not printed: {what}\nin:\n{have()}")

    def block(self, what, text):
        kind, args = what[0], what[1:]
        if kind == "file":
            (self.folder / args[0]).write_text(self.words_of(text))
        elif kind == "patch":
            subprocess.run(["patch", "-p0", "-s", "--fuzz=0"], input=self.words_of(text), text=True, cwd=self.folder, check=True)
        elif kind == "run" and args and args[0] != "again" and not shutil.which(args[0]):
            print(f"# no {args[0]} here")
        elif kind == "run":
            self.again = text if args == ["again"] else None
            self.sh(text)
        elif kind == "serve":
            self.serve(text, *args)
        elif kind == "output":
            self.wait(text, lambda: self.output, False, self.again)
        elif kind == "log":
            self.wait(text, self.last.read_text, True)
        else:
            raise AssertionError(f"unknown: {what}")


def settings(text):
    """Fields and variables of the library's settings that the page does not name."""
    table = (source / "src/sdk/sdk_conf.c").read_text()
    table = table[table.index("rows[] = {"):]
    table = table[:table.index("};")]
    names = set(re.findall(r"\b[RS]\((\w+),", table)) | set(re.findall(r'"([A-Z][A-Z_]+_[A-Z]+)"', table))
    assert len(names) > 100, "the table of settings is not where this test looks for it"
    return sorted(n for n in names if f"`{n}`" not in text)


unnamed = settings(page.read_text()) if page.name == "libvane.md" else []
assert not unnamed, f"{page.name} does not tell of {unnamed}"
folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-docs-"))
run, n, failed = Run(folder), 0, False
try:
    for line, what, text in blocks(page.read_text()):
        n += 1
        try:
            run.block(what, text)
        except Exception as e:
            failed = True
            print(f"{page.name}:{line}: {' '.join(what)}: {e}")
            raise SystemExit(1)
    for name in list(run.servers):
        run.stop(name)
    pushed = {"instrument.md": {"/v1/traces": [bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736"), b"GET /orders/{id}"]},
              "libvane.md": {"/v1/metrics": [b"inventory_level"], "/v1/logs": [b"card declined", b"user-7"], "/api/v2/spans": [b"chat acme-large"]}}
    for path, wanted in pushed[page.name].items():
        sent = [gzip.decompress(b) if b[:2] == b"\x1f\x8b" else b for p, b in Receiver.got if p == path]
        assert any(all(w in b for w in wanted) for b in sent), f"what was to be pushed to {path} did not arrive: {[p for p, _ in Receiver.got]}"
    print(f"{n} blocks of {page.name}")
finally:
    for p in run.servers.values():
        os.killpg(p.pid, signal.SIGKILL)
    run.receiver.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
