"""OTLP over gRPC with real clients: the OpenTelemetry JS SDK plain, gzip and over TLS, grpc-js with bytes of its own."""
import contextlib
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CLIENTS = pathlib.Path(os.environ.get("VANE_E2E_CLIENTS", HERE / "clients"))
TLS = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-tls-"))
os.environ["SSL_CERT_FILE"] = str(TLS / "cert.pem")  # before urllib makes its TLS context

from vane_e2e import Vane, run  # noqa: E402


def node(script, *args):
    r = subprocess.run(["node", str(CLIENTS / script), *args], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0 and "Error" not in r.stderr, r.stderr
    return r.stdout


def assert_instruments(v):
    job = 'job="e2e/js-grpc",instance="i1"'
    assert v.value(f'orders_total{{{job},region_name="eu"}}') == 3
    assert v.value(f"queue_size{{{job}}}") == -2
    assert v.value(f"temperature_celsius{{{job}}}") == 21.5
    assert v.value(f'request_duration_seconds_bucket{{{job},le="0.5"}}') == 2
    assert v.value(f"histogram_count(exp_latency_milliseconds{{{job}}})") == 100
    assert v.value(f'target_info{{{job},cloud_region="eu"}}') == 1


def metric(v, line):
    for got in v.get("/metrics").body.decode().splitlines():
        if got.startswith(line):
            return float(got.rsplit(" ", 1)[1])
    return None


def sdk_plain_and_gzip():
    for compression in ("none", "gzip"):
        with Vane() as v:
            node("otel_metrics.mjs", "grpc", f"http://127.0.0.1:{v.grpc_port}", compression)
            assert_instruments(v)
            assert metric(v, 'vane_grpc_calls_total{method="opentelemetry.proto.collector.metrics.v1.MetricsService/Export",code="OK"}') >= 1
            assert metric(v, "vane_grpc_calls_in_flight") == 0


def calls_and_their_statuses():
    with Vane() as v:
        by = {}
        for r in json.loads(node("grpc_calls.mjs", f"127.0.0.1:{v.grpc_port}")):
            by.setdefault(r["name"], []).append(r)
        assert by["health"][0]["code"] == 0 and by["health"][0]["hex"] == "0801", by["health"]
        assert by["unknown"][0]["code"] == 12, by["unknown"]
        assert by["bad"][0]["code"] == 3 and by["bad"][0]["details"], by["bad"]
        assert by["large"][0]["code"] == 8 and by["large"][0]["retry"] == 0, by["large"]
        assert by["late"][0]["code"] == 4, by["late"]
        assert len(by["many"]) == 2000 and all(r["code"] == 0 for r in by["many"])


def alpn(v, protocols):
    """What a TLS client that offers these gets: the protocol, or None when it is sent away."""
    context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    if protocols:
        context.set_alpn_protocols(protocols)
    try:
        with socket.create_connection(("127.0.0.1", v.grpc_port), 5) as s, context.wrap_socket(s, server_hostname="127.0.0.1") as t:
            t.settimeout(5)
            return t.selected_alpn_protocol() if t.recv(1) else None
    except OSError:
        return None


def tls():
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(TLS / "key.pem"),
                    "-out", str(TLS / "cert.pem")], check=True, capture_output=True)
    v = Vane(f"web: {{tls_cert_file: {TLS}/cert.pem, tls_key_file: {TLS}/key.pem}}\n")
    v.url = v.url.replace("http:", "https:")
    with v:
        node("otel_metrics.mjs", "grpc", f"https://127.0.0.1:{v.grpc_port}", "gzip", str(TLS / "cert.pem"))
        assert_instruments(v)
        assert alpn(v, ["h2"]) == "h2"
        assert alpn(v, ["http/1.1"]) is None
        assert alpn(v, None) is None
        with socket.create_connection(("127.0.0.1", v.grpc_port), 5) as s:  # no TLS at all
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            s.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                while s.recv(4096):
                    pass
        assert metric(v, 'vane_grpc_cut_total{reason="tls"}') >= 2


def turned_off():
    with Vane(args=["--no-otlp-grpc-listen"]) as v:
        with socket.socket() as s:
            assert s.connect_ex(("127.0.0.1", v.grpc_port)) != 0


try:
    run([sdk_plain_and_gzip, calls_and_their_statuses, tls, turned_off])
finally:
    shutil.rmtree(TLS, ignore_errors=True)
