/* The room's life, and the path of a batch. */
#include "ingest/ingest_int.h"

static struct stat created = STAT_COUNTER("vane_ingest_series_created_total", "Series made in the head", "");

const struct ingest_limits *limits_of(const struct settings *s, str tenant)
{
    for (size_t i = 0; i < s->n_overrides; i++)
        if (str_eq(s->overrides[i].tenant, tenant))
            return &s->overrides[i].limits;
    return &s->limits;
}

static void count_gone(void *ctx, struct labels ls)
{
    struct ingest *in = ctx;
    struct who w = who_of(&in->counts, ls);
    counts_gone(&in->counts, &w);
}

/* What was there before counts as active, not as new. */
static void count_old(void *ctx, struct labels ls)
{
    struct ingest *in = ctx;
    struct who w = who_of(&in->counts, ls);
    counts_admit(&in->counts, &w, &(struct ingest_limits){ 0 }, true, 0);
}

static void count_head(void *ctx)
{
    tsdb_each_series(((struct ingest *)ctx)->db, count_old, ctx);
}

void ingest_reload(struct ingest *in, const struct ingest_config *cfg)
{
    struct settings *s = mem_zalloc(sizeof(*s));
    arena_init(&s->a, 0);
    s->limits = cfg->limits;
    s->overrides = arena_array(&s->a, struct ingest_tenant_limits, cfg->n_overrides);
    for (; s->n_overrides < cfg->n_overrides; s->n_overrides++) {
        const struct ingest_tenant_limits *o = &cfg->overrides[s->n_overrides];
        s->overrides[s->n_overrides] = (struct ingest_tenant_limits){ arena_str(&s->a, o->tenant), o->limits };
    }
    s->ha = cfg->ha;
    s->ha.replica_label = arena_str(&s->a, cfg->ha.replica_label);
    s->ha.cluster_label = arena_str(&s->a, cfg->ha.cluster_label);
    s->older = atomic_load(&in->settings); /* readers may be in it: freed at the end */
    atomic_store_explicit(&in->settings, s, memory_order_release);
}

enum err ingest_open(const struct ingest_config *cfg, struct tsdb *db, struct ingest **ret, struct err_text *reterr)
{
    if (cfg->tenants)
        TRY(ingest_tenant_valid(cfg->default_tenant, reterr) ? OK : ERR_INVALID);
    struct ingest *in = mem_zalloc(sizeof(*in));
    in->tenants = cfg->tenants;
    in->default_tenant = mem_dup(cfg->default_tenant);
    in->db = db;
    in->clock = cfg->clock ? cfg->clock : os_clock();
    ingest_reload(in, cfg);
    counts_init(&in->counts);
    fold_init(in);
    stat_register(&created);
    tsdb_on_gone(db, count_gone, in);
    ha_init(in, cfg);
    tsdb_on_ready(db, count_head, in);
    *ret = in;
    return OK;
}

void ingest_close(struct ingest *in)
{
    if (!in)
        return;
    tsdb_on_ready(in->db, NULL, NULL);
    tsdb_on_gone(in->db, NULL, NULL);
    ha_deinit(in);
    fold_deinit(in);
    counts_deinit(&in->counts);
    for (struct settings *s = atomic_load(&in->settings); s;) {
        struct settings *older = s->older;
        arena_deinit(&s->a);
        mem_free(s);
        s = older;
    }
    mem_free((void *)(uintptr_t)in->default_tenant.p);
    mem_free(in);
}

uint64_t ingest_salt(struct ingest *in, const struct ingest_source *who)
{
    const struct ingest_ha *ha = &settings_of(in)->ha;
    uint64_t salt = 0;
    if (in->tenants)
        salt = hash64_seed(who->tenant.n ? who->tenant : in->default_tenant, 1);
    if (ha->on && (who->flags & INGEST_REPLICAS)) /* the label that is dropped, and when */
        salt ^= hash64_seed(ha->replica_label, hash64_seed(ha->cluster_label, 2));
    return salt;
}

/* ---- one batch ---- */
struct call {
    struct ingest *in;
    const struct settings *settings;
    unsigned flags;
    bool overflow; /* a batch of overflow series */
    int64_t now_ms;
    VEC(struct folded) folded;
};

/* What a scrape says about itself. */
static bool is_report(str name)
{
    static const char *const names[] = { "up",
                                         "scrape_duration_seconds",
                                         "scrape_samples_scraped",
                                         "scrape_samples_post_metric_relabeling",
                                         "scrape_series_added",
                                         "scrape_timeout_seconds",
                                         "scrape_sample_limit",
                                         "scrape_body_size_bytes" };
    if (!str_eq(name, STR("up")) && !str_has_prefix(name, STR("scrape_")))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(name, str_c(names[i])))
            return true;
    return false;
}

static enum tsdb_verdict admit(void *ctx, size_t i, struct labels ls, bool full, struct err_text *why)
{
    struct call *c = ctx;
    struct ingest *in = c->in;
    struct who w = who_of(&in->counts, ls);
    unsigned reached = INGEST_STORE;
    if (w.tenant.n && !in->tenants) {
        IGNORE_ERR(err_fail(why, ERR_INVALID, "the label __tenant__ is reserved: senders may not set it"));
        return TSDB_REFUSE;
    }
    if (!full) {
        bool force = c->overflow || ((c->flags & INGEST_SCRAPES) && is_report(w.name));
        if (!c->now_ms)
            c->now_ms = clock_now_ms(in->clock);
        reached = counts_admit(&in->counts, &w, limits_of(c->settings, w.tenant), force, c->now_ms);
        if (reached == INGEST_KINDS)
            return TSDB_ADMIT;
    }
    if (c->overflow) {
        IGNORE_ERR(err_fail(why, ERR_LIMIT, "no room for an overflow series: memory, or limits.series"));
        return TSDB_REFUSE;
    }
    vec_push(&c->folded, ((struct folded){ (uint32_t)i, (uint8_t)reached }));
    return TSDB_FOLD;
}

static enum err append(struct call *c, const struct batch *b, struct tsdb_write_result *ret)
{
    const struct tsdb_gate gate = { c, admit };
    enum err e = tsdb_write_gated(c->in->db, b, &gate, ret);
    if (ret->new_series)
        stat_add(&created, (int64_t)ret->new_series);
    return e;
}

enum err append_overflow(struct ingest *in, const struct batch *b, struct tsdb_write_result *ret)
{
    struct call c = { .in = in, .settings = settings_of(in), .overflow = true };
    return append(&c, b, ret);
}

static enum err append_prepared(struct call *c, const struct batch *b, struct tsdb_write_result *ret)
{
    enum err e = append(c, b, ret);
    if (__builtin_expect(c->folded.n != 0, 0)) {
        if (e == OK)
            e = fold_batch(c->in, b, c->folded.p, c->folded.n, ret);
        vec_free(&c->folded);
    }
    return e;
}

static bool is_plain(const struct ingest *in, const struct settings *s, unsigned flags)
{
    return !in->tenants && !(s->ha.on && (flags & INGEST_REPLICAS));
}

enum err ingest_append(struct ingest *in, const struct batch *b, const struct ingest_source *who,
                       struct tsdb_write_result *ret)
{
    struct call c = { .in = in, .settings = settings_of(in), .flags = who->flags };
    if (is_plain(in, c.settings, who->flags))
        return append_prepared(&c, b, ret);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct fix fix;
    struct tsdb_write_result before = { 0 };
    enum err e = prepare(in, c.settings, who, &a, &fix, &b, &before);
    if (e == ERR_EXISTS) {
        *ret = before;
        return OK;
    }
    if (e == OK)
        e = append_prepared(&c, b, ret);
    ret->rejected[TSDB_REJECT_LABELS] += before.rejected[TSDB_REJECT_LABELS];
    if (before.first.msg[0])
        ret->first = before.first;
    return e;
}
