#include "alerting/am_inhibit.h"
#include "alerting/am_policy.h"

#include "base/check.h"
#include "base/hash.h"

/* ---- configuration ---- */
struct rule_conf {
    str name;
    const struct conf_node *source_match, *source_match_re, *source_matchers, *sources;
    const struct conf_node *target_match, *target_match_re, *target_matchers;
    struct conf_list equal;
};
#define F(m, key, t, ...) CF(struct rule_conf, m, key, t, ##__VA_ARGS__)
static const struct conf_field rule_fields[] = {
    F(name, "name", CONF_STR),
    F(source_match, "source_match", CONF_NODE),
    F(source_match_re, "source_match_re", CONF_NODE),
    F(source_matchers, "source_matchers", CONF_NODE),
    F(target_match, "target_match", CONF_NODE),
    F(target_match_re, "target_match_re", CONF_NODE),
    F(target_matchers, "target_matchers", CONF_NODE),
    F(equal, "equal", CONF_LIST, .of = CONF_STR),
};
#undef F
static const struct conf_schema rule_schema = {
    .type_name = "config.plain",
    .size = sizeof(struct rule_conf),
    .fields = rule_fields,
    .n_fields = ARRAY_LEN(rule_fields),
};

static void read_rule(struct conf_ctx *cx, const struct conf_node *n, struct am_inhibit_rule *r)
{
    struct rule_conf c;
    if (conf_decode(cx, n, &rule_schema, &c) != OK)
        return;
    r->name = c.name;
    r->equal = c.equal.p;
    r->n_equal = c.equal.n;
    for (size_t i = 0; i < c.equal.n; i++)
        if (!r->equal[i].n || !str_utf8_ok(r->equal[i]))
            IGNORE_ERR(conf_error(cx, conf_get(n, STR("equal")), "invalid label name \"" STR_FMT "\" in equal list",
                                  STR_ARG(r->equal[i])));
    IGNORE_ERR(am_matchers_conf(cx, c.source_match, c.source_match_re, c.source_matchers, &r->source));
    IGNORE_ERR(am_matchers_conf(cx, c.target_match, c.target_match_re, c.target_matchers, &r->target));
}

enum err am_inhibit_conf(struct conf_ctx *cx, const struct conf_node *n, struct am_inhibit_rules *ret)
{
    size_t errors = cx->n_errors;
    *ret = (struct am_inhibit_rules){ 0 };
    if (!n || n->kind == CONF_NULL)
        return OK;
    if (n->kind != CONF_SEQ)
        return conf_error(cx, n, "inhibit_rules are a list");
    ret->p = arena_zarray(cx->a, struct am_inhibit_rule, n->n + 1);
    for (size_t i = 0; i < n->n; i++)
        read_rule(cx, n->items[i], &ret->p[ret->n++]);
    return cx->n_errors == errors ? OK : ERR_INVALID;
}

/* ---- what fires ---- */
struct source {
    struct source *next; /* of the same bucket */
    uint64_t fingerprint;
    struct labels labels; /* the alert's */
    bool is_target;
};
#define MAP_NAME     buckets
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct source *
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

struct alert {
    struct arena a;
    struct labels labels;
};
#define MAP_NAME     alerts
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct alert *
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

struct am_inhibitor {
    const struct am_inhibit_rules *rules;
    struct buckets *by_rule; /* hash of the equal values -> sources */
    struct alerts alerts;    /* all that is a source of some rule */
};

static uint64_t bucket_of(const struct am_inhibit_rule *r, struct labels ls)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < r->n_equal; i++) {
        str v = labels_get(ls, r->equal[i]);
        h = (h ^ (v.n ? hash64(v) : 1)) * 1099511628211u;
        h ^= h >> 29;
    }
    return h;
}

static bool same_equal(const struct am_inhibit_rule *r, struct labels a, struct labels b)
{
    for (size_t i = 0; i < r->n_equal; i++)
        if (!str_eq(labels_get(a, r->equal[i]), labels_get(b, r->equal[i])))
            return false;
    return true;
}

struct am_inhibitor *am_inhibitor_new(const struct am_inhibit_rules *rules)
{
    struct am_inhibitor *x = mem_zalloc(sizeof(*x));
    x->rules = rules;
    x->by_rule = mem_zalloc((rules->n + 1) * sizeof(*x->by_rule));
    return x;
}

void am_inhibitor_free(struct am_inhibitor *x)
{
    if (!x)
        return;
    map_each (alerts, s, &x->alerts) {
        arena_deinit(&s->value->a);
        mem_free(s->value);
    }
    alerts_free(&x->alerts);
    for (size_t i = 0; i < x->rules->n; i++)
        buckets_free(&x->by_rule[i]);
    mem_free(x->by_rule);
    mem_free(x);
}

void am_inhibitor_fire(struct am_inhibitor *x, uint64_t fingerprint, struct labels ls)
{
    struct alert *al = NULL;
    if (alerts_get(&x->alerts, fingerprint) || am_is_drill(ls)) /* a drill keeps no real alert from being told */
        return;
    for (size_t i = 0; i < x->rules->n; i++) {
        const struct am_inhibit_rule *r = &x->rules->p[i];
        if (!am_matchers_match(&r->source, ls))
            continue;
        if (!al) {
            al = mem_zalloc(sizeof(*al));
            arena_init(&al->a, 0);
            al->labels = labels_copy(&al->a, ls);
            *alerts_put(&x->alerts, fingerprint, NULL) = al;
        }
        struct source **head = buckets_put(&x->by_rule[i], bucket_of(r, ls), NULL),
                      *s = arena_new(&al->a, struct source);
        *s = (struct source){ *head, fingerprint, al->labels, am_matchers_match(&r->target, ls) };
        *head = s;
    }
}

void am_inhibitor_resolve(struct am_inhibitor *x, uint64_t fingerprint)
{
    struct alert **found = alerts_get(&x->alerts, fingerprint), *al;
    if (!found)
        return;
    al = *found;
    for (size_t i = 0; i < x->rules->n; i++) {
        uint64_t key = bucket_of(&x->rules->p[i], al->labels);
        struct source **s = buckets_get(&x->by_rule[i], key);
        if (!s)
            continue;
        for (struct source **p = s; *p; p = &(*p)->next)
            if ((*p)->fingerprint == fingerprint) {
                *p = (*p)->next;
                break;
            }
        if (!*s)
            buckets_del(&x->by_rule[i], key);
    }
    alerts_del(&x->alerts, fingerprint);
    arena_deinit(&al->a);
    mem_free(al);
}

size_t am_inhibited(const struct am_inhibitor *x, struct labels ls, uint64_t *ret_by, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < x->rules->n; i++) {
        const struct am_inhibit_rule *r = &x->rules->p[i];
        if (!x->by_rule[i].n || !am_matchers_match(&r->target, ls))
            continue;
        bool two_sided = am_matchers_match(&r->source, ls);
        struct source **s = buckets_get(&x->by_rule[i], bucket_of(r, ls));
        for (const struct source *p = s ? *s : NULL; p; p = p->next) {
            if ((two_sided && p->is_target) || !same_equal(r, p->labels, ls))
                continue;
            ret_by[n++] = p->fingerprint;
            if (n == max) /* thousands may be in one bucket: as many as are wanted will do */
                return n;
        }
    }
    return n;
}
