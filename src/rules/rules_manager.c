#include "rules/rules_manager.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/stats.h"
#include "base/thread.h"
#include "rules/rules_manager_int.h"

enum {
    THREADS_DEFAULT = 4,
    THREADS_MAX = 64,
    LOOK_MS = 1000, /* a clock that jumped is noticed within this time */
};

struct view { /* shared by reference count */
    struct rules_view facts;
    atomic_uint refs;
    struct arena a;
    struct rules_load *load; /* what facts.group points into */
};
struct unit { /* one group at work */
    struct rules_group *g;
    struct rules_load *load;
    struct rules_state state;
    int64_t next_ms; /* 0: not yet known */
    bool busy;
    uint64_t iterations, missed, evaluations, failures;
    int64_t last_ms, duration_ns;
    struct view *view;
};
struct rules_manager {
    struct rules_manager_config cfg;
    struct mtx mu; /* guards what follows; a busy unit's group belongs to its thread */
    struct cond changed;
    VEC(struct unit *) units;             /* sorted by file and name */
    int64_t interval_ms, query_offset_ms; /* of the configuration in use */
    bool started, paused, applied;
    atomic_bool closing;
    pthread_t threads[THREADS_MAX];
    unsigned n_threads;
};

static struct stat evaluations =
    STAT_COUNTER("vane_rule_evaluations_total", "Evaluations of rules, also failed ones", "");
static struct stat failures =
    STAT_COUNTER("vane_rule_evaluation_failures_total", "Evaluations of rules that failed", "");
static struct stat iterations = STAT_COUNTER("vane_rule_group_iterations_total", "Evaluations of rule groups", "");
static struct stat missed =
    STAT_COUNTER("vane_rule_group_iterations_missed_total",
                 "Evaluations of rule groups left out because the one before took too long", "");
static struct stat state_errors =
    STAT_COUNTER("vane_rule_state_errors_total", "Alert states that could not be written", "");

/* ---- views ---- */
static void view_unref(struct view *v)
{
    if (!v || atomic_fetch_sub(&v->refs, 1) != 1)
        return;
    rules_load_unref(v->load);
    arena_deinit(&v->a);
    mem_free(v);
}

static struct rule_alert *copy_alert(struct arena *a, const struct rule_alert *al)
{
    struct rule_alert *copy = arena_new(a, struct rule_alert);
    *copy = *al;
    copy->labels = labels_copy(a, al->labels);
    copy->annotations = labels_copy(a, al->annotations);
    return copy;
}

static struct rule_facts copy_facts(struct arena *a, struct rule_facts f)
{
    struct rule_alert **alerts = arena_array(a, struct rule_alert *, f.n_alerts + 1);
    for (size_t i = 0; i < f.n_alerts; i++)
        alerts[i] = copy_alert(a, f.alerts[i]);
    f.alerts = alerts;
    f.last_error = arena_cstr(a, str_c(f.last_error));
    return f;
}

static struct view *view_of(const struct unit *u)
{
    struct view *v = mem_zalloc(sizeof(*v));
    size_t n = rules_group_n_rules(u->g);
    arena_init(&v->a, 0);
    atomic_init(&v->refs, 1);
    rules_load_ref(u->load);
    v->load = u->load;
    v->facts = (struct rules_view){
        .group = rules_group_source(u->g),
        .interval_ms = rules_group_interval_ms(u->g),
        .last_eval_ms = u->last_ms,
        .duration_ns = u->duration_ns,
        .iterations = u->iterations,
        .missed = u->missed,
        .rules = arena_array(&v->a, struct rule_facts, n + 1),
    };
    for (size_t i = 0; i < n; i++)
        v->facts.rules[i] = copy_facts(&v->a, rules_group_rule(u->g, i));
    return v;
}

struct rules_snapshot rules_manager_snapshot(struct rules_manager *m)
{
    struct rules_snapshot s = { 0 };
    if (!m)
        return s;
    mtx_lock(&m->mu);
    struct rules_view **v = mem_alloc((m->units.n + 1) * sizeof(*v));
    for (size_t i = 0; i < m->units.n; i++) {
        atomic_fetch_add(&m->units.p[i]->view->refs, 1);
        v[i] = &m->units.p[i]->view->facts;
    }
    s = (struct rules_snapshot){ v, m->units.n };
    mtx_unlock(&m->mu);
    return s;
}

void rules_snapshot_deinit(struct rules_snapshot *s)
{
    for (size_t i = 0; i < s->n; i++)
        view_unref(CONTAINER_OF(s->groups[i], struct view, facts));
    mem_free(s->groups);
    *s = (struct rules_snapshot){ 0 };
}

/* ---- time ---- */
/* The first moment of the group at or after t. */
static int64_t moment_after(const struct unit *u, int64_t t)
{
    int64_t interval = rules_group_interval_ms(u->g), offset = (int64_t)(u->state.group % (uint64_t)interval);
    int64_t behind = (t - offset) % interval;
    if (behind < 0)
        behind += interval;
    return behind ? t - behind + interval : t;
}

static void schedule_next(struct unit *u, int64_t now)
{
    int64_t interval = rules_group_interval_ms(u->g), next = u->next_ms + interval, late = now - next;
    if (late >= interval) {
        u->missed += (uint64_t)(late / interval);
        stat_add(&missed, late / interval);
        next += late / interval * interval;
    }
    u->next_ms = next;
}

/* ---- evaluation ---- */
static void save_state(struct unit *u, int64_t now)
{
    struct err_text why;
    if (rules_state_save(&u->state, u->g, now, &why) == OK)
        return;
    stat_add(&state_errors, 1);
    LOG_ERROR("the state of alerts was not written; it is tried again at the next evaluation", "group",
              LOG_STR(rules_group_source(u->g)->name), "err", why.msg);
}

static void tell(const struct rules_manager *m, struct unit *u, int64_t ts_ms)
{
    AUTO_ARENA struct arena a;
    struct rule_alert **due;
    arena_init(&a, 0);
    if (!m->cfg.notify)
        return;
    size_t n = rules_group_due_alerts(u->g, ts_ms, RULES_RESEND_DELAY_MS, &a, &due);
    if (n)
        m->cfg.notify(m->cfg.notify_ctx, due, n);
}

static uint64_t sum_failures(const struct rules_group *g)
{
    uint64_t n = 0;
    for (size_t i = 0; i < rules_group_n_rules(g); i++)
        n += rules_group_rule(g, i).failures;
    return n;
}

static void evaluate(struct rules_manager *m, struct unit *u)
{
    struct err_text why;
    uint64_t began = os_mono_ns(), failed = sum_failures(u->g);
    enum err e = rules_group_eval(u->g, u->next_ms, &why);
    if (e && !atomic_load(&m->closing))
        LOG_WARN("rule evaluation failed", "file", LOG_STR(rules_group_source(u->g)->file), "group",
                 LOG_STR(rules_group_source(u->g)->name), "err", why.msg);
    save_state(u, u->next_ms);
    tell(m, u, u->next_ms);
    u->duration_ns = (int64_t)(os_mono_ns() - began);
    u->last_ms = u->next_ms;
    u->iterations++;
    stat_add(&iterations, 1);
    stat_add(&evaluations, (int64_t)rules_group_n_rules(u->g));
    stat_add(&failures, (int64_t)(sum_failures(u->g) - failed));
}

/* The unit that is due first; NULL: all are busy, or nothing is to run. */
static struct unit *soonest(struct rules_manager *m, int64_t now)
{
    struct unit *first = NULL;
    if (!m->started || m->paused)
        return NULL;
    for (size_t i = 0; i < m->units.n; i++) {
        struct unit *u = m->units.p[i];
        if (u->busy)
            continue;
        if (!u->next_ms || u->next_ms - now > rules_group_interval_ms(u->g)) /* new, or the clock went back */
            u->next_ms = moment_after(u, now);
        if (!first || u->next_ms < first->next_ms)
            first = u;
    }
    return first;
}

static void work(void *ctx)
{
    struct rules_manager *m = ctx;
    mtx_lock(&m->mu);
    while (!atomic_load(&m->closing)) {
        int64_t now = clock_now_ms(m->cfg.clock);
        struct unit *u = soonest(m, now);
        if (!u || u->next_ms > now) {
            cond_wait_ms(&m->changed, &m->mu, u ? (unsigned)MIN(u->next_ms - now, LOOK_MS) : LOOK_MS);
            continue;
        }
        u->busy = true;
        mtx_unlock(&m->mu);
        evaluate(m, u);
        struct view *fresh = view_of(u), *old;
        mtx_lock(&m->mu);
        old = u->view;
        u->view = fresh;
        u->busy = false;
        schedule_next(u, clock_now_ms(m->cfg.clock));
        fresh->facts.missed = u->missed;
        if (m->paused)
            cond_broadcast(&m->changed);
        view_unref(old);
    }
    mtx_unlock(&m->mu);
}

/* ---- changing the groups ---- */
static void unit_free(struct unit *u)
{
    rules_group_free(u->g);
    saved_alerts_free(&u->state.saved);
    view_unref(u->view);
    rules_load_unref(u->load);
    mem_free(u);
}

static void restore(struct rules_manager *m, struct unit *u)
{
    struct err_text why;
    if (rules_state_restore(&u->state, u->g, clock_now_ms(m->cfg.clock), &why) == OK)
        return;
    stat_add(&state_errors, 1);
    LOG_ERROR("the alerts of a group from before could not be read: they begin anew", "group",
              LOG_STR(rules_group_source(u->g)->name), "err", why.msg);
}

static struct unit *unit_new(struct rules_manager *m, struct rules_load *l, const struct rule_group *group)
{
    struct unit *u = mem_zalloc(sizeof(*u));
    rules_load_ref(l);
    u->load = l;
    u->g = rules_group_new(group, &l->env);
    u->state.control = m->cfg.control;
    u->state.group = rules_group_hash(group);
    return u;
}

static void take_over(struct unit *u, struct unit *old)
{
    rules_group_inherit(u->g, old->g);
    struct saved_alerts none = { 0 };
    u->state.saved = old->state.saved;
    u->state.round = old->state.round;
    old->state.saved = none;
    u->iterations = old->iterations;
    u->missed = old->missed;
    u->last_ms = old->last_ms;
    u->duration_ns = old->duration_ns;
    if (rules_group_interval_ms(u->g) == rules_group_interval_ms(old->g))
        u->next_ms = old->next_ms;
}

static int by_name(const void *a, const void *b)
{
    const struct rule_group *x = rules_group_source((*(struct unit *const *)a)->g),
                            *y = rules_group_source((*(struct unit *const *)b)->g);
    int c = str_cmp(x->file, y->file);
    return c ? c : str_cmp(x->name, y->name);
}

/* Who was this group before? Both lists are sorted. */
static struct unit *find_old(struct unit **old, size_t n, size_t *at, struct unit *u)
{
    while (*at < n && by_name(&old[*at], &u) < 0)
        (*at)++;
    return *at < n && by_name(&old[*at], &u) == 0 ? old[*at] : NULL;
}

static void sweep(struct rules_manager *m)
{
    struct err_text why;
    AUTO_FREE uint64_t *groups = mem_alloc((m->units.n + 1) * sizeof(*groups));
    for (size_t i = 0; i < m->units.n; i++)
        groups[i] = m->units.p[i]->state.group;
    if (m->cfg.control && rules_state_sweep(m->cfg.control, groups, m->units.n, &why) != OK) {
        stat_add(&state_errors, 1);
        LOG_ERROR("alerts of groups that are gone could not be forgotten", "err", why.msg);
    }
}

static void retire(struct rules_manager *m, struct unit *u)
{
    struct err_text why;
    rules_group_retire(u->g, clock_now_ms(m->cfg.clock));
    if (rules_state_delete(&u->state, &why) != OK) {
        stat_add(&state_errors, 1);
        LOG_ERROR("alerts of a group that is gone could not be forgotten", "err", why.msg);
    }
    unit_free(u);
}

static bool any_busy(const struct rules_manager *m)
{
    for (size_t i = 0; i < m->units.n; i++)
        if (m->units.p[i]->busy)
            return true;
    return false;
}

static void make_units(struct rules_manager *m, struct rules_load *l)
{
    for (size_t i = 0; i < l->files.n; i++)
        for (size_t k = 0; k < l->files.p[i]->n_groups; k++)
            vec_push(&m->units, unit_new(m, l, &l->files.p[i]->groups[k]));
    if (m->units.n)
        qsort(m->units.p, m->units.n, sizeof(*m->units.p), by_name);
}

void rules_manager_apply(struct rules_manager *m, struct rules_load *l)
{
    VEC(struct unit *) old = { 0 };
    size_t at = 0;
    l->env.engine = m->cfg.engine;
    l->env.source = m->cfg.source;
    l->env.ctx = m->cfg.append_ctx;
    l->env.append = m->cfg.append;
    l->env.cancel = &m->closing;
    mtx_lock(&m->mu);
    m->paused = true;
    while (any_busy(m))
        cond_wait(&m->changed, &m->mu);
    for (size_t i = 0; i < m->units.n; i++)
        vec_push(&old, m->units.p[i]);
    vec_clear(&m->units);
    make_units(m, l);
    m->interval_ms = l->env.default_interval_ms;
    m->query_offset_ms = l->env.default_query_offset_ms;
    for (size_t i = 0; i < m->units.n; i++) {
        struct unit *u = m->units.p[i], *before = find_old(old.p, old.n, &at, u);
        if (before) {
            take_over(u, before);
            unit_free(before);
            vec_remove(&old, at);
        } else {
            restore(m, u);
        }
        u->view = view_of(u);
    }
    if (!m->applied)
        sweep(m);
    m->applied = true;
    for (size_t i = 0; i < old.n; i++)
        retire(m, old.p[i]);
    m->paused = false;
    cond_broadcast(&m->changed);
    mtx_unlock(&m->mu);
    vec_free(&old);
    rules_load_unref(l);
}

void rules_manager_start(struct rules_manager *m)
{
    mtx_lock(&m->mu);
    m->started = true;
    cond_broadcast(&m->changed);
    mtx_unlock(&m->mu);
}

void rules_manager_defaults(struct rules_manager *m, int64_t *ret_interval_ms, int64_t *ret_query_offset_ms)
{
    *ret_interval_ms = 60000;
    *ret_query_offset_ms = 0;
    if (!m)
        return;
    mtx_lock(&m->mu);
    if (m->interval_ms) {
        *ret_interval_ms = m->interval_ms;
        *ret_query_offset_ms = m->query_offset_ms;
    }
    mtx_unlock(&m->mu);
}

/* ---- facts for /metrics ---- */
static double interval_s(const struct rules_view *v)
{
    return (double)v->interval_ms / 1e3;
}
static double duration_s(const struct rules_view *v)
{
    return (double)v->duration_ns / 1e9;
}
static double last_s(const struct rules_view *v)
{
    return (double)v->last_eval_ms / 1e3;
}
static double n_rules(const struct rules_view *v)
{
    return (double)v->group->n_rules;
}
static double n_samples(const struct rules_view *v)
{
    double n = 0;
    for (size_t i = 0; i < v->group->n_rules; i++)
        n += (double)v->rules[i].n_samples;
    return n;
}
static double n_failing(const struct rules_view *v)
{
    double n = 0;
    for (size_t i = 0; i < v->group->n_rules; i++)
        n += v->rules[i].last_error[0] != 0;
    return n;
}

static void render(void *ctx, struct buf *out)
{
    static const struct {
        const char *name, *help;
        double (*value)(const struct rules_view *v);
    } rows[] = {
        { "vane_rule_group_interval_seconds", "The interval of a rule group", interval_s },
        { "vane_rule_group_last_duration_seconds", "How long the last evaluation took", duration_s },
        { "vane_rule_group_last_evaluation_timestamp_seconds", "The moment evaluated last", last_s },
        { "vane_rule_group_rules", "Rules of a group", n_rules },
        { "vane_rule_group_rules_failing", "Rules whose last evaluation failed", n_failing },
        { "vane_rule_group_last_evaluation_samples", "Samples of the last evaluation", n_samples },
    };
    struct rules_snapshot s = rules_manager_snapshot(ctx);
    for (size_t i = 0; s.n && i < ARRAY_LEN(rows); i++) {
        buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n", rows[i].name, rows[i].help, rows[i].name);
        for (size_t k = 0; k < s.n; k++) {
            buf_printf(out, "%s{rule_group=\"", rows[i].name);
            stats_escape(out, s.groups[k]->group->file);
            buf_u8(out, ';');
            stats_escape(out, s.groups[k]->group->name);
            buf_printf(out, "\"} %.17g\n", rows[i].value(s.groups[k]));
        }
    }
    rules_snapshot_deinit(&s);
}

/* ---- life ---- */
enum err rules_manager_open(const struct rules_manager_config *cfg, struct rules_manager **ret, struct err_text *reterr)
{
    struct stat *const shown[] = { &evaluations, &failures, &iterations, &missed, &state_errors };
    unsigned threads = cfg->threads ? MIN(cfg->threads, THREADS_MAX) : THREADS_DEFAULT;
    if (cfg->control)
        TRY(rules_state_attach(cfg->control, reterr));
    struct rules_manager *m = mem_zalloc(sizeof(*m));
    m->cfg = *cfg;
    mtx_init(&m->mu, 0);
    cond_init(&m->changed);
    for (size_t i = 0; i < ARRAY_LEN(shown); i++)
        stat_register(shown[i]);
    stats_on_render(render, m);
    for (; m->n_threads < threads; m->n_threads++) {
        enum err e = thread_start(&m->threads[m->n_threads], "rules", work, m);
        if (e) {
            rules_manager_close(m);
            return err_fail(reterr, e, "threads of rules: %s", err_describe(e));
        }
    }
    *ret = m;
    return OK;
}

void rules_manager_close(struct rules_manager *m)
{
    if (!m)
        return;
    stats_off_render(render, m);
    mtx_lock(&m->mu);
    atomic_store(&m->closing, true);
    cond_broadcast(&m->changed);
    mtx_unlock(&m->mu);
    for (unsigned i = 0; i < m->n_threads; i++)
        thread_join(m->threads[i]);
    for (size_t i = 0; i < m->units.n; i++)
        unit_free(m->units.p[i]);
    vec_free(&m->units);
    cond_deinit(&m->changed);
    mtx_deinit(&m->mu);
    mem_free(m);
}
