/* prometheus.yml: our own rows, and the conformance files where the checkout has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "scrape/scrape_config.h"

static struct prom_config *parse(const char *yaml)
{
    struct prom_config *c = NULL;
    struct err_text et = { .msg = "" };
    if (prom_config_parse(STR("p.yml"), str_c(yaml), &c, NULL, &et))
        fail_msg("%s", et.msg);
    return c;
}

static void defaults_are_those_of_prometheus(void **state)
{
    (void)state;
    struct prom_config *c = parse("scrape_configs:\n- job_name: a\n");
    const struct scrape_config *s = &c->scrape_configs.p[0];
    assert_int_equal(c->global.evaluation_interval_ms, 60000);
    assert_int_equal(s->interval_ms, 60000);
    assert_int_equal(s->timeout_ms, 10000);
    assert_true(str_eq(s->metrics_path, STR("/metrics")));
    assert_true(s->honor_timestamps && !s->honor_labels && s->http.follow_redirects && s->enable_compression);
    assert_int_equal(s->protocols.n, 4);
    assert_int_equal(s->protocols.p[0], PROTO_OM_TEXT_1);
    prom_config_unref(c);
    c = parse("");
    assert_int_equal(c->scrape_configs.n, 0);
    prom_config_unref(c);
    c = parse(
        "global: {scrape_interval: 5s}\nscrape_configs:\n- {job_name: a}\n- {job_name: b, scrape_interval: 20s}\n");
    assert_int_equal(c->scrape_configs.p[0].timeout_ms, 5000);
    assert_int_equal(c->scrape_configs.p[1].timeout_ms, 5000);
    prom_config_unref(c);
}

static const struct {
    const char *yaml, *error;
} bad[] = {
    { "scrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n",
      "p.yml:3:3: field scrape_intervall not found in type config.ScrapeConfig, did you mean \"scrape_interval\"?" },
    { "scrape_configs:\n- job_name: a\n- job_name: a\n",
      "p.yml:3:3: found multiple scrape configs with job name \"a\"" },
    { "scrape_configs:\n- job_name: a\n  scrape_interval: 5s\n  scrape_timeout: 6s\n",
      "scrape timeout greater than scrape interval for scrape config with job name \"a\"" },
    { "scrape_configs:\n- job_name: a\n  static_configs: [{targets: ['http://x']}]\n",
      "p.yml:3:31: \"http://x\" is not a valid hostname" },
    { "scrape_configs:\n- job_name: a\n  basic_auth: {username: x}\n  bearer_token: y\n",
      "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured" },
    { "scrape_configs:\n- job_name: a\n  file_sd_configs: [{files: [a.txt]}]\n",
      "path name \"a.txt\" is not valid for file discovery" },
    { "scrape_configs:\n- job_name: a\n  dns_sd_configs: [{names: [x], type: A}]\n",
      "a port is required in DNS-SD configs" },
    { "scrape_configs:\n- job_name: a\n  http_sd_configs: [{url: ''}]\n", "URL is missing" },
    { "scrape_configs:\n- job_name: a\n  scrape_protocols: [PrometheusText0.0.4, prometheustext0.0.4]\n",
      "duplicated protocol in scrape_protocols" },
    { "scrape_configs:\n- job_name: a\n  metric_name_validation_scheme: legacy\n  relabel_configs: [{target_label: "
      "a.b}]\n",
      "\"a.b\" is invalid 'target_label'" },
    { "global: {scrape_timeout: 20s, scrape_interval: 10s}\n", "global scrape timeout greater than scrape interval" },
    { "scrape_configs:\n- job_name: a\n  kubernetes_sd_configs: [{role: pdo}]\n",
      "unknown Kubernetes SD role \"pdo\"" },
    { "scrape_configs:\n- job_name: a\n  tls_config: {min_version: TLS9}\n", "unknown TLS version: TLS9" },
    { "otlp: {promote_resource_attributes: [a, a]}\n", "duplicated promoted OTel resource attribute \"a\"" },
};
static void mistakes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct prom_config *c;
        struct err_text et;
        assert_int_not_equal(prom_config_parse(STR("p.yml"), str_c(bad[i].yaml), &c, NULL, &et), OK);
        if (!strstr(et.msg, bad[i].error))
            fail_msg("row %zu: %s", i, et.msg);
    }
}

static void ignored_keys_warn(void **state)
{
    (void)state;
    struct prom_config *c;
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    assert_int_equal(
        prom_config_parse(
            STR("p.yml"),
            STR("global: {query_log_file: q, scrape_failure_log_file: f}\nscrape_configs:\n- job_name: a\n"
                "  authorization: {credentials_ref: x}\n  enable_http2: true\n- {job_name: b, enable_http2: false}\n"
                "storage: {tsdb: {retention: {percentage: 3}, stale_series_compaction_threshold: 0.5}}\n"),
            &c, &out, NULL),
        OK);
    assert_true(str_contains(buf_str(&out), STR("queries are not written to a file yet")));
    assert_false(str_contains(buf_str(&out), STR("failures are not written")));
    assert_true(str_contains(buf_str(&out), STR("p.yml:5:17: warning: enable_http2 has no effect")));
    assert_false(str_contains(buf_str(&out), STR("p.yml:6")));
    assert_true(str_contains(buf_str(&out), STR("warning: percentage has no effect")));
    assert_true(str_contains(buf_str(&out), STR("warning: stale_series_compaction_threshold has no effect")));
    assert_true(str_contains(buf_str(&out), STR("credentials_ref names a secret of a secret manager")));
    prom_config_unref(c);
}

static void unsupported_discovery_warns(void **state)
{
    (void)state;
    struct prom_config *c;
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    assert_int_equal(prom_config_parse(STR("p.yml"), STR("scrape_configs:\n- job_name: a\n  nomad_sd_configs: [{}]\n"),
                                       &c, &out, NULL),
                     OK);
    assert_true(str_contains(buf_str(&out), STR("p.yml:3:21: warning: nomad_sd_configs is not supported yet")));
    size_t it = 0;
    assert_string_equal(sd_configs_unsupported(&c->scrape_configs.p[0].sd, &it), "nomad_sd_configs");
    assert_null(sd_configs_unsupported(&c->scrape_configs.p[0].sd, &it));
    prom_config_unref(c);
}

static void printed_config_reads_back_without_secrets(void **state)
{
    (void)state;
    struct prom_config *c =
        parse("global: {external_labels: {a: b}}\nscrape_configs:\n- job_name: a\n  basic_auth: {username: u, "
              "password: hunter2}\n"
              "  params: {'match[]': ['{a=\"b\"}', up]}\n  static_configs: [{targets: ['x:1'], labels: {l: v}}]\n"
              "  relabel_configs: [{source_labels: [a], regex: '(.*):80', target_label: x}]\n"
              "remote_write: [{url: 'http://u:pw@h/'}]\notlp: {label_name_underscore_sanitization: false}\n");
    AUTO_BUF struct buf out, again;
    buf_init(&out, 0);
    buf_init(&again, 0);
    prom_config_print(c, &out);
    assert_false(str_contains(buf_str(&out), STR("hunter2")));
    buf_u8(&out, 0);
    out.n--;
    struct prom_config *d = parse(out.p);
    prom_config_print(d, &again);
    assert_true(str_eq(buf_str(&out), buf_str(&again)));
    assert_int_equal(d->scrape_configs.p[0].params.p[0].n, 2);
    assert_false(d->otlp.label_underscores); /* switched off stays off */
    assert_true(d->otlp.label_multiple_underscores);
    prom_config_unref(c);
    prom_config_unref(d);
}

static void identity_sees_secrets(void **state)
{
    (void)state;
    const char *one = "scrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: x}\n";
    const char *two = "scrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: y}\n";
    struct prom_config *c = parse(one), *d = parse(one), *e = parse(two);
    assert_true(c->scrape_configs.p[0].identity == d->scrape_configs.p[0].identity);
    assert_true(c->scrape_configs.p[0].identity != e->scrape_configs.p[0].identity);
    prom_config_unref(c);
    prom_config_unref(d);
    prom_config_unref(e);
}

/* ---- conformance ---- */

/* "parsing YAML file F: " stands where we say F:line:column. */
static str strip_prefix(str want)
{
    size_t colon;
    if (str_has_prefix(want, STR("parsing YAML file ")) && (colon = str_find(want, STR(": "))) != SIZE_MAX)
        return str_skip(want, colon + 2);
    return want;
}

static void conformance_files(void **state)
{
    (void)state;
    const char *dir = getenv("VANE_CONFORMANCE");
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct conf_ctx cx = conf_ctx_init(&a, fs_os());
    struct conf_node *index = NULL;
    size_t wrong = 0;
    if (!dir || conf_read(&cx, arena_printf(&a, "%s/prometheus_config/index.json", dir).p, 0, &index))
        skip();
    for (size_t i = 0; i < index->n; i++) {
        str file = conf_get(index->items[i], STR("file"))->text;
        bool valid = str_eq(conf_get(index->items[i], STR("valid"))->text, STR("true"));
        const struct conf_node *want = conf_get(index->items[i], STR("error_contains"));
        AUTO_BUF struct buf diags;
        buf_init(&diags, 0);
        struct prom_config *c = NULL;
        struct err_text et;
        bool ok = prom_config_load(arena_printf(&a, "%s/prometheus_config/files/" STR_FMT, dir, STR_ARG(file)).p, &c,
                                   &diags, &et) == OK;
        bool said = want->kind == CONF_NULL || str_contains(buf_str(&diags), strip_prefix(want->text));
        if (ok != valid || (!ok && !said)) {
            print_error(STR_FMT ": %s; wanted " STR_FMT "\n" STR_FMT, STR_ARG(file), ok ? "accepted" : "refused",
                        STR_ARG(want->text), STR_ARG(buf_str(&diags)));
            wrong++;
        }
        if (ok) { /* what is printed must be readable again */
            struct prom_config *d = NULL;
            AUTO_BUF struct buf out;
            buf_init(&out, 0);
            prom_config_print(c, &out);
            if (prom_config_parse(STR("printed.yml"), buf_str(&out), &d, NULL, &et)) {
                print_error(STR_FMT ": printed: %s\n" STR_FMT, STR_ARG(file), et.msg, STR_ARG(buf_str(&out)));
                wrong++;
            }
            prom_config_unref(d);
        }
        prom_config_unref(c);
    }
    conf_ctx_release(&cx);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_prometheus),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(unsupported_discovery_warns),
        cmocka_unit_test(ignored_keys_warn),
        cmocka_unit_test(printed_config_reads_back_without_secrets),
        cmocka_unit_test(identity_sees_secrets),
        cmocka_unit_test(conformance_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
