/* The part of the configuration that speaks of series: which rollups are made, how long which samples are kept. */
#include "tsdb/tsdb_int.h"

static struct matcher *copy_matchers(struct arena *a, const struct matcher *m, size_t n)
{
    struct matcher *v = arena_zarray(a, struct matcher, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct err_text why;
        enum err e = matcher_init(&v[i], m[i].type, arena_str(a, m[i].name), arena_str(a, m[i].value), &why);
        ASSERT(e == OK); /* it was compiled once */
    }
    return v;
}

static uint64_t filter_hash(const struct matcher *m, size_t n)
{
    AUTO_BUF struct buf b = { 0 };
    for (size_t i = 0; i < n; i++) {
        matcher_print(&b, &m[i]);
        buf_u8(&b, '\n');
    }
    return n ? hash64(buf_str(&b)) | 1 : 0;
}

size_t policy_keep_of(const struct policy *p, struct labels ls)
{
    size_t i = 0;
    while (i < p->n_keeps && !matchers_match(p->keeps[i].m, p->keeps[i].n, ls))
        i++;
    return i;
}

static int cmp_res(const void *a, const void *b)
{
    const struct policy_rollup *x = a, *y = b;
    return (x->res_ms > y->res_ms) - (x->res_ms < y->res_ms);
}

static void add_rollups(struct policy *p, const struct tsdb_config *cfg)
{
    for (size_t i = 0; i < cfg->n_rollups && i < TSDB_ROLLUPS_MAX; i++) {
        const struct tsdb_rollup_config *c = &cfg->rollups[i];
        ASSERT(c->res_ms >= ROLLUP_RES_MS_MIN && DAY_MS % c->res_ms == 0);
        p->rollups[p->n_rollups++] = (struct policy_rollup){ c->res_ms, c->keep_ms, copy_matchers(&p->a, c->m, c->n_m),
                                                             c->n_m, filter_hash(c->m, c->n_m) };
    }
    qsort(p->rollups, p->n_rollups, sizeof(*p->rollups), cmp_res);
}

static void policy_free(struct policy *p)
{
    for (size_t i = 0; i < p->n_rollups; i++)
        for (size_t k = 0; k < p->rollups[i].n; k++)
            matcher_deinit(&p->rollups[i].m[k]);
    for (size_t i = 0; i < p->n_keeps; i++)
        for (size_t k = 0; k < p->keeps[i].n; k++)
            matcher_deinit(&p->keeps[i].m[k]);
    arena_deinit(&p->a);
    mem_free(p);
}

void policy_unref(struct policy *p)
{
    if (p && atomic_fetch_sub(&p->refs, 1) == 1)
        policy_free(p);
}

struct policy *policy_ref(struct tsdb *db)
{
    mtx_lock(&db->view_mu);
    struct policy *p = db->policy;
    atomic_fetch_add(&p->refs, 1);
    mtx_unlock(&db->view_mu);
    return p;
}

struct policy *policy_new(const struct tsdb_config *cfg, int64_t *ret_longest)
{
    struct policy *p = mem_zalloc(sizeof(*p));
    atomic_init(&p->refs, 1);
    arena_init(&p->a, 0);
    add_rollups(p, cfg);
    p->n_keeps = MIN(cfg->n_keeps, TSDB_KEEPS_MAX);
    p->keeps = arena_zarray(&p->a, struct policy_keep, p->n_keeps + 1);
    int64_t longest = cfg->retention_ms;
    for (size_t i = 0; i < p->n_keeps; i++) {
        const struct tsdb_keep_config *c = &cfg->keeps[i];
        p->keeps[i] = (struct policy_keep){ c->keep_ms, copy_matchers(&p->a, c->m, c->n_m), c->n_m };
        p->keeps_key = hash_u64(p->keeps_key * 31 + filter_hash(c->m, c->n_m) + 1);
        longest = longest && c->keep_ms ? MAX(longest, c->keep_ms) : 0;
    }
    *ret_longest = longest;
    return p;
}

void policy_set(struct tsdb *db, const struct tsdb_config *cfg)
{
    int64_t longest;
    struct policy *p = policy_new(cfg, &longest);
    atomic_store(&db->keep_max_ms, longest);
    mtx_lock(&db->view_mu);
    struct policy *old = db->policy;
    p->id = ++db->policy_id;
    db->policy = p;
    mtx_unlock(&db->view_mu);
    policy_unref(old);
}
