/* Discovery's decoders and DNS, against rows and a name server on loopback; target population. */
#include <setjmp.h>
#include <stdarg.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "scrape/scrape_int.h"

static const struct {
    const char *text, *error; /* error NULL: fine */
    size_t targets;
} json_rows[] = {
    { "[]", NULL, 0 },
    { "null", NULL, 0 },
    { "[{\"targets\": [\"a:1\", \"b:2\"], \"labels\": {\"x\": \"y\"}}, {\"targets\": [\"c\"]}]", NULL, 3 },
    { "[{\"labels\": {\"x\": \"y\"}, \"targets\": null}]", NULL, 0 },
    { "{}", "expected a list of target groups", 0 },
    { "[1]", "expected a target group", 0 },
    { "[{\"targets\": \"a\"}]", "expected a list of targets", 0 },
    { "[{\"targets\": [1]}]", "expected a target (string)", 0 },
    { "[{\"labels\": {\"x\": 1}}]", "expected a label value", 0 },
    { "[{\"labels\": {\"\": \"1\"}}]", "expected a label name that is not empty", 0 },
    { "[{\"tragets\": []}]", "unknown field \"tragets\"", 0 },
    { "[{\"targets\": [\"a\"]}", "line 1", 0 },
    { "[] x", "line 1", 0 },
    { "", "line 1", 0 },
};
static size_t count(const struct sd_groups *g)
{
    size_t n = 0;
    for (size_t i = 0; i < g->v.n; i++)
        n += g->v.p[i].n;
    return n;
}
static void json_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(json_rows); i++) {
        struct sd_groups *g = sd_groups_new();
        struct err_text et = { .msg = "" };
        enum err e = sd_json_decode(g, str_c(json_rows[i].text), STR("__meta_filepath"), STR("f.json"), &et);
        if ((e == OK) != !json_rows[i].error || (e && !strstr(et.msg, json_rows[i].error)))
            fail_msg("row %zu: %s", i, et.msg);
        if (!e)
            assert_int_equal(count(g), json_rows[i].targets);
        for (size_t k = 0; !e && k < g->v.n; k++)
            for (size_t j = 0; j < g->v.p[k].n; j++)
                assert_true(str_eq(labels_get(g->v.p[k].targets[j], STR("__meta_filepath")), STR("f.json")));
        sd_groups_free(g);
    }
}

static void yaml_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
        size_t targets;
    } rows[] = {
        { "- targets: [a:1, b:2]\n  labels: {x: y}\n- targets: [c]\n", NULL, 3 },
        { "", NULL, 0 },
        { "targets: [a]\n", "f.yml:1:1: expected a list of target groups", 0 },
        { "- tragets: [a]\n", "f.yml:1:3: field tragets not found in type targetgroup.plain, did you mean \"targets\"?",
          0 },
        { "- targets: [a\n", "f.yml:2:1: yaml:", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sd_groups *g = sd_groups_new();
        struct err_text et = { .msg = "" };
        enum err e = sd_yaml_decode(g, STR("f.yml"), str_c(rows[i].text), STR("__meta_filepath"), &et);
        if ((e == OK) != !rows[i].error || (e && !strstr(et.msg, rows[i].error)))
            fail_msg("row %zu: %s", i, et.msg);
        if (!e)
            assert_int_equal(count(g), rows[i].targets);
        sd_groups_free(g);
    }
}

/* ---- DNS ---- */

struct name_server {
    int fd;
    atomic_bool stop;
    pthread_t thread;
};

static void put16(struct buf *b, unsigned v)
{
    buf_u8(b, (uint8_t)(v >> 8));
    buf_u8(b, (uint8_t)v);
}
/* An answer by the question's type: SRV, A, AAAA; NXDOMAIN for names that begin with 'n'. */
static void dns_answer(const unsigned char *q, size_t n, struct buf *b)
{
    size_t end = 12;
    while (end < n && q[end])
        end += q[end] + 1u;
    unsigned type = (unsigned)q[end + 1] << 8 | q[end + 2];
    bool absent = q[13] == 'n';
    buf_add(b, q, 2);
    put16(b, absent ? 0x8183 : 0x8180);
    put16(b, 1);
    put16(b, absent ? 0 : 1);
    put16(b, 0);
    put16(b, 0);
    buf_add(b, q + 12, end + 5 - 12);
    if (absent)
        return;
    put16(b, 0xc00c);
    put16(b, type);
    put16(b, 1);
    put16(b, 0);
    put16(b, 60);
    if (type == 33) {
        put16(b, 6 + 7);
        put16(b, 0);
        put16(b, 0);
        put16(b, 9100);
        buf_add(b, "\x01h\x03two\0", 7);
    } else if (type == 1) {
        put16(b, 4);
        buf_add(b, "\x0a\0\0\x01", 4);
    } else {
        put16(b, 16);
        buf_add(b, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
    }
}
static void dns_main(void *ctx)
{
    struct name_server *s = ctx;
    while (!atomic_load(&s->stop)) {
        struct pollfd p = { .fd = s->fd, .events = POLLIN };
        unsigned char q[512];
        struct sockaddr_in from;
        socklen_t n_from = sizeof(from);
        if (poll(&p, 1, 20) <= 0)
            continue;
        ssize_t n = recvfrom(s->fd, q, sizeof(q), 0, (struct sockaddr *)&from, &n_from);
        if (n < 17)
            continue;
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        dns_answer(q, (size_t)n, &b);
        sendto(s->fd, b.p, b.n, 0, (struct sockaddr *)&from, n_from);
    }
}
static void names_resolve(void **state)
{
    (void)state;
    struct name_server s = { .fd = socket(AF_INET, SOCK_DGRAM, 0) };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    assert_int_equal(bind(s.fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(s.fd, (struct sockaddr *)&a, &n), 0);
    sd_dns_port_override = ntohs(a.sin_port);
    assert_int_equal(thread_start(&s.thread, "dns", dns_main, &s), OK);
    static const struct {
        enum dns_sd_type type;
        const char *name, *address;
    } rows[] = {
        { DNS_SRV, "srv.example.", "h.two:9100" },
        { DNS_A, "a.example.", "10.0.0.1:80" },
        { DNS_AAAA, "a.example.", "[fd00::1]:80" },
        { DNS_A, "nowhere.example.", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dns_sd_config cfg = { .type = rows[i].type, .port = 80 };
        struct sd_groups *g = sd_groups_new();
        struct err_text et = { .msg = "" };
        if (sd_dns_resolve(&cfg, str_c(rows[i].name), g, &et))
            fail_msg("row %zu: %s", i, et.msg);
        assert_int_equal(count(g), rows[i].address != NULL);
        if (rows[i].address) {
            struct labels ls = g->v.p[0].targets[0];
            assert_true(str_eq(labels_get(ls, STR("__address__")), str_c(rows[i].address)));
            assert_true(str_eq(labels_get(ls, STR("__meta_dns_name")), str_c(rows[i].name)));
            if (rows[i].type == DNS_SRV)
                assert_true(str_eq(labels_get(ls, STR("__meta_dns_srv_record_target")), STR("h.two.")));
        }
        sd_groups_free(g);
    }
    atomic_store(&s.stop, true);
    thread_join(s.thread);
    close(s.fd);
    sd_dns_port_override = 0;
}

/* ---- population ---- */

static void targets_from_labels(void **state)
{
    (void)state;
    static const struct {
        const char *rules, *address, *url, *error;
    } rows[] = {
        { "", "h:80", "http://h:80/m?a=1&a=2", NULL },
        { "{target_label: __scheme__, replacement: https}", "h", "https://h/m?a=1&a=2", NULL },
        { "{target_label: __param_a, replacement: 'x y'}", "h", "http://h/m?a=x%20y&a=2", NULL },
        { "{target_label: __param_b, replacement: z}", "h", "http://h/m?a=1&a=2&b=z", NULL },
        { "{target_label: __metrics_path__, replacement: p?q}", "h", "http://h/p%3Fq?a=1&a=2", NULL },
        { "{target_label: __address__, replacement: ''}", "h", NULL, "no address" },
        { "{target_label: __address__, replacement: 'http://x'}", "h", NULL, "\"http://x\" is not a valid hostname" },
        { "{target_label: __scheme__, replacement: ftp}", "h", NULL, "unsupported scheme \"ftp\"" },
        { "{target_label: __scrape_interval__, replacement: often}", "h", NULL, "error parsing scrape interval" },
        { "{target_label: __scrape_timeout__, replacement: 1h}", "h", NULL,
          "scrape timeout cannot be greater than scrape interval (1h > 1m)" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct prom_config *c;
        struct err_text et = { .msg = "" };
        str yaml = arena_printf(
            &a,
            "scrape_configs:\n- job_name: j\n  metrics_path: /m\n  params: {a: ['1', '2']}\n  relabel_configs: [%s]\n",
            rows[i].rules);
        if (prom_config_parse(STR("t.yml"), yaml, &c, NULL, &et))
            fail_msg("%s", et.msg);
        struct label l = { STR("__address__"), str_c(rows[i].address) };
        struct target_spec spec;
        target_populate(&a, &c->scrape_configs.p[0], 0, (struct labels){ &l, 1 }, &spec);
        if (rows[i].error ? !strstr(spec.error, rows[i].error) : !str_eq(spec.url, str_c(rows[i].url)))
            fail_msg("row %zu: " STR_FMT " %s", i, STR_ARG(spec.url), spec.error);
        if (!rows[i].error)
            assert_true(str_eq(labels_get(spec.labels, STR("instance")), str_c(rows[i].address)));
        prom_config_unref(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(json_files), cmocka_unit_test(yaml_files),
                                        cmocka_unit_test(names_resolve), cmocka_unit_test(targets_from_labels) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
