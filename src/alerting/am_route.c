#include "alerting/am_route.h"

#include <stdlib.h>

#include "base/check.h"

struct route_conf {
    str receiver;
    struct conf_list group_by;
    const struct conf_node *match, *match_re, *matchers, *routes, *labels;
    struct conf_list mute, active;
    bool goes_on;
    int64_t group_wait_ms, group_interval_ms, repeat_interval_ms;
};
#define F(m, key, t, ...) CF(struct route_conf, m, key, t, ##__VA_ARGS__)
static const struct conf_field route_fields[] = {
    F(receiver, "receiver", CONF_STR),
    F(group_by, "group_by", CONF_LIST, .of = CONF_STR),
    F(match, "match", CONF_NODE),
    F(match_re, "match_re", CONF_NODE),
    F(matchers, "matchers", CONF_NODE),
    F(mute, "mute_time_intervals", CONF_LIST, .of = CONF_STR),
    F(active, "active_time_intervals", CONF_LIST, .of = CONF_STR),
    F(goes_on, "continue", CONF_BOOL),
    F(routes, "routes", CONF_NODE),
    F(labels, "labels", CONF_NODE),
    F(group_wait_ms, "group_wait", CONF_DURATION),
    F(group_interval_ms, "group_interval", CONF_DURATION),
    F(repeat_interval_ms, "repeat_interval", CONF_DURATION),
};
static const struct conf_schema route_schema = {
    .type_name = "config.plain",
    .size = sizeof(struct route_conf),
    .fields = route_fields,
    .n_fields = ARRAY_LEN(route_fields),
};
static const struct am_route defaults = { .group_wait_ms = 30000,
                                          .group_interval_ms = 300000,
                                          .repeat_interval_ms = 14400000 };

struct build {
    struct conf_ctx *cx;
    size_t n;
    unsigned depth;
};

static int cmp_str(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static void read_group_by(struct build *b, const struct conf_node *n, struct am_route *r, const struct conf_list *names)
{
    str *p = names->p;
    r->group_by = p;
    r->n_group_by = names->n;
    r->group_by_all = false;
    if (names->n)
        qsort(p, names->n, sizeof(*p), cmp_str);
    for (size_t i = 0; i < names->n; i++) {
        if (str_eq(p[i], STR("..."))) {
            if (names->n > 1)
                IGNORE_ERR(
                    conf_error(b->cx, n, "cannot have wildcard group_by (`...`) and other labels at the same time"));
            r->group_by_all = true;
            r->n_group_by = 0;
            return;
        }
        if (!p[i].n || !str_utf8_ok(p[i]) || (!labels_valid_name(p[i]) && (unsigned char)p[i].p[0] < 0x80))
            IGNORE_ERR(conf_error(b->cx, n, "invalid label name \"" STR_FMT "\" in group_by list", STR_ARG(p[i])));
        if (i && str_eq(p[i], p[i - 1]))
            IGNORE_ERR(conf_error(b->cx, n, "duplicated label \"" STR_FMT "\" in group_by", STR_ARG(p[i])));
    }
}

static void read_labels(struct build *b, const struct conf_node *n, struct am_route *r)
{
    struct label_builder lb;
    if (!n || n->kind == CONF_NULL)
        return;
    if (n->kind != CONF_MAP) {
        IGNORE_ERR(conf_error(b->cx, n, "labels are a mapping of names to values"));
        return;
    }
    lb_init(&lb, b->cx->a);
    lb_reset(&lb, r->labels);
    for (size_t i = 0; i < n->n; i++) {
        str value = STR("");
        if (!labels_valid_name(n->items[2 * i]->text))
            IGNORE_ERR(conf_error(b->cx, n->items[2 * i], "invalid label name \"" STR_FMT "\"",
                                  STR_ARG(n->items[2 * i]->text)));
        else if (n->items[2 * i + 1]->kind == CONF_NULL || conf_read_str(b->cx, n->items[2 * i + 1], &value) == OK)
            lb_set(&lb, n->items[2 * i]->text, value);
    }
    r->labels = lb_labels(&lb);
}

static void check_root(struct build *b, const struct conf_node *n, const struct route_conf *c, const struct am_route *r)
{
    struct conf_ctx *cx = b->cx;
    if (!r->receiver.n)
        IGNORE_ERR(conf_error(cx, n, "root route must specify a default receiver"));
    if (r->matchers.n)
        IGNORE_ERR(conf_error(cx, n, "root route must not have any matchers"));
    if (c->mute.n)
        IGNORE_ERR(conf_error(cx, n, "root route must not have any mute time intervals"));
    if (c->active.n)
        IGNORE_ERR(conf_error(cx, n, "root route must not have any active time intervals"));
    if (c->goes_on)
        IGNORE_ERR(conf_error(cx, n, "cannot have continue in root route"));
}

static struct am_route *build(struct build *b, const struct conf_node *n, struct am_route *parent, size_t at)
{
    struct route_conf c;
    struct arena *a = b->cx->a;
    struct am_route *r = arena_new(a, struct am_route);
    *r = parent ? *parent : defaults;
    r->parent = parent;
    r->routes = NULL;
    r->n_routes = 0;
    r->index = b->n++;
    r->at = n;
    r->policy = NULL;
    r->matchers = (struct am_matchers){ 0 };
    if (b->n > AM_ROUTES_MAX || b->depth > CONF_DEPTH_MAX) {
        IGNORE_ERR(conf_error(b->cx, n, "more than %u routes", AM_ROUTES_MAX));
        return r;
    }
    if (conf_decode(b->cx, n, &route_schema, &c) != OK)
        return r;
    IGNORE_ERR(am_matchers_conf(b->cx, c.match, c.match_re, c.matchers, &r->matchers));
    if (c.receiver.n)
        r->receiver = c.receiver;
    if (n->kind == CONF_MAP && conf_has(n, "group_by"))
        read_group_by(b, conf_get(n, STR("group_by")), r, &c.group_by);
    if (conf_has(n, "group_wait"))
        r->group_wait_ms = c.group_wait_ms;
    if (conf_has(n, "group_interval"))
        r->group_interval_ms = c.group_interval_ms;
    if (conf_has(n, "repeat_interval"))
        r->repeat_interval_ms = c.repeat_interval_ms;
    if (r->group_interval_ms == 0)
        IGNORE_ERR(conf_error(b->cx, conf_get(n, STR("group_interval")), "group_interval cannot be zero"));
    if (r->repeat_interval_ms == 0)
        IGNORE_ERR(conf_error(b->cx, conf_get(n, STR("repeat_interval")), "repeat_interval cannot be zero"));
    r->mute = c.mute.p;
    r->n_mute = c.mute.n;
    r->active = c.active.p;
    r->n_active = c.active.n;
    r->goes_on = c.goes_on;
    read_labels(b, c.labels, r);
    if (!parent)
        check_root(b, n, &c, r);
    AUTO_BUF struct buf key;
    buf_init(&key, 0);
    if (parent) {
        buf_str_add(&key, parent->key);
        buf_u8(&key, '/');
    }
    am_matchers_print(&key, &r->matchers);
    r->key = arena_str(a, buf_str(&key));
    r->id = parent ? arena_printf(a, STR_FMT "/%zu", STR_ARG(r->key), at) : r->key;
    if (!c.routes || c.routes->kind == CONF_NULL)
        return r;
    if (c.routes->kind != CONF_SEQ) {
        IGNORE_ERR(conf_error(b->cx, c.routes, "routes are a list"));
        return r;
    }
    r->routes = arena_array(a, struct am_route *, c.routes->n + 1);
    b->depth++;
    for (size_t i = 0; i < c.routes->n; i++)
        r->routes[r->n_routes++] = build(b, c.routes->items[i], r, i);
    b->depth--;
    return r;
}

enum err am_route_conf(struct conf_ctx *cx, const struct conf_node *n, struct am_route **ret_root, size_t *ret_n)
{
    struct build b = { .cx = cx };
    size_t errors = cx->n_errors;
    if (!n || n->kind == CONF_NULL)
        return conf_error(cx, n, "no route provided in config");
    *ret_root = build(&b, n, NULL, 0);
    *ret_n = b.n;
    return cx->n_errors == errors ? OK : ERR_INVALID;
}

struct found {
    const struct am_route **p;
    size_t n, max;
    uint8_t *steps; /* NULL: nobody asked */
};

static void step(struct found *f, const struct am_route *r, enum am_route_step s)
{
    if (f->steps)
        f->steps[r->index] = (uint8_t)s;
}

static bool match(const struct am_route *r, struct labels ls, struct found *f)
{
    bool below = false;
    if (!am_matchers_match(&r->matchers, ls)) {
        step(f, r, AM_ROUTE_NO);
        return false;
    }
    for (size_t i = 0; i < r->n_routes; i++)
        if (match(r->routes[i], ls, f)) {
            below = true;
            if (!r->routes[i]->goes_on)
                break;
        }
    step(f, r, below ? AM_ROUTE_PASSED : AM_ROUTE_TAKEN);
    if (!below) {
        if (f->n < f->max)
            f->p[f->n] = r;
        f->n++;
    }
    return true;
}

size_t am_route_match(const struct am_route *root, struct labels ls, const struct am_route **ret, size_t max)
{
    struct found f = { ret, 0, max, NULL };
    match(root, ls, &f);
    return f.n;
}

void am_route_explain(const struct am_route *root, struct labels ls, uint8_t *ret)
{
    struct found f = { .steps = ret };
    match(root, ls, &f);
}

struct labels am_route_group(const struct am_route *r, struct labels ls, struct arena *a)
{
    struct label *p = arena_array(a, struct label, ls.n + 1);
    size_t n = 0;
    labels_each (x, ls)
        if (r->group_by_all || (r->n_group_by && bsearch(&x->name, r->group_by, r->n_group_by, sizeof(str), cmp_str)) ||
            (str_eq(x->name, STR("drill")) && str_eq(x->value, STR("true")))) /* never in the group of a real alert */
            p[n++] = *x;
    return (struct labels){ p, n };
}
