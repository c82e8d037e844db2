/* MANIFEST: which segments exist, how far each signal's log is flushed, tombstones, retention marks, the seed.
 * An append-only row of checksummed edits, rewritten as one snapshot edit past 4 MiB and after every error
 * (docs/format/manifest.md). */
#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rd.h"
#include "base/stats.h"
#include "store/store_int.h"

enum {
    HEADER_BYTES = 32,
    EDIT_HEADER_BYTES = 16, /* u32 length, u32 crc32c(seq, payload), u64 seq */
    REWRITE_BYTES = 4 << 20,
    EDIT_BYTES_MAX = 256 << 20,
};
enum item { /* on disk: never renumber */
            ITEM_ADD_SEGMENT = 1,
            ITEM_REMOVE_SEGMENT = 2,
            ITEM_LOW_WATER = 3,
            ITEM_RETENTION = 4,
            ITEM_ADD_TOMBSTONE = 5,
            ITEM_REMOVE_TOMBSTONE = 6,
            ITEM_NEXT_IDS = 7,
            ITEM_HOLD = 8,
};
static const char manifest_magic[8] = "VANEMAN1";

static struct stat stat_edits = STAT_COUNTER("vane_store_manifest_edits_total", "MANIFEST edits made durable", "");
static struct stat stat_rewrites =
    STAT_COUNTER("vane_store_manifest_rewrites_total", "Times the MANIFEST was written anew", "");

void manifest_init(struct manifest *m, struct fs *fs, const char *dir)
{
    *m = (struct manifest){ .fs = fs, .rewrite_bytes = REWRITE_BYTES };
    size_t n = strlen(dir) + 16;
    m->dir = mem_strdup(str_c(dir));
    m->path = mem_alloc(n);
    m->tmp = mem_alloc(n);
    snprintf(m->path, n, "%s/MANIFEST", dir);
    snprintf(m->tmp, n, "%s/MANIFEST.tmp", dir);
    for (int s = 0; s < STORE_SIGNAL_MAX; s++) {
        m->sig[s].retention_ms = INT64_MIN;
        m->sig[s].next_segment = m->sig[s].next_tombstone = 1;
        m->sig[s].hold = STORE_HOLD_NONE;
    }
}

static void signal_clear(struct manifest_signal *g)
{
    vec_free(&g->segments);
    vec_each (struct store_tombstone, t, &g->tombstones)
        mem_free((void *)(uintptr_t)t->body.p);
    vec_free(&g->tombstones);
}

void manifest_deinit(struct manifest *m)
{
    fs_close(m->file);
    for (int s = 0; s < STORE_SIGNAL_MAX; s++)
        signal_clear(&m->sig[s]);
    mem_free(m->dir);
    mem_free(m->path);
    mem_free(m->tmp);
}

/* ---- items ---- */
static void item_begin(struct buf *b, enum item tag, enum store_signal s)
{
    buf_u8(b, (uint8_t)tag);
    buf_u8(b, (uint8_t)s);
}

void manifest_add_segment(struct buf *b, const struct segment_meta *m)
{
    item_begin(b, ITEM_ADD_SEGMENT, (enum store_signal)m->signal);
    buf_uvarint(b, m->id);
    buf_u8(b, m->level);
    buf_svarint(b, m->min_time);
    buf_svarint(b, m->max_time);
    buf_uvarint(b, m->lsn_first);
    buf_uvarint(b, m->lsn_last);
    buf_uvarint(b, m->rows);
    buf_uvarint(b, m->bytes);
}

void manifest_remove_segment(struct buf *b, enum store_signal s, uint64_t id)
{
    item_begin(b, ITEM_REMOVE_SEGMENT, s);
    buf_uvarint(b, id);
}

void manifest_low_water(struct buf *b, enum store_signal s, uint64_t lsn)
{
    item_begin(b, ITEM_LOW_WATER, s);
    buf_uvarint(b, lsn);
}

void manifest_retention(struct buf *b, enum store_signal s, int64_t ms)
{
    item_begin(b, ITEM_RETENTION, s);
    buf_svarint(b, ms);
}

void manifest_add_tombstone(struct buf *b, enum store_signal s, uint64_t id, str body)
{
    item_begin(b, ITEM_ADD_TOMBSTONE, s);
    buf_uvarint(b, id);
    buf_lstr(b, body);
}

void manifest_remove_tombstone(struct buf *b, enum store_signal s, uint64_t id)
{
    item_begin(b, ITEM_REMOVE_TOMBSTONE, s);
    buf_uvarint(b, id);
}

void manifest_next_ids(struct buf *b, enum store_signal s, uint64_t segment, uint64_t tombstone)
{
    item_begin(b, ITEM_NEXT_IDS, s);
    buf_uvarint(b, segment);
    buf_uvarint(b, tombstone);
}

void manifest_hold(struct buf *b, enum store_signal s, uint64_t lsn)
{
    item_begin(b, ITEM_HOLD, s);
    buf_uvarint(b, lsn == STORE_HOLD_NONE ? 0 : lsn + 1);
}

static size_t segment_pos(const struct manifest_signal *g, uint64_t id) /* first with id >= */
{
    size_t lo = 0, hi = g->segments.n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (g->segments.p[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct segment_meta *manifest_segment(const struct manifest *m, enum store_signal s, uint64_t id)
{
    const struct manifest_signal *g = &m->sig[s];
    size_t i = segment_pos(g, id);
    return i < g->segments.n && g->segments.p[i].id == id ? &g->segments.p[i] : NULL;
}

static bool apply_add(struct manifest_signal *g, uint8_t signal, struct rd *r)
{
    struct segment_meta m = { .signal = signal, .id = rd_uvarint(r), .level = rd_u8(r) };
    m.min_time = rd_svarint(r);
    m.max_time = rd_svarint(r);
    m.lsn_first = rd_uvarint(r);
    m.lsn_last = rd_uvarint(r);
    m.rows = rd_uvarint(r);
    m.bytes = rd_uvarint(r);
    size_t i = segment_pos(g, m.id);
    if (!rd_ok(r) || (i < g->segments.n && g->segments.p[i].id == m.id))
        return false;
    vec_push(&g->segments, m);
    memmove(g->segments.p + i + 1, g->segments.p + i, (g->segments.n - 1 - i) * sizeof(m));
    g->segments.p[i] = m;
    g->next_segment = MAX(g->next_segment, m.id + 1);
    return true;
}

static bool apply_remove(struct manifest_signal *g, uint64_t id)
{
    size_t i = segment_pos(g, id);
    if (i >= g->segments.n || g->segments.p[i].id != id)
        return false;
    vec_remove(&g->segments, i);
    return true;
}

static bool apply_tombstone_add(struct manifest_signal *g, struct rd *r)
{
    uint64_t id = rd_uvarint(r);
    str body = rd_lstr(r);
    if (!rd_ok(r) || (g->tombstones.n && vec_last(&g->tombstones).id >= id))
        return false;
    struct store_tombstone t = { id, mem_dup(body) };
    vec_push(&g->tombstones, t);
    g->next_tombstone = MAX(g->next_tombstone, id + 1);
    return true;
}

static bool apply_tombstone_remove(struct manifest_signal *g, uint64_t id)
{
    for (size_t i = 0; i < g->tombstones.n; i++)
        if (g->tombstones.p[i].id == id) {
            mem_free((void *)(uintptr_t)g->tombstones.p[i].body.p);
            vec_remove(&g->tombstones, i);
            return true;
        }
    return false;
}

static void uint_raise(uint64_t *p, uint64_t v)
{
    *p = MAX(*p, v);
}

static bool apply_item(struct manifest *m, struct rd *r)
{
    uint8_t tag = rd_u8(r), s = rd_u8(r);
    if (!rd_ok(r) || s == 0 || s >= STORE_SIGNAL_MAX)
        return false;
    struct manifest_signal *g = &m->sig[s];
    switch ((enum item)tag) {
    case ITEM_ADD_SEGMENT:
        return apply_add(g, s, r);
    case ITEM_REMOVE_SEGMENT:
        return apply_remove(g, rd_uvarint(r));
    case ITEM_LOW_WATER:
        uint_raise(&g->low_water, rd_uvarint(r));
        return rd_ok(r);
    case ITEM_RETENTION:
        g->retention_ms = rd_svarint(r);
        return rd_ok(r);
    case ITEM_ADD_TOMBSTONE:
        return apply_tombstone_add(g, r);
    case ITEM_REMOVE_TOMBSTONE:
        return apply_tombstone_remove(g, rd_uvarint(r));
    case ITEM_NEXT_IDS:
        uint_raise(&g->next_segment, rd_uvarint(r));
        uint_raise(&g->next_tombstone, rd_uvarint(r));
        return rd_ok(r);
    case ITEM_HOLD:
        g->hold = rd_uvarint(r) - 1; /* 0 wraps to STORE_HOLD_NONE */
        return rd_ok(r);
    }
    return false;
}

enum err manifest_apply(struct manifest *m, str edit, struct err_text *reterr)
{
    struct rd r = rd_init(edit);
    while (rd_left(&r)) {
        size_t at = edit.n - rd_left(&r);
        if (!apply_item(m, &r))
            return err_fail_at(reterr, ERR_CORRUPT, at, "edit %llu has an item that makes no sense at byte %zu",
                               (unsigned long long)m->seq, at);
    }
    return OK;
}

/* ---- file ---- */
static uint32_t edit_crc(uint64_t seq, str payload)
{
    return crc32c(crc32c(0, str_n((const char *)&seq, 8)), payload);
}

static void edit_encode(struct buf *out, uint64_t seq, str payload)
{
    buf_u32(out, (uint32_t)payload.n);
    buf_u32(out, edit_crc(seq, payload));
    buf_u64(out, seq);
    buf_str_add(out, payload);
}

static void header_encode(struct buf *out, uint64_t seed)
{
    size_t at = out->n;
    buf_add(out, manifest_magic, 8);
    buf_u32(out, MANIFEST_VERSION);
    buf_u32(out, 0);
    buf_u64(out, seed);
    buf_u32(out, 0);
    buf_u32(out, crc32c(0, str_n(out->p + at, HEADER_BYTES - 4)));
}

static enum err header_decode(struct manifest *m, struct rd *r, str file, struct err_text *reterr)
{
    str magic = rd_bytes(r, 8);
    uint32_t version = rd_u32(r);
    r->p += rd_left(r) >= 4 ? 4 : 0; /* reserved */
    m->seed = rd_u64(r);
    r->p += rd_left(r) >= 4 ? 4 : 0;
    uint32_t crc = rd_u32(r);
    if (!rd_ok(r) || memcmp(magic.p, manifest_magic, 8) != 0)
        return err_fail(reterr, ERR_CORRUPT, "%s is not a MANIFEST", m->path);
    if (crc != crc32c(0, str_n(file.p, HEADER_BYTES - 4)))
        return err_fail(reterr, ERR_CORRUPT, "%s: the header is damaged", m->path);
    if (version > MANIFEST_VERSION)
        return err_fail(reterr, ERR_UNSUPPORTED, "%s has version %u, written by a newer vane; this one reads up to %d",
                        m->path, version, MANIFEST_VERSION);
    return OK;
}

/* An edit at p; its payload in ret, or false. */
static bool edit_at(str file, uint64_t off, uint64_t *ret_seq, str *ret)
{
    if (off + EDIT_HEADER_BYTES > file.n)
        return false;
    uint32_t len, crc;
    memcpy(&len, file.p + off, 4);
    memcpy(&crc, file.p + off + 4, 4);
    memcpy(ret_seq, file.p + off + 8, 8);
    if (len > file.n - off - EDIT_HEADER_BYTES || len > EDIT_BYTES_MAX || len == 0)
        return false;
    *ret = str_n(file.p + off + EDIT_HEADER_BYTES, len);
    return edit_crc(*ret_seq, *ret) == crc;
}

/* Whether a later edit than `seq` parses anywhere after off: then what is at off is damage and not a torn end. */
static bool edit_later(str file, uint64_t off, uint64_t seq)
{
    uint64_t got;
    str payload;
    for (off++; off + EDIT_HEADER_BYTES < file.n; off++) {
        memcpy(&got, file.p + off + 8, 8);
        if (got > seq && got - seq < (1u << 20) && edit_at(file, off, &got, &payload))
            return true;
    }
    return false;
}

enum err manifest_decode(struct manifest *m, str file, uint64_t *ret_good, struct err_text *reterr)
{
    struct rd r = rd_init(file);
    TRY(header_decode(m, &r, file, reterr));
    uint64_t off = HEADER_BYTES, seq;
    str payload;
    bool first = true;
    while (edit_at(file, off, &seq, &payload)) {
        if (!first && seq != m->seq + 1)
            return err_fail_at(reterr, ERR_CORRUPT, off, "%s: edit %llu follows edit %llu", m->path,
                               (unsigned long long)seq, (unsigned long long)m->seq);
        m->seq = seq;
        first = false;
        if (manifest_apply(m, payload, reterr) != OK) {
            err_prefix(reterr, "%s", m->path);
            return ERR_CORRUPT;
        }
        off += EDIT_HEADER_BYTES + payload.n;
    }
    if (first)
        return err_fail_at(reterr, ERR_CORRUPT, off, "%s: the first edit is damaged", m->path);
    m->torn = off != file.n;
    if (m->torn && edit_later(file, off, m->seq))
        return err_fail_at(reterr, ERR_CORRUPT, off, "%s: damaged at byte %llu, with good edits after it", m->path,
                           (unsigned long long)off);
    *ret_good = off;
    return OK;
}

enum err manifest_load(struct manifest *m, struct fs *fs, const char *dir, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    str file;
    uint64_t good;
    arena_init(&a, 0);
    manifest_init(m, fs, dir);
    enum err e = fs_read_file(fs, m->path, (size_t)1 << 30, &a, &file, reterr);
    if (e == OK)
        e = manifest_decode(m, file, &good, reterr);
    if (e != OK)
        manifest_deinit(m);
    return e;
}

void manifest_state(const struct manifest *m, struct buf *b)
{
    for (int i = 1; i < STORE_SIGNAL_MAX; i++) {
        const struct manifest_signal *g = &m->sig[i];
        enum store_signal s = (enum store_signal)i;
        manifest_next_ids(b, s, g->next_segment, g->next_tombstone);
        if (g->low_water)
            manifest_low_water(b, s, g->low_water);
        if (g->retention_ms != INT64_MIN)
            manifest_retention(b, s, g->retention_ms);
        if (g->hold != STORE_HOLD_NONE)
            manifest_hold(b, s, g->hold);
        vec_each (struct segment_meta, seg, &g->segments)
            manifest_add_segment(b, seg);
        vec_each (struct store_tombstone, t, &g->tombstones)
            manifest_add_tombstone(b, s, t->id, t->body);
    }
}

/* The state, then optionally one more edit, as a new file in place of the old. */
static enum err rewrite(struct manifest *m, str edit, struct err_text *reterr)
{
    AUTO_BUF struct buf b, snap;
    buf_init(&b, 0);
    buf_init(&snap, 0);
    manifest_state(m, &snap);
    header_encode(&b, m->seed);
    edit_encode(&b, m->seq + 1, buf_str(&snap));
    if (edit.n)
        edit_encode(&b, m->seq + 2, edit);
    fs_close(m->file);
    m->file = NULL;
    m->uncertain = true;
    struct fs_file *f = NULL;
    enum err e = fs_open(m->fs, m->tmp, FS_CREATE, &f);
    e = e ? e : fs_pwrite(f, b.p, b.n, 0);
    e = e ? e : fs_datasync(f);
    e = e ? e : fs_rename(m->fs, m->tmp, m->path);
    e = e ? e : fs_sync_dir(m->fs, m->dir);
    if (e != OK) {
        fs_close(f);
        stat_set(&stat_degraded, 1);
        return err_fail(reterr, e, "%s: %s", m->path, err_describe(e));
    }
    m->file = f;
    m->bytes = b.n;
    m->seq += edit.n ? 2 : 1;
    m->uncertain = m->torn = false;
    m->rewrite_bytes = MAX((uint64_t)REWRITE_BYTES, 2 * b.n);
    stat_add(&stat_rewrites, 1);
    return OK;
}

enum err manifest_rewrite(struct manifest *m, struct err_text *reterr)
{
    return rewrite(m, STR_NONE, reterr);
}

static enum err append(struct manifest *m, str edit)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    edit_encode(&b, m->seq + 1, edit);
    enum err e = fs_pwrite(m->file, b.p, b.n, m->bytes);
    e = e ? e : fs_datasync(m->file);
    if (e == OK) {
        m->bytes += b.n;
        m->seq++;
    }
    return e;
}

enum err manifest_append(struct manifest *m, str edit, bool *ret_rewritten, struct err_text *reterr)
{
    enum err e = OK;
    bool whole = m->uncertain || !m->file || m->bytes + edit.n > m->rewrite_bytes;
    if (!whole) {
        e = append(m, edit);
        if (e != OK) {
            LOG_ERROR("MANIFEST edit failed, writing it anew", "path", m->path, "err", err_describe(e));
            stat_set(&stat_degraded, 1);
            m->uncertain = whole = true;
        }
    }
    if (whole)
        e = rewrite(m, edit, reterr);
    if (e != OK)
        return e;
    *ret_rewritten = whole;
    stat_add(&stat_edits, 1);
    e = manifest_apply(m, edit, reterr);
    ASSERT(e == OK); /* store_commit() checked what it asks for */
    return OK;
}
