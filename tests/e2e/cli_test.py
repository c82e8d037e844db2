"""The command line from outside: help, exit codes, tables and JSON, refusals that say what to do."""
import json
import pathlib
import subprocess
import tempfile
import time

from vane_e2e import BINARY, Vane, free_port, http, run


def vane(*args, **kw):
    return subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60, **kw)


def help_is_everywhere():
    r = vane("--help")
    assert r.returncode == 0 and "serve" in r.stdout
    for words in (["serve"], ["query"], ["check", "config"], ["fsck"], ["version"]):
        r = vane(*words, "--help")
        assert r.returncode == 0 and r.stdout.startswith("usage:"), (words, r)
        r = vane(*words, "--no-such-option")
        assert r.returncode == 2 and r.stderr, (words, r)
    r = vane("sevre")
    assert r.returncode == 2 and "did you mean 'serve'" in r.stderr
    assert vane().returncode == 2
    assert "vane" in vane("version").stdout
    assert "version" in json.loads(vane("version", "-o", "json").stdout)


def check_config_points_at_the_error():
    with tempfile.TemporaryDirectory() as d:
        bad = pathlib.Path(d) / "prometheus.yml"
        bad.write_text("global:\n  scrape_intervall: 15s\n")
        r = vane("check", "config", str(bad))
        assert r.returncode == 1, r
        assert f"{bad}:2:3" in r.stderr and "scrape_interval" in r.stderr, r.stderr
        bad.write_text("scrape_configs:\n  - job_name: a\n    static_configs:\n      - targets: ['x:1']\n")
        r = vane("check", "config", str(bad))
        assert r.returncode == 0, r
        r = vane("check", "config", d + "/none.yml")
        assert r.returncode == 1 and "none.yml" in r.stderr


def queries_as_tables_and_json():
    with Vane() as v:
        now = time.time()
        v.write([({"__name__": "cli", "job": "a b"}, [(int(now * 1000), 2.5)])])
        r = vane("query", "--url", v.url, "--time", str(now), "cli * 2")
        assert r.returncode == 0 and '{job="a b"}' in r.stdout and " 5\n" in r.stdout, r
        r = vane("query", "--url", v.url, "--time", str(now), "-o", "json", "cli")
        assert json.loads(r.stdout)["result"][0]["value"][1] == "2.5"
        r = vane("query", "--url", v.url, "--range", "1m", "cli")
        assert r.returncode == 0 and "cli" in r.stdout
        r = vane("query", "--url", v.url, "labels", "job")
        assert r.stdout == "a b\n", r
        r = vane("query", "--url", v.url, "series", "cli")
        assert r.stdout == 'cli{job="a b"}\n', r
        r = vane("query", "--url", v.url, "sum(")
        assert r.returncode == 1 and "parse error" in r.stderr, r
    r = vane("query", "--url", f"http://127.0.0.1:{free_port()}", "up")
    assert r.returncode == 1 and r.stderr


def serve_refuses_what_is_unsafe_or_taken():
    with Vane() as v:
        r = vane("serve", "--data", str(v.data), "--listen", f"127.0.0.1:{free_port()}", "--otlp-listen", f"127.0.0.1:{free_port()}")
        assert r.returncode == 1 and "another process" in r.stderr, r.stderr
        r = vane("serve", "--data", str(v.folder / "d2"), "--listen", f"127.0.0.1:{v.port}")
        assert r.returncode == 1 and str(v.port) in r.stderr, r.stderr
        r = vane("serve", "--data", str(v.folder / "d3"), "--listen", f"0.0.0.0:{free_port()}")
        assert r.returncode in (1, 2) and "--insecure" in r.stderr, r.stderr
        r = vane("fsck", str(v.data))
        assert r.returncode == 1 and "another process" in r.stderr.lower(), r
        v.write([({"__name__": "x"}, [(int(time.time() * 1000), 1)])])
        v.stop()
        r = vane("fsck", str(v.data))
        assert r.returncode == 0, r
        (v.data / "FORMAT").write_text("vane store 999\n")
        r = vane("serve", "--data", str(v.data), "--listen", f"127.0.0.1:{free_port()}")
        assert r.returncode == 1 and "newer" in r.stderr, r.stderr


def fsck_finds_a_flipped_bit():
    with Vane() as v:
        now = int(time.time() * 1000)
        for k in range(20):
            v.write([({"__name__": "x", "i": str(i)}, [(now + k, i * k)]) for i in range(500)])
        v.stop()
        segments = list(v.data.glob("seg/*/*"))
        assert segments, "a stop flushes the head into a segment"
        raw = bytearray(segments[0].read_bytes())
        raw[len(raw) // 3] ^= 0x10
        segments[0].write_bytes(raw)
        r = vane("fsck", str(v.data))
        assert r.returncode == 1 and segments[0].name in r.stdout + r.stderr, r
        v.start(wait=False)
        time.sleep(0.5)
        a = http("GET", v.url + "/-/healthy")
        assert a.status == 200
        v.kill()


run([help_is_everywhere, check_config_points_at_the_error, queries_as_tables_and_json, serve_refuses_what_is_unsafe_or_taken,
     fsck_finds_a_flipped_bit])
