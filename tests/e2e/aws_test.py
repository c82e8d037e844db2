"""Amazon's signature and discovery: the fake ones compute the signature themselves."""
import os
import shutil
import tempfile
import time

from fake_receivers import Providers, sigv4_is_right
from vane_e2e import Vane, run, wait_for

for name in [n for n in os.environ if n.startswith("AWS_")]:
    del os.environ[name]
os.environ["HOME"] = HOME = tempfile.mkdtemp(prefix="vane-e2e-home-")


def remote_write_is_signed():
    with Providers() as p:
        sender = Vane(config=f"""
remote_write:
- url: http://127.0.0.1:{p.port}/workspaces/ws-1/api/v1/remote%20write?b=2&a=%2F
  sigv4: {{region: eu-central-1, access_key: AK, secret_key: hunter2}}
  metadata_config: {{send: false}}
  queue_config: {{batch_send_deadline: 100ms}}
""")
        try:
            sender.start()
            sender.write([({"__name__": "x"}, [(int(time.time() * 1000), 1.5)])])
            got = wait_for(lambda: p.to("/workspaces/ws-1/"), "a request")[0]
            assert "/eu-central-1/aps/aws4_request" in got.headers["Authorization"], got.headers
            got.path, got.query = "/workspaces/ws-1/api/v1/remote%2520write", "a=%2F&b=2"  # their canonical form
            assert sigv4_is_right(got, "hunter2", f"127.0.0.1:{p.port}")
            assert not sigv4_is_right(got, "hunter3", f"127.0.0.1:{p.port}")
            shown = sender.get("/api/v1/status/config").body.decode()
            assert "hunter2" not in shown and "eu-central-1" in shown, shown
            assert "hunter2" not in sender.log_text() and "not supported" not in sender.log_text()
        finally:
            sender.kill()
            shutil.rmtree(sender.folder, ignore_errors=True)


run([remote_write_is_signed])
shutil.rmtree(HOME, ignore_errors=True)
