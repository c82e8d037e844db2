/* Schema of a prometheus.yml: global and scrape_configs (the other sections: scrape_config_rest.c); defaults and cross-field rules
 * of Prometheus 3.x. Order of work: decode by rows (with each section's own check), then inherit from `global` and
 * check each scrape config as a whole, then read scrape_config_files, then resolve relative paths. */
#include <glob.h>
#include <stdlib.h>

#include "base/hash.h"
#include "scrape/scrape_config_int.h"

#define MAP_NAME     name_set
#define MAP_KEY      str
#define MAP_VALUE    char
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

/* ---- values of their own kind ---- */

static const char *const protocol_names[PROTO_N] = {
    [PROTO_PROM_PROTO] = "PrometheusProto",      [PROTO_PROM_TEXT_0] = "PrometheusText0.0.4",
    [PROTO_PROM_TEXT_1] = "PrometheusText1.0.0", [PROTO_OM_TEXT_0] = "OpenMetricsText0.0.1",
    [PROTO_OM_TEXT_1] = "OpenMetricsText1.0.0",
};
#define SUPPORTED_PROTOCOLS \
    "[OpenMetricsText0.0.1 OpenMetricsText1.0.0 PrometheusProto PrometheusText0.0.4 PrometheusText1.0.0]"

static int protocol_find(str s)
{
    for (int i = 0; i < PROTO_N; i++)
        if (str_eq(s, str_c(protocol_names[i])))
            return i;
    return -1;
}

/* The row keeps the node; protocols_check() reads it when it is known whose protocols they are. */
static enum err read_protocols(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    struct conf_list names;
    TRY(conf_read_strs(cx, n, &names));
    ((struct scrape_protocols *)field)->node = n->kind == CONF_NULL ? NULL : n;
    return OK;
}

static void duplicated_protocol(struct conf_ctx *cx, const struct conf_node *n, const char *whose)
{
    AUTO_BUF struct buf all;
    buf_init(&all, 400);
    for (size_t j = 0; j < n->n; j++)
        buf_printf(&all, "%s" STR_FMT, j ? " " : "", STR_ARG(n->items[j]->text));
    FAIL("duplicated protocol in scrape_protocols, got [" STR_FMT "]%s", STR_ARG(buf_str(&all)), whose);
}

/* whose: " for scrape config with job name ..." */
static void protocols_check(struct conf_ctx *cx, struct scrape_protocols *p, const char *whose)
{
    const struct conf_node *n = p->node;
    p->n = 0;
    if (!n)
        return;
    if (n->n == 0)
        FAIL("scrape_protocols cannot be empty%s", whose);
    for (size_t i = 0; i < n->n; i++) {
        int id = protocol_find(n->items[i]->text);
        for (size_t k = 0; k < i; k++)
            if (str_ieq(n->items[k]->text, n->items[i]->text)) {
                duplicated_protocol(cx, n, whose);
                return;
            }
        if (id < 0) {
            IGNORE_ERR(conf_error(cx, n->items[i],
                                  "scrape_protocols: unknown scrape protocol " STR_FMT
                                  ", supported: " SUPPORTED_PROTOCOLS "%s",
                                  STR_ARG(n->items[i]->text), whose));
            return;
        }
        p->p[p->n++] = (uint8_t)id;
    }
}

static void print_protocols(struct conf_out *out, const void *field)
{
    const struct scrape_protocols *p = field;
    if (p->n == 0)
        return;
    buf_u8(out->b, '\n');
    for (size_t i = 0; i < p->n; i++) {
        for (unsigned k = 0; k < out->indent; k++)
            buf_lit(out->b, "  ");
        buf_printf(out->b, "- %s\n", protocol_names[p->p[i]]);
    }
}

static enum err read_tristate(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    bool v;
    if (n->kind == CONF_NULL)
        return OK;
    TRY(conf_read_bool(cx, n, &v));
    *(enum tristate *)field = v ? TRI_TRUE : TRI_FALSE;
    return OK;
}
static void print_tristate(struct conf_out *out, const void *field)
{
    enum tristate v = *(const enum tristate *)field;
    if (v != TRI_UNSET)
        buf_str_add(out->b, v == TRI_TRUE ? STR(" true\n") : STR(" false\n"));
}

static enum err read_scheme(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s;
    TRY(conf_read_str(cx, n, &s));
    for (int i = 0; NAME_SCHEME_NAMES[i]; i++)
        if (str_eq(s, str_c(NAME_SCHEME_NAMES[i]))) {
            *(enum name_scheme *)field = (enum name_scheme)i;
            return OK;
        }
    return conf_error(cx, n, "unrecognized ValidationScheme: \"" STR_FMT "\" (legacy or utf8)", STR_ARG(s));
}
static void print_scheme(struct conf_out *out, const void *field)
{
    enum name_scheme v = *(const enum name_scheme *)field;
    if (v != NAMES_UNSET)
        conf_out_scalar(out, str_c(NAME_SCHEME_NAMES[v]));
}

static enum err read_params(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    struct scrape_config *c = CONTAINER_OF(field, struct scrape_config, params);
    if (n->kind != CONF_MAP)
        return n->kind == CONF_NULL
                   ? OK
                   : conf_error(cx, n,
                                "expected a mapping from parameter names to lists of values (yaml: unmarshal errors)");
    c->params.keys = arena_zarray(cx->a, str, n->n + 1);
    c->params.p = arena_zarray(cx->a, struct conf_list, n->n + 1);
    for (size_t i = 0; i < n->n; i++) {
        c->params.keys[i] = n->items[2 * i]->text;
        TRY(conf_read_strs(cx, n->items[2 * i + 1], &c->params.p[i]));
        c->params.n++;
    }
    return OK;
}
static void print_params(struct conf_out *out, const void *field)
{
    const struct scrape_config *c =
        (const struct scrape_config *)(const void *)((const char *)field - offsetof(struct scrape_config, params));
    if (c->params.n == 0)
        return;
    buf_u8(out->b, '\n');
    for (size_t i = 0; i < c->params.n; i++) {
        for (unsigned k = 0; k <= out->indent; k++)
            buf_lit(out->b, "  ");
        buf_str_add(out->b, c->params.keys[i]);
        buf_lit(out->b, ":\n");
        for (size_t v = 0; v < c->params.p[i].n; v++) {
            for (unsigned k = 0; k <= out->indent; k++)
                buf_lit(out->b, "  ");
            buf_u8(out->b, '-');
            conf_out_scalar(out, ((const str *)c->params.p[i].p)[v]);
        }
    }
}

#define TRISTATE  .read = read_tristate, .print = print_tristate
#define PROTOCOLS .read = read_protocols, .print = print_protocols
#define SCHEME    .read = read_scheme, .print = print_scheme
#define LIMITS(F)                                                                                  \
    F(body_size_limit, "body_size_limit", CONF_BYTES), F(sample_limit, "sample_limit", CONF_UINT), \
        F(target_limit, "target_limit", CONF_UINT), F(label_limit, "label_limit", CONF_UINT),      \
        F(label_name_length_limit, "label_name_length_limit", CONF_UINT),                          \
        F(label_value_length_limit, "label_value_length_limit", CONF_UINT),                        \
        F(keep_dropped_targets, "keep_dropped_targets", CONF_UINT)
#define HISTOGRAM_SWITCHES(F)                                                            \
    F(native_histograms, "scrape_native_histograms", CONF_CUSTOM, TRISTATE),             \
        F(always_classic, "always_scrape_classic_histograms", CONF_CUSTOM, TRISTATE),    \
        F(convert_classic, "convert_classic_histograms_to_nhcb", CONF_CUSTOM, TRISTATE), \
        F(extra_metrics, "extra_scrape_metrics", CONF_CUSTOM, TRISTATE)

/* ---- global ---- */

void invalid_label_name(struct conf_ctx *cx, const struct conf_node *at, str name)
{
    AUTO_BUF struct buf quoted;
    buf_init(&quoted, 4096);
    conf_quote(&quoted, str_take(name, 200));
    IGNORE_ERR(conf_error(cx, at, STR_FMT " is not a valid label name", STR_ARG(buf_str(&quoted))));
}

static void check_external_labels(struct conf_ctx *cx, const struct conf_node *n, struct global_config *g)
{
    const struct conf_node *labels = conf_get(n, STR("external_labels"));
    for (size_t i = 0; i < g->external_labels.n; i++) {
        const struct conf_node *key = labels->items[2 * i];
        str name = g->external_labels.keys[i];
        if (!relabel_valid_name(name, g->names))
            invalid_label_name(cx, key, name);
        else if (!str_utf8_ok(g->external_labels.p[i]))
            IGNORE_ERR(conf_error(cx, key, "value of " STR_FMT " is not a valid label value", STR_ARG(name)));
        cx->at = labels->items[2 * i + 1];
        g->external_labels.p[i] = conf_expand_env(cx, g->external_labels.p[i]);
    }
}

static void check_global(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct global_config *g = obj;
    if (g->names == NAMES_UNSET)
        g->names = NAMES_UTF8;
    check_external_labels(cx, n, g);
    protocols_check(cx, &g->protocols, " for global config");
    if (g->scrape_interval_ms == 0)
        g->scrape_interval_ms = 60000;
    if (g->scrape_timeout_ms > g->scrape_interval_ms)
        FAIL("global scrape timeout greater than scrape interval");
    if (g->scrape_timeout_ms == 0)
        g->scrape_timeout_ms = MIN(10000, g->scrape_interval_ms);
    if (g->evaluation_interval_ms == 0)
        g->evaluation_interval_ms = 60000;
}
static bool escaping_ok(str s)
{
    return str_eq(s, STR("allow-utf-8")) || str_eq(s, STR("underscores")) || str_eq(s, STR("dots")) ||
           str_eq(s, STR("values"));
}

#define F(m, key, t, ...) CF(struct global_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field global_fields[] = {
    F(scrape_interval_ms, "scrape_interval", CONF_DURATION),
    F(scrape_timeout_ms, "scrape_timeout", CONF_DURATION),
    F(protocols, "scrape_protocols", CONF_CUSTOM, PROTOCOLS),
    F(evaluation_interval_ms, "evaluation_interval", CONF_DURATION),
    F(rule_query_offset_ms, "rule_query_offset", CONF_DURATION),
    F(query_log_file, "query_log_file", CONF_STR),
    F(failure_log_file, "scrape_failure_log_file", CONF_STR),
    F(external_labels, "external_labels", CONF_DICT, .of = CONF_STR),
    LIMITS(F),
    F(names, "metric_name_validation_scheme", CONF_CUSTOM, SCHEME),
    F(name_escaping, "metric_name_escaping_scheme", CONF_STR),
    HISTOGRAM_SWITCHES(F),
};
#undef F
static const struct global_config global_defaults = {
    .scrape_interval_ms = 60000, .scrape_timeout_ms = 10000, .evaluation_interval_ms = 60000, .names = NAMES_UTF8
};
/* Given, `global` starts from zero and check_global fills in; absent, from these. */
static void check_global_given(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct global_config *g = obj;
    if (!conf_has(n, "scrape_timeout"))
        g->scrape_timeout_ms = 0;
    if (g->query_log_file.n)
        conf_warn(cx, conf_get(n, STR("query_log_file")), "queries are not written to a file yet");
    check_global(cx, n, obj);
}
static SCHEMA(global_schema, struct global_config, "config.plain", global_fields, .defaults = &global_defaults,
              .check = check_global_given);

/* ---- scrape configs ---- */

void scrape_check_static_targets(struct conf_ctx *cx, const struct conf_node *n, const struct sd_configs *sd)
{
    const struct conf_node *groups = conf_get(n, STR("static_configs"));
    for (size_t i = 0; i < sd->statics.n; i++)
        for (size_t k = 0; k < sd->statics.p[i].targets.n; k++)
            if (str_find_char(sd->statics.p[i].targets.p[k], '/') != SIZE_MAX)
                IGNORE_ERR(conf_error(cx, conf_get(groups->items[i], STR("targets"))->items[k],
                                      "\"" STR_FMT "\" is not a valid hostname",
                                      STR_ARG(sd->statics.p[i].targets.p[k])));
}

static void check_scrape_config(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct scrape_config *c = obj;
    if (c->job_name.n == 0)
        FAIL("job_name is empty");
    if (c->relabel.n == 0)
        scrape_check_static_targets(cx, n, &c->sd);
}

#define F(m, key, t, ...) CF(struct scrape_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field scrape_fields[] = {
    F(job_name, "job_name", CONF_STR, .flags = CONF_ALWAYS),
    F(honor_labels, "honor_labels", CONF_BOOL),
    F(honor_timestamps, "honor_timestamps", CONF_BOOL, .flags = CONF_ALWAYS),
    F(track_timestamps_staleness, "track_timestamps_staleness", CONF_BOOL, .flags = CONF_ALWAYS),
    F(params, "params", CONF_CUSTOM, .read = read_params, .print = print_params),
    F(interval_ms, "scrape_interval", CONF_DURATION),
    F(timeout_ms, "scrape_timeout", CONF_DURATION),
    F(protocols, "scrape_protocols", CONF_CUSTOM, PROTOCOLS),
    F(fallback_protocol, "fallback_scrape_protocol", CONF_STR),
    HISTOGRAM_SWITCHES(F),
    F(failure_log_file, "scrape_failure_log_file", CONF_STR),
    F(metrics_path, "metrics_path", CONF_STR),
    F(scheme, "scheme", CONF_STR),
    F(enable_compression, "enable_compression", CONF_BOOL, .flags = CONF_ALWAYS),
    LIMITS(F),
    F(native_bucket_limit, "native_histogram_bucket_limit", CONF_UINT),
    F(native_min_factor, "native_histogram_min_bucket_factor", CONF_FLOAT),
    F(names, "metric_name_validation_scheme", CONF_CUSTOM, SCHEME),
    F(name_escaping, "metric_name_escaping_scheme", CONF_STR),
    F(http, "", CONF_INLINE, .schema = &http_config_schema),
    CF_RELABEL(struct scrape_config, relabel, "relabel_configs", "target"),
    CF_RELABEL(struct scrape_config, metric_relabel, "metric_relabel_configs", "metric"),
    F(sd, "", CONF_INLINE, .schema = &sd_configs_schema),
};
#undef F
static const struct scrape_config scrape_defaults = { .honor_timestamps = true,
                                                      .enable_compression = true,
                                                      .metrics_path = STR_INIT("/metrics"),
                                                      .scheme = STR_INIT("http") };
SCHEMA(scrape_config_schema, struct scrape_config, "config.ScrapeConfig", scrape_fields, .defaults = &scrape_defaults,
       .check = check_scrape_config);

static void rules_set_scheme(struct conf_ctx *cx, const struct conf_node *n, struct relabel_rules rules,
                             enum name_scheme names)
{
    for (size_t i = 0; i < rules.n; i++) {
        struct err_text et;
        rules.p[i].names = names;
        if (relabel_validate(&rules.p[i], &et))
            FAIL("%s", et.msg);
    }
}

static void inherit_limits(struct scrape_config *c, const struct global_config *g)
{
#define INHERIT(m) \
    if (!c->m)     \
    c->m = g->m
    INHERIT(body_size_limit);
    INHERIT(sample_limit);
    INHERIT(target_limit);
    INHERIT(label_limit);
    INHERIT(label_name_length_limit);
    INHERIT(label_value_length_limit);
    INHERIT(keep_dropped_targets);
    INHERIT(native_histograms);
    INHERIT(always_classic);
    INHERIT(convert_classic);
    INHERIT(extra_metrics);
#undef INHERIT
    if (!c->failure_log_file.n)
        c->failure_log_file = g->failure_log_file;
}

static void inherit_protocols(struct scrape_config *c, const struct global_config *g)
{
    static const struct scrape_protocols text = {
        { PROTO_OM_TEXT_1, PROTO_OM_TEXT_0, PROTO_PROM_TEXT_1, PROTO_PROM_TEXT_0 }, 4, NULL
    };
    static const struct scrape_protocols proto = {
        { PROTO_PROM_PROTO, PROTO_OM_TEXT_1, PROTO_OM_TEXT_0, PROTO_PROM_TEXT_1, PROTO_PROM_TEXT_0 }, 5, NULL
    };
    if (c->protocols.n == 0)
        c->protocols = g->protocols.n ? g->protocols : c->native_histograms == TRI_TRUE ? proto : text;
}

static void finish_names(struct conf_ctx *cx, const struct conf_node *n, struct scrape_config *c,
                         const struct global_config *g)
{
    bool unset = c->names == NAMES_UNSET;
    if (unset)
        c->names = g->names;
    if (!c->name_escaping.n)
        c->name_escaping = unset && g->name_escaping.n ? g->name_escaping
                           : c->names == NAMES_LEGACY  ? STR("underscores")
                                                       : STR("allow-utf-8");
    if (!escaping_ok(c->name_escaping))
        FAIL("unknown scrape config name escaping method specified, must be one of 'allow-utf-8', 'underscores', "
             "'dots', or "
             "'values', got \"" STR_FMT "\"",
             STR_ARG(c->name_escaping));
    else if (str_eq(c->name_escaping, STR("allow-utf-8")) && c->names != NAMES_UTF8)
        FAIL("utf8 metric names requested but validation scheme is not set to UTF8");
}

/* Everything that needs `global` or the job's name. */
static void finish_scrape_config(struct conf_ctx *cx, const struct conf_node *n, struct scrape_config *c,
                                 const struct global_config *g)
{
    if (c->interval_ms == 0)
        c->interval_ms = g->scrape_interval_ms;
    if (c->timeout_ms > c->interval_ms)
        FAIL("scrape timeout greater than scrape interval for scrape config with job name \"" STR_FMT "\"",
             STR_ARG(c->job_name));
    if (c->timeout_ms == 0)
        c->timeout_ms = MIN(g->scrape_timeout_ms, c->interval_ms);
    inherit_limits(c, g);
    protocols_check(cx, &c->protocols,
                    arena_cstr(cx->a, arena_printf(cx->a, " for scrape config with job name \"" STR_FMT "\"",
                                                   STR_ARG(c->job_name))));
    inherit_protocols(c, g);
    if (c->fallback_protocol.n && protocol_find(c->fallback_protocol) < 0)
        IGNORE_ERR(conf_error(cx, conf_get(n, STR("fallback_scrape_protocol")),
                              "invalid fallback_scrape_protocol for scrape config with job name \"" STR_FMT
                              "\": unknown scrape protocol " STR_FMT ", supported: " SUPPORTED_PROTOCOLS,
                              STR_ARG(c->job_name), STR_ARG(c->fallback_protocol)));
    finish_names(cx, n, c, g);
    rules_set_scheme(cx, n, c->relabel, c->names);
    rules_set_scheme(cx, n, c->metric_relabel, c->names);
    c->identity = conf_hash(&scrape_config_schema, c);
}

/* ---- the file ---- */

/* ^[^*]*(\*[^/]*)?$ : a star only in the last part */
static bool rule_path_ok(str s)
{
    size_t star = str_find_char(s, '*');
    return star == SIZE_MAX || str_find_char(str_skip(s, star), '/') == SIZE_MAX;
}

static void check_unique_jobs(struct conf_ctx *cx, const struct conf_node *list, const struct prom_config *c)
{
    struct name_set seen = { 0 };
    for (size_t i = 0; i < c->scrape_configs.n; i++) {
        bool is_new;
        name_set_put(&seen, c->scrape_configs.p[i].job_name, &is_new);
        if (!is_new)
            IGNORE_ERR(conf_error(cx, list->items[i], "found multiple scrape configs with job name \"" STR_FMT "\"",
                                  STR_ARG(c->scrape_configs.p[i].job_name)));
    }
    name_set_free(&seen);
}

static void check_unique_remotes(struct conf_ctx *cx, const struct conf_node *n, const struct prom_config *c)
{
    const struct conf_node *rw = conf_get(n, STR("remote_write")), *rr = conf_get(n, STR("remote_read"));
    for (size_t i = 0; i < c->remote_write.n; i++)
        for (size_t k = 0; k < i; k++)
            if (c->remote_write.p[i].name.n && str_eq(c->remote_write.p[i].name, c->remote_write.p[k].name))
                IGNORE_ERR(conf_error(cx, rw->items[i],
                                      "found multiple remote write configs with job name \"" STR_FMT "\"",
                                      STR_ARG(c->remote_write.p[i].name)));
    for (size_t i = 0; i < c->remote_read.n; i++)
        for (size_t k = 0; k < i; k++)
            if (c->remote_read.p[i].name.n && str_eq(c->remote_read.p[i].name, c->remote_read.p[k].name))
                IGNORE_ERR(conf_error(cx, rr->items[i],
                                      "found multiple remote read configs with job name \"" STR_FMT "\"",
                                      STR_ARG(c->remote_read.p[i].name)));
}

static void check_paths(struct conf_ctx *cx, const struct conf_node *list, const str *p, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (!rule_path_ok(p[i]))
            IGNORE_ERR(conf_error(cx, list->items[i], "invalid %s file path \"" STR_FMT "\"", what, STR_ARG(p[i])));
}

static void finish_other_rules(struct conf_ctx *cx, const struct conf_node *n, struct prom_config *c)
{
    rules_set_scheme(cx, conf_get(n, STR("alerting")), c->alerting.alert_relabel, c->global.names);
    for (size_t i = 0; i < c->alerting.alertmanagers.n; i++) {
        rules_set_scheme(cx, conf_get(n, STR("alerting")), c->alerting.alertmanagers.p[i].relabel, c->global.names);
        rules_set_scheme(cx, conf_get(n, STR("alerting")), c->alerting.alertmanagers.p[i].alert_relabel,
                         c->global.names);
    }
    for (size_t i = 0; i < c->remote_write.n; i++)
        rules_set_scheme(cx, conf_get(n, STR("remote_write")), c->remote_write.p[i].relabel, c->global.names);
}

/* Alertmanagers that a discovery is to find. */
static bool alertmanagers_elsewhere(const struct prom_config *c)
{
    for (size_t i = 0; i < c->alerting.alertmanagers.n; i++) {
        const struct sd_configs *sd = &c->alerting.alertmanagers.p[i].sd;
        bool some = sd->files.n || sd->https.n || sd->dnss.n;
        for (size_t k = 0; k < SD_OTHERS_MAX; k++)
            some |= sd->others[k].n != 0;
        if (some)
            return true;
    }
    return false;
}

/* What this version reads and checks but does not carry out must not be taken for working. */
static void warn_not_run(struct conf_ctx *cx, const struct conf_node *n, const struct prom_config *c)
{
    const struct {
        const char *key;
        bool given;
    } rows[] = {
        { "remote_read", c->remote_read.n > 0 },
        { "alerting (but for static_configs)", alertmanagers_elsewhere(c) },
        { "tracing", c->tracing.given },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].given)
            conf_warn(cx, conf_get(n, str_take(str_c(rows[i].key), strcspn(rows[i].key, " "))),
                      "%s is checked but not carried out by this version", rows[i].key);
}

/* Keys of Prometheus that vane has no use for. */
static void warn_no_effect(struct conf_ctx *cx, const struct conf_node *n)
{
    static const struct {
        const char *path[3], *why;
    } rows[] = {
        { { "runtime", "gogc" }, "there is no garbage collector" },
        { { "storage", "tsdb", "stale_series_compaction_threshold" }, "series leave memory by their age" },
        { { "storage", "tsdb", "chunk_encoding" }, "the encoding is chosen by what fits the samples" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct conf_node *at = n;
        const char *key = "";
        for (size_t k = 0; k < ARRAY_LEN(rows[i].path) && rows[i].path[k] && at; k++)
            at = conf_get(at, str_c(key = rows[i].path[k]));
        if (at)
            conf_warn(cx, at, "%s has no effect: %s", key, rows[i].why);
    }
    const struct conf_node *retention = conf_get(conf_get(conf_get(n, STR("storage")), STR("tsdb")), STR("retention"));
    if (conf_has(retention, "percentage"))
        conf_warn(cx, conf_get(retention, STR("percentage")),
                  "percentage has no effect: say how many bytes may be used with size");
}

static void check_prom(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    warn_not_run(cx, n, obj);
    warn_no_effect(cx, n);
    struct prom_config *c = obj;
    const struct conf_node *jobs = conf_get(n, STR("scrape_configs"));
    bool utf8_names = str_has_prefix(c->otlp.translation_strategy, STR("No"));
    check_paths(cx, conf_get(n, STR("rule_files")), c->rule_files.p, c->rule_files.n, "rule");
    check_paths(cx, conf_get(n, STR("scrape_config_files")), c->scrape_config_files.p, c->scrape_config_files.n,
                "scrape config");
    if (c->global.name_escaping.n && !escaping_ok(c->global.name_escaping))
        FAIL("unknown global name escaping method specified, must be one of 'allow-utf-8', 'underscores', 'dots', or "
             "'values', got \"" STR_FMT "\"",
             STR_ARG(c->global.name_escaping));
    if (utf8_names && c->global.names == NAMES_LEGACY)
        FAIL("OTLP translation strategy \"" STR_FMT "\" is not allowed when UTF8 is disabled",
             STR_ARG(c->otlp.translation_strategy));
    for (size_t i = 0; i < c->scrape_configs.n; i++)
        finish_scrape_config(cx, jobs->items[i], &c->scrape_configs.p[i], &c->global);
    check_unique_jobs(cx, jobs, c);
    check_unique_remotes(cx, n, c);
    finish_other_rules(cx, n, c);
}

#define F(m, key, t, ...) CF(struct prom_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field prom_fields[] = {
    F(global, "global", CONF_STRUCT, .schema = &global_schema),
    F(runtime, "runtime", CONF_STRUCT, .schema = &runtime_schema),
    F(alerting, "alerting", CONF_STRUCT, .schema = &alerting_schema),
    F(rule_files, "rule_files", CONF_LIST, .of = CONF_STR),
    F(scrape_config_files, "scrape_config_files", CONF_LIST, .of = CONF_STR),
    F(scrape_configs, "scrape_configs", CONF_LIST, .of = CONF_STRUCT, .schema = &scrape_config_schema,
      .empty_text = "empty or null scrape config section"),
    F(storage, "storage", CONF_STRUCT, .schema = &storage_schema),
    F(tracing, "tracing", CONF_STRUCT, .schema = &tracing_schema),
    F(remote_write, "remote_write", CONF_LIST, .of = CONF_STRUCT, .schema = &remote_write_schema,
      .empty_text = "empty or null remote write config section"),
    F(remote_read, "remote_read", CONF_LIST, .of = CONF_STRUCT, .schema = &remote_read_schema,
      .empty_text = "empty or null remote read config section"),
    F(otlp, "otlp", CONF_STRUCT, .schema = &otlp_schema),
};
#undef F
SCHEMA(prom_config_schema, struct prom_config, "config.plain", prom_fields, .check = check_prom);

/* ---- scrape_config_files ---- */

struct scrape_file {
    CONF_LIST_OF(struct scrape_config) configs;
};
static const struct conf_field scrape_file_fields[] = {
    CF(struct scrape_file, configs, "scrape_configs", CONF_LIST, .of = CONF_STRUCT, .schema = &scrape_config_schema,
       .empty_text = "empty or null scrape config section"),
};
static SCHEMA(scrape_file_schema, struct scrape_file, "config.ScrapeConfigs", scrape_file_fields);

static str dir_of(str path)
{
    for (size_t i = path.n; i > 0; i--)
        if (path.p[i - 1] == '/')
            return i == 1 ? STR("/") : str_take(path, i - 1);
    return STR("");
}

static void scrape_config_set_dir(struct arena *a, struct scrape_config *c, str dir)
{
    http_config_set_dir(a, &c->http, dir);
    sd_configs_set_dir(a, &c->sd, dir);
    c->failure_log_file = http_join_dir(a, dir, c->failure_log_file);
}

static void append_configs(struct conf_ctx *cx, struct prom_config *c, const struct scrape_file *f)
{
    size_t n = c->scrape_configs.n + f->configs.n;
    struct scrape_config *p = arena_array(cx->a, struct scrape_config, n);
    if (c->scrape_configs.n)
        memcpy(p, c->scrape_configs.p, c->scrape_configs.n * sizeof(*p));
    if (f->configs.n)
        memcpy(p + c->scrape_configs.n, f->configs.p, f->configs.n * sizeof(*p));
    c->scrape_configs.p = p;
    c->scrape_configs.n = n;
}

static void read_scrape_file(struct conf_ctx *cx, struct prom_config *c, const char *path)
{
    struct conf_node *root;
    struct scrape_file f;
    if (conf_read(cx, path, 0, &root) || conf_decode(cx, root, &scrape_file_schema, &f))
        return;
    const struct conf_node *list = conf_get(root, STR("scrape_configs"));
    for (size_t i = 0; i < f.configs.n; i++) {
        finish_scrape_config(cx, list->items[i], &f.configs.p[i], &c->global);
        for (size_t k = 0; k < c->scrape_configs.n + i; k++) {
            str other = k < c->scrape_configs.n ? c->scrape_configs.p[k].job_name
                                                : f.configs.p[k - c->scrape_configs.n].job_name;
            if (str_eq(other, f.configs.p[i].job_name))
                IGNORE_ERR(conf_error(cx, list->items[i], "found multiple scrape configs with job name \"" STR_FMT "\"",
                                      STR_ARG(other)));
        }
        scrape_config_set_dir(cx->a, &f.configs.p[i], dir_of(str_c(path)));
    }
    append_configs(cx, c, &f);
}

static void read_scrape_files(struct conf_ctx *cx, struct prom_config *c)
{
    for (size_t i = 0; i < c->scrape_config_files.n; i++) {
        glob_t g;
        if (glob(arena_cstr(cx->a, c->scrape_config_files.p[i]), 0, NULL, &g) == 0)
            for (size_t k = 0; k < g.gl_pathc; k++)
                read_scrape_file(cx, c, arena_cstr(cx->a, str_c(g.gl_pathv[k])));
        globfree(&g);
    }
}

static void set_dir(struct prom_config *c, str dir)
{
    struct arena *a = c->a;
    c->dir = dir;
    for (size_t i = 0; i < c->rule_files.n; i++)
        c->rule_files.p[i] = http_join_dir(a, dir, c->rule_files.p[i]);
    for (size_t i = 0; i < c->scrape_config_files.n; i++)
        c->scrape_config_files.p[i] = http_join_dir(a, dir, c->scrape_config_files.p[i]);
    for (size_t i = 0; i < c->scrape_configs.n; i++)
        scrape_config_set_dir(a, &c->scrape_configs.p[i], dir);
    for (size_t i = 0; i < c->alerting.alertmanagers.n; i++) {
        http_config_set_dir(a, &c->alerting.alertmanagers.p[i].http, dir);
        sd_configs_set_dir(a, &c->alerting.alertmanagers.p[i].sd, dir);
    }
    for (size_t i = 0; i < c->remote_write.n; i++)
        http_config_set_dir(a, &c->remote_write.p[i].http, dir);
    for (size_t i = 0; i < c->remote_read.n; i++)
        http_config_set_dir(a, &c->remote_read.p[i].http, dir);
    c->global.query_log_file = http_join_dir(a, dir, c->global.query_log_file);
    c->global.failure_log_file = http_join_dir(a, dir, c->global.failure_log_file);
}

/* ---- life ---- */

static enum err from_root(struct conf_ctx *cx, str file, const struct conf_node *root, struct prom_config **ret)
{
    struct prom_config *c = arena_new(cx->a, struct prom_config);
    TRY(conf_decode(cx, root, &prom_config_schema, c));
    c->a = cx->a;
    c->ctx = cx;
    c->refs = arena_new(cx->a, atomic_uint);
    atomic_init(c->refs, 1);
    set_dir(c, arena_str(cx->a, dir_of(file)));
    read_scrape_files(cx, c);
    if (cx->n_errors)
        return ERR_INVALID;
    *ret = c;
    return OK;
}

static enum err finish(struct conf_ctx *cx, enum err e, struct buf *diags_out, struct err_text *reterr)
{
    if (diags_out)
        conf_diags_print(diags_out, cx);
    if (e) {
        conf_first_error(cx, reterr);
        conf_ctx_free(cx);
    }
    return e;
}

enum err prom_config_load(const char *path, struct prom_config **ret, struct buf *diags_out, struct err_text *reterr)
{
    struct conf_ctx *cx = conf_ctx_new(fs_os());
    struct conf_node *root;
    enum err e = conf_read(cx, path, 0, &root);
    e = e ? e : from_root(cx, str_c(path), root, ret);
    return finish(cx, e, diags_out, reterr);
}

enum err prom_config_parse(str file, str text, struct prom_config **ret, struct buf *diags_out, struct err_text *reterr)
{
    struct conf_ctx *cx = conf_ctx_new(fs_os());
    struct conf_node *root;
    enum err e = conf_parse(cx, file, arena_str(cx->a, text), 0, &root);
    e = e ? e : from_root(cx, file, root, ret);
    return finish(cx, e, diags_out, reterr);
}

enum err prom_config_from_node(str file, const struct conf_node *n, struct prom_config **ret, struct buf *diags_out,
                               struct err_text *reterr)
{
    struct conf_ctx *cx = conf_ctx_new(fs_os());
    enum err e = from_root(cx, file, n ? conf_copy(cx->a, n) : NULL, ret);
    return finish(cx, e, diags_out, reterr);
}

struct prom_config *prom_config_ref(struct prom_config *c)
{
    atomic_fetch_add_explicit(c->refs, 1, memory_order_relaxed);
    return c;
}

void prom_config_unref(struct prom_config *c)
{
    if (c && atomic_fetch_sub_explicit(c->refs, 1, memory_order_acq_rel) == 1)
        conf_ctx_free(c->ctx);
}

void prom_config_print(const struct prom_config *c, struct buf *out)
{
    conf_print(out, &prom_config_schema, c);
}
