/* The alerts of one rule: a series of the expression is an alert; it is pending for `for`, then firing; without its
 * series it ends, after `keep_firing_for` if that is set. */
#include "rules/rules_int.h"
#include "tmpl/tmpl_lib.h"

const char *alert_state_name(enum alert_state s)
{
    return s == ALERT_FIRING ? "firing" : s == ALERT_PENDING ? "pending" : "inactive";
}

struct alert_round { /* of one rule */
    const struct rules_env *env;
    const struct rule *rule;
    int64_t ts_ms, query_ts_ms; /* query_ts_ms: less the query offset */
    struct arena *a;
};

/* ---- templates ---- */
struct world {
    const struct rules_env *env;
    int64_t ts_ms;
};

static void fill_sample(struct arena *a, struct labels ls, const struct promql_point *p, struct tmpl_prom_sample *ret)
{
    struct tmpl_pair *pairs = arena_array(a, struct tmpl_pair, ls.n + 1);
    for (size_t i = 0; i < ls.n; i++)
        pairs[i] = (struct tmpl_pair){ ls.p[i].name, tmpl_str(ls.p[i].value) };
    *ret = (struct tmpl_prom_sample){ pairs, ls.n, p->v, STR_NONE };
    if (p->h) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        histogram_print(&b, p->h);
        ret->histogram = arena_str(a, buf_str(&b));
    }
}

static enum err run_query(void *ctx, str expr, struct arena *a, struct tmpl_prom_sample **ret, size_t *ret_n,
                          struct err_text *reterr)
{
    const struct world *w = ctx;
    struct promql_result r;
    TRY(rules_ask(w->env, expr, NULL, w->ts_ms, a, &r, reterr));
    if (r.type != PROMQL_VECTOR)
        return err_fail(reterr, ERR_EXEC, "query result is not a vector or scalar");
    *ret = arena_array(a, struct tmpl_prom_sample, r.n_series + 1);
    *ret_n = r.n_series;
    for (size_t i = 0; i < r.n_series; i++)
        fill_sample(a, r.series[i].labels, r.series[i].points, &(*ret)[i]);
    return OK;
}

static struct tmpl_val string_map(struct arena *a, struct labels ls)
{
    struct tmpl_val v = tmpl_map(a, &tmpl_type_string_map, ls.n);
    for (size_t i = 0; i < ls.n; i++)
        v.map.p[i] = (struct tmpl_pair){ ls.p[i].name, tmpl_str(ls.p[i].value) };
    return v;
}

static const struct tmpl_func *const tables[] = { tmpl_prom_funcs };

/* A failing template does not stop the alert: its text says what is wrong. */
static str expand(const struct alert_round *rd, str text, const struct tmpl_val *dot)
{
    if (str_find(text, STR("{{")) == SIZE_MAX)
        return text;
    const struct tmpl_options opt = { tables, &tmpl_prom_n_funcs, 1, TMPL_MISSING_ZERO, false };
    struct world w = { rd->env, rd->query_ts_ms };
    struct tmpl_prom prom = { &w, rd->ts_ms, rd->env->external_url, run_query };
    struct tmpl_run run = { .a = rd->a, .ctx = &prom, .output_bytes_max = 1 << 20 };
    struct err_text why = { 0 };
    AUTO_BUF struct buf out, whole;
    buf_init(&out, 0);
    buf_init(&whole, 0);
    buf_lit(&whole, RULES_TEMPLATE_DEFS);
    buf_str_add(&whole, text);
    str name = arena_printf(rd->a, "__alert_" STR_FMT, STR_ARG(rd->rule->name));
    if (tmpl_once(&opt, NULL, name, buf_str(&whole), dot, &run, &out, &why) != OK)
        return arena_printf(rd->a, "<error expanding template: %s>", why.msg);
    return arena_str(rd->a, buf_str(&out));
}

static struct tmpl_val data_of(const struct alert_round *rd, struct labels ls, const struct promql_point *p)
{
    static const char *const fields[] = { "Labels", "ExternalLabels", "ExternalURL", "Value" };
    static const struct tmpl_type type = { .name = "template.alertTemplateData", .fields = fields, .n_fields = 4 };
    struct tmpl_prom_sample s;
    struct tmpl_val v = tmpl_struct(rd->a, &type);
    fill_sample(rd->a, ls, p, &s);
    v.list.p[0] = string_map(rd->a, ls);
    v.list.p[1] = string_map(rd->a, rd->env->external_labels);
    v.list.p[2] = tmpl_str(rd->env->external_url);
    v.list.p[3] = s.histogram.p ? tmpl_str(s.histogram) : tmpl_float(p->v);
    return v;
}

/* ---- the book ---- */
static struct kept_alert *kept(struct rule_alert *al)
{
    return CONTAINER_OF(al, struct kept_alert, al);
}

/* A copy in one block, p: mem_free. There may be very many alerts, and an arena's block is large. */
struct labels rules_labels_own(struct labels ls)
{
    size_t n = ls.n * sizeof(struct label);
    labels_each (l, ls)
        n += l->name.n + l->value.n;
    struct label *p = mem_alloc(n + 1);
    char *text = (char *)(p + ls.n);
    for (size_t i = 0; i < ls.n; i++) {
        const str *from[] = { &ls.p[i].name, &ls.p[i].value };
        str *to[] = { &p[i].name, &p[i].value };
        for (size_t k = 0; k < 2; k++) {
            if (from[k]->n)
                memcpy(text, from[k]->p, from[k]->n);
            *to[k] = str_n(text, from[k]->n);
            text += from[k]->n;
        }
    }
    return (struct labels){ p, ls.n };
}

void rules_labels_disown(struct labels ls)
{
    mem_free((void *)(uintptr_t)ls.p);
}

struct kept_alert *alerts_add(struct alert_book *book, const struct rule_alert *al)
{
    struct kept_alert *k = mem_zalloc(sizeof(*k));
    k->al = *al;
    k->al.labels = rules_labels_own(al->labels);
    k->al.annotations = rules_labels_own(al->annotations);
    k->hash = labels_hash(al->labels);
    vec_push(&book->v, &k->al);
    return k;
}

static void drop(struct alert_book *book, size_t i)
{
    struct kept_alert *k = kept(book->v.p[i]);
    rules_labels_disown(k->al.labels);
    rules_labels_disown(k->al.annotations);
    mem_free(k);
    vec_remove_swap(&book->v, i);
}

void alerts_free(struct alert_book *book)
{
    while (book->v.n)
        drop(book, book->v.n - 1);
    vec_free(&book->v);
}

#define MAP_NAME     found
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct kept_alert *
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

/* Labels and annotations of one result; added to the book or put over what is there. */
static enum err take(const struct alert_round *rd, struct alert_book *book, struct found *by_hash,
                     const struct promql_result_series *s, struct err_text *reterr)
{
    struct tmpl_val dot = data_of(rd, s->labels, s->points);
    struct label_builder lb, an;
    lb_init(&lb, rd->a);
    lb_init(&an, rd->a);
    lb_reset(&lb, s->labels);
    lb_del(&lb, LABEL_NAME);
    labels_each (l, rd->rule->labels)
        lb_set(&lb, l->name, expand(rd, l->value, &dot));
    lb_set(&lb, STR("alertname"), rd->rule->name);
    labels_each (l, rd->rule->annotations)
        lb_set(&an, l->name, expand(rd, l->value, &dot));
    struct rule_alert al = { .labels = lb_labels(&lb),
                             .annotations = lb_labels(&an),
                             .state = ALERT_PENDING,
                             .value = s->points->v,
                             .active_at_ms = rd->ts_ms };
    bool fresh;
    struct kept_alert **slot = found_put(by_hash, labels_hash(al.labels), &fresh);
    if (!fresh && (*slot)->seen)
        return err_fail(reterr, ERR_EXEC, "vector contains metrics with the same labelset after applying alert labels");
    if (fresh) {
        *slot = alerts_add(book, &al);
    } else if ((*slot)->al.state == ALERT_INACTIVE) { /* it is back */
        struct kept_alert *k = *slot;
        al.labels = k->al.labels;
        rules_labels_disown(k->al.annotations);
        al.annotations = rules_labels_own(al.annotations);
        k->al = al;
    } else {
        struct kept_alert *k = *slot;
        k->al.value = al.value;
        rules_labels_disown(k->al.annotations);
        k->al.annotations = rules_labels_own(al.annotations);
    }
    (*slot)->seen = true;
    return OK;
}

/* ---- states ---- */
/* false: the alert is to be forgotten. ret_active: it is pending or firing. */
static bool advance(const struct rule *rule, struct kept_alert *k, int64_t ts_ms, bool *ret_active)
{
    struct rule_alert *al = &k->al;
    *ret_active = true;
    if (k->seen) {
        al->keep_firing_since_ms = 0;
    } else {
        bool keep = false, forget = al->state == ALERT_PENDING ||
                                    (al->resolved_at_ms && ts_ms - al->resolved_at_ms > RULES_RESOLVED_KEEP_MS);
        if (al->state == ALERT_FIRING && rule->keep_firing_for_ms > 0) {
            if (!al->keep_firing_since_ms)
                al->keep_firing_since_ms = ts_ms;
            keep = ts_ms - al->keep_firing_since_ms < rule->keep_firing_for_ms;
        }
        if (al->state != ALERT_INACTIVE && !keep) {
            al->state = ALERT_INACTIVE;
            al->resolved_at_ms = ts_ms;
        }
        *ret_active = keep;
        if (!keep)
            return !forget;
    }
    if (al->state == ALERT_PENDING && ts_ms - al->active_at_ms >= rule->for_ms) {
        al->state = ALERT_FIRING;
        al->fired_at_ms = ts_ms;
    }
    return true;
}

static void write_samples(const struct alert_round *rd, const struct rule_alert *al, struct batch *out)
{
    struct label_builder lb;
    lb_init(&lb, rd->a);
    lb_reset(&lb, al->labels);
    lb_set(&lb, LABEL_NAME, STR("ALERTS"));
    lb_set(&lb, STR("alertstate"), str_c(alert_state_name(al->state)));
    out_sample(out, lb_labels(&lb), rd->query_ts_ms, 1, NULL);
    lb_init(&lb, rd->a);
    lb_reset(&lb, al->labels);
    lb_set(&lb, LABEL_NAME, STR("ALERTS_FOR_STATE"));
    out_sample(out, lb_labels(&lb), rd->query_ts_ms, (double)(al->active_at_ms / 1000), NULL);
}

enum err alerts_round(struct alert_book *book, const struct rules_env *env, const struct rule *rule, uint64_t limit,
                      int64_t ts_ms, int64_t query_ts_ms, const struct promql_result *r, struct arena *a,
                      struct batch *out, struct err_text *reterr)
{
    struct alert_round rd = { .env = env, .rule = rule, .ts_ms = ts_ms, .query_ts_ms = query_ts_ms, .a = a };
    struct found by_hash = { 0 };
    enum err e = OK;
    size_t active = 0;
    for (size_t i = 0; i < book->v.n; i++) {
        struct kept_alert *k = kept(book->v.p[i]);
        k->seen = false;
        *found_put(&by_hash, k->hash, NULL) = k;
    }
    size_t before = book->v.n;
    for (size_t i = 0; i < r->n_series && !e; i++)
        e = take(&rd, book, &by_hash, &r->series[i], reterr);
    found_free(&by_hash);
    if (e) { /* as if it had not been asked */
        while (book->v.n > before)
            drop(book, book->v.n - 1);
        return e;
    }
    for (size_t i = 0; i < book->v.n;) {
        bool is_active;
        if (!advance(rule, kept(book->v.p[i]), ts_ms, &is_active)) {
            drop(book, i);
            continue;
        }
        active += is_active;
        if (is_active)
            write_samples(&rd, book->v.p[i], out);
        i++;
    }
    if (limit && active > limit) {
        while (book->v.n)
            drop(book, book->v.n - 1);
        return err_fail(reterr, ERR_LIMIT, "exceeded limit of %llu with %zu alerts", (unsigned long long)limit, active);
    }
    return OK;
}
