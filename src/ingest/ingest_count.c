/* Active and new series per tenant, job, target and metric. One map: hash of (kind, tenant, names) -> count. It is
 * touched only when a series is made or leaves the head; what is refused makes no entry, so the map is bounded by the
 * series of the head and those made in the last hour. */
#include "ingest/ingest_int.h"

void counts_init(struct counts *c)
{
    mtx_init(&c->mu, 112);
    c->seed = os_random_u64();
}

void counts_deinit(struct counts *c)
{
    map_each (countmap, s, &c->map)
        mem_free(s->value);
    countmap_free(&c->map);
    mtx_deinit(&c->mu);
}

const char *ingest_kind_name(unsigned kind)
{
    static const char *const names[] = { "tenant", "job", "target", "metric", "store" };
    return names[MIN(kind, ARRAY_LEN(names) - 1)];
}

struct who who_of(const struct counts *c, struct labels ls)
{
    struct who w = { .tenant = STR(""), .name = STR(""), .job = STR(""), .instance = STR("") };
    labels_each (l, ls) {
        if (str_eq(l->name, LABEL_NAME))
            w.name = l->value;
        else if (str_eq(l->name, LABEL_JOB))
            w.job = l->value;
        else if (str_eq(l->name, LABEL_INSTANCE))
            w.instance = l->value;
        else if (str_eq(l->name, LABEL_TENANT))
            w.tenant = l->value;
    }
    uint64_t tenant = hash64_seed(w.tenant, c->seed), job = hash64_seed(w.job, c->seed ^ hash_u64(tenant + 1));
    w.key[INGEST_TENANT] = tenant;
    w.key[INGEST_JOB] = job;
    w.key[INGEST_TARGET] = hash64_seed(w.instance, c->seed ^ hash_u64(job + 2));
    w.key[INGEST_METRIC] = hash64_seed(w.name, c->seed ^ hash_u64(tenant + 3));
    return w;
}

static uint64_t limit_of(const struct ingest_limits *lim, unsigned kind)
{
    const uint64_t all[INGEST_KINDS] = { [INGEST_TENANT] = lim->tenant,
                                         [INGEST_JOB] = lim->job,
                                         [INGEST_TARGET] = lim->target,
                                         [INGEST_METRIC] = lim->metric };
    return all[kind];
}

static str put_str(char **at, str s)
{
    str r = { *at, s.n };
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return r;
}

static struct count *count_new(const struct who *w, enum ingest_kind kind)
{
    str name = kind == INGEST_METRIC ? w->name : kind == INGEST_TENANT ? STR("") : w->job;
    str instance = kind == INGEST_TARGET ? w->instance : STR("");
    struct count *x = mem_zalloc(sizeof(*x) + w->tenant.n + name.n + instance.n);
    char *at = (char *)(x + 1);
    x->kind = kind;
    x->tenant = put_str(&at, w->tenant);
    x->name = put_str(&at, name);
    x->instance = put_str(&at, instance);
    return x;
}

/* Slots that time has passed are emptied. */
static void advance(struct count *x, int64_t slot)
{
    for (int64_t k = MAX(x->slot + 1, slot - CHURN_SLOTS + 1); k <= slot; k++)
        x->created[k % CHURN_SLOTS] = 0;
    x->slot = MAX(x->slot, slot);
}

uint64_t count_created(const struct count *c, int64_t now_ms)
{
    uint64_t n = 0;
    int64_t slot = now_ms / CHURN_SLOT_MS;
    for (int64_t k = MAX(slot - CHURN_SLOTS + 1, c->slot - CHURN_SLOTS + 1); k <= c->slot && k <= slot; k++)
        n += k >= 0 ? c->created[k % CHURN_SLOTS] : 0;
    return n;
}

/* What is empty and was so for an hour leaves. */
static void sweep(struct counts *c, int64_t slot)
{
    struct countmap old = c->map;
    size_t kept = 0;
    memset(&c->map, 0, sizeof(c->map));
    c->swept_slot = slot;
    map_each (countmap, s, &old)
        kept += s->value->n || slot - s->value->slot < CHURN_SLOTS;
    countmap_reserve(&c->map, kept);
    map_each (countmap, s, &old) {
        if (s->value->n || slot - s->value->slot < CHURN_SLOTS)
            *countmap_put(&c->map, s->key, NULL) = s->value;
        else
            mem_free(s->value);
    }
    countmap_free(&old);
}

unsigned counts_admit(struct counts *c, const struct who *w, const struct ingest_limits *lim, bool force,
                      int64_t now_ms)
{
    int64_t slot = now_ms / CHURN_SLOT_MS;
    unsigned refused = INGEST_KINDS;
    mtx_lock(&c->mu);
    if (__builtin_expect(slot != c->swept_slot, 0))
        sweep(c, slot);
    /* The narrowest limit is named: it tells most about who did it. */
    static const unsigned order[] = { INGEST_TARGET, INGEST_METRIC, INGEST_JOB, INGEST_TENANT };
    for (unsigned i = 0; i < INGEST_KINDS && !force && refused == INGEST_KINDS; i++) {
        uint64_t max = limit_of(lim, order[i]);
        struct count *const *have = max ? countmap_get(&c->map, w->key[order[i]]) : NULL;
        if (have && (*have)->n >= max)
            refused = order[i];
    }
    for (unsigned k = 0; k < INGEST_KINDS && refused == INGEST_KINDS; k++) {
        struct count **x = countmap_put(&c->map, w->key[k], NULL);
        if (!*x) {
            *x = count_new(w, k);
            (*x)->slot = slot;
        }
        (*x)->n++;
        advance(*x, slot);
        (*x)->created[slot % CHURN_SLOTS]++;
    }
    mtx_unlock(&c->mu);
    return refused;
}

void counts_gone(struct counts *c, const struct who *w)
{
    mtx_lock(&c->mu);
    for (unsigned k = 0; k < INGEST_KINDS; k++) {
        struct count **x = countmap_get(&c->map, w->key[k]);
        if (x && (*x)->n)
            (*x)->n--;
    }
    mtx_unlock(&c->mu);
}

/* ---- facts ---- */
struct top { /* rows with the largest numbers, descending */
    struct ingest_count *p;
    size_t n, max;
};

static void top_put(struct top *t, const struct count *x, uint64_t value, int64_t now_ms, uint64_t limit, bool churn)
{
    size_t i = t->n;
    if (value == 0 || t->max == 0)
        return;
#define VALUE(r) (churn ? (r).created : (r).series)
    if (i == t->max) {
        if (value <= VALUE(t->p[i - 1]))
            return;
        i--;
    } else {
        t->n++;
    }
    for (; i && VALUE(t->p[i - 1]) < value; i--)
        t->p[i] = t->p[i - 1];
#undef VALUE
    t->p[i] = (struct ingest_count){ x->name, x->instance, x->n, count_created(x, now_ms), limit };
}

static struct ingest_count *top_done(struct top *t, struct arena *a, size_t *ret_n)
{
    for (size_t i = 0; i < t->n; i++) {
        t->p[i].name = arena_str(a, t->p[i].name);
        t->p[i].instance = arena_str(a, t->p[i].instance);
    }
    *ret_n = t->n;
    return t->p;
}

void ingest_status(struct ingest *in, str tenant, size_t top, struct arena *a, struct ingest_status *ret)
{
    int64_t now = clock_now_ms(in->clock);
    struct counts *c = &in->counts;
    struct ingest_limits lim = *limits_of(settings_of(in), tenant);
    *ret = (struct ingest_status){ .limits = lim };
    struct top tops[INGEST_KINDS], churn[INGEST_KINDS];
    for (unsigned k = 0; k < INGEST_KINDS; k++) {
        tops[k] = (struct top){ arena_array(a, struct ingest_count, top), 0, top };
        churn[k] = (struct top){ arena_array(a, struct ingest_count, top), 0, top };
    }
    mtx_lock(&c->mu);
    map_each (countmap, s, &c->map) {
        const struct count *x = s->value;
        if (!str_eq(x->tenant, tenant))
            continue;
        top_put(&tops[x->kind], x, x->n, now, limit_of(&lim, x->kind), false);
        top_put(&churn[x->kind], x, count_created(x, now), now, limit_of(&lim, x->kind), true);
        if (x->kind == INGEST_TENANT)
            ret->tenant = (struct ingest_count){ STR(""), STR(""), x->n, count_created(x, now), lim.tenant };
    }
    ret->jobs = top_done(&tops[INGEST_JOB], a, &ret->n_jobs);
    ret->targets = top_done(&tops[INGEST_TARGET], a, &ret->n_targets);
    ret->metrics = top_done(&tops[INGEST_METRIC], a, &ret->n_metrics);
    ret->job_churn = top_done(&churn[INGEST_JOB], a, &ret->n_job_churn);
    ret->metric_churn = top_done(&churn[INGEST_METRIC], a, &ret->n_metric_churn);
    mtx_unlock(&c->mu);
    ha_copy(in, tenant, a, ret);
    mtx_lock(&in->fold.mu);
    culprits_copy(&in->fold.culprits, tenant, now, a, &ret->overflows, &ret->n_overflows);
    ret->folded_series = in->fold.entries.n;
    ret->overflow_series = in->fold.n_overflows;
    mtx_unlock(&in->fold.mu);
}
