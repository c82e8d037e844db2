#include "rules/rules_backtest.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/os.h"
#include "rules/rules_int.h"
#include "rules/rules_overlay.h"

enum {
    STEPS_MAX = 720,            /* of one range query */
    EVALUATIONS_MAX = 50000000, /* rules times moments */
    TIME_MS_DEFAULT = 120000,
    SAMPLES_DEFAULT = 5000000,
    EPISODES_DEFAULT = 1000,
};

struct open_episode {
    struct rules_episode *e; /* NULL: pending, or counted only */
    bool fired;
    int64_t seen_ms;
};
#define MAP_NAME     open_episodes /* hash of an alert's labels -> what it is now */
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct open_episode
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

struct tried { /* one rule */
    struct rules_trial *t;
    struct open_episodes open;
    VEC(struct rules_episode *) episodes; /* of all time, in the arena; the latest are told */
};
struct group_run {
    struct rules_group *g;
    const struct rule_group *group;
    struct tried *rules;
    int64_t interval_ms, offset_ms;
    bool stepwise; /* moment by moment */
};
struct trial_run {
    const struct rules_backtest_config *cfg;
    struct arena *a; /* of the result */
    struct rules_env env;
    struct rules_memory *memory;
    struct rules_overlay overlay;
    VEC(str) recorded; /* names, sorted: ALERTS too */
    bool reads_alerts;
    size_t samples, samples_max, episodes_max;
    uint64_t deadline_ns;
    struct group_run *groups;
    size_t n_groups;
    struct rules_backtest_result *r;
};

/* ---- who reads what ---- */
static bool selects(const struct promql_vector_sel *s, str name)
{
    struct label only = { LABEL_NAME, name };
    for (size_t i = 0; i < s->n_matchers; i++)
        if (str_eq(s->matchers[i].name, LABEL_NAME) && !matchers_match(&s->matchers[i], 1, (struct labels){ &only, 1 }))
            return false;
    return true;
}

static bool reads(const struct promql_expr *e, str name)
{
    if (e->kind == PQ_VECTOR)
        return selects(&e->vector, name);
    if (e->kind == PQ_MATRIX)
        return reads(e->matrix.vector, name);
    const struct promql_expr *c[8];
    size_t n = MIN(promql_children(e, c, ARRAY_LEN(c)), ARRAY_LEN(c));
    bool found = false;
    for (size_t i = 0; i < n && !found; i++)
        found = reads(c[i], name);
    return found;
}

/* `@ start()` means another moment in a range query than in one of its moments. */
static bool has_ends(const struct promql_expr *e)
{
    const struct promql_when *w = e->kind == PQ_VECTOR     ? &e->vector.when
                                  : e->kind == PQ_SUBQUERY ? &e->subquery.when
                                                           : NULL;
    if (w && (w->at == PQ_AT_START || w->at == PQ_AT_END || w->offset.expr))
        return true;
    if (e->kind == PQ_MATRIX)
        return e->matrix.range.expr || has_ends(e->matrix.vector);
    if (e->kind == PQ_SUBQUERY && (e->subquery.range.expr || e->subquery.step.expr))
        return true;
    const struct promql_expr *c[8];
    size_t n = MIN(promql_children(e, c, ARRAY_LEN(c)), ARRAY_LEN(c));
    bool found = false;
    for (size_t i = 0; i < n && !found; i++)
        found = has_ends(c[i]);
    return found;
}

static bool needs_steps(const struct rule_group *g)
{
    for (size_t i = 0; i < g->n_rules; i++) {
        const struct promql_expr *e = g->rules[i].parsed;
        if (has_ends(e) || reads(e, STR("ALERTS")) || reads(e, STR("ALERTS_FOR_STATE")))
            return true;
        for (size_t k = i; k < g->n_rules; k++)
            if (!g->rules[k].alerting && reads(e, g->rules[k].name))
                return true;
    }
    return false;
}

static bool group_reads(const struct rule_group *g, const struct rule_group *of)
{
    for (size_t i = 0; i < g->n_rules; i++)
        for (size_t k = 0; k < of->n_rules; k++)
            if (!of->rules[k].alerting && reads(g->rules[i].parsed, of->rules[k].name))
                return true;
    return false;
}

/* Who records comes before who reads; a circle stays as it is. */
static void order_groups(struct group_run *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t pick = i;
        for (size_t k = i; k < n; k++) {
            bool waits = false;
            for (size_t other = i; other < n && !waits; other++)
                waits = other != k && group_reads(v[k].group, v[other].group);
            if (!waits) {
                pick = k;
                break;
            }
        }
        struct group_run first = v[pick];
        memmove(v + i + 1, v + i, (pick - i) * sizeof(*v));
        v[i] = first;
    }
}

/* ---- memory ---- */
static enum err keep(void *ctx, const struct batch *b, struct err_text *reterr)
{
    struct trial_run *r = ctx;
    vec_each (const struct batch_series, s, &b->series) {
        str name = labels_name(s->labels);
        bool alerts = str_eq(name, STR("ALERTS")) || str_eq(name, STR("ALERTS_FOR_STATE"));
        if (alerts && !r->reads_alerts)
            continue;
        r->samples += s->n_samples + s->n_hists;
        if (r->samples > r->samples_max)
            return err_fail(reterr, ERR_LIMIT, "more than %zu recorded samples: try a shorter time", r->samples_max);
        for (size_t i = 0; i < s->n_samples; i++)
            rules_memory_add(r->memory, s->labels, s->samples[i].ts_ms, s->samples[i].v, NULL, 0);
        for (size_t i = 0; i < s->n_hists; i++)
            rules_memory_add(r->memory, s->labels, s->hists[i].ts_ms, 0, s->hists[i].h, 0);
    }
    return r->cfg->recorded ? r->cfg->recorded(r->cfg->recorded_ctx, b, reterr) : OK;
}

/* ---- episodes ---- */
static void begin_episode(struct trial_run *r, struct tried *t, const struct rule_alert *al, struct open_episode *o)
{
    t->t->n_fired++;
    /* the oldest make room */
    struct rules_episode *e;
    if (t->episodes.n >= r->episodes_max) {
        e = t->episodes.p[0];
        map_each (open_episodes, slot, &t->open)
            if (slot->value.e == e)
                return; /* it fires still: the new one is counted only */
        vec_remove(&t->episodes, 0);
    } else {
        e = arena_new(r->a, struct rules_episode);
    }
    *e = (struct rules_episode){ .labels = labels_copy(r->a, al->labels),
                                 .annotations = labels_copy(r->a, al->annotations),
                                 .value = al->value,
                                 .active_ms = al->active_at_ms,
                                 .fired_ms = al->fired_at_ms };
    vec_push(&t->episodes, e);
    o->e = e;
}

/* Alerts that the book has forgotten: pending ones without their series, all of them when a limit was passed. */
static void sweep(struct tried *t, int64_t ts_ms)
{
    VEC(uint64_t) gone = { 0 };
    map_each (open_episodes, slot, &t->open)
        if (slot->value.seen_ms != ts_ms)
            vec_push(&gone, slot->key);
    for (size_t i = 0; i < gone.n; i++) {
        struct open_episode *o = open_episodes_get(&t->open, gone.p[i]);
        t->t->n_only_pending += !o->fired;
        if (o->e)
            o->e->resolved_ms = ts_ms;
        open_episodes_del(&t->open, gone.p[i]);
    }
    vec_free(&gone);
}

static void look(struct trial_run *r, struct group_run *gr, size_t i, int64_t ts_ms)
{
    struct tried *t = &gr->rules[i];
    struct rule_facts f = rules_group_rule(gr->g, i);
    size_t active = 0;
    for (size_t k = 0; k < f.n_alerts; k++) {
        const struct rule_alert *al = f.alerts[k];
        bool fresh;
        if (al->state == ALERT_INACTIVE)
            continue;
        struct open_episode *o = open_episodes_put(&t->open, labels_hash(al->labels), &fresh);
        if (fresh)
            *o = (struct open_episode){ 0 };
        o->seen_ms = ts_ms;
        active++;
        if (al->state != ALERT_FIRING)
            continue;
        t->t->firing_ms += gr->interval_ms;
        if (al->fired_at_ms == ts_ms) {
            o->fired = true;
            begin_episode(r, t, al, o);
        }
    }
    if (t->open.n > active)
        sweep(t, ts_ms);
}

/* ---- evaluation ---- */
static void note_error(struct trial_run *r, struct rules_trial *t, enum err e, const struct err_text *why)
{
    t->failures++;
    const char *text = why->msg[0] ? why->msg : err_describe(e);
    if (!str_eq(t->last_error, str_c(text)))
        t->last_error = arena_str(r->a, str_c(text));
}

static enum err limit_reached(struct trial_run *r, struct err_text *reterr)
{
    if (r->cfg->cancel && atomic_load_explicit(r->cfg->cancel, memory_order_relaxed))
        return err_fail(reterr, ERR_CANCELLED, "cancelled");
    if (os_mono_ns() > r->deadline_ns)
        return err_fail(reterr, ERR_TIMEOUT, "the time for a backtest is over: try a shorter range or fewer rules");
    return OK;
}

/* One rule at one moment. Only a limit of the whole ends it. */
static enum err settle(struct trial_run *r, struct group_run *gr, size_t i, int64_t ts_ms, struct promql_result *result,
                       struct arena *a, enum err e, struct err_text *why)
{
    struct rules_trial *t = gr->rules[i].t;
    if (e == OK)
        e = rules_group_settle(gr->g, i, ts_ms, result, a, why);
    t->evaluations++;
    if (e == ERR_LIMIT && r->samples > r->samples_max)
        return e;
    if (e == ERR_CANCELLED)
        return e;
    if (e)
        note_error(r, t, e, why);
    else if (!t->rule->alerting)
        t->samples += rules_group_rule(gr->g, i).n_samples;
    look(r, gr, i, ts_ms);
    return OK;
}

static enum err one_moment(struct trial_run *r, struct group_run *gr, size_t i, int64_t ts_ms, struct err_text *why)
{
    AUTO_ARENA struct arena a;
    struct promql_result result;
    const struct rule *rule = &gr->group->rules[i];
    arena_init(&a, 0);
    TRY(limit_reached(r, why));
    enum err e = rules_ask(&r->env, rule->expr, rule->parsed, ts_ms - gr->offset_ms, &a, &result, why);
    return settle(r, gr, i, ts_ms, &result, &a, e, why);
}

/* The moments of a range query's result, one after the other. */
static enum err feed(struct trial_run *r, struct group_run *gr, size_t i, int64_t from_ms, int64_t to_ms,
                     const struct promql_result *all, struct err_text *why)
{
    AUTO_FREE size_t *at = mem_zalloc((all->n_series + 1) * sizeof(*at));
    for (int64_t ts = from_ms; ts <= to_ms; ts += gr->interval_ms) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct promql_result one = { .type = PROMQL_VECTOR };
        one.series = arena_array(&a, struct promql_result_series, all->n_series + 1);
        for (size_t s = 0; s < all->n_series; s++) {
            const struct promql_result_series *from = &all->series[s];
            while (at[s] < from->n_points && from->points[at[s]].ts_ms < ts - gr->offset_ms)
                at[s]++;
            if (at[s] < from->n_points && from->points[at[s]].ts_ms == ts - gr->offset_ms)
                one.series[one.n_series++] = (struct promql_result_series){ from->labels, &from->points[at[s]], 1 };
        }
        TRY(settle(r, gr, i, ts, &one, &a, OK, why));
    }
    return OK;
}

static enum err one_piece(struct trial_run *r, struct group_run *gr, size_t i, int64_t from_ms, int64_t to_ms,
                          struct err_text *why)
{
    AUTO_ARENA struct arena a;
    struct promql_result all;
    const struct rule *rule = &gr->group->rules[i];
    arena_init(&a, 0);
    TRY(limit_reached(r, why));
    struct promql_query q = { .text = rule->expr,
                              .expr = rule->parsed,
                              .from_ms = from_ms - gr->offset_ms,
                              .to_ms = to_ms - gr->offset_ms,
                              .step_ms = gr->interval_ms,
                              .timeout_ms =
                                  (int64_t)((r->deadline_ns - MIN(r->deadline_ns, os_mono_ns())) / 1000000) + 1,
                              .cancel = r->cfg->cancel };
    enum err e = promql_exec(r->cfg->engine, &r->overlay.src, &q, &a, &all, why);
    if (e == ERR_CANCELLED)
        return e;
    if (e == OK)
        return feed(r, gr, i, from_ms, to_ms, &all, why);
    for (int64_t ts = from_ms; ts <= to_ms; ts += gr->interval_ms) {
        struct err_text own = { 0 };
        e = one_moment(r, gr, i, ts, &own);
        if (e)
            return err_fail(why, e, "%s", own.msg);
    }
    return OK;
}

static int64_t first_moment(int64_t from_ms, int64_t interval_ms)
{
    int64_t behind = from_ms % interval_ms;
    return behind > 0 ? from_ms - behind + interval_ms : from_ms - behind;
}

static enum err run_group(struct trial_run *r, struct group_run *gr, int64_t from_ms, int64_t to_ms,
                          struct err_text *why)
{
    int64_t first = first_moment(from_ms, gr->interval_ms);
    int64_t piece = gr->stepwise ? gr->interval_ms : STEPS_MAX * gr->interval_ms;
    for (int64_t ts = first; ts <= to_ms; ts += piece) {
        int64_t last = MIN(ts + piece - gr->interval_ms, to_ms - (to_ms - ts) % gr->interval_ms);
        for (size_t i = 0; i < gr->group->n_rules; i++)
            if (!r->cfg->recording_only || !gr->group->rules[i].alerting)
                TRY(gr->stepwise ? one_moment(r, gr, i, ts, why) : one_piece(r, gr, i, ts, last, why));
    }
    return OK;
}

/* ---- life ---- */
static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static enum err prepare(struct trial_run *r, const struct rule_group *const *groups, size_t n, struct err_text *reterr)
{
    uint64_t evaluations = 0;
    size_t k = 0;
    r->groups = arena_zarray(r->a, struct group_run, n + 1);
    r->n_groups = n;
    for (size_t i = 0; i < n; i++)
        k += groups[i]->n_rules;
    r->r->trials = arena_zarray(r->a, struct rules_trial, k + 1);
    r->r->n_trials = k;
    k = 0;
    for (size_t i = 0; i < n; i++) {
        struct group_run *gr = &r->groups[i];
        gr->group = groups[i];
        gr->interval_ms = groups[i]->interval_ms ? groups[i]->interval_ms : r->cfg->interval_ms;
        gr->offset_ms = groups[i]->has_query_offset ? groups[i]->query_offset_ms : r->cfg->query_offset_ms;
        gr->rules = arena_zarray(r->a, struct tried, groups[i]->n_rules + 1);
        gr->stepwise = needs_steps(groups[i]);
        evaluations += (uint64_t)((r->cfg->to_ms - r->cfg->from_ms) / gr->interval_ms + 1) * groups[i]->n_rules;
        for (size_t x = 0; x < groups[i]->n_rules; x++) {
            const struct rule *rule = &groups[i]->rules[x];
            gr->rules[x].t = &r->r->trials[k++];
            *gr->rules[x].t = (struct rules_trial){ .group = groups[i], .rule = rule };
            r->reads_alerts |= reads(rule->parsed, STR("ALERTS")) || reads(rule->parsed, STR("ALERTS_FOR_STATE"));
            if (!rule->alerting)
                vec_push(&r->recorded, rule->name);
        }
    }
    if (evaluations > EVALUATIONS_MAX)
        return err_fail(reterr, ERR_INVALID, "%llu evaluations are more than %d: try a shorter time or fewer rules",
                        (unsigned long long)evaluations, EVALUATIONS_MAX);
    vec_push(&r->recorded, STR("ALERTS"));
    vec_push(&r->recorded, STR("ALERTS_FOR_STATE"));
    qsort(r->recorded.p, r->recorded.n, sizeof(*r->recorded.p), by_text);
    order_groups(r->groups, n);
    return OK;
}

static void start(struct trial_run *r)
{
    r->memory = rules_memory_new();
    rules_overlay_init(&r->overlay, r->cfg->source, r->memory, r->recorded.p, r->recorded.n);
    r->env = (struct rules_env){ .engine = r->cfg->engine,
                                 .source = &r->overlay.src,
                                 .external_labels = r->cfg->external_labels,
                                 .external_url = r->cfg->external_url,
                                 .default_interval_ms = r->cfg->interval_ms,
                                 .default_query_offset_ms = r->cfg->query_offset_ms,
                                 .cancel = r->cfg->cancel,
                                 .ctx = r,
                                 .append = keep };
    for (size_t i = 0; i < r->n_groups; i++)
        r->groups[i].g = rules_group_new(r->groups[i].group, &r->env);
}

static void finish(struct trial_run *r)
{
    for (size_t i = 0; i < r->n_groups; i++) {
        struct group_run *gr = &r->groups[i];
        for (size_t k = 0; k < gr->group->n_rules; k++) {
            struct tried *t = &gr->rules[k];
            t->t->episodes = arena_array(r->a, struct rules_episode, t->episodes.n + 1);
            t->t->n_episodes = t->episodes.n;
            for (size_t e = 0; e < t->episodes.n; e++)
                t->t->episodes[e] = *t->episodes.p[e];
            vec_free(&t->episodes);
            open_episodes_free(&t->open);
        }
        rules_group_free(gr->g);
    }
    rules_memory_free(r->memory);
}

enum err rules_backtest(const struct rules_backtest_config *cfg, const struct rule_group *const *groups,
                        size_t n_groups, struct arena *a, struct rules_backtest_result *ret, struct err_text *reterr)
{
    struct trial_run r = { .cfg = cfg,
                           .a = a,
                           .samples_max = cfg->samples_max ? cfg->samples_max : SAMPLES_DEFAULT,
                           .episodes_max = cfg->episodes_max ? cfg->episodes_max : EPISODES_DEFAULT,
                           .r = ret };
    struct err_text why = { 0 };
    r.deadline_ns = os_mono_ns() + (uint64_t)(cfg->time_ms_max ? cfg->time_ms_max : TIME_MS_DEFAULT) * 1000000;
    *ret = (struct rules_backtest_result){ 0 };
    if (cfg->interval_ms <= 0 || cfg->to_ms < cfg->from_ms)
        return err_fail(reterr, ERR_INVALID, "the end of a backtest must not lie before its start");
    enum err e = prepare(&r, groups, n_groups, reterr);
    if (e) {
        vec_free(&r.recorded);
        return e;
    }
    start(&r);
    /* A piece of time after the other, so that groups see what those before them recorded until then. */
    int64_t piece = (int64_t)STEPS_MAX * cfg->interval_ms;
    for (int64_t t = cfg->from_ms; t <= cfg->to_ms && !e; t += piece) {
        int64_t end = MIN(t + piece - 1, cfg->to_ms);
        for (size_t i = 0; i < r.n_groups && !e; i++)
            e = run_group(&r, &r.groups[i], t, end, &why);
        if (!e)
            ret->reached_ms = end;
    }
    finish(&r);
    vec_free(&r.recorded);
    if (e == ERR_CANCELLED)
        return err_fail(reterr, e, "%s", why.msg);
    if (e)
        ret->why = arena_str(a, str_c(why.msg[0] ? why.msg : err_describe(e)));
    return OK;
}
