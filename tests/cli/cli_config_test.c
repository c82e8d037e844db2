/* vane.yaml: defaults, inclusion, expansion, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "cli/cli_config.h"

static char dir[] = "/tmp/vane-cli-config-XXXXXX";
static const char *put(const char *name, const char *text)
{
    static char path[200];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}
static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}
static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = { "vane.yaml", "prometheus.yml", "web.yml", "tls.yml", "mtls.yml" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[200];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}
static struct cli_config *load(const char *text)
{
    struct cli_config *c = NULL;
    struct err_text et = { .msg = "" };
    if (cli_config_load(text ? put("vane.yaml", text) : NULL, &c, NULL, &et))
        fail_msg("%s", et.msg);
    return c;
}

static void no_file_is_fine(void **state)
{
    (void)state;
    static const char *const texts[] = { NULL, "", "# nothing\n" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct cli_config *c = load(texts[i]);
        assert_int_equal(c->listen.n, 1);
        assert_int_equal(c->listen.p[0].port, 9090);
        assert_int_equal(c->retention.time_ms, 15ll * 86400000);
        assert_true(c->host.enabled);
        assert_non_null(c->prom);
        assert_int_equal(c->prom->scrape_configs.n, 0);
        cli_config_free(c);
    }
}

static void all_forms_load(void **state)
{
    (void)state;
    setenv("VANE_TEST_PORT", "9999", 1);
    struct cli_config *c =
        load("listen: ['127.0.0.1:${VANE_TEST_PORT}', '[::1]:1']\notlp_listen: ''\notlp_grpc_listen: "
             "'[::1]:4400'\nhost_metrics: off\nretention: {time: 3d, size: 1GB}\n"
             "log: {level: debug, format: json}\nscrape_configs: [{job_name: a}]\n");
    assert_int_equal(c->listen.p[0].port, 9999);
    assert_true(str_eq(c->listen.p[1].host, STR("::1")));
    assert_int_equal(c->otlp_listen.n, 0);
    assert_int_equal(c->otlp_grpc_listen.n, 1);
    assert_int_equal(c->otlp_grpc_listen.p[0].port, 4400);
    assert_false(c->host.enabled);
    assert_int_equal(c->retention.bytes, 1ull << 30);
    assert_int_equal(c->log.format, CLI_LOG_JSON);
    assert_true(str_eq(c->prom->scrape_configs.p[0].job_name, STR("a")));
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    cli_config_print(c, &out);
    assert_true(str_has_prefix(
        buf_str(&out),
        STR("listen:\n- 127.0.0.1:9999\n- \"[::1]:1\"\notlp_listen: []\notlp_grpc_listen:\n- \"[::1]:4400\"\n")));
    cli_config_free(c);

    /* a prometheus.yml is a configuration; ${...} stays as Prometheus reads it */
    c = load("global: {scrape_interval: 7s}\nstorage: {tsdb: {retention: {time: 2d}}}\nscrape_configs:\n- job_name: a\n"
             "  relabel_configs: [{target_label: x, replacement: '${NOT_SET}'}]\n");
    assert_int_equal(c->prom->scrape_configs.p[0].interval_ms, 7000);
    assert_int_equal(c->retention.time_ms, 2 * 86400000);
    cli_config_free(c);

    put("prometheus.yml", "scrape_configs:\n- job_name: included\n");
    c = load("prometheus: prometheus.yml\n");
    assert_true(str_eq(c->prom->scrape_configs.p[0].job_name, STR("included")));
    cli_config_free(c);
}

static const struct {
    const char *text, *error;
} bad[] = {
    { "retention:\n  - match: '{a=\"b\"'\n    keep: 3d\n", "vane.yaml:2:12: not a series selector: 1:" },
    { "retention:\n  - match: '{a=~\"(\"}'\n    keep: 3d\n", "vane.yaml:2:12: not a series selector: " },
    { "retention:\n  - match: '{a=\"b\"}'\n    keep: -3d\n", "vane.yaml:3:11: keep must not be negative: \"-3d\"" },
    { "retention:\n  - {match: '{a=\"b\"}', keep: 0}\n", "vane.yaml:2:30: keep must be more than 0" },
    { "retention:\n  - {match: '{a=\"b\"}'}\n", "vane.yaml:2:5: keep is missing" },
    { "retention:\n  - keep: 3d\n  - {match: x, keep: 1d}\n", "vane.yaml:2:5: an entry without match is the default" },
    { "retention: {rules: [{keep: 3d}]}\n", "vane.yaml:1:21: a rule needs match" },
    { "rollups: [{resolution: 7m, keep: 90d}]\n", "vane.yaml:1:24: a resolution is at least 1m and divides a day" },
    { "rollups: [{resolution: 30s, keep: 90d}]\n", "vane.yaml:1:24: a resolution is at least 1m" },
    { "rollups: [{resolution: 5m, keep: 90d}, {resolution: 8m, keep: 1y}]\n",
      "vane.yaml:1:53: of two resolutions, one must be a multiple of the other" },
    { "rollups: [{resolution: 5m, keep: 90d}, {resolution: 5m, keep: 1y}]\n",
      "vane.yaml:1:53: this resolution is there already" },
    { "rollups: [{resolution: 5m, keep: 90d, mach: up}]\n", "did you mean \"match\"" },
    { "listn: x\n", "vane.yaml:1:1: field listn not found in type vane.yaml, did you mean \"listen\"?" },
    { "listen: here\n", "not a listen address: \"here\"" },
    { "retention: {tiem: 3d}\n", "did you mean \"time\"?" },
    { "log:\n  level: loud\n", "vane.yaml:2:10: unknown value \"loud\", expected one of: debug, info, warn, error" },
    { "data_dir: ${VANE_TEST_UNSET}\n", "environment variable VANE_TEST_UNSET is not set" },
    { "host_metrics: maybe\n", "expected true or false" },
    { "data_dir: x\nscrape_configs:\n- job_nmae: a\n",
      "vane.yaml:3:3: field job_nmae not found in type config.ScrapeConfig, did you mean \"job_name\"?" },
    { "prometheus: p.yml\nscrape_configs: []\n", "not both" },
    { "prometheus: nowhere.yml\n", "nowhere.yml: no such file or directory" },
    { "web: {tls_cert_file: a}\n", "must be given together" },
    { "web: {config_file: web.yml, tls_cert_file: a, tls_key_file: b}\n", "must not be given together" },
    { "web: {config_file: nowhere.yml}\n", "nowhere.yml" },
    { "compat_listeners: {statsd: [\"127.0.0.1:1\", \"127.0.0.1:2\"]}\n", "one address each" },
    { "pushed_groups: {interval: 0s}\n", "must be greater than 0" },
};
static void other_doors(void **state)
{
    (void)state;
    struct cli_config *c = load(NULL);
    assert_int_equal(c->compat.graphite.n + c->compat.statsd.n, 0);
    assert_true(c->push.enabled);
    assert_int_equal(c->push.interval_ms, 15000);
    cli_config_free(c);
    c = load("pushed_groups: false\ncompat_listeners: {graphite: 127.0.0.1:2003, statsd: \"[::1]:8125\", statsd_flush: "
             "1s}\n");
    assert_false(c->push.enabled);
    assert_int_equal(c->compat.graphite.p[0].port, 2003);
    assert_true(str_eq(c->compat.statsd.p[0].host, STR("::1")));
    assert_int_equal(c->compat.statsd_flush_ms, 1000);
    AUTO_BUF struct buf b = { 0 };
    cli_config_print(c, &b);
    assert_true(str_contains(buf_str(&b), STR("127.0.0.1:2003")));
    cli_config_free(c);
}

/* Every address that others reach, unless everybody is asked who he is. */
static void exposure(void **state)
{
    static const struct {
        const char *text;
        enum err want;
    } rows[] = {
        { "listen: 0.0.0.0:9090\n", ERR_PERMISSION },
        { "otlp_listen: [\"127.0.0.1:1\", \"[::]:4318\"]\n", ERR_PERMISSION },
        { "otlp_grpc_listen: 0.0.0.0:4317\n", ERR_PERMISSION },
        { "compat_listeners: {graphite: \"0.0.0.0:2003\"}\n", ERR_PERMISSION },
        { "compat_listeners: {statsd: \"192.168.1.1:8125\"}\n", ERR_PERMISSION },
        { "listen: 0.0.0.0:9090\ninsecure: true\n", OK },
        { "listen: 127.0.0.1:9090\n", OK },
        { "listen: 0.0.0.0:9090\nweb: {config_file: web.yml}\n", OK },
        { "compat_listeners: {statsd: \":8125\"}\nweb: {config_file: web.yml}\n", ERR_PERMISSION },
        { "listen: 0.0.0.0:9090\nweb: {config_file: tls.yml}\n", ERR_PERMISSION },
        { "listen: 0.0.0.0:9090\nweb: {config_file: mtls.yml}\n", OK },
    };
    (void)state;
    put("web.yml", "basic_auth_users: {ann: \"$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\"}\n");
    put("tls.yml", "tls_server_config: {cert_file: a.pem, key_file: b.pem}\n");
    put("mtls.yml", "tls_server_config: {cert_file: a.pem, key_file: b.pem, client_ca_file: c.pem, client_auth_type: "
                    "RequireAndVerifyClientCert}\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err_text et = { .msg = "" };
        struct cli_config *c = load(rows[i].text);
        if (cli_config_check_exposure(c, &et) != rows[i].want)
            fail_msg("row %zu: %s", i, et.msg);
        if (rows[i].want)
            assert_non_null(strstr(et.msg, "--insecure"));
        cli_config_free(c);
    }
}

/* Prometheus' file, strictly; what vane cannot do is refused by name. */
static void web_file(void **state)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        { "tls_server_config: {cert_file: a}\n", "needs cert_file and key_file" },
        { "tls_server_config: {cert_file: a, key_file: b, client_auth_type: Maybe}\n",
          "invalid client_auth_type \"Maybe\"" },
        { "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}\n",
          "needs client_ca_file" },
        { "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}\n", "of no use without client_auth_type" },
        { "tls_server_config: {cert_file: a, key_file: b, min_version: TLS13, max_version: TLS12}\n",
          "above max_version" },
        { "tls_server_config: {cert_file: a, key_file: b, cipher_suites: [X]}\n", "is not supported by vane" },
        { "rate_limit: {burst: 1}\n", "is not supported by vane" },
        { "http_server_config: {headers: {X-Other: a}}\n", "can not be configured" },
        { "basic_auth_user: {}\n", "did you mean \"basic_auth_users\"?" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cli_config *c;
        struct err_text et = { .msg = "" };
        put("web.yml", rows[i].text);
        assert_int_not_equal(cli_config_load(put("vane.yaml", "web: {config_file: web.yml}\n"), &c, NULL, &et), OK);
        if (!strstr(et.msg, rows[i].error))
            fail_msg("row %zu: %s", i, et.msg);
    }
    put("web.yml",
        "tls_server_config: {cert_file: a.pem, key_file: /b.pem, min_version: TLS13}\nhttp_server_config: {http2: "
        "true, headers: {X-Frame-Options: deny}}\n");
    struct cli_config *c = load("web: {config_file: web.yml, allowed_hosts: [vane.example]}\n");
    struct http_certificates_config certs;
    cli_web_certificates(c->web_file, c->ctx->a, &certs);
    assert_non_null(strstr(certs.cert_file, "/a.pem")); /* beside web.yml */
    assert_string_equal(certs.key_file, "/b.pem");
    assert_int_equal(certs.min_version, 13);
    assert_int_equal(c->web_file->server.headers.n, 1);
    cli_config_free(c);
}

static void retention_and_rollups(void **state)
{
    (void)state;
    struct tsdb_config t = { 0 };
    struct cli_config *c =
        load("retention:\n- {match: '{__name__=~\"debug_.*\"}', keep: 3d}\n- {match: up, keep: forever}\n"
             "- keep: 30d\nrollups:\n- {resolution: 1h, keep: 2y, match: '{job=\"a\"}'}\n"
             "- {resolution: 5m, keep: forever}\n");
    cli_retention_tsdb(c, &t);
    assert_int_equal(t.retention_ms, 30ll * 86400000);
    assert_int_equal(t.n_keeps, 2);
    assert_int_equal(t.keeps[0].keep_ms, 3ll * 86400000);
    assert_true(matcher_matches(&t.keeps[0].m[0], STR("debug_x")));
    assert_int_equal(t.keeps[1].keep_ms, 0);
    assert_int_equal(t.n_rollups, 2);
    assert_int_equal(t.rollups[0].res_ms, 3600000);
    assert_int_equal(t.rollups[0].n_m, 1);
    assert_int_equal(t.rollups[1].keep_ms, 0);
    AUTO_BUF struct buf b = { 0 };
    cli_config_print(c, &b);
    cli_config_free(c);
    buf_u8(&b, 0);
    c = load(strstr(b.p, "retention:")); /* what is printed loads again, and as a mapping */
    memset(&t, 0, sizeof(t));
    cli_retention_tsdb(c, &t);
    assert_int_equal(t.retention_ms, 30ll * 86400000);
    assert_int_equal(t.n_keeps, 2);
    assert_int_equal(t.keeps[1].keep_ms, 0);
    assert_int_equal(t.n_rollups, 2);
    assert_int_equal(t.rollups[1].keep_ms, 0);
    cli_config_free(c);
}

static void mistakes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct cli_config *c;
        struct err_text et = { .msg = "" };
        assert_int_not_equal(cli_config_load(put("vane.yaml", bad[i].text), &c, NULL, &et), OK);
        if (!strstr(et.msg, bad[i].error))
            fail_msg("row %zu: %s", i, et.msg);
    }
    struct cli_config *c = load("listen: :9090\ninsecure: true\n");
    assert_true(str_eq(c->listen.p[0].host, STR("0.0.0.0")));
    cli_config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_file_is_fine),      cmocka_unit_test(exposure),    cmocka_unit_test(web_file),
        cmocka_unit_test(all_forms_load),       cmocka_unit_test(other_doors), cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(retention_and_rollups)
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
