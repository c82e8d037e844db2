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


ZONES = "<R><availabilityZoneInfo><item><zoneName>eu-west-1a</zoneName><zoneId>euw1-az1</zoneId></item></availabilityZoneInfo></R>"
INSTANCES = """<R><reservationSet><item><ownerId>7</ownerId><instancesSet><item><instanceId>i-7</instanceId>
<privateIpAddress>127.0.0.1</privateIpAddress><placement><availabilityZone>eu-west-1a</availabilityZone></placement><tagSet>
<item><key>Name</key><value>web</value></item></tagSet></item></instancesSet></item></reservationSet></R>"""


def instances_are_scraped_with_the_role_of_this_one():
    """Nothing is configured but the endpoint: region and keys come from the metadata service."""
    def role(post):
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return 200, f'{{"Code":"Success","AccessKeyId":"IK","SecretAccessKey":"hunter4","Token":"tok4","Expiration":"{ends}"}}', {}

    def ec2(post):
        return 200, ZONES if post.form["Action"] == "DescribeAvailabilityZones" else INSTANCES, {}

    roles = "/latest/meta-data/iam/security-credentials/"
    metrics = 200, "up_here 1\n", {"Content-Type": "text/plain"}
    with Providers({"/latest/api/token": (200, "t", {}), roles: (200, "r", {}), roles + "r": role, "/metrics": metrics,
                    "/latest/meta-data/placement/region": (200, "eu-west-1", {}), "/ec2": ec2}) as p:
        os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"http://127.0.0.1:{p.port}"
        v = Vane(config=f"""
scrape_configs:
- job_name: aws
  scrape_interval: 1s
  ec2_sd_configs: [{{endpoint: "http://127.0.0.1:{p.port}/ec2", port: {p.port}}}]
  relabel_configs: [{{source_labels: [__meta_ec2_tag_Name, __meta_ec2_availability_zone_id], target_label: who}}]
""")
        try:
            v.start()
            wait_for(lambda: v.value("up_here", time.time() + 1) == 1, "a scrape of the instance")
            target = v.get("/api/v1/targets").json["data"]["activeTargets"][0]
            assert target["labels"]["who"] == "web;euw1-az1", target
            assert target["discoveredLabels"]["__meta_ec2_region"] == "eu-west-1", target
            for post in p.to("/ec2"):
                assert post.headers["X-Amz-Security-Token"] == "tok4" and "/eu-west-1/ec2/aws4_request" in post.headers["Authorization"]
                assert sigv4_is_right(post, "hunter4", f"127.0.0.1:{p.port}")
            assert "hunter4" not in v.log_text() and "not supported" not in v.log_text()
        finally:
            v.kill()
            shutil.rmtree(v.folder, ignore_errors=True)


run([remote_write_is_signed, instances_are_scraped_with_the_role_of_this_one])
shutil.rmtree(HOME, ignore_errors=True)
