/* The head: batches -> partitions -> series -> chunks of tokens on timelines.
 *
 * A request takes each partition's lock once. Inside, a sample that is newer than everything of its series goes to
 * the open chunk (tokens, tsdb_tokens.c); an older one to the series' out-of-order chunk as it is. The same bytes
 * go into the partition's log record. A chunk begins with an absolute token, and so does whatever a series logs
 * first in a log context (stamp): a new one begins with every log file and every flush. */
#include "tsdb/tsdb_int.h"

#define GAP_MAX            (1u << 20)
#define WAL_FRAME_BYTES    (4u << 20)
#define PREFETCH_AHEAD     8
#define RESOLVE_AHEAD      8
#define OOO_CHUNK_MAX      4096
#define EXEMPLAR_BYTES_MAX 1024 /* of labels; OpenMetrics allows 128 characters; be generous, not endless */
#define CHUNK_OVERHEAD     (sizeof(struct chunk) + 8)

static struct stat rejected_old =
    STAT_COUNTER("vane_tsdb_rejected_samples_total", "Samples refused by the metrics store", "reason=\"too_old\"");
static struct stat rejected_future =
    STAT_COUNTER("vane_tsdb_rejected_samples_total", "Samples refused by the metrics store", "reason=\"future\"");
static struct stat rejected_labels =
    STAT_COUNTER("vane_tsdb_rejected_samples_total", "Samples refused by the metrics store", "reason=\"labels\"");
static struct stat rejected_limit =
    STAT_COUNTER("vane_tsdb_rejected_samples_total", "Samples refused by the metrics store", "reason=\"series_limit\"");
static struct stat rejected_hist =
    STAT_COUNTER("vane_tsdb_rejected_samples_total", "Samples refused by the metrics store", "reason=\"histogram\"");
static struct stat samples_total =
    STAT_COUNTER("vane_tsdb_samples_appended_total", "Samples accepted by the metrics store", "");
static struct stat duplicates_total =
    STAT_COUNTER("vane_tsdb_duplicate_samples_total", "Samples with a timestamp that was there already", "");
static struct stat conflicts_total =
    STAT_COUNTER("vane_tsdb_conflicting_samples_total", "Duplicates with another value: the last write won", "");
static struct stat ooo_total =
    STAT_COUNTER("vane_tsdb_out_of_order_samples_total", "Samples accepted out of order", "");
static struct stat known_hits = STAT_COUNTER("vane_tsdb_known_labels_total",
                                             "Series found by the bytes of their labels, or read", "result=\"hit\"");
static struct stat known_misses = STAT_COUNTER("vane_tsdb_known_labels_total",
                                               "Series found by the bytes of their labels, or read", "result=\"miss\"");
static struct stat busy_total =
    STAT_COUNTER("vane_tsdb_busy_total", "Requests refused because memory or the log was full", "");

void head_stats_register(void)
{
    struct stat *all[] = { &rejected_old,  &rejected_future, &rejected_labels,  &rejected_limit,
                           &rejected_hist, &samples_total,   &duplicates_total, &conflicts_total,
                           &ooo_total,     &known_hits,      &known_misses,     &busy_total };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        stat_register(all[i]);
}

/* ---- chunks ---- */
static struct chunk *chunk_new(struct tsdb *db, struct part *p, enum chunk_kind kind, uint32_t cap)
{
    struct chunk *c = mem_alloc(sizeof(*c) + cap);
    atomic_init(&c->prev, NULL);
    atomic_init(&c->state, 0);
    c->tl = NULL;
    c->tl_start = 0;
    c->gen = p->gen;
    c->cap = cap;
    c->kind = (uint8_t)kind;
    c->gap_extends = 0;
    atomic_init(&c->has_start, false);
    int64_t bytes = (int64_t)(CHUNK_OVERHEAD + cap);
    atomic_fetch_add_explicit(&db->bytes_chunks, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->gen_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->n_chunks, 1, memory_order_relaxed);
    return c;
}

void chunk_free(void *vdb, void *vc)
{
    struct tsdb *db = vdb;
    struct chunk *c = vc;
    atomic_fetch_sub_explicit(&db->bytes_chunks, (int64_t)(CHUNK_OVERHEAD + c->cap), memory_order_relaxed);
    atomic_fetch_sub_explicit(&db->n_chunks, 1, memory_order_relaxed);
    mem_free(c);
}

/* The same chunk with another capacity; readers see the old or the new one. */
static struct chunk *chunk_resize(struct tsdb *db, struct part *p, _Atomic(struct chunk *) *slot, struct chunk *c,
                                  uint32_t cap)
{
    struct chunk *g = chunk_new(db, p, c->kind, cap);
    uint64_t st = atomic_load_explicit(&c->state, memory_order_relaxed);
    g->tl = c->tl;
    g->tl_start = c->tl_start;
    g->gen = c->gen;
    g->gap_extends = c->gap_extends;
    atomic_init(&g->has_start, atomic_load_explicit(&c->has_start, memory_order_relaxed));
    memcpy(g->data, c->data, STATE_BYTES(st));
    atomic_store_explicit(&g->state, st, memory_order_relaxed);
    atomic_store_explicit(&g->prev, atomic_load_explicit(&c->prev, memory_order_relaxed), memory_order_relaxed);
    atomic_store(slot, g);
    atomic_fetch_sub_explicit(&db->gen_bytes, (int64_t)(CHUNK_OVERHEAD + c->cap), memory_order_relaxed);
    tsdb_retire(db, chunk_free, c);
    return g;
}

/* Append bytes and publish; returns the chunk, which may have moved. */
static struct chunk *chunk_put(struct tsdb *db, struct part *p, _Atomic(struct chunk *) *slot, struct chunk *c,
                               const void *bytes, size_t n, uint32_t slots)
{
    uint64_t st = atomic_load_explicit(&c->state, memory_order_relaxed);
    size_t at = STATE_BYTES(st);
    if (c->cap - at < n) {
        size_t want = at + n;
        uint32_t cap = c->cap;
        while (cap < want)
            cap += cap < 64 ? 24 : cap < 256 ? 48 : cap / 2;
        c = chunk_resize(db, p, slot, c, cap);
    }
    copy_small(c->data + at, bytes, n);
    atomic_store_explicit(&c->state, st + STATE(1, slots, n), memory_order_release);
    return c;
}

static inline void note_used(struct part *p, struct timeline *t)
{
    if (p->recent[(p->recent_i + ARRAY_LEN(p->recent) - 1) % ARRAY_LEN(p->recent)] != t)
        timeline_note_recent(p, t);
}

/* Can ts be the chunk's next sample? Extends the timeline if need be. */
static bool place(struct tsdb *db, struct part *p, struct chunk *c, uint64_t st, int64_t ts, uint32_t *ret_gap)
{
    struct timeline *t = c->tl;
    uint32_t pos = c->tl_start + STATE_SLOTS(st);
    *ret_gap = 0;
    if (__builtin_expect(pos < t->n, 1)) {
        int64_t at = timeline_ts(t, pos);
        if (__builtin_expect(at == ts, 1))
            return true;
        if (at > ts)
            return false;
        uint32_t j = timeline_lower_bound(t, pos + 1, ts), k;
        *ret_gap = j - pos;
        if (*ret_gap > GAP_MAX)
            return false;
        if (j < t->n)
            return timeline_ts(t, j) == ts;
        if (c->gap_extends >= 2 || timeline_recent(p, ts, &k))
            return false;
        c->gap_extends++;
    }
    return timeline_extend(db, p, t, ts);
}

/* The timeline for a new chunk of a series whose last chunk is c (or NULL). */
static struct timeline *timeline_pick(struct tsdb *db, struct part *p, struct chunk *c, int64_t ts, uint32_t *ret_index)
{
    struct timeline *t = c ? c->tl : NULL, *old = t;
    while (t && t->gen != p->gen)
        t = t->succ;
    if (t) {
        uint32_t k = timeline_lower_bound(t, 0, ts);
        if (k < t->n && timeline_ts(t, k) == ts) {
            *ret_index = k;
            return t;
        }
        if (k == t->n && !(c->gen == p->gen && c->gap_extends >= 2) && timeline_extend(db, p, t, ts)) {
            *ret_index = k;
            return t;
        }
    }
    t = timeline_recent(p, ts, ret_index);
    if (!t) {
        t = timeline_new(db, p, ts);
        *ret_index = 0;
    }
    if (old && old->gen != p->gen && !old->succ)
        old->succ = t;
    return t;
}

static struct chunk *chunk_start(struct tsdb *db, struct part *p, struct series *s, enum chunk_kind kind, int64_t ts)
{
    struct chunk *old = atomic_load_explicit(&s->chunk, memory_order_relaxed);
    uint32_t index;
    struct timeline *t = timeline_pick(db, p, old, ts, &index);
    if (old && old->gen == p->gen) { /* give back what it did not use */
        uint32_t used = STATE_BYTES(atomic_load_explicit(&old->state, memory_order_relaxed));
        if (old->cap > used + 24)
            old = chunk_resize(db, p, &s->chunk, old, used);
    }
    struct chunk *c = chunk_new(db, p, kind, 16);
    c->tl = t;
    c->tl_start = index;
    atomic_store_explicit(&c->prev, old, memory_order_relaxed);
    atomic_store(&s->chunk, c);
    s->run = 0;
    return c;
}

/* ---- looking a sample up again: is it the same? ---- */
static bool chunk_find_float(const struct chunk *c, int64_t ts, uint64_t *ret_bits)
{
    double v[CHUNK_SAMPLES_MAX];
    uint32_t pos[CHUNK_SAMPLES_MAX];
    uint64_t st = atomic_load_explicit(&c->state, memory_order_relaxed);
    uint32_t k = timeline_lower_bound(c->tl, c->tl_start, ts);
    if (k == c->tl->n || timeline_ts(c->tl, k) != ts || k - c->tl_start >= STATE_SLOTS(st))
        return false;
    size_t n = tok_decode(c->data, STATE_BYTES(st), STATE_SAMPLES(st), k - c->tl_start + 1, v, pos, NULL);
    if (n == SIZE_MAX || n == 0 || pos[n - 1] != k - c->tl_start)
        return false;
    *ret_bits = f64_bits(v[n - 1]);
    return true;
}

static bool ooo_find(const struct chunk *c, int64_t ts, uint64_t *ret_bits)
{
    uint32_t n = STATE_SAMPLES(atomic_load_explicit(&c->state, memory_order_relaxed));
    for (uint32_t i = n; i--;) {
        struct ooo_sample x;
        memcpy(&x, c->data + i * sizeof(x), sizeof(x));
        if (x.ts == ts) {
            *ret_bits = x.bits;
            return true;
        }
    }
    return false;
}

static bool ooo_hist_has(const struct chunk *c, int64_t ts)
{
    uint64_t st = atomic_load_explicit(&c->state, memory_order_relaxed);
    struct rd r = rd_init(str_n((const char *)c->data, STATE_BYTES(st)));
    for (uint32_t i = 0; i < STATE_SAMPLES(st); i++) {
        int64_t at = (int64_t)rd_u64(&r);
        rd_svarint(&r);
        rd_lstr(&r);
        if (at == ts)
            return true;
    }
    return false;
}

/* What the head has for ts: newest write first. Returns 0 nothing, 1 the same float, 2 something else. */
static int head_has(struct tsdb *db, struct series *s, int64_t ts, uint64_t bits)
{
    uint64_t have;
    uint32_t deleted = atomic_load_explicit(&db->gen_deleted, memory_order_relaxed);
    for (struct chunk *c = atomic_load_explicit(&s->ooo, memory_order_relaxed); c && c->gen > deleted;
         c = atomic_load_explicit(&c->prev, memory_order_relaxed)) {
        if (c->kind == CHUNK_OOO_HIST && ooo_hist_has(c, ts))
            return 2;
        if (c->kind == CHUNK_OOO && ooo_find(c, ts, &have))
            return have == bits ? 1 : 2;
    }
    for (struct chunk *c = atomic_load_explicit(&s->chunk, memory_order_relaxed); c && c->gen > deleted;
         c = atomic_load_explicit(&c->prev, memory_order_relaxed))
        if (c->kind == CHUNK_FLOAT && chunk_find_float(c, ts, &have))
            return have == bits ? 1 : 2;
    return ts == s->last_ts ? 2 : 0;
}

static void ooo_put(struct tsdb *db, struct part *p, struct series *s, enum chunk_kind kind, const void *bytes,
                    size_t n)
{
    struct chunk *c = atomic_load_explicit(&s->ooo, memory_order_relaxed);
    if (!c || c->gen != p->gen || c->kind != kind ||
        STATE_SAMPLES(atomic_load_explicit(&c->state, memory_order_relaxed)) >= OOO_CHUNK_MAX) {
        struct chunk *fresh = chunk_new(db, p, kind, (uint32_t)n);
        atomic_store_explicit(&fresh->prev, c, memory_order_relaxed);
        atomic_store(&s->ooo, fresh);
        c = fresh;
    }
    chunk_put(db, p, &s->ooo, c, bytes, n, 0);
}

static int64_t slot_of(int64_t ts)
{
    return (ts >= 0 ? ts / SLOT_MS : (ts - SLOT_MS + 1) / SLOT_MS) * SLOT_MS;
}

static void note_slot(struct part *p, int64_t ts)
{
    p->slot_from = slot_of(ts);
    vec_each (int64_t, s, &p->slots)
        if (*s == p->slot_from)
            return;
    vec_push(&p->slots, p->slot_from);
}

static void note_time(struct tsdb *db, struct part *p, int64_t ts)
{
    if (__builtin_expect(!p->slots.n || ts < p->slot_from || ts >= p->slot_from + SLOT_MS, 0))
        note_slot(p, ts);
    if (ts < atomic_load_explicit(&db->head_min, memory_order_relaxed))
        atomic_store_explicit(&db->head_min, ts, memory_order_relaxed);
    if (ts > atomic_load_explicit(&db->head_max, memory_order_relaxed))
        atomic_store_explicit(&db->head_max, ts, memory_order_relaxed);
}

/* ts is the newest of its series. */
static inline void note_newest(struct tsdb *db, struct part *p, struct series *s, int64_t ts)
{
    s->last_ts = ts;
    bool inside = ts >= p->from && ts <= p->to; /* then the store's span has it too */
    if (__builtin_expect(inside && ts >= p->slot_from && ts < p->slot_from + SLOT_MS && p->slots.n, 1))
        return;
    p->from = MIN(p->from, ts);
    p->to = MAX(p->to, ts);
    note_time(db, p, ts);
}

/* ts is not newer than the series' newest. */
static enum append_result append_old(struct tsdb *db, struct part *p, struct series *s, uint32_t id, int64_t ts,
                                     uint64_t bits, int64_t start, enum append_mode mode)
{
    if (mode == APPEND_LOG && ts < s->last_ts - LIMIT(db, ooo_window_ms))
        return APPEND_TOO_OLD;
    int has = mode != APPEND_REPLAY ? head_has(db, s, ts, bits) : 0;
    if (has == 1)
        return APPEND_DUP;
    struct ooo_sample x = { ts, bits, start };
    ooo_put(db, p, s, CHUNK_OOO, &x, sizeof(x));
    if (mode == APPEND_LOG)
        tsdb_wal_put_raw(p, id, ts, bits, start);
    note_time(db, p, ts);
    return has == 2 ? APPEND_CONFLICT : APPEND_OOO;
}

enum append_result head_append(struct tsdb *db, struct part *p, struct series *s, uint32_t id, int64_t ts,
                               uint64_t bits, int64_t start, enum append_mode mode)
{
    const bool log = mode == APPEND_LOG;
    if (__builtin_expect(ts <= s->last_ts, 0))
        return append_old(db, p, s, id, ts, bits, start, mode);
    struct chunk *c = atomic_load_explicit(&s->chunk, memory_order_relaxed);
    uint64_t st = c ? atomic_load_explicit(&c->state, memory_order_relaxed) : 0;
    uint32_t gap = 0;
    bool fresh = !c || c->gen != p->gen || c->kind != CHUNK_FLOAT || STATE_SAMPLES(st) >= CHUNK_SAMPLES_MAX ||
                 (log && s->tok_stamp != p->stamp) || !place(db, p, c, st, ts, &gap);
    if (fresh) {
        c = chunk_start(db, p, s, CHUNK_FLOAT, ts);
        gap = 0;
    }
    note_used(p, c->tl);
    uint8_t out[3 * TOK_BYTES_MAX], *tok = out + 2 * TOK_BYTES_MAX;
    size_t n_tok = tok_put(&s->tok, bits, start, fresh, tok);
    if (start)
        atomic_store_explicit(&c->has_start, true, memory_order_relaxed);
    if (n_tok == 0 && !gap) {
        s->run++;
        atomic_store_explicit(&c->state, st + STATE(1, 1, 0), memory_order_release);
    } else {
        size_t n = 0;
        if (s->run)
            n += tok_put_run(s->run, out);
        if (gap)
            n += tok_put_gap(gap, out + n);
        s->run = n_tok == 0;
        uint8_t *at = tok - n; /* run and gap right before the token */
        copy_small(at, out, n);
        chunk_put(db, p, &s->chunk, c, at, n + n_tok, gap + 1);
        if (log) {
            tsdb_wal_put_sample(p, id, ts, tok, n_tok);
            s->tok_stamp = p->stamp;
        }
        note_newest(db, p, s, ts);
        return APPEND_OK;
    }
    if (log)
        tsdb_wal_put_sample(p, id, ts, tok, 0);
    note_newest(db, p, s, ts);
    return APPEND_OK;
}

/* ---- replay: tokens as they are ---- */
static void rep_leave_chunk(struct series *s)
{
    const struct chunk *c = atomic_load_explicit(&s->chunk, memory_order_relaxed);
    while (c && c->kind != CHUNK_FLOAT)
        c = atomic_load_explicit(&c->prev, memory_order_relaxed);
    s->tok = (struct tok){ .form = TOK_RAW };
    s->rep = REP_ASIDE;
    if (!c)
        return;
    uint32_t n;
    const uint8_t *at = c->data, *end = at + STATE_BYTES(atomic_load_explicit(&c->state, memory_order_relaxed));
    while (at < end && tok_get(&s->tok, &at, end, &n) != TOK_BAD)
        ;
}

void head_rep_aside(struct tsdb *db)
{
    uint32_t n = atomic_load(&db->n_ids);
    for (uint32_t id = 1; id < n; id++) {
        struct series *s = series_at(db, id);
        if (!s->rep && !s->dead)
            rep_leave_chunk(s);
    }
}

enum append_result head_append_raw(struct tsdb *db, struct part *p, struct series *s, uint32_t id, int64_t ts,
                                   uint64_t bits, int64_t start, enum append_mode mode)
{
    enum append_result r = append_old(db, p, s, id, ts, bits, start, mode);
    s->last_ts = MAX(s->last_ts, ts); /* what it was older than is in segments; the same time again is a conflict */
    return r;
}

/* The sample does not go to the chunk: its value is needed, and from here on so is what the next token leans on. */
static enum append_result token_aside(struct tsdb *db, struct part *p, struct series *s, uint32_t id, int64_t ts,
                                      const uint8_t *tok, size_t n_tok, bool too_old, enum append_mode mode)
{
    uint32_t n;
    if (s->rep == REP_FIRST)
        s->tok = (struct tok){ .form = TOK_RAW };
    else if (!s->rep)
        rep_leave_chunk(s);
    s->rep = REP_ASIDE;
    if (n_tok && tok_get(&s->tok, &tok, tok + n_tok, &n) != TOK_VALUE)
        return APPEND_BAD;
    return too_old ? APPEND_TOO_OLD : append_old(db, p, s, id, ts, s->tok.bits, s->tok.start, mode);
}

enum append_result head_append_token(struct tsdb *db, struct part *p, struct series *s, uint32_t id, int64_t ts,
                                     const uint8_t *tok, size_t n_tok, bool too_old, enum append_mode mode)
{
    if (n_tok > TOK_BYTES_MAX || (s->rep == REP_FIRST && !n_tok))
        return APPEND_BAD;
    if (__builtin_expect(ts <= s->last_ts || too_old, 0))
        return token_aside(db, p, s, id, ts, tok, n_tok, too_old, mode);
    struct chunk *c = atomic_load_explicit(&s->chunk, memory_order_relaxed);
    uint64_t st = c ? atomic_load_explicit(&c->state, memory_order_relaxed) : 0;
    uint32_t gap = 0;
    if (s->rep == REP_FIRST || !c || c->gen != p->gen || c->kind != CHUNK_FLOAT ||
        STATE_SAMPLES(st) >= CHUNK_SAMPLES_MAX || !place(db, p, c, st, ts, &gap)) {
        if (!s->rep)
            rep_leave_chunk(s);
        c = chunk_start(db, p, s, CHUNK_FLOAT, ts);
        st = gap = 0;
    }
    note_used(p, c->tl);
    note_newest(db, p, s, ts);
    bool state = s->rep == REP_ASIDE;
    if (!n_tok && !gap && !state) {
        s->run++;
        atomic_store_explicit(&c->state, st + STATE(1, 1, 0), memory_order_release);
        return APPEND_OK;
    }
    uint8_t out[3 * TOK_BYTES_MAX + TOK_STATE_BYTES_MAX];
    size_t n = 0;
    if (s->run)
        n += tok_put_run(s->run, out);
    if (gap)
        n += tok_put_gap(gap, out + n);
    s->run = 0;
    if (state) {
        n += tok_put_state(&s->tok, out + n);
        if (!n_tok)
            n += tok_put_run(1, out + n);
    } else if (!n_tok) {
        s->run = 1;
    }
    copy_small(out + n, tok, n_tok);
    if ((n_tok && (*tok == 0xa5 || *tok == 0xa6)) || (state && s->tok.start))
        atomic_store_explicit(&c->has_start, true, memory_order_relaxed);
    s->rep = 0;
    chunk_put(db, p, &s->chunk, c, out, n + n_tok, gap + 1);
    return APPEND_OK;
}

/* Histogram entries: [a4 gap] c0 | svarint start | lstr body. Out of order: i64 ts | svarint start | lstr body. */
enum append_result head_append_hist(struct tsdb *db, struct part *p, struct series *s, uint32_t id, int64_t ts,
                                    const struct histogram *h, int64_t start, enum append_mode mode)
{
    const bool log = mode == APPEND_LOG;
    AUTO_BUF struct buf body = { 0 };
    AUTO_BUF struct buf b = { 0 };
    hist_encode(&body, h);
    if (ts <= s->last_ts) {
        if (log && ts < s->last_ts - LIMIT(db, ooo_window_ms))
            return APPEND_TOO_OLD;
        buf_u64(&b, (uint64_t)ts);
        buf_svarint(&b, start);
        buf_lstr(&b, buf_str(&body));
        struct chunk *c = atomic_load_explicit(&s->chunk, memory_order_relaxed);
        if (mode != APPEND_REPLAY && ts == s->last_ts && c && c->kind == CHUNK_HIST &&
            c->gen > atomic_load(&db->gen_deleted) &&
            !atomic_load_explicit(&s->ooo, memory_order_relaxed)) { /* the last entry again? */
            size_t n = STATE_BYTES(atomic_load_explicit(&c->state, memory_order_relaxed));
            if (n >= body.n && memcmp(c->data + n - body.n, body.p, body.n) == 0)
                return APPEND_DUP;
        }
        ooo_put(db, p, s, CHUNK_OOO_HIST, b.p, b.n);
        if (log)
            tsdb_wal_put_hist(p, id, ts, start, buf_str(&body));
        note_time(db, p, ts);
        return ts == s->last_ts ? APPEND_CONFLICT : APPEND_OOO;
    }
    struct chunk *c = atomic_load_explicit(&s->chunk, memory_order_relaxed);
    uint64_t st = c ? atomic_load_explicit(&c->state, memory_order_relaxed) : 0;
    uint32_t gap = 0;
    if (!c || c->gen != p->gen || c->kind != CHUNK_HIST || STATE_SAMPLES(st) >= CHUNK_SAMPLES_MAX ||
        STATE_BYTES(st) >= CHUNK_BYTES_MAX || !place(db, p, c, st, ts, &gap)) {
        c = chunk_start(db, p, s, CHUNK_HIST, ts);
        gap = 0;
    }
    note_used(p, c->tl);
    if (gap) {
        uint8_t g[TOK_BYTES_MAX];
        buf_add(&b, g, tok_put_gap(gap, g));
    }
    buf_u8(&b, 0xc0);
    buf_svarint(&b, start);
    buf_lstr(&b, buf_str(&body));
    if (start)
        atomic_store_explicit(&c->has_start, true, memory_order_relaxed);
    chunk_put(db, p, &s->chunk, c, b.p, b.n, gap + 1);
    if (log)
        tsdb_wal_put_hist(p, id, ts, start, buf_str(&body));
    note_newest(db, p, s, ts);
    return APPEND_OK;
}

/* ---- batches ---- */
struct write {
    struct tsdb *db;
    const struct batch *b;
    const struct tsdb_gate *gate; /* NULL: everything is admitted */
    struct tsdb_write_result *ret;
    uint8_t *part;
    uint32_t *order; /* by partition */
    uint32_t *ids;   /* of the partition being applied, in that order */
    hash128 *hash;   /* lo = hi = 0: not computed (ref) */
    int64_t now_ms, oldest_ms;
    uint32_t epoch;
    enum err log_err;
    unsigned memory_percent;
    struct arena defs[2]; /* labels of series that came without: of the last definition and the one before */
    unsigned defs_i;
    struct arena say;         /* other uses of such labels */
    const struct series *cur; /* being applied */
    size_t keys, read;        /* series with label bytes; of these, whose labels had to be read */
    size_t folded;            /* series the gate takes care of */
    bool late;                /* behind a replay */
    struct {                  /* infos looked up in this request */
        const struct labels *resource;
        uint32_t id;
        uint8_t type, temporality;
    } infos[16];
};

/* Labels of a series that came with a ref alone; until a is used again. */
static struct labels labels_again(struct write *w, const struct series *s, struct arena *a)
{
    arena_reset(a);
    return series_labels(w->db, s, a);
}

static void reject(struct write *w, enum tsdb_reject why, size_t n, struct labels ls, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
static void reject(struct write *w, enum tsdb_reject why, size_t n, struct labels ls, const char *fmt, ...)
{
    static struct stat *const stats[TSDB_REJECT_N] = { &rejected_old, &rejected_future, &rejected_labels,
                                                       &rejected_limit, &rejected_hist };
    stat_add(stats[why], (int64_t)n);
    w->ret->rejected[why] += n;
    if (w->ret->first.msg[0])
        return;
    AUTO_BUF struct buf b;
    buf_init(&b, 400);
    labels_print(&b, ls.n || !w->cur ? ls : labels_again(w, w->cur, &w->say));
    va_list ap;
    va_start(ap, fmt);
    char text[300];
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    str s = buf_str(&b);
    s = str_take(s, str_utf8_valid_len(s));
    IGNORE_ERR(err_fail(&w->ret->first, ERR_INVALID, STR_FMT "%s: %s", STR_ARG(s), b.failed ? "..." : "", text));
}

static size_t samples_of(const struct batch_series *bs)
{
    return bs->n_samples + bs->n_hists;
}

static struct series *by_ref(struct tsdb *db, struct part *p, uint64_t ref, uint32_t *ret_id)
{
    uint32_t id = (uint32_t)ref;
    if (!id || id >= atomic_load_explicit(&db->n_ids, memory_order_acquire))
        return NULL;
    struct series *s = series_at(db, id);
    *ret_id = id;
    return s->part == p->no && !s->dead && (s->serial & 0xffffff) == ref >> 40 ? s : NULL;
}

/* May this series be made? A refusal is counted here. */
static bool admitted(struct write *w, const struct batch_series *bs, struct labels ls)
{
    struct tsdb *db = w->db;
    size_t n = MAX(samples_of(bs), 1);
    uint64_t have = atomic_load_explicit(&db->n_series, memory_order_relaxed), max = LIMIT(db, series_max);
    bool too_many = max && have >= max, no_memory = w->memory_percent >= 90;
    if (w->gate) {
        struct err_text why = { .msg = "" };
        enum tsdb_verdict v =
            w->gate->admit(w->gate->ctx, (size_t)(bs - w->b->series.p), ls, too_many || no_memory, &why);
        w->folded += v == TSDB_FOLD;
        if (v == TSDB_REFUSE)
            reject(w, TSDB_REJECT_LABELS, n, ls, "%s", why.msg);
        return v == TSDB_ADMIT;
    }
    if (too_many)
        reject(w, TSDB_REJECT_SERIES_LIMIT, n, ls, "the limit of %llu active series is reached",
               (unsigned long long)max);
    else if (no_memory)
        reject(w, TSDB_REJECT_SERIES_LIMIT, n, ls, "memory is nearly full: no new series");
    return !too_many && !no_memory;
}

static struct series *create(struct write *w, struct part *p, const struct batch_series *bs, struct labels ls,
                             hash128 h, uint32_t *ret_id)
{
    struct tsdb *db = w->db;
    struct err_text why;
    size_t n = MAX(samples_of(bs), 1);
    if (series_check_labels(db, ls, &why)) {
        reject(w, TSDB_REJECT_LABELS, n, ls, "%s", why.msg);
        return NULL;
    }
    if (!admitted(w, bs, ls))
        return NULL;
    w->ret->new_series++;
    return series_new(db, p, h, ls, ret_id);
}

static struct series *by_labels(struct write *w, struct part *p, struct series *prev, uint32_t i, uint32_t *ret_id)
{
    struct tsdb *db = w->db;
    const struct batch_series *bs = &w->b->series.p[i];
    struct labels ls = bs->labels;
    hash128 h = w->hash[i];
    if (bs->ref && *bs->ref) { /* a stale one */
        arena_reset(&w->say);
        if (!ls.n && bs->key)
            ls = batch_key_labels(w->b, &w->say, bs->key->bytes);
        if (!ls.n)
            return NULL;
        h = series_hash(db, ls);
    }
    struct series *s = NULL;
    if (prev && prev->next) {
        s = series_at(db, prev->next);
        *ret_id = prev->next;
        if (!hash128_eq(s->id, h) || s->dead)
            s = NULL;
    }
    if (!s)
        s = series_find(db, p, h, ret_id);
    if (!s)
        s = create(w, p, bs, ls, h, ret_id);
    if (!s)
        return NULL;
    if (prev)
        prev->next = *ret_id;
    if (bs->ref)
        *bs->ref = series_ref_of(s, *ret_id);
    w->read += bs->key != NULL;
    if (bs->key)
        known_put(db, bs->key->hash, series_ref_of(s, *ret_id));
    return s;
}

static inline struct series *resolve(struct write *w, struct part *p, struct series *prev, uint32_t i, uint32_t *ret_id)
{
    const uint64_t *ref = w->b->series.p[i].ref;
    struct series *s = ref && *ref ? by_ref(w->db, p, *ref, ret_id) : NULL;
    return s ? s : by_labels(w, p, prev, i, ret_id);
}

/* The log must know the series before anything else is said of it. */
static void define(struct write *w, struct part *p, struct series *s, uint32_t id, struct labels ls)
{
    if (s->stamp == p->stamp)
        return;
    struct tsdb *db = w->db;
    tsdb_wal_put_def(db, p, s, id,
                     ls.n ? ls : labels_again(w, s, &w->defs[w->defs_i++ % 2])); /* leans on the one before */
    s->stamp = p->stamp;
    if (s->info) {
        struct series_info info = meta_info(db, s->info);
        tsdb_wal_put_info(p, id, &info);
    }
}

static void put_info(struct write *w, struct part *p, struct series *s, uint32_t id, const struct batch_series *bs)
{
    unsigned k = ((unsigned)bs->meta.type * 2 + (unsigned)bs->temporality) % ARRAY_LEN(w->infos);
    if (!w->infos[k].id || w->infos[k].resource != bs->resource || w->infos[k].type != bs->meta.type ||
        w->infos[k].temporality != bs->temporality) {
        AUTO_BUF struct buf b = { 0 };
        if (bs->resource)
            meta_labels_encode(&b, *bs->resource);
        w->infos[k].id = meta_info_id(w->db, bs->meta.type, bs->temporality, buf_str(&b));
        w->infos[k].resource = bs->resource;
        w->infos[k].type = (uint8_t)bs->meta.type;
        w->infos[k].temporality = (uint8_t)bs->temporality;
    }
    if (s->info == w->infos[k].id)
        return;
    s->info = w->infos[k].id;
    struct series_info info = meta_info(w->db, s->info);
    tsdb_wal_put_info(p, id, &info);
}

static str family_name(str name, enum metric_type t)
{
    if (t == METRIC_HISTOGRAM || t == METRIC_GAUGE_HISTOGRAM) {
        if (str_has_suffix(name, STR("_bucket")))
            return str_take(name, name.n - 7);
    }
    if (t == METRIC_HISTOGRAM || t == METRIC_GAUGE_HISTOGRAM || t == METRIC_SUMMARY) {
        if (str_has_suffix(name, STR("_count")))
            return str_take(name, name.n - 6);
        if (str_has_suffix(name, STR("_sum")))
            return str_take(name, name.n - 4);
    }
    return name;
}

/* The family's key: each tenant has its own. */
static str family_of(struct write *w, str name, enum metric_type t, struct labels ls)
{
    str tenant = labels_get(ls, LABEL_TENANT);
    name = family_name(name, t);
    if (!tenant.n)
        return name;
    return arena_printf(&w->say, STR_FMT "%c" STR_FMT, STR_ARG(tenant), METRIC_FAMILY_TENANT_END, STR_ARG(name));
}

static void put_meta(struct write *w, struct part *p, struct series *s, uint32_t id, const struct batch_series *bs)
{
    if (bs->meta.type || bs->resource || bs->temporality)
        put_info(w, p, s, id, bs);
    if (s->info_gen == p->gen || (!bs->meta.type && !bs->meta.help.n && !bs->meta.unit.n))
        return;
    s->info_gen = p->gen;
    struct labels ls = bs->labels.n ? bs->labels : labels_again(w, s, &w->say);
    str name = labels_name(ls);
    if (!name.n)
        return;
    name = family_of(w, name, bs->meta.type, ls);
    if (meta_family_put(w->db, name, &bs->meta, p->gen))
        tsdb_wal_put_family(p, name, &bs->meta);
}

static void put_exemplars(struct write *w, struct part *p, struct series *s, uint32_t id, const struct batch_series *bs)
{
    for (size_t i = 0; i < bs->n_exemplars; i++) {
        const struct exemplar *e = &bs->exemplars[i];
        if (e->ts_ms > w->now_ms + LIMIT(w->db, future_max_ms))
            continue;
        AUTO_BUF struct buf b = { 0 };
        meta_labels_encode(&b, e->labels);
        if (b.n > EXEMPLAR_BYTES_MAX)
            continue;
        tsdb_wal_put_exemplar(p, id, e->ts_ms, e->v, buf_str(&b));
        exemplar_put(w->db, id, s->serial, p->gen, e->ts_ms, e->v, buf_str(&b));
        w->ret->exemplars++;
    }
}

static void count(struct write *w, enum append_result r, struct labels ls, int64_t ts)
{
    struct tsdb_write_result *ret = w->ret;
    switch (r) {
    case APPEND_OOO:
        ret->out_of_order++;
        ret->samples++;
        break;
    case APPEND_OK:
        ret->samples++;
        break;
    case APPEND_CONFLICT:
        ret->conflicts++;
        ret->duplicates++;
        ret->samples++;
        break;
    case APPEND_DUP:
        ret->duplicates++;
        break;
    case APPEND_BAD:
    case APPEND_TOO_OLD:
        reject(w, TSDB_REJECT_TOO_OLD, 1, ls, "timestamp %lld is outside the out-of-order window", (long long)ts);
        break;
    }
}

static inline bool in_time(struct write *w, int64_t ts, struct labels ls)
{
    if (__builtin_expect(ts >= w->oldest_ms && ts <= w->now_ms + LIMIT(w->db, future_max_ms), 1))
        return true;
    if (ts < w->oldest_ms)
        reject(w, TSDB_REJECT_TOO_OLD, 1, ls, "timestamp %lld is older than the retention", (long long)ts);
    else
        reject(w, TSDB_REJECT_FUTURE, 1, ls, "timestamp %lld is too far in the future", (long long)ts);
    return false;
}

/* A record has a bound; the next one goes on where this one ends. */
static void cut_frame(struct write *w, struct part *p)
{
    if (__builtin_expect(p->frame.n <= WAL_FRAME_BYTES, 1))
        return;
    enum err e = tsdb_wal_frame_end(w->db, p);
    w->log_err = w->log_err ? w->log_err : e;
    tsdb_wal_frame_begin(w->db, p, w->epoch, w->now_ms);
}

static void apply_series(struct write *w, struct part *p, struct series *s, uint32_t id, const struct batch_series *bs)
{
    struct tsdb *db = w->db;
    w->cur = s;
    define(w, p, s, id, bs->labels);
    put_meta(w, p, s, id, bs);
    for (size_t k = 0; k < bs->n_samples; k++) {
        int64_t ts = bs->samples[k].ts_ms;
        cut_frame(w, p);
        if (in_time(w, ts, bs->labels))
            count(w,
                  head_append(db, p, s, id, ts, f64_bits(bs->samples[k].v), bs->start_ms ? bs->start_ms[k] : 0,
                              APPEND_LOG),
                  bs->labels, ts);
    }
    for (size_t k = 0; k < bs->n_hists; k++) {
        int64_t ts = bs->hists[k].ts_ms;
        struct err_text why;
        cut_frame(w, p);
        if (!in_time(w, ts, bs->labels))
            continue;
        if (!is_stale(bs->hists[k].h->sum) && histogram_validate(bs->hists[k].h, &why)) {
            reject(w, TSDB_REJECT_HISTOGRAM, 1, bs->labels, "%s", why.msg);
            continue;
        }
        int64_t start = bs->start_ms ? bs->start_ms[bs->n_samples + k] : 0;
        enum append_result r = head_append_hist(db, p, s, id, ts, bs->hists[k].h, start, APPEND_LOG);
        count(w, r, bs->labels, ts);
        w->ret->histograms += r != APPEND_TOO_OLD;
    }
    if (bs->n_exemplars)
        put_exemplars(w, p, s, id, bs);
}

static size_t refusals(const struct write *w)
{
    return w->ret->rejected[TSDB_REJECT_LABELS] + w->ret->rejected[TSDB_REJECT_SERIES_LIMIT] + w->folded;
}

static inline void prefetch_ref(const struct write *w, const uint32_t *order, size_t i, size_t n, uint32_t n_ids)
{
    const uint64_t *ref = i < n ? w->b->series.p[order[i]].ref : NULL;
    if (!ref || !*ref || (uint32_t)*ref >= n_ids)
        return;
    const char *s = (const char *)series_at(w->db, (uint32_t)*ref);
    __builtin_prefetch(s);
    __builtin_prefetch(s + sizeof(struct series) - 1);
}

/* Ids of a partition's series into w->ids, 0 = refused. Series are touched here so that the loop that appends
 * finds them in cache; the hint brings in the next one while this one is compared. */
static void resolve_all(struct write *w, struct part *p, const uint32_t *order, size_t n)
{
    struct tsdb *db = w->db;
    struct series *prev = NULL;
    uint32_t n_ids = atomic_load_explicit(&db->n_ids, memory_order_acquire);
    for (size_t i = 0; i < n; i++) {
        const struct batch_series *bs = &w->b->series.p[order[i]];
        size_t before = refusals(w);
        w->ids[i] = 0;
        prefetch_ref(w, order, i + RESOLVE_AHEAD, n, n_ids);
        struct series *s = resolve(w, p, prev, order[i], &w->ids[i]);
        if (!s) {
            w->ids[i] = 0;
            if (before == refusals(w))
                reject(w, TSDB_REJECT_LABELS, MAX(samples_of(bs), 1), bs->labels,
                       "the series has left the head: send its labels");
            continue;
        }
        if (s->next && s->next + 2 < n_ids) {
            const struct series *next = series_at(db, s->next + 2); /* neighbours were made together */
            __builtin_prefetch(next);
            __builtin_prefetch((const char *)next + 64);
        }
        prev = s;
    }
}

static inline void prefetch_chunk(struct tsdb *db, uint32_t id)
{
    if (!id)
        return;
    const struct chunk *c = atomic_load_explicit(&series_at(db, id)->chunk, memory_order_relaxed);
    __builtin_prefetch(c);
    __builtin_prefetch((const char *)c + 64);
}

void span_publish(struct tsdb *db, struct part *p)
{
    int64_t have = atomic_load_explicit(&db->gen_from, memory_order_relaxed);
    while (p->from < have && !atomic_compare_exchange_weak(&db->gen_from, &have, p->from))
        ;
    have = atomic_load_explicit(&db->gen_to, memory_order_relaxed);
    while (p->to > have && !atomic_compare_exchange_weak(&db->gen_to, &have, p->to))
        ;
}

static enum err apply_part(struct write *w, struct part *p, const uint32_t *order, size_t n)
{
    struct tsdb *db = w->db;
    mtx_lock(&p->mu);
    memset(p->recent, 0, sizeof(p->recent));
    int64_t base = n && w->b->series.p[order[0]].n_samples ? w->b->series.p[order[0]].samples[0].ts_ms : w->now_ms;
    tsdb_wal_frame_begin(db, p, w->epoch, base);
    resolve_all(w, p, order, n);
    for (size_t i = 0; i < n; i++) {
        if (i + PREFETCH_AHEAD < n)
            prefetch_chunk(db, w->ids[i + PREFETCH_AHEAD]);
        uint32_t id = w->ids[i];
        if (!id)
            continue;
        apply_series(w, p, series_at(db, id), id, &w->b->series.p[order[i]]);
    }
    if (p->no == 0) {
        for (size_t i = 0; i < w->b->families.n; i++) {
            const struct batch_family *f = &w->b->families.p[i];
            if (f->name.n && f->name.n <= LIMIT(db, label_value_bytes_max) &&
                meta_family_put(db, f->name, &f->meta, p->gen))
                tsdb_wal_put_family(p, f->name, &f->meta);
        }
    }
    enum err e2 = tsdb_wal_frame_end(db, p);
    timelines_publish(db, p);
    span_publish(db, p);
    if (p->last_lsn >
        w->ret->lsn) /* also for duplicates: their first copy must be durable before they are acknowledged */
        w->ret->lsn = p->last_lsn;
    mtx_unlock(&p->mu);
    return w->log_err ? w->log_err : e2;
}

/* ---- while the log is replayed (tsdb_replay.c): the same checks, but only a record, which needs nothing known ---- */
struct late {
    struct write *w;
    struct part *p;
    uint32_t id; /* of the series, in this record's context only */
    struct tok tok;
    bool absolute;
};

static enum err late_cut(struct late *l)
{
    if (__builtin_expect(l->p->frame.n <= WAL_FRAME_BYTES, 1))
        return OK;
    TRY(replay_late_add(l->w->db, l->p));
    tsdb_wal_frame_begin(l->w->db, l->p, l->w->epoch, l->w->now_ms);
    return OK;
}

static void late_meta(struct late *l, const struct batch_series *bs, struct labels ls)
{
    struct tsdb *db = l->w->db;
    if (bs->meta.type || bs->resource || bs->temporality) {
        AUTO_BUF struct buf b = { 0 };
        if (bs->resource)
            meta_labels_encode(&b, *bs->resource);
        struct series_info info = { (uint8_t)bs->meta.type, (uint8_t)bs->temporality, buf_str(&b) };
        tsdb_wal_put_info(l->p, l->id, &info);
    }
    str name = labels_name(ls);
    if (!name.n || (!bs->meta.type && !bs->meta.help.n && !bs->meta.unit.n))
        return;
    name = family_of(l->w, name, bs->meta.type, ls);
    if (meta_family_put(db, name, &bs->meta, l->p->gen))
        tsdb_wal_put_family(l->p, name, &bs->meta);
}

static enum err late_samples(struct late *l, const struct batch_series *bs, struct labels ls)
{
    struct write *w = l->w;
    for (size_t k = 0; k < bs->n_samples; k++) {
        uint8_t tok[TOK_BYTES_MAX];
        int64_t ts = bs->samples[k].ts_ms;
        TRY(late_cut(l));
        if (!in_time(w, ts, ls))
            continue;
        size_t n = tok_put(&l->tok, f64_bits(bs->samples[k].v), bs->start_ms ? bs->start_ms[k] : 0, l->absolute, tok);
        tsdb_wal_put_sample(l->p, l->id, ts, tok, n);
        l->absolute = false;
        w->ret->samples++;
    }
    for (size_t k = 0; k < bs->n_hists; k++) {
        AUTO_BUF struct buf body = { 0 };
        int64_t ts = bs->hists[k].ts_ms;
        struct err_text why;
        TRY(late_cut(l));
        if (!in_time(w, ts, ls))
            continue;
        if (!is_stale(bs->hists[k].h->sum) && histogram_validate(bs->hists[k].h, &why)) {
            reject(w, TSDB_REJECT_HISTOGRAM, 1, ls, "%s", why.msg);
            continue;
        }
        hist_encode(&body, bs->hists[k].h);
        tsdb_wal_put_hist(l->p, l->id, ts, bs->start_ms ? bs->start_ms[bs->n_samples + k] : 0, buf_str(&body));
        w->ret->samples++;
        w->ret->histograms++;
    }
    for (size_t k = 0; k < bs->n_exemplars; k++) {
        AUTO_BUF struct buf b = { 0 };
        const struct exemplar *e = &bs->exemplars[k];
        meta_labels_encode(&b, e->labels);
        if (e->ts_ms > w->now_ms + LIMIT(w->db, future_max_ms) || b.n > EXEMPLAR_BYTES_MAX)
            continue;
        tsdb_wal_put_exemplar(l->p, l->id, e->ts_ms, e->v, buf_str(&b));
        w->ret->exemplars++;
    }
    return OK;
}

static enum err late_series(struct late *l, const struct batch_series *bs)
{
    struct write *w = l->w;
    struct labels ls = bs->labels;
    struct err_text why;
    if (!ls.n && bs->key)
        ls = batch_key_labels(w->b, &w->defs[w->defs_i++ % 2], bs->key->bytes);
    if (series_check_labels(w->db, ls, &why)) {
        reject(w, TSDB_REJECT_LABELS, MAX(samples_of(bs), 1), ls, "%s", why.msg);
        return OK;
    }
    TRY(late_cut(l));
    tsdb_wal_put_def(w->db, l->p, NULL, l->id, ls);
    l->tok = (struct tok){ .form = TOK_RAW };
    l->absolute = true;
    late_meta(l, bs, ls);
    return late_samples(l, bs, ls);
}

static enum err late_part(struct write *w, struct part *p, const uint32_t *order, size_t n)
{
    struct late l = { .w = w, .p = p, .id = p->no };
    enum err e = OK;
    mtx_lock(&p->mu);
    p->stamp++; /* a context of its own */
    p->seq = 0;
    tsdb_wal_frame_begin(w->db, p, w->epoch, w->now_ms);
    for (size_t i = 0; i < n && !e; i++, l.id += w->db->n_parts) /* ids differ between partitions */
        e = late_series(&l, &w->b->series.p[order[i]]);
    for (size_t i = 0; p->no == 0 && i < w->b->families.n; i++) {
        const struct batch_family *f = &w->b->families.p[i];
        if (f->name.n && f->name.n <= LIMIT(w->db, label_value_bytes_max) &&
            meta_family_put(w->db, f->name, &f->meta, p->gen))
            tsdb_wal_put_family(p, f->name, &f->meta);
    }
    if (!e && p->frame_defs)
        e = replay_late_add(w->db, p);
    p->stamp++;
    p->seq = 0;
    w->ret->lsn = MAX(w->ret->lsn, p->last_lsn);
    mtx_unlock(&p->mu);
    return e;
}

/* Hash, choose partitions, counting sort. */
static size_t split(struct write *w, uint32_t *first)
{
    struct tsdb *db = w->db;
    const struct batch *b = w->b;
    size_t bytes = 0;
    for (size_t i = 0; i < b->series.n; i++) {
        const struct batch_series *bs = &b->series.p[i];
        uint64_t ref = bs->ref ? *bs->ref : 0;
        w->keys += bs->key != NULL;
        unsigned part = (unsigned)(ref >> 32) & 0xff;
        if (!ref || part >= db->n_parts) {
            if (bs->ref)
                *bs->ref = 0;
            w->hash[i] = series_hash(db, bs->labels);
            part = series_part(db, bs->labels, w->hash[i]);
        } else {
            w->hash[i] = (hash128){ 0, 0 };
        }
        w->part[i] = (uint8_t)part;
        first[part + 1]++;
        bytes += 4 * bs->n_samples + 200 * bs->n_hists + 100 * bs->n_exemplars + 8;
    }
    for (unsigned k = 0; k < db->n_parts; k++)
        first[k + 1] += first[k];
    uint32_t at[257];
    memcpy(at, first, (db->n_parts + 1) * sizeof(*at));
    for (size_t i = 0; i < b->series.n; i++)
        w->order[at[w->part[i]]++] = (uint32_t)i;
    return bytes;
}

static enum err write_batch(struct write *w)
{
    struct tsdb *db = w->db;
    size_t n = w->b->series.n;
    AUTO_FREE void *mem = mem_alloc(n * (sizeof(hash128) + 4 + 4 + 1) + 16);
    w->hash = mem;
    w->order = (uint32_t *)(void *)(w->hash + n);
    w->ids = w->order + n;
    w->part = (uint8_t *)(w->ids + n);
    uint32_t first[258] = { 0 };
    size_t bytes = split(w, first);
    enum err e = store_wal_pin(db->st, bytes, &w->epoch);
    if (e) {
        if (e == ERR_BUSY)
            stat_add(&busy_total, 1);
        return e;
    }
    bool late = w->late = replay_late_begin(db, &e);
    for (unsigned k = 0; k < db->n_parts && !e; k++)
        if (first[k + 1] > first[k] || (k == 0 && w->b->families.n))
            e = (late ? late_part : apply_part)(w, &db->parts[k], w->order + first[k], first[k + 1] - first[k]);
    if (late)
        replay_late_end(db);
    store_wal_unpin(db->st);
    return e;
}

enum err tsdb_write(struct tsdb *db, const struct batch *b, struct tsdb_write_result *ret)
{
    return tsdb_write_gated(db, b, NULL, ret);
}

enum err tsdb_write_gated(struct tsdb *db, const struct batch *b, const struct tsdb_gate *gate,
                          struct tsdb_write_result *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (atomic_load(&db->closing))
        return ERR_CLOSED;
    if (b->series.n > UINT32_MAX / 2)
        return ERR_LIMIT;
    struct write w = { .db = db, .b = b, .gate = gate, .ret = ret, .now_ms = clock_now_ms(db->clk) };
    arena_init(&w.defs[0], 0);
    arena_init(&w.defs[1], 0);
    arena_init(&w.say, 0);
    w.oldest_ms = retention_accepts(db, w.now_ms);
    w.memory_percent = tsdb_memory_percent(db);
    if (w.memory_percent >= 80)
        tsdb_kick(db);
    if (w.memory_percent >= 95) {
        stat_add(&busy_total, 1);
        return ERR_BUSY;
    }
    atomic_fetch_add_explicit(&db->writers, 1, memory_order_relaxed);
    enum err e = write_batch(&w);
    arena_deinit(&w.defs[0]);
    arena_deinit(&w.defs[1]);
    arena_deinit(&w.say);
    atomic_fetch_sub_explicit(&db->writers, 1, memory_order_relaxed);
    stat_add(&samples_total, (int64_t)ret->samples);
    if (!w.late) /* else they are counted when they come out of the log */
        atomic_fetch_add_explicit(&db->gen_samples, (int64_t)ret->samples, memory_order_relaxed);
    if (w.keys) {
        stat_add(&known_hits, (int64_t)(w.keys - MIN(w.read, w.keys)));
        stat_add(&known_misses, (int64_t)w.read);
    }
    if (ret->duplicates)
        stat_add(&duplicates_total, (int64_t)ret->duplicates);
    if (ret->conflicts)
        stat_add(&conflicts_total, (int64_t)ret->conflicts);
    if (ret->out_of_order)
        stat_add(&ooo_total, (int64_t)ret->out_of_order);
    if (flush_by_bytes(db) || flush_by_span(db))
        tsdb_kick(db);
    return e;
}

enum err tsdb_wait(struct tsdb *db, uint64_t lsn)
{
    return lsn ? store_wal_wait(db->st, lsn) : OK;
}

void tsdb_sync_soon(struct tsdb *db)
{
    store_wal_sync_soon(db->st);
}

/* ---- after a flush: what is in segments leaves the head ---- */
static void unlink_chain(struct tsdb *db, _Atomic(struct chunk *) *slot, uint32_t gen)
{
    struct chunk *c = atomic_load_explicit(slot, memory_order_relaxed);
    while (c && c->gen > gen) {
        slot = &c->prev;
        c = atomic_load_explicit(slot, memory_order_relaxed);
    }
    if (!c)
        return;
    atomic_store(slot, NULL);
    while (c) {
        struct chunk *older = atomic_load_explicit(&c->prev, memory_order_relaxed);
        tsdb_retire(db, chunk_free, c);
        c = older;
    }
}

static void unlink_timelines(struct tsdb *db, struct part *p, uint32_t gen)
{
    struct timeline **at = &p->timelines;
    while (*at) {
        struct timeline *t = *at;
        if (t->gen <= gen) {
            *at = t->next;
            tsdb_retire(db, timeline_free, t);
        } else {
            at = &t->next;
        }
    }
}

void head_unlink(struct tsdb *db, uint32_t gen)
{
    for (unsigned k = 0; k < db->n_parts; k++) {
        struct part *p = &db->parts[k];
        mtx_lock(&p->mu);
        uint32_t cap = p->table_cap;
        for (uint32_t i = 0; i < p->table_cap; i++) {
            if (i % 2048 == 2047) { /* short holds; a table that grew meanwhile is walked again */
                mtx_unlock(&p->mu);
                mtx_lock(&p->mu);
                if (cap != p->table_cap) {
                    cap = p->table_cap;
                    i = 0;
                }
            }
            if (!p->table[i].id)
                continue;
            struct series *s = series_at(db, p->table[i].id);
            unlink_chain(db, &s->chunk, gen);
            unlink_chain(db, &s->ooo, gen);
        }
        memset(p->recent, 0, sizeof(p->recent));
        unlink_timelines(db, p, gen);
        mtx_unlock(&p->mu);
    }
}
