/* Consul and Docker discovery against small servers: blocking queries, labels, a unix socket, trouble. */
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

int main(void)
{
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(consul, setup, teardown),
        cmocka_unit_test_setup_teardown(docker, setup, teardown),
        cmocka_unit_test_setup_teardown(docker_socket, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
