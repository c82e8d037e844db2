/* The room's life, and the path of a batch. */
#include "ingest/ingest_int.h"

static struct stat created = STAT_COUNTER("vane_ingest_series_created_total", "Series made in the head", "");

const struct ingest_limits *limits_of(const struct settings *s, str tenant)
{
    (void)tenant;
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

void ingest_reload(struct ingest *in, const struct ingest_config *cfg)
{
    struct settings *s = mem_zalloc(sizeof(*s));
    s->limits = cfg->limits;
    s->older = atomic_load(&in->settings); /* readers may be in it: freed at the end */
    atomic_store_explicit(&in->settings, s, memory_order_release);
}

enum err ingest_open(const struct ingest_config *cfg, struct tsdb *db, struct ingest **ret, struct err_text *reterr)
{
    (void)reterr;
    struct ingest *in = mem_zalloc(sizeof(*in));
    in->db = db;
    in->clock = cfg->clock ? cfg->clock : os_clock();
    ingest_reload(in, cfg);
    counts_init(&in->counts);
    fold_init(in);
    stat_register(&created);
    tsdb_on_gone(db, count_gone, in);
    tsdb_each_series(db, count_old, in);
    *ret = in;
    return OK;
}

void ingest_close(struct ingest *in)
{
    if (!in)
        return;
    tsdb_on_gone(in->db, NULL, NULL);
    fold_deinit(in);
    counts_deinit(&in->counts);
    for (struct settings *s = atomic_load(&in->settings); s;) {
        struct settings *older = s->older;
        mem_free(s);
        s = older;
    }
    mem_free(in);
}

uint64_t ingest_salt(struct ingest *in, const struct ingest_source *who)
{
    (void)in;
    (void)who;
    return 0;
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

enum err ingest_append(struct ingest *in, const struct batch *b, const struct ingest_source *who,
                       struct tsdb_write_result *ret)
{
    struct call c = { .in = in, .settings = settings_of(in), .flags = who->flags };
    enum err e = append(&c, b, ret);
    if (__builtin_expect(c.folded.n != 0, 0)) {
        if (e == OK)
            e = fold_batch(in, b, c.folded.p, c.folded.n, ret);
        vec_free(&c.folded);
    }
    return e;
}
