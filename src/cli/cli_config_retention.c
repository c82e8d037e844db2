/* retention and rollups of vane.yaml.
 *
 *   retention: {time: 15d, size: 0, rules: [{match: '{__name__=~"debug_.*"}', keep: 3d}]}
 *   retention:                    # the same as a list; the entry without match is the default
 *     - {match: '{job="audit"}', keep: forever}
 *     - {keep: 30d}
 *   rollups:
 *     - {resolution: 5m, keep: 90d}
 *     - {resolution: 1h, keep: 2y, match: '{__name__=~"http_.*"}'} */
#include "base/check.h"
#include "cli/cli_config.h"
#include "base/num.h"
#include "promql/ast.h"

#define DAY_MS (24 * 3600 * 1000ll)

static enum err read_match(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    struct cli_match *m = field;
    struct err_text why = { 0 };
    TRY(conf_read_str(cx, n, &m->text));
    if (promql_parse_selector(cx->a, m->text, &m->m, &m->n, &why))
        return conf_error(cx, n, "not a series selector: %s (example: '{__name__=~\"debug_.*\"}')", why.msg);
    for (size_t i = 0; i < m->n; i++)
        if (m->m[i].rx)
            vec_push(&cx->regexes, m->m[i].rx); /* freed with the configuration */
    return OK;
}

static void print_match(struct conf_out *out, const void *field)
{
    const struct cli_match *m = field;
    if (m->n)
        conf_out_scalar(out, m->text);
}

static enum err read_keep(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s;
    int64_t *keep = field;
    TRY(conf_read_str(cx, n, &s));
    if (str_eq(s, STR("forever"))) {
        *keep = 0;
        return OK;
    }
    if (str_has_prefix(s, STR("-")))
        return conf_error(cx, n, "keep must not be negative: \"" STR_FMT "\" (examples: 3d, 2y, forever)", STR_ARG(s));
    TRY(conf_read_duration(cx, n, keep));
    if (*keep <= 0)
        return conf_error(cx, n, "keep must be more than 0 (examples: 3d, 2y, forever)");
    return OK;
}

static void print_keep(struct conf_out *out, const void *field)
{
    AUTO_BUF struct buf b = { 0 };
    int64_t keep = *(const int64_t *)field;
    if (keep)
        buf_duration(&b, keep);
    conf_out_scalar(out, keep ? buf_str(&b) : STR("forever"));
}

static void check_rule(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    (void)obj;
    if (!conf_has(n, "match"))
        IGNORE_ERR(conf_error(cx, n, "a rule needs match, which series it is for"));
}

#define F(m, key, t, ...) CF(struct cli_keep, m, key, t, ##__VA_ARGS__)
static const struct conf_field rule_fields[] = {
    F(match, "match", CONF_CUSTOM, .read = read_match, .print = print_match),
    F(keep_ms, "keep", CONF_CUSTOM, .read = read_keep, .print = print_keep, .flags = CONF_REQUIRED),
};
#undef F
static const struct conf_schema rule_schema = { .type_name = "retention rule",
                                                .size = sizeof(struct cli_keep),
                                                .fields = rule_fields,
                                                .n_fields = ARRAY_LEN(rule_fields),
                                                .check = check_rule };
static const struct conf_schema entry_schema = { .type_name = "retention rule", /* of the list: match may be absent */
                                                 .size = sizeof(struct cli_keep),
                                                 .fields = rule_fields,
                                                 .n_fields = ARRAY_LEN(rule_fields) };

#define F(m, key, t, ...) CF(struct cli_retention, m, key, t, ##__VA_ARGS__)
static const struct cli_retention retention_defaults = { .time_ms = 15 * DAY_MS };
static const struct conf_field retention_fields[] = {
    F(time_ms, "time", CONF_DURATION, .flags = CONF_ALWAYS),
    F(bytes, "size", CONF_BYTES, .flags = CONF_ALWAYS),
    F(rules, "rules", CONF_LIST, .of = CONF_STRUCT, .schema = &rule_schema),
};
#undef F
static const struct conf_schema retention_schema = { .type_name = "retention",
                                                     .size = sizeof(struct cli_retention),
                                                     .fields = retention_fields,
                                                     .n_fields = ARRAY_LEN(retention_fields),
                                                     .defaults = &retention_defaults };

static enum err read_entries(struct conf_ctx *cx, const struct conf_node *n, struct cli_retention *r)
{
    r->rules.p = arena_zarray(cx->a, struct cli_keep, n->n + 1);
    for (size_t i = 0; i < n->n; i++) {
        struct cli_keep k;
        if (conf_decode(cx, n->items[i], &entry_schema, &k))
            continue;
        if (conf_has(n->items[i], "match")) {
            r->rules.p[r->rules.n++] = k;
            continue;
        }
        if (i + 1 < n->n)
            IGNORE_ERR(conf_error(cx, n->items[i], "an entry without match is the default and must be the last"));
        r->time_ms = k.keep_ms;
        r->time_given = true;
    }
    return OK;
}

enum err cli_retention_read(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    struct cli_retention *r = field;
    *r = retention_defaults;
    if (n->kind == CONF_SEQ) {
        TRY(read_entries(cx, n, r));
    } else if (n->kind != CONF_NULL) {
        TRY(conf_decode(cx, n, &retention_schema, r));
        r->time_given = conf_has(n, "time");
        r->bytes_given = conf_has(n, "size");
    }
    if (r->rules.n > TSDB_KEEPS_MAX)
        return conf_error(cx, n, "%zu rules of retention, at most %d", r->rules.n, TSDB_KEEPS_MAX);
    return OK;
}

void cli_retention_print(struct conf_out *out, const void *field)
{
    conf_out_struct(out, &retention_schema, field);
}

/* ---- rollups ---- */
static void check_rollup(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct cli_rollup *r = obj;
    const struct conf_node *at = conf_get(n, STR("resolution"));
    if (!at)
        return;
    if (r->resolution_ms < ROLLUP_RES_MS_MIN || DAY_MS % r->resolution_ms)
        IGNORE_ERR(conf_error(cx, at, "a resolution is at least 1m and divides a day (examples: 5m, 15m, 1h)"));
}

#define F(m, key, t, ...) CF(struct cli_rollup, m, key, t, ##__VA_ARGS__)
static const struct conf_field rollup_fields[] = {
    F(resolution_ms, "resolution", CONF_DURATION, .flags = CONF_REQUIRED | CONF_POSITIVE),
    F(keep_ms, "keep", CONF_CUSTOM, .read = read_keep, .print = print_keep, .flags = CONF_REQUIRED),
    F(match, "match", CONF_CUSTOM, .read = read_match, .print = print_match),
};
#undef F
const struct conf_schema cli_rollup_schema = { .type_name = "rollup",
                                               .size = sizeof(struct cli_rollup),
                                               .fields = rollup_fields,
                                               .n_fields = ARRAY_LEN(rollup_fields),
                                               .check = check_rollup };

static const struct conf_node *resolution_of(const struct conf_node *list, size_t i)
{
    const struct conf_node *at =
        list && list->kind == CONF_SEQ && i < list->n ? conf_get(list->items[i], STR("resolution")) : NULL;
    return at ? at : list;
}

/* Rules between rollups; the default retention is known. */
enum err cli_rollups_check(struct conf_ctx *cx, const struct conf_node *n, const struct cli_config *c)
{
    if (c->rollups.n > TSDB_ROLLUPS_MAX)
        IGNORE_ERR(conf_error(cx, n, "%zu rollups, at most %d", c->rollups.n, TSDB_ROLLUPS_MAX));
    for (size_t i = 0; i < c->rollups.n; i++)
        for (size_t k = 0; k < i; k++) {
            int64_t x = c->rollups.p[i].resolution_ms, y = c->rollups.p[k].resolution_ms;
            if (x <= 0 || y <= 0)
                continue;
            if (x == y)
                IGNORE_ERR(conf_error(cx, resolution_of(n, i), "this resolution is there already"));
            else if (MAX(x, y) % MIN(x, y))
                IGNORE_ERR(
                    conf_error(cx, resolution_of(n, i), "of two resolutions, one must be a multiple of the other"));
        }
    int64_t keep = c->retention.time_ms;
    for (size_t i = 0; i < c->rollups.n; i++) {
        const struct cli_rollup *r = &c->rollups.p[i];
        if (!keep || (r->keep_ms && r->keep_ms <= keep))
            conf_warn(cx, resolution_of(n, i),
                      "these rollups are not kept longer than the samples and will not be used");
    }
    return cx->n_errors ? ERR_INVALID : OK;
}

/* ---- for the store ---- */
void cli_retention_tsdb(const struct cli_config *c, struct tsdb_config *ret)
{
    ret->retention_ms = c->retention.time_ms;
    ret->retention_bytes = c->retention.bytes;
    ret->rollups = c->tsdb_rollups;
    ret->n_rollups = c->rollups.n;
    ret->keeps = c->tsdb_keeps;
    ret->n_keeps = c->retention.rules.n;
}

void cli_retention_prepare(struct cli_config *c)
{
    struct arena *a = c->ctx->a;
    c->tsdb_rollups = arena_zarray(a, struct tsdb_rollup_config, c->rollups.n + 1);
    for (size_t i = 0; i < c->rollups.n; i++) {
        const struct cli_rollup *r = &c->rollups.p[i];
        c->tsdb_rollups[i] = (struct tsdb_rollup_config){ r->resolution_ms, r->keep_ms, r->match.m, r->match.n };
    }
    c->tsdb_keeps = arena_zarray(a, struct tsdb_keep_config, c->retention.rules.n + 1);
    for (size_t i = 0; i < c->retention.rules.n; i++) {
        const struct cli_keep *k = &c->retention.rules.p[i];
        c->tsdb_keeps[i] = (struct tsdb_keep_config){ k->match.m, k->match.n, k->keep_ms };
    }
}
