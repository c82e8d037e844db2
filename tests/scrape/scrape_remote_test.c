/* Consul, Docker and EC2 discovery against small servers: blocking queries, labels, a unix socket, trouble. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/log.h"
#include "base/os.h"
#include "http/http.h"
#include "scrape/scrape.h"
#include "target_server.h"

struct fake {
    struct target_server *server;
    atomic_int stage; /* of consul: the index is stage + 1 */
    atomic_bool token_seen, filter_seen;
};

#define WEB_1                                                                                                          \
    "{\"Node\":{\"Node\":\"n1\",\"Address\":\"10.0.0.1\",\"Datacenter\":\"dc1\",\"Meta\":{\"rack\":\"r1\"},"           \
    "\"TaggedAddresses\":{\"lan\":\"10.0.0.1\"}},"                                                                     \
    "\"Service\":{\"ID\":\"web-1\",\"Service\":\"web\",\"Tags\":[\"a\",\"b\"],\"Address\":\"\",\"Port\":80,\"Meta\":{" \
    "\"v\":\"1\"}},"                                                                                                   \
    "\"Checks\":[{\"CheckID\":\"x\",\"Status\":\"warning\"},{\"CheckID\":\"y\",\"Status\":\"passing\"}]}"
#define WEB_2                                                                                                    \
    "{\"Node\":{\"Node\":\"n2\",\"Address\":\"10.0.0.2\",\"Datacenter\":\"dc1\"},\"Service\":{\"ID\":\"web-2\"," \
    "\"Service\":\"web\",\"Tags\":[],"                                                                           \
    "\"Address\":\"10.9.9.9\",\"Port\":81},\"Checks\":[]}"

static const char containers[] =
    "[{\"Id\":\"c1\",\"Names\":[\"/"
    "web\"],\"Ports\":[{\"IP\":\"0.0.0.0\",\"PrivatePort\":80,\"PublicPort\":8080,\"Type\":\"tcp\"},{\"PrivatePort\":"
    "53,\"Type\":\"udp\"}],"
    "\"Labels\":{\"com.x/"
    "y\":\"z\"},\"HostConfig\":{\"NetworkMode\":\"front\"},\"NetworkSettings\":{\"Networks\":{\"front\":{\"NetworkID\":"
    "\"n1\",\"IPAddress\":"
    "\"172.0.0.2\"},\"back\":{\"NetworkID\":\"n2\",\"IPAddress\":\"172.1.0.2\"}}}},"
    "{\"Id\":\"c2\",\"Names\":[\"/"
    "side\"],\"Ports\":[],\"HostConfig\":{\"NetworkMode\":\"container:c1\"},\"NetworkSettings\":{\"Networks\":{}}},"
    "{\"Id\":\"c3\",\"Names\":[\"/"
    "hosted\"],\"Ports\":[],\"HostConfig\":{\"NetworkMode\":\"host\"},\"NetworkSettings\":{\"Networks\":{\"host\":{"
    "\"NetworkID\":\"n3\","
    "\"IPAddress\":\"\"}}}}]";
static const char networks[] =
    "[{\"Id\":\"n1\",\"Name\":\"front\",\"Scope\":\"local\",\"Internal\":false,\"Ingress\":false,\"Labels\":{\"l\":"
    "\"1\"}},"
    "{\"Id\":\"n2\",\"Name\":\"back\",\"Scope\":\"local\",\"Internal\":true,\"Ingress\":false,\"Labels\":null}]";

static void answer_json(struct target_answer *a, int index, str body)
{
    char headers[120];
    snprintf(headers, sizeof(headers), "Content-Type: application/json\r\nX-Consul-Index: %d\r\n", index);
    target_answer_text(a, "200 OK", headers, body);
}

/* Hold a blocking query until the stage is not what the asker knows. */
static int wait_stage(struct fake *f, str path)
{
    size_t at = str_find(path, STR("index="));
    for (int i = 0; at != SIZE_MAX && i < 1000 && atomic_load(&f->stage) + 1 == path.p[at + 6] - '0'; i++)
        os_sleep_ms(5);
    return atomic_load(&f->stage);
}

static bool answer(void *ctx, str path, str head, struct target_answer *a)
{
    struct fake *f = ctx;
    if (str_contains(head, STR("X-Consul-Token: tok\r\n")))
        atomic_store(&f->token_seen, true);
    if (str_contains(path, STR("filters=%7B%22name%22%3A%5B%22web%22%5D%7D")))
        atomic_store(&f->filter_seen, true);
    if (str_has_prefix(path, STR("/v1/catalog/services?"))) {
        int stage = wait_stage(f, path);
        answer_json(a, stage + 1, stage < 2 ? STR("{\"web\":[\"a\",\"b\"],\"db\":[]}") : STR("{\"db\":[]}"));
    } else if (str_has_prefix(path, STR("/v1/health/service/web?"))) {
        int stage = wait_stage(f, path);
        answer_json(a, stage + 1, stage == 0 ? STR("[" WEB_1 "]") : STR("[" WEB_1 "," WEB_2 "]"));
    } else if (str_has_prefix(path, STR("/containers/json"))) {
        answer_json(a, 1, str_c(containers));
    } else if (str_has_prefix(path, STR("/networks"))) {
        answer_json(a, 1, str_c(networks));
    } else {
        target_answer_text(a, "404 Not Found", "", STR("no\n"));
    }
    return true;
}

static enum err sink_append(struct scrape_sink *sink, const struct batch *b)
{
    (void)sink, (void)b;
    return OK;
}

static void configure(struct scrape *s, const char *discovery)
{
    AUTO_BUF struct buf b;
    struct prom_config *c;
    struct err_text et = { .msg = "" };
    buf_init(&b, 0);
    buf_printf(&b, "global: {scrape_interval: 1h}\nscrape_configs:\n- job_name: k\n  %s\n", discovery);
    if (prom_config_parse(STR("t.yml"), buf_str(&b), &c, NULL, &et) || scrape_reload(s, c, &et))
        fail_msg("%s", et.msg);
}

static void addresses(struct scrape *s, struct arena *a, struct scrape_status *st, char *text, size_t size)
{
    size_t n = 0;
    scrape_status(s, STR(""), STR(""), a, st);
    text[0] = 0;
    for (size_t k = 0; k < st->n_active && n < size; k++)
        n += (size_t)snprintf(text + n, size - n, STR_FMT " ",
                              STR_ARG(labels_get(st->active[k].labels, STR("instance"))));
}
static void wait_targets(struct scrape *s, struct arena *a, struct scrape_status *st, const char *want)
{
    char got[300];
    for (int i = 0; i < 1000; i++) {
        addresses(s, a, st, got, sizeof(got));
        if (strcmp(got, want) == 0)
            return;
        os_sleep_ms(5);
    }
    fail_msg("targets are %s, not %s", got, want);
}

/* The meta labels of a target. */
static void check_meta(struct labels ls, const char *want)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf text;
    struct label_builder b;
    arena_init(&a, 0);
    buf_init(&text, 0);
    lb_init(&b, &a);
    labels_each (l, ls)
        if (str_has_prefix(l->name, STR("__meta_")))
            lb_set(&b, str_skip(l->name, 7), l->value);
    labels_print(&text, lb_labels(&b));
    buf_u8(&text, 0);
    assert_string_equal(text.p, want);
}

struct rig {
    struct fake fake;
    struct scrape_sink sink;
    struct scrape *s;
    struct arena a;
};
static int setup(void **state)
{
    struct rig *r = mem_zalloc(sizeof(*r));
    struct err_text et;
    arena_init(&r->a, 0);
    r->sink.append = sink_append;
    r->fake.server = target_server_open(answer, &r->fake);
    assert_int_equal(scrape_open(&(struct scrape_options){ .sink = &r->sink }, &r->s, &et), OK);
    *state = r;
    return 0;
}
static int teardown(void **state)
{
    struct rig *r = *state;
    scrape_close(r->s);
    target_server_close(r->fake.server);
    arena_deinit(&r->a);
    mem_free(r);
    return 0;
}

static void consul(void **state)
{
    struct rig *r = *state;
    struct scrape_status st;
    char text[300];
    snprintf(text, sizeof(text),
             "consul_sd_configs: [{server: '127.0.0.1:%u', token: tok, tags: [a], refresh_interval: 10ms}]",
             target_server_port(r->fake.server));
    configure(r->s, text);
    wait_targets(r->s, &r->a, &st, "10.0.0.1:80 ");
    assert_true(atomic_load(&r->fake.token_seen));
    check_meta(st.active[0].discovered, "{consul_address=\"10.0.0.1\", consul_dc=\"dc1\", consul_health=\"warning\", "
                                        "consul_metadata_rack=\"r1\", consul_node=\"n1\", "
                                        "consul_service=\"web\", consul_service_id=\"web-1\", "
                                        "consul_service_metadata_v=\"1\", consul_service_port=\"80\", "
                                        "consul_tagged_address_lan=\"10.0.0.1\", consul_tags=\",a,b,\"}");
    atomic_store(&r->fake.stage, 1);
    wait_targets(r->s, &r->a, &st, "10.0.0.1:80 10.9.9.9:81 ");
    check_meta(st.active[1].discovered, "{consul_address=\"10.0.0.2\", consul_dc=\"dc1\", consul_health=\"passing\", "
                                        "consul_node=\"n2\", consul_service=\"web\", "
                                        "consul_service_address=\"10.9.9.9\", consul_service_id=\"web-2\", "
                                        "consul_service_port=\"81\", consul_tags=\",,\"}");
    atomic_store(&r->fake.stage, 2); /* the service leaves the catalog */
    wait_targets(r->s, &r->a, &st, "");
    snprintf(text, sizeof(text), "consul_sd_configs: [{server: '127.0.0.1:%u', services: [web]}]",
             target_server_port(r->fake.server));
    configure(r->s, text);
    wait_targets(r->s, &r->a, &st, "10.0.0.1:80 10.9.9.9:81 ");
}

static void docker(void **state)
{
    struct rig *r = *state;
    struct scrape_status st;
    char text[300];
    snprintf(text, sizeof(text),
             "docker_sd_configs: [{host: 'tcp://127.0.0.1:%u', filters: [{name: name, values: [web]}], "
             "host_networking_host: me}]",
             target_server_port(r->fake.server));
    configure(r->s, text);
    wait_targets(r->s, &r->a, &st, "172.1.0.2:80 me ");
    assert_true(atomic_load(&r->fake.filter_seen));
    snprintf(text, sizeof(text),
             "docker_sd_configs: [{host: 'tcp://127.0.0.1:%u', match_first_network: false, port: 99}]",
             target_server_port(r->fake.server));
    configure(r->s, text);
    wait_targets(r->s, &r->a, &st, "172.0.0.2:80 172.0.0.2:99 172.1.0.2:80 172.1.0.2:99 localhost ");
    check_meta(st.active[0].discovered, "{docker_container_id=\"c1\", docker_container_label_com_x_y=\"z\", "
                                        "docker_container_name=\"/web\", docker_container_network_mode=\"front\", "
                                        "docker_network_id=\"n1\", docker_network_ingress=\"false\", "
                                        "docker_network_internal=\"false\", docker_network_ip=\"172.0.0.2\", "
                                        "docker_network_label_l=\"1\", docker_network_name=\"front\", "
                                        "docker_network_scope=\"local\", docker_port_private=\"80\", "
                                        "docker_port_public=\"8080\", docker_port_public_ip=\"0.0.0.0\"}");
}

/* ---- a unix socket ---- */

static void unix_main(void *ctx)
{
    int fd = *(int *)ctx;
    for (int served = 0; served < 2; served++) {
        char in[4000];
        AUTO_BUF struct buf out;
        buf_init(&out, 0);
        int c = accept(fd, NULL, NULL);
        ssize_t n = c < 0 ? -1 : recv(c, in, sizeof(in) - 1, 0);
        if (n <= 0)
            return;
        in[n] = 0;
        const char *body = strstr(in, "/containers/json") ? containers : networks;
        buf_printf(
            &out,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
            strlen(body), body);
        assert_int_equal(send(c, out.p, out.n, MSG_NOSIGNAL), (ssize_t)out.n);
        close(c);
    }
}

static void docker_socket(void **state)
{
    struct rig *r = *state;
    struct scrape_status st;
    char dir[] = "/tmp/vane-docker-XXXXXX", text[300];
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    pthread_t thread;
    assert_non_null(mkdtemp(dir));
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/docker.sock", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(thread_start(&thread, "unix", unix_main, &fd), OK);
    snprintf(text, sizeof(text), "docker_sd_configs: [{host: 'unix://%s'}]", sa.sun_path);
    configure(r->s, text);
    wait_targets(r->s, &r->a, &st, "172.1.0.2:80 localhost ");
    thread_join(thread);
    close(fd);
    unlink(sa.sun_path);
    rmdir(dir);
}

/* ---- EC2: an instance's metadata and a region with two pages of instances ---- */

enum ec2_whim { EC2_FINE, EC2_NO_ZONES, EC2_REFUSES, EC2_GARBAGE };
static _Atomic(enum ec2_whim) ec2_whim;
static atomic_int ec2_filtered, ec2_zones;

#define EC2_NIC(device, subnet, address, primary)                                                                     \
    "<item><subnetId>" subnet "</subnetId><attachment><deviceIndex>" device "</deviceIndex></attachment>"             \
    "<ipv6AddressesSet><item><ipv6Address>" address "</ipv6Address><isPrimaryIpv6>" primary "</isPrimaryIpv6></item>" \
    "</ipv6AddressesSet></item>"
static const char ec2_first[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>"
    "<reservationSet><item><reservationId>r-1</reservationId><ownerId>1234</ownerId><groupSet/><instancesSet>"
    "<item><instanceId>i-1</instanceId><imageId>ami-1</imageId><instanceState><code>16</code><name>running</name>"
    "</instanceState><privateDnsName>ip-10-0-0-1.internal</privateDnsName><dnsName>ec2-1.example</dnsName>"
    "<instanceType>m5.large</instanceType><placement><availabilityZone>eu-central-1a</availabilityZone></placement>"
    "<platform>windows</platform><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><privateIpAddress>10.0.0.1"
    "</privateIpAddress><ipAddress>203.0.113.9</ipAddress><architecture>x86_64</architecture><instanceLifecycle>spot"
    "</instanceLifecycle><tagSet><item><key>aws:Name</key><value>a &amp; b</value></item><item><key>empty</key><value/>"
    "</item></tagSet><networkInterfaceSet>" EC2_NIC("1", "subnet-2", "2001:db8::2",
                                                    "true") EC2_NIC("0", "subnet-1", "2001:db8::1", "false")
        EC2_NIC("2", "subnet-2", "2001:db8::3", "false") "</networkInterfaceSet></item><item><instanceId>i-gone</"
                                                         "instanceId></item></instancesSet></item></reservationSet>"
                                                         "<nextToken>more+/=</nextToken></DescribeInstancesResponse>";
static const char ec2_second[] =
    "<DescribeInstancesResponse><reservationSet><item><ownerId>1234</ownerId><instancesSet><item><instanceId>i-2"
    "</instanceId><privateIpAddress>10.0.0.2</privateIpAddress><placement><availabilityZone>eu-central-1b"
    "</availabilityZone></placement></item></instancesSet></item></reservationSet></DescribeInstancesResponse>";
static const char ec2_zone_list[] =
    "<DescribeAvailabilityZonesResponse><availabilityZoneInfo><item><zoneName>eu-central-1a</zoneName><zoneId>euc1-az2"
    "</zoneId></item><item><zoneName>eu-central-1b</zoneName><zoneId>euc1-az3</zoneId></item></availabilityZoneInfo>"
    "</DescribeAvailabilityZonesResponse>";

static void ec2_api(struct http_request *rq, struct http_response *rs)
{
    str action = http_param(rq, STR("Action")), token = http_param(rq, STR("NextToken"));
    enum ec2_whim w = atomic_load(&ec2_whim);
    bool zones = str_eq(action, STR("DescribeAvailabilityZones"));
    if (str_eq(http_param(rq, STR("Filter.1.Name")), STR("tag:env")) &&
        str_eq(http_param(rq, STR("Filter.1.Value.2")), STR("a b")))
        atomic_fetch_add(&ec2_filtered, 1);
    if (!str_contains(http_header(rq, STR("Authorization")), STR("/eu-central-1/ec2/aws4_request")) ||
        !str_eq(http_param(rq, STR("Version")), STR("2016-11-15")) || w == EC2_REFUSES ||
        (zones && w == EC2_NO_ZONES)) {
        rs->status = 403;
        buf_lit(&rs->body, "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>not allowed</Message>"
                           "</Error></Errors><RequestID>1</RequestID></Response>");
    } else if (zones) {
        atomic_fetch_add(&ec2_zones, 1);
        buf_str_add(&rs->body, str_c(ec2_zone_list));
    } else if (w == EC2_GARBAGE) {
        buf_lit(&rs->body, "<DescribeInstancesResponse><reservationSet>");
    } else if (str_eq(token, STR("more+/="))) {
        buf_str_add(&rs->body, str_c(ec2_second));
    } else {
        buf_str_add(&rs->body, str_c(ec2_first));
    }
}

static void ec2_metadata(struct http_request *rq, struct http_response *rs)
{
    buf_lit(&rs->body, "tok");
    if (rq->method == HTTP_GET) {
        buf_clear(&rs->body);
        buf_lit(&rs->body, "eu-central-1");
    }
}

static const struct http_route ec2_routes[] = {
    { HTTP_BIT(HTTP_POST), "/", ec2_api, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_PUT), "/latest/api/token", ec2_metadata, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/latest/meta-data/placement/region", ec2_metadata, HTTP_CONTROL, NULL, 0 },
};

static void wait_error(struct rig *r, const char *text)
{
    struct scrape_status st;
    for (int i = 0; i < 2000; i++) {
        scrape_status(r->s, STR(""), STR(""), &r->a, &st);
        for (size_t k = 0; k < st.n_pools; k++)
            if (str_contains(st.pools[k].discovery_error, str_c(text)))
                return;
        os_sleep_ms(5);
    }
    fail_msg("no error with %s", text);
}

static void ec2(void **state)
{
    struct rig *r = *state;
    struct scrape_status st;
    struct http_server *server;
    struct err_text why;
    const struct http_listener l = { .address = "127.0.0.1" };
    const struct http_table t = { ec2_routes, ARRAY_LEN(ec2_routes), NULL, 0 };
    const struct http_server_config cfg = {
        .listeners = &l, .n_listeners = 1, .tables = &t, .n_tables = 1, .drain_ms = 200
    };
    char text[400], base[100];
    assert_int_equal(http_server_open(&cfg, &server, &why), OK);
    snprintf(base, sizeof(base), "http://127.0.0.1:%u", http_server_port(server, 0));
    unsetenv("AWS_REGION");
    unsetenv("AWS_DEFAULT_REGION");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", base, 1);
    setenv("AWS_CONFIG_FILE", "/nowhere", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere", 1);
    snprintf(text, sizeof(text),
             "ec2_sd_configs: [{endpoint: '%s', access_key: AK, secret_key: SK, port: 9100, refresh_interval: 1s, "
             "filters: [{name: 'tag:env', values: [x, 'a b']}]}]",
             base);
    configure(r->s, text);
    wait_targets(r->s, &r->a, &st, "10.0.0.1:9100 10.0.0.2:9100 ");
    assert_in_range(atomic_load(&ec2_filtered), 2, 1000);
    check_meta(st.active[0].discovered,
               "{ec2_ami=\"ami-1\", ec2_architecture=\"x86_64\", ec2_availability_zone=\"eu-central-1a\", "
               "ec2_availability_zone_id=\"euc1-az2\", ec2_instance_id=\"i-1\", ec2_instance_lifecycle=\"spot\", "
               "ec2_instance_state=\"running\", ec2_instance_type=\"m5.large\", "
               "ec2_ipv6_addresses=\",2001:db8::2,2001:db8::1,2001:db8::3,\", ec2_owner_id=\"1234\", "
               "ec2_platform=\"windows\", ec2_primary_ipv6_addresses=\",,2001:db8::2,\", "
               "ec2_primary_subnet_id=\"subnet-1\", ec2_private_dns_name=\"ip-10-0-0-1.internal\", "
               "ec2_private_ip=\"10.0.0.1\", ec2_public_dns_name=\"ec2-1.example\", ec2_public_ip=\"203.0.113.9\", "
               "ec2_region=\"eu-central-1\", ec2_subnet_id=\",subnet-2,subnet-1,\", ec2_tag_aws_Name=\"a & b\", "
               "ec2_vpc_id=\"vpc-1\"}");
    check_meta(st.active[1].discovered,
               "{ec2_availability_zone=\"eu-central-1b\", ec2_availability_zone_id=\"euc1-az3\", "
               "ec2_instance_id=\"i-2\", ec2_owner_id=\"1234\", ec2_private_ip=\"10.0.0.2\", "
               "ec2_region=\"eu-central-1\"}");
    atomic_store(&ec2_whim, EC2_REFUSES);
    wait_error(r, "ec2: DescribeInstances: HTTP status 403 UnauthorizedOperation: not allowed");
    atomic_store(&ec2_whim, EC2_GARBAGE);
    wait_error(r, "ec2: DescribeInstances: not the XML that was expected");
    wait_targets(r->s, &r->a, &st, "10.0.0.1:9100 10.0.0.2:9100 "); /* the last good answer stays */
    assert_int_equal(atomic_load(&ec2_zones), 1);
    atomic_store(&ec2_whim, EC2_NO_ZONES);
    snprintf(text, sizeof(text),
             "ec2_sd_configs: [{endpoint: '%s', region: eu-central-1, access_key: AK, secret_key: SK, port: 1}]", base);
    configure(r->s, text);
    wait_targets(r->s, &r->a, &st, "10.0.0.1:1 10.0.0.2:1 ");
    assert_true(str_eq(labels_get(st.active[1].discovered, STR("__meta_ec2_availability_zone_id")), STR("")));
    http_server_close(server);
}

int main(void)
{
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(consul, setup, teardown),
        cmocka_unit_test_setup_teardown(docker, setup, teardown),
        cmocka_unit_test_setup_teardown(docker_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(ec2, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
