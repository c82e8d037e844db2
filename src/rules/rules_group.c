#include "rules/rules_group.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "rules/rules_int.h"
#include "rules/rules_verdict.h"

struct written { /* series of one evaluation, sorted by labels */
    struct arena a;
    struct labels *p;
    size_t n;
};
struct running {
    const struct rule *rule;
    struct alert_book alerts;
    struct written before;   /* what the last evaluation wrote */
    struct written verdicts; /* of data absent and evaluation failed */
    struct rule_sources sources;
    bool recalled; /* what was written before a restart is in verdicts */
    const char *health;
    char last_error[512];
    int64_t last_eval_ms, duration_ns;
    uint64_t evaluations, failures;
    size_t n_samples;
};
struct rules_group {
    const struct rule_group *group;
    const struct rules_env *env;
    struct running *rules;
    struct written orphans; /* of rules that are gone */
};

static int cmp_labels(const void *a, const void *b)
{
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

void out_sample(struct batch *out, struct labels ls, int64_t ts_ms, double v, const struct histogram *h)
{
    struct batch_series s = { .labels = ls };
    if (h) {
        struct hist_sample *x = arena_new(out->a, struct hist_sample);
        *x = (struct hist_sample){ ts_ms, h };
        s.hists = x;
        s.n_hists = 1;
    } else {
        struct sample *x = arena_new(out->a, struct sample);
        *x = (struct sample){ ts_ms, v };
        s.samples = x;
        s.n_samples = 1;
    }
    avec_push(out->a, &out->series, s);
    out->n_samples++;
}

/* ---- groups ---- */
struct rules_group *rules_group_new(const struct rule_group *group, const struct rules_env *env)
{
    struct rules_group *g = mem_zalloc(sizeof(*g));
    g->group = group;
    g->env = env;
    g->rules = mem_zalloc((group->n_rules + 1) * sizeof(*g->rules));
    arena_init(&g->orphans.a, 0);
    for (size_t i = 0; i < group->n_rules; i++) {
        g->rules[i].rule = &group->rules[i];
        g->rules[i].health = "unknown";
        arena_init(&g->rules[i].before.a, 0);
        arena_init(&g->rules[i].verdicts.a, 0);
    }
    return g;
}

void rules_group_free(struct rules_group *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->group->n_rules; i++) {
        alerts_free(&g->rules[i].alerts);
        arena_deinit(&g->rules[i].before.a);
        arena_deinit(&g->rules[i].verdicts.a);
        rules_sources_free(&g->rules[i].sources);
    }
    arena_deinit(&g->orphans.a);
    mem_free(g->rules);
    mem_free(g);
}

static bool same_rule(const struct rule *a, const struct rule *b)
{
    return a->alerting == b->alerting && str_eq(a->name, b->name) && labels_eq(a->labels, b->labels) &&
           str_eq(a->expr, b->expr);
}

static void adopt_orphans(struct rules_group *g, const struct written *w)
{
    struct labels *p = arena_array(&g->orphans.a, struct labels, g->orphans.n + w->n + 1);
    if (g->orphans.n)
        memcpy(p, g->orphans.p, g->orphans.n * sizeof(*p));
    for (size_t i = 0; i < w->n; i++)
        p[g->orphans.n + i] = labels_copy(&g->orphans.a, w->p[i]);
    g->orphans.p = p;
    g->orphans.n += w->n;
}

void rules_group_inherit(struct rules_group *g, struct rules_group *old)
{
    for (size_t o = 0; o < old->group->n_rules; o++) {
        struct running *from = &old->rules[o], *to = NULL;
        for (size_t i = 0; i < g->group->n_rules && !to; i++)
            if (!g->rules[i].evaluations && same_rule(g->rules[i].rule, from->rule))
                to = &g->rules[i];
        if (!to) {
            adopt_orphans(g, &from->before);
            adopt_orphans(g, &from->verdicts);
            continue;
        }
        const struct rule *rule = to->rule;
        struct running blank = { .rule = from->rule, .health = "unknown" };
        arena_deinit(&to->before.a);
        arena_deinit(&to->verdicts.a);
        *to = *from;
        to->rule = rule;
        *from = blank;
        arena_init(&from->before.a, 0);
        arena_init(&from->verdicts.a, 0);
    }
    adopt_orphans(g, &old->orphans);
}

const struct rule_group *rules_group_source(const struct rules_group *g)
{
    return g->group;
}

int64_t rules_group_interval_ms(const struct rules_group *g)
{
    return g->group->interval_ms ? g->group->interval_ms : g->env->default_interval_ms;
}

size_t rules_group_n_rules(const struct rules_group *g)
{
    return g->group->n_rules;
}

struct rule_facts rules_group_rule(const struct rules_group *g, size_t i)
{
    const struct running *r = &g->rules[i];
    return (struct rule_facts){ r->rule,        r->health,   r->last_error, r->last_eval_ms, r->duration_ns,
                                r->evaluations, r->failures, r->n_samples,  r->alerts.v.p,   r->alerts.v.n };
}

/* ---- evaluation ---- */
static enum err record(const struct rules_group *g, const struct rule *rule, int64_t ts_ms,
                       const struct promql_result *r, struct batch *out, struct err_text *reterr)
{
    for (size_t i = 0; i < r->n_series; i++) {
        struct label_builder lb;
        lb_init(&lb, out->a);
        lb_reset(&lb, r->series[i].labels);
        lb_set(&lb, LABEL_NAME, rule->name);
        labels_each (l, rule->labels)
            lb_set(&lb, l->name, l->value);
        out_sample(out, lb_labels(&lb), ts_ms, r->series[i].points->v, r->series[i].points->h);
    }
    if (g->group->limit && r->n_series > g->group->limit)
        return err_fail(reterr, ERR_LIMIT, "exceeded limit of %llu with %zu series",
                        (unsigned long long)g->group->limit, r->n_series);
    return OK;
}

/* What the rule gives, sorted by labels; ERR_EXEC if two have the same. */
static enum err sort_series(struct batch *out, struct arena *a, struct labels **ret, struct err_text *reterr)
{
    struct labels *v = arena_array(a, struct labels, out->series.n + 1);
    for (size_t i = 0; i < out->series.n; i++)
        v[i] = out->series.p[i].labels;
    if (out->series.n)
        qsort(v, out->series.n, sizeof(*v), cmp_labels);
    for (size_t i = 1; i < out->series.n; i++)
        if (labels_eq(v[i], v[i - 1]))
            return err_fail(reterr, ERR_EXEC,
                            "vector contains metrics with the same labelset after applying rule labels");
    *ret = v;
    return OK;
}

/* Series of the last round that are not in this one end here. */
static void end_missing(const struct written *before, const struct labels *now, size_t n, int64_t ts_ms,
                        struct batch *out)
{
    size_t k = 0;
    for (size_t i = 0; i < before->n; i++) {
        while (k < n && labels_cmp(now[k], before->p[i]) < 0)
            k++;
        if (k < n && labels_eq(now[k], before->p[i]))
            continue;
        out_sample(out, before->p[i], ts_ms, f64_from_bits(STALE_NAN_BITS), NULL);
    }
}

static void remember(struct written *w, const struct labels *now, size_t n)
{
    struct arena old = w->a;
    arena_init(&w->a, 0);
    w->p = arena_array(&w->a, struct labels, n + 1);
    w->n = n;
    for (size_t i = 0; i < n; i++)
        w->p[i] = labels_copy(&w->a, now[i]);
    arena_deinit(&old);
}

static enum err append(const struct rules_group *g, struct batch *out, struct err_text *reterr)
{
    return out->series.n ? g->env->append(g->env->ctx, out, reterr) : OK;
}

static int64_t query_offset(const struct rules_group *g)
{
    return g->group->has_query_offset ? g->group->query_offset_ms : g->env->default_query_offset_ms;
}

enum err rules_group_settle(struct rules_group *g, size_t i, int64_t ts_ms, struct promql_result *result,
                            struct arena *a, struct err_text *reterr)
{
    struct running *r = &g->rules[i];
    int64_t query_ts = ts_ms - query_offset(g);
    struct batch out = { .a = a };
    struct labels *now = NULL;
    if (result->type != PROMQL_VECTOR)
        return err_fail(reterr, ERR_EXEC, "the expression gives no vector and no scalar");
    if (r->rule->alerting)
        TRY(alerts_round(&r->alerts, g->env, r->rule, g->group->limit, ts_ms, query_ts, result, a, &out, reterr));
    else
        TRY(record(g, r->rule, query_ts, result, &out, reterr));
    TRY(sort_series(&out, a, &now, reterr));
    size_t n = out.series.n;
    r->n_samples = n;
    end_missing(&r->before, now, n, query_ts, &out);
    TRY(append(g, &out, reterr));
    remember(&r->before, now, n);
    return OK;
}

static enum err eval_rule(struct rules_group *g, size_t i, int64_t ts_ms, struct arena *a, struct err_text *reterr)
{
    const struct rule *rule = g->rules[i].rule;
    struct promql_result result;
    TRY(rules_ask(g->env, rule->expr, rule->parsed, ts_ms - query_offset(g), a, &result, reterr));
    return rules_group_settle(g, i, ts_ms, &result, a, reterr);
}

/* Is its data there, could it be evaluated? Told as series (rules_verdict.h). e: what the evaluation came to. */
static enum err eval_verdicts(struct rules_group *g, struct running *r, int64_t ts_ms, enum err e, struct arena *a,
                              struct err_text *reterr)
{
    int64_t query_ts = ts_ms - query_offset(g);
    struct batch out = { .a = a };
    struct labels *now = NULL;
    if ((!r->rule->on_absent.on && !r->rule->on_error.on && !r->verdicts.n) || e == ERR_CANCELLED)
        return e;
    if (!r->recalled) {
        size_t n_before = 0;
        r->recalled = rules_verdict_written(g->env, g->group, r->rule, query_ts, a, &now, &n_before) == OK;
        remember(&r->verdicts, now, n_before);
    }
    if (e == OK)
        e = rules_verdict_absent(g->env, g->group, r->rule, query_ts, &r->sources, &out, reterr);
    if (e)
        rules_verdict_failing(g->group, r->rule, query_ts, &out);
    TRY(sort_series(&out, a, &now, NULL));
    size_t n = out.series.n;
    end_missing(&r->verdicts, now, n, query_ts, &out);
    TRY(append(g, &out, e ? NULL : reterr));
    remember(&r->verdicts, now, n);
    return e;
}

static void end_orphans(struct rules_group *g, int64_t ts_ms)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch out = { .a = &a };
    if (!g->orphans.n)
        return;
    for (size_t i = 0; i < g->orphans.n; i++)
        out_sample(&out, g->orphans.p[i], ts_ms, f64_from_bits(STALE_NAN_BITS), NULL);
    if (append(g, &out, NULL) == OK)
        remember(&g->orphans, NULL, 0);
}

enum err rules_group_eval(struct rules_group *g, int64_t ts_ms, struct err_text *reterr)
{
    enum err first = OK;
    end_orphans(g, ts_ms - query_offset(g));
    for (size_t i = 0; i < g->group->n_rules; i++) {
        struct running *r = &g->rules[i];
        struct err_text why = { 0 };
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        uint64_t began = os_mono_ns();
        enum err e = eval_rule(g, i, ts_ms, &a, &why);
        e = eval_verdicts(g, r, ts_ms, e, &a, &why);
        r->duration_ns = (int64_t)(os_mono_ns() - began);
        r->last_eval_ms = ts_ms;
        r->evaluations++;
        r->failures += e != OK;
        r->health = e ? "err" : "ok";
        snprintf(r->last_error, sizeof(r->last_error), "%s", e ? (why.msg[0] ? why.msg : err_describe(e)) : "");
        if (e && !first)
            first = err_fail(reterr, e, "rule " STR_FMT ": %s", STR_ARG(r->rule->name), r->last_error);
    }
    return first;
}

void rules_group_retire(struct rules_group *g, int64_t ts_ms)
{
    for (size_t i = 0; i < g->group->n_rules; i++) {
        adopt_orphans(g, &g->rules[i].before);
        adopt_orphans(g, &g->rules[i].verdicts);
        remember(&g->rules[i].before, NULL, 0);
        remember(&g->rules[i].verdicts, NULL, 0);
    }
    end_orphans(g, ts_ms);
}

/* ---- notifying ---- */
static bool due(const struct rule_alert *al, int64_t ts_ms, int64_t resend_delay_ms)
{
    if (al->state == ALERT_PENDING)
        return false;
    if (al->resolved_at_ms > al->last_sent_ms)
        return true;
    return al->last_sent_ms + resend_delay_ms < ts_ms;
}

size_t rules_group_due_alerts(struct rules_group *g, int64_t ts_ms, int64_t resend_delay_ms, struct arena *a,
                              struct rule_alert ***ret)
{
    VEC(struct rule_alert *) v = { 0 };
    int64_t interval = rules_group_interval_ms(g), delta = MAX(resend_delay_ms, interval);
    for (size_t i = 0; i < g->group->n_rules; i++)
        for (size_t k = 0; k < g->rules[i].alerts.v.n; k++) {
            struct rule_alert *al = g->rules[i].alerts.v.p[k];
            if (!due(al, ts_ms, resend_delay_ms))
                continue;
            al->rule = g->rules[i].rule;
            al->last_sent_ms = ts_ms;
            al->valid_until_ms = ts_ms + 4 * delta;
            avec_push(a, &v, al);
        }
    *ret = v.p;
    return v.n;
}

void rules_group_restore_alert(struct rules_group *g, size_t rule, const struct rule_alert *saved)
{
    ASSERT(rule < g->group->n_rules);
    alerts_add(&g->rules[rule].alerts, saved);
}
