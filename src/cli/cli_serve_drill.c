/* The drills of a process: what is to be drilled, those that run, those that were, and the calendar. */
#include "cli/cli_serve_drill.h"

#include <stdio.h>

#include "alerting/am_service.h"
#include "base/check.h"
#include "base/log.h"
#include "base/stats.h"
#include "promql/ast.h"

static struct stat started = STAT_COUNTER("vane_drills_total", "Fire drills that were begun", "");
static struct stat not_passed =
    STAT_COUNTER("vane_drills_not_passed_total", "Fire drills that failed or were late", "");

struct drills {
    struct serve *s;
    struct arena a;
    VEC(str) left; /* ids of drills that the end of the process interrupted: to be cleaned up */
    struct mtx mu; /* rank 4: what follows */
    struct cond changed;
    VEC(struct drill *) running;
    struct pool *pool;
    pthread_t calendar;
    bool calendar_runs;
    atomic_bool stop;
};
struct run { /* a drill on its thread */
    struct drills *all;
    struct drill *d;
};

static const char *const steps[] = {
    "CREATE TABLE drills(id TEXT PRIMARY KEY, started_ms INTEGER NOT NULL, over INTEGER NOT NULL, json TEXT NOT NULL) "
    "WITHOUT ROWID",
};
static const struct control_tables tables = { "drills", steps, ARRAY_LEN(steps) };

/* ---- results ---- */
static enum err save(struct drills *all, struct drill *d, bool over, struct err_text *reterr)
{
    AUTO_BUF struct buf b;
    struct control_tx *tx;
    buf_init(&b, 0);
    struct json_out j = json_out_init(&b);
    drill_json(d, &j);
    const struct control_val args[] = { CV_TEXT(str_c(d->id)), CV_INT(d->started_ms), CV_INT(over),
                                        CV_TEXT(buf_str(&b)) };
    const struct control_val keep = CV_INT(DRILLS_KEEP);
    TRY(control_begin(all->s->control, &tx, reterr));
    IGNORE_ERR(control_run(tx, "INSERT OR REPLACE INTO drills(id, started_ms, over, json) VALUES(?, ?, ?, ?)", args, 4,
                           reterr)); /* sticky: the commit tells */
    IGNORE_ERR(control_run(tx,
                           "DELETE FROM drills WHERE id IN (SELECT id FROM drills ORDER BY started_ms DESC "
                           "LIMIT -1 OFFSET ?)",
                           &keep, 1, reterr));
    return control_commit(tx, reterr);
}

static void tell_history(struct drills *all, struct drill *d, str text)
{
    const struct am_event e = { .at_ms = os_now_ms(),
                                .kind = AM_EV_DRILL,
                                .labels = d->labels,
                                .actor = d->scheduled ? STR("schedule") : STR(""),
                                .text = text,
                                .drill = true };
    am_history_add(am_service_am(all->s->alertmanager), &e);
}

static void drill_free(struct drill *d)
{
    struct arena a = d->a;
    mtx_deinit(&d->mu);
    arena_deinit(&a);
}

/* Ends d, running or not. */
static void forget(struct drills *all, struct drill *d)
{
    mtx_lock(&all->mu);
    for (size_t i = 0; i < all->running.n; i++)
        if (all->running.p[i] == d) {
            vec_remove(&all->running, i);
            break;
        }
    drill_free(d);
    cond_broadcast(&all->changed);
    mtx_unlock(&all->mu);
}

static void thread(void *ctx)
{
    struct run *r = ctx;
    struct drills *all = r->all;
    struct drill *d = r->d;
    struct err_text why = { 0 };
    mem_free(r);
    tell_history(all, d, arena_printf(&d->a, "drill %s of " STR_FMT " began", d->id, STR_ARG(d->target)));
    drill_run(d);
    if (d->state != DRILL_PASSED)
        stat_add(&not_passed, 1);
    if (save(all, d, true, &why) != OK)
        LOG_WARN("the result of a drill was not stored", "drill", d->id, "err", why.msg);
    tell_history(all, d,
                 arena_printf(&d->a, "drill %s of " STR_FMT " %s%s" STR_FMT, d->id, STR_ARG(d->target),
                              d->state == DRILL_PASSED ? "passed"
                              : d->state == DRILL_LATE ? "was late"
                                                       : "failed",
                              d->error.n ? ": " : "", STR_ARG(d->error)));
    if (d->state == DRILL_PASSED)
        LOG_INFO("drill passed", "drill", d->id, "target", LOG_STR(d->target));
    else
        LOG_WARN("drill did not pass", "drill", d->id, "target", LOG_STR(d->target), "why", LOG_STR(d->error));
    forget(all, d);
}

/* ---- what is drilled ---- */
static struct labels with(struct arena *a, struct labels base, str name, str value)
{
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, base);
    if (value.n)
        lb_set(&b, name, value);
    return lb_labels(&b);
}

static bool take_rule(struct drill *d, const struct rules_snapshot *snap, str name)
{
    for (size_t i = 0; i < snap->n; i++) {
        const struct rules_view *v = snap->groups[i];
        str part = name;
        if (str_has_prefix(name, v->group->name) && name.n > v->group->name.n && name.p[v->group->name.n] == '/')
            part = str_skip(name, v->group->name.n + 1);
        for (size_t k = 0; k < v->group->n_rules; k++) {
            const struct rule *r = &v->group->rules[k];
            if (!r->alerting || !str_eq(r->name, part))
                continue;
            d->kind = DRILL_RULE;
            d->alert = arena_str(&d->a, r->name);
            d->labels = labels_copy(&d->a, r->labels);
            d->annotations = labels_copy(&d->a, r->annotations);
            d->interval_ms = v->interval_ms;
            d->for_ms = r->for_ms;
            if (strcmp(v->rules[k].health, "err") == 0)
                d->error = arena_printf(&d->a, "the rule itself fails: %s", v->rules[k].last_error);
            d->offset_ms = v->group->has_query_offset ? v->group->query_offset_ms : 0;
            return true;
        }
    }
    return false;
}

static bool is_receiver_name(struct drills *all, str name)
{
    struct am_config *c = am_config_in_use(am_service_am(all->s->alertmanager));
    bool is = am_config_receiver(c, name) != NULL;
    am_config_unref(c);
    return is;
}

static enum err take_labels(struct drill *d, str text, struct err_text *reterr)
{
    struct am_matchers m = { 0 };
    struct label_builder b;
    enum err e = am_matchers_parse(&d->a, text, AM_FALLBACK, &m, reterr);
    lb_init(&b, &d->a);
    lb_reset(&b, LABELS_NONE);
    for (size_t i = 0; !e && i < m.n; i++) {
        if (m.p[i].type != AM_EQ)
            e = err_fail(reterr, ERR_INVALID, "labels of a drill are exact: write " STR_FMT "=\"...\"",
                         STR_ARG(m.p[i].name));
        else
            lb_set(&b, m.p[i].name, m.p[i].value);
    }
    am_matchers_free(&m);
    if (e)
        return e;
    d->kind = DRILL_ROUTE;
    d->labels = lb_labels(&b);
    d->alert = labels_get(d->labels, STR("alertname"));
    lb_reset(&b, d->labels);
    lb_del(&b, STR("alertname"));
    d->labels = lb_labels(&b);
    return OK;
}

static enum err take_target(struct drills *all, struct drill *d, str target, struct err_text *reterr)
{
    bool is_rule = str_has_prefix(target, STR("rule:")), is_receiver = str_has_prefix(target, STR("receiver:"));
    str name = is_rule ? str_skip(target, 5) : is_receiver ? str_skip(target, 9) : target;
    d->interval_ms = 1000;
    if (!is_rule && !is_receiver && (str_has_prefix(name, STR("{")) || str_find_char(name, '=') != SIZE_MAX))
        return take_labels(d, name, reterr);
    if (!is_receiver) {
        struct rules_snapshot snap = rules_manager_snapshot(all->s->rules);
        bool found = take_rule(d, &snap, name);
        rules_snapshot_deinit(&snap);
        if (found)
            return OK;
    }
    if (is_rule || !is_receiver_name(all, name))
        return err_fail(reterr, ERR_NOT_FOUND,
                        "\"" STR_FMT "\" is no alerting rule%s; a route is drilled by labels: {team=\"db\"}",
                        STR_ARG(str_take(name, 100)), is_rule ? "" : " and no receiver");
    d->kind = DRILL_RECEIVER;
    d->labels = with(&d->a, LABELS_NONE, STR(AM_DRILL_RECEIVER), arena_str(&d->a, name));
    return OK;
}

static struct drill *drill_new(struct drills *all)
{
    struct arena a;
    arena_init(&a, 0);
    struct drill *d = arena_zarray(&a, struct drill, 1);
    d->a = a;
    d->s = all->s;
    d->stop = &all->stop;
    d->started_ms = os_now_ms();
    mtx_init(&d->mu, 5);
    snprintf(d->id, sizeof(d->id), "%016llx", (unsigned long long)os_random_u64());
    return d;
}

static enum err prepare(struct drills *all, struct drill *d, const struct api_drill *what, struct err_text *reterr)
{
    static const struct label summary = { STR_INIT("summary"),
                                          STR_INIT("This is a drill. Nobody needs to do anything.") };
    struct am_config *c = am_config_in_use(am_service_am(all->s->alertmanager));
    str severity_label = c->policy ? arena_str(&d->a, c->policy->severity_label) : STR("severity");
    am_config_unref(c);
    d->target = arena_str(&d->a, what->target);
    d->scheduled = what->scheduled;
    TRY(take_target(all, d, d->target, reterr));
    if (!d->alert.n)
        d->alert = STR("Drill");
    if (!d->annotations.n)
        d->annotations = labels_copy(&d->a, (struct labels){ (struct label *)(uintptr_t)&summary, 1 });
    d->labels = with(&d->a, d->labels, severity_label, arena_str(&d->a, what->severity));
    if (what->for_ms >= 0)
        d->for_ms = what->for_ms;
    d->timeout_ms = what->timeout_ms > 0 ? what->timeout_ms : d->for_ms + 2 * d->interval_ms + DRILL_ALERT_MS;
    return OK;
}

enum err drills_start(void *drills, const struct api_drill *what, struct arena *a, str *ret_id, struct err_text *reterr)
{
    struct drills *all = drills;
    struct drill *d = drill_new(all);
    struct run *r = mem_zalloc(sizeof(*r));
    *r = (struct run){ all, d };
    str id = arena_str(a, str_c(d->id));
    enum err e = prepare(all, d, what, reterr);
    if (!e && !atomic_load(&all->s->ready))
        e = err_fail(reterr, ERR_BUSY, "the process is not ready yet: try again soon");
    e = e ? e : save(all, d, false, reterr);
    mtx_lock(&all->mu);
    if (!e && all->running.n >= DRILLS_AT_ONCE)
        e = err_fail(reterr, ERR_LIMIT, "%d drills are running: wait until one is over", DRILLS_AT_ONCE);
    bool listed = !e;
    if (listed)
        vec_push(&all->running, d);
    mtx_unlock(&all->mu);
    if (listed)
        e = pool_submit(all->pool, thread, r);
    if (e) {
        mem_free(r);
        forget(all, d);
        return e;
    }
    stat_add(&started, 1);
    *ret_id = id;
    return OK;
}

/* ---- looking ---- */
struct stored {
    str id, json;
};
struct listing {
    struct arena a;
    VEC(struct stored) v;
};

static bool list_row(void *ctx, const struct control_val *cols, size_t n)
{
    struct listing *l = ctx;
    const struct stored row = { arena_str(&l->a, cols[0].s), arena_str(&l->a, cols[1].s) };
    avec_push(&l->a, &l->v, row);
    return n == 2;
}

static enum err read_rows(struct drills *all, str id, size_t limit, struct listing *l, struct err_text *reterr)
{
    struct control_tx *tx;
    const struct control_val arg = id.n ? CV_TEXT(id) : CV_INT((int64_t)MIN(limit, (size_t)DRILLS_KEEP));
    TRY(control_view(all->s->control, &tx, reterr));
    enum err e = id.n ? control_query(tx, "SELECT id, json FROM drills WHERE id = ?", &arg, 1, list_row, l, reterr)
                      : control_query(tx, "SELECT id, json FROM drills ORDER BY started_ms DESC LIMIT ?", &arg, 1,
                                      list_row, l, reterr);
    control_rollback(tx);
    return e;
}

/* One that runs is further than what was stored of it. */
static bool print_running(struct drills *all, str id, struct json_out *j)
{
    bool found = false;
    mtx_lock(&all->mu);
    for (size_t i = 0; i < all->running.n && !found; i++)
        if (str_eq(str_c(all->running.p[i]->id), id)) {
            drill_json(all->running.p[i], j);
            found = true;
        }
    mtx_unlock(&all->mu);
    return found;
}

enum err drills_json(void *drills, str id, size_t limit, struct json_out *j, struct err_text *reterr)
{
    struct drills *all = drills;
    struct listing l = { 0 };
    arena_init(&l.a, 0);
    bool runs = id.n && print_running(all, id, j);
    enum err e = runs ? OK : read_rows(all, id, limit, &l, reterr);
    if (!e && id.n && !runs && !l.v.n)
        e = err_fail(reterr, ERR_NOT_FOUND, "no such drill");
    for (size_t i = 0; !e && i < l.v.n; i++)
        if (id.n || !print_running(all, l.v.p[i].id, j))
            json_raw(j, l.v.p[i].json);
    arena_deinit(&l.a);
    return e;
}

/* ---- the calendar ---- */
static void start_plan(struct drills *all, const struct am_drill_plan *p)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf labels;
    struct err_text why = { 0 };
    str id;
    arena_init(&a, 0);
    buf_init(&labels, 0);
    for (size_t i = 0; i < p->labels.n; i++) {
        buf_printf(&labels, "%s" STR_FMT "=", i ? ", " : "{", STR_ARG(p->labels.keys[i]));
        buf_go_quote(&labels, p->labels.p[i]);
    }
    if (p->labels.n)
        buf_u8(&labels, '}');
    const struct api_drill what = { .target = p->rule.n ? arena_printf(&a, "rule:" STR_FMT, STR_ARG(p->rule))
                                              : p->receiver.n
                                                  ? arena_printf(&a, "receiver:" STR_FMT, STR_ARG(p->receiver))
                                                  : buf_str(&labels),
                                    .severity = p->severity,
                                    .for_ms = -1,
                                    .scheduled = true };
    if (drills_start(all, &what, &a, &id, &why) != OK)
        LOG_WARN("a scheduled drill could not begin", "target", LOG_STR(what.target), "why", why.msg);
}

/* Once everything can be read; the series of a drill is not older than a day. */
static void clean_left(struct drills *all)
{
    for (size_t i = 0; i < all->left.n && atomic_load(&all->s->ready); i++) {
        struct err_text why = { 0 };
        if (drill_delete_series(all->s, all->left.p[i], os_now_ms() - 86400000, &why) != OK)
            LOG_WARN("series of a drill were not deleted", "drill", LOG_STR(all->left.p[i]), "err", why.msg);
    }
    if (atomic_load(&all->s->ready))
        all->left.n = 0;
}

static void calendar(void *ctx)
{
    struct drills *all = ctx;
    int64_t from = os_now_ms();
    mtx_lock(&all->mu);
    while (!atomic_load(&all->stop)) {
        mtx_unlock(&all->mu);
        int64_t now = os_now_ms(), next = now + (all->left.n ? 1000 : 60000);
        clean_left(all);
        struct am_config *c = am_config_in_use(am_service_am(all->s->alertmanager));
        for (size_t i = 0; c->policy && i < c->policy->drills.n; i++) {
            const struct am_drill_plan *p = &c->policy->drills.p[i];
            if (am_calendar_next_ms(p->at_minute, &p->on, from) <= now)
                start_plan(all, p);
            next = MIN(next, am_calendar_next_ms(p->at_minute, &p->on, now));
        }
        am_config_unref(c);
        from = now;
        mtx_lock(&all->mu);
        if (!atomic_load(&all->stop))
            cond_wait_ms(&all->changed, &all->mu, (unsigned)MAX(next - now, 100));
    }
    mtx_unlock(&all->mu);
}

/* ---- life ---- */
/* What ran when the process ended, and the series that it left. */
static bool interrupted_row(void *ctx, const struct control_val *cols, size_t n)
{
    struct drills *all = ctx;
    LOG_WARN("a drill was interrupted by the end of the process", "drill", LOG_STR(cols[0].s));
    avec_push(&all->a, &all->left, arena_str(&all->a, cols[0].s));
    return n == 1;
}

static enum err end_interrupted(struct drills *all, struct err_text *reterr)
{
    struct control_tx *tx;
    TRY(control_begin(all->s->control, &tx, reterr));
    IGNORE_ERR(control_query(tx, "SELECT id FROM drills WHERE over = 0", NULL, 0, interrupted_row, all, reterr));
    IGNORE_ERR(control_run(tx,
                           "UPDATE drills SET over = 1, json = replace(json, '\"state\":\"running\"', "
                           "'\"state\":\"interrupted\"') WHERE over = 0",
                           NULL, 0, reterr));
    return control_commit(tx, reterr);
}

enum err drills_open(struct serve *s, struct drills **ret, struct err_text *reterr)
{
    struct drills *all = mem_zalloc(sizeof(*all));
    all->s = s;
    arena_init(&all->a, 0);
    mtx_init(&all->mu, 4);
    cond_init(&all->changed);
    enum err e = control_attach(s->control, &tables, reterr);
    e = e ? e : end_interrupted(all, reterr);
    e = e ? e : pool_open("drill", DRILLS_AT_ONCE, DRILLS_AT_ONCE, &all->pool);
    e = e ? e : thread_start(&all->calendar, "drills", calendar, all);
    if (e) {
        drills_close(all);
        return e;
    }
    all->calendar_runs = true;
    *ret = all;
    return OK;
}

void drills_close(struct drills *all)
{
    if (!all)
        return;
    mtx_lock(&all->mu);
    atomic_store(&all->stop, true);
    cond_broadcast(&all->changed);
    while (all->running.n)
        cond_wait(&all->changed, &all->mu);
    mtx_unlock(&all->mu);
    if (all->calendar_runs)
        thread_join(all->calendar);
    pool_close(all->pool);
    vec_free(&all->running);
    cond_deinit(&all->changed);
    mtx_deinit(&all->mu);
    arena_deinit(&all->a);
    mem_free(all);
}
