/* Blocks of a Prometheus data folder, merged day by day (manual: transfer.h). */
#include <stdio.h>
#include <stdlib.h>

#include "transfer/transfer_int.h"

#define META_BYTES_MAX (16u << 20)

/* ---- files ---- */
enum err mapped_open(struct fs *fs, const char *path, struct mapped *ret, struct err_text *reterr)
{
    struct mapped m = { 0 };
    enum err e = fs_open(fs, path, FS_READ, &m.file);
    if (!e) {
        uint64_t size;
        e = fs_size(m.file, &size);
        if (!e && size)
            e = fs_map(m.file, &m.bytes);
    }
    if (e) {
        fs_close(m.file);
        return err_fail(reterr, e, "%s: %s", path, err_describe(e));
    }
    return *ret = m, OK;
}

void mapped_close(struct mapped *m)
{
    if (m->bytes.n)
        fs_unmap(m->file, m->bytes);
    fs_close(m->file);
    *m = (struct mapped){ 0 };
}

void prom_note(struct transfer_prom *p, const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (p->cfg.note)
        p->cfg.note(p->cfg.ctx, text);
}

void prom_progress(struct transfer_prom *p, uint64_t more)
{
    p->done += more;
    if (p->cfg.progress)
        p->cfg.progress(p->cfg.ctx, p->work ? MIN(1.0, (double)p->done / (double)p->work) : 1);
}

/* ---- tombstones ---- */
static int by_ref(const void *a, const void *b)
{
    const struct prom_tombstone *x = a, *y = b;
    if (x->ref != y->ref)
        return (x->ref > y->ref) - (x->ref < y->ref);
    return (x->min_ms > y->min_ms) - (x->min_ms < y->min_ms);
}

void prom_tombs_sort(struct tombs *t)
{
    if (t->n > 1)
        qsort(t->p, t->n, sizeof(*t->p), by_ref);
}

static size_t prom_tombs_first(const struct tombs *t, uint64_t ref)
{
    size_t from = 0, to = t->n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (t->p[mid].ref < ref)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

bool prom_tombs_hide(const struct tombs *t, uint64_t ref, int64_t ts_ms)
{
    for (size_t i = t->n ? prom_tombs_first(t, ref) : 0; i < t->n && t->p[i].ref == ref && t->p[i].min_ms <= ts_ms; i++)
        if (ts_ms <= t->p[i].max_ms)
            return true;
    return false;
}

void prom_tombs_apply(const struct tombs *t, uint64_t ref, struct xor_samples *s, size_t from)
{
    size_t first = t->n ? prom_tombs_first(t, ref) : 0, k = from;
    if (first >= t->n || t->p[first].ref != ref)
        return;
    for (size_t i = from; i < s->n; i++) {
        if (prom_tombs_hide(t, ref, s->ts[i]))
            continue;
        s->ts[k] = s->ts[i];
        s->v[k] = s->v[i];
        s->h[k] = s->h[i];
        s->start[k++] = s->start[i];
    }
    s->n = k;
}

/* ---- opening ---- */
static enum err fail_in(enum err e, str path, struct err_text *reterr)
{
    err_prefix(reterr, STR_FMT, STR_ARG(path));
    return e;
}

static int by_path(const void *a, const void *b)
{
    return str_cmp(((const struct log_file *)a)->path, ((const struct log_file *)b)->path);
}

enum err numbered_files(struct transfer_prom *p, str dir, struct log_files *v, struct err_text *reterr)
{
    str *names;
    size_t n;
    enum err e = fs_list(p->fs, arena_cstr(&p->a, dir), &p->a, &names, &n);
    if (e == ERR_NOT_FOUND)
        return OK;
    if (e)
        return err_fail(reterr, e, STR_FMT ": %s", STR_ARG(dir), err_describe(e));
    for (size_t i = 0; i < n; i++) {
        uint64_t number;
        if (!str_to_u64(names[i], &number))
            continue;
        AUTO_FS_FILE struct fs_file *f = NULL;
        struct log_file x = { arena_printf(&p->a, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(names[i])), 0 };
        e = fs_open(p->fs, x.path.p, FS_READ, &f);
        if (!e)
            e = fs_size(f, &x.bytes);
        if (e)
            return err_fail(reterr, e, STR_FMT ": %s", STR_ARG(x.path), err_describe(e));
        vec_push(v, x);
    }
    if (v->n > 1)
        qsort(v->p, v->n, sizeof(*v->p), by_path);
    return OK;
}

static enum err read_meta(struct transfer_prom *p, str dir, struct prom_meta *ret, struct err_text *reterr)
{
    str path = arena_printf(&p->a, STR_FMT "/meta.json", STR_ARG(dir)), text;
    enum err e = fs_read_file(p->fs, path.p, META_BYTES_MAX, &p->a, &text, reterr);
    if (e)
        return e;
    e = prom_meta_read(text, &p->a, ret, reterr);
    return e ? fail_in(e, path, reterr) : OK;
}

static bool is_ulid(str s)
{
    if (s.n != 26)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'A' && s.p[i] <= 'Z')))
            return false;
    return true;
}

static int by_age(const void *a, const void *b)
{
    const struct block *x = a, *y = b;
    if (x->meta.min_ms != y->meta.min_ms)
        return (x->meta.min_ms > y->meta.min_ms) - (x->meta.min_ms < y->meta.min_ms);
    return str_cmp(x->name, y->name);
}

static void add_block(struct transfer_prom *p, str dir, str name, const struct prom_meta *meta)
{
    struct block b = { .dir = arena_str(&p->a, dir), .name = arena_str(&p->a, name), .meta = *meta };
    vec_push(&p->blocks, b);
}

static void drop_parents(struct transfer_prom *p)
{
    size_t k = 0;
    for (size_t i = 0; i < p->blocks.n; i++) {
        struct block *b = &p->blocks.p[i];
        const char *why = b->meta.deletable ? "it was compacted to nothing" : NULL;
        for (size_t j = 0; j < p->blocks.n && !why; j++)
            for (size_t x = 0; x < p->blocks.p[j].meta.n_parents && j != i; x++)
                if (str_eq(p->blocks.p[j].meta.parents[x], b->meta.ulid))
                    why = "it went into a newer block";
        if (why)
            prom_note(p, "block " STR_FMT " is passed over: %s", STR_ARG(b->name), why);
        else
            p->blocks.p[k++] = *b;
    }
    p->blocks.n = k;
}

static enum err list_blocks(struct transfer_prom *p, struct err_text *reterr)
{
    str *names;
    size_t n;
    enum err e = fs_list(p->fs, p->dir.p, &p->a, &names, &n);
    if (e)
        return err_fail(reterr, e, STR_FMT ": %s", STR_ARG(p->dir), err_describe(e));
    for (size_t i = 0; i < n; i++) {
        str dir = arena_printf(&p->a, STR_FMT "/" STR_FMT, STR_ARG(p->dir), STR_ARG(names[i]));
        struct prom_meta meta;
        if (str_has_suffix(names[i], STR(".tmp-for-creation")) || str_has_suffix(names[i], STR(".tmp-for-deletion")))
            prom_note(p, STR_FMT " is passed over: Prometheus was making or deleting it", STR_ARG(dir));
        if (!is_ulid(names[i]))
            continue;
        e = read_meta(p, dir, &meta, reterr);
        if (e)
            return e;
        add_block(p, dir, names[i], &meta);
    }
    return OK;
}

static void close_block(struct block *b)
{
    if (!b->open)
        return;
    b->open = false;
    mapped_close(&b->index_file);
    for (size_t i = 0; i < b->n_chunk_files; i++)
        mapped_close(&b->chunk_files[i]);
    arena_deinit(&b->a);
    arena_deinit(&b->series_a);
    arena_deinit(&b->last_a);
}

static enum err open_chunks(struct transfer_prom *p, struct block *b, struct err_text *reterr)
{
    struct log_files files = { 0 };
    enum err e = numbered_files(p, arena_printf(&b->a, STR_FMT "/chunks", STR_ARG(b->dir)), &files, reterr);
    b->chunk_files = arena_zarray(&b->a, struct mapped, files.n + 1);
    for (size_t i = 0; i < files.n && !e; i++) {
        e = mapped_open(p->fs, files.p[i].path.p, &b->chunk_files[i], reterr);
        if (!e) {
            b->n_chunk_files++;
            e = prom_chunks_check(b->chunk_files[i].bytes, reterr);
            if (e)
                e = fail_in(e, files.p[i].path, reterr);
        }
    }
    vec_free(&files);
    return e;
}

static enum err open_block(struct transfer_prom *p, struct block *b, struct err_text *reterr)
{
    if (b->open)
        return OK;
    b->open = true;
    b->n_chunk_files = 0;
    arena_init(&b->a, 0);
    arena_init(&b->series_a, 0);
    arena_init(&b->last_a, 0);
    str path = arena_printf(&b->a, STR_FMT "/index", STR_ARG(b->dir));
    TRY(mapped_open(p->fs, path.p, &b->index_file, reterr));
    enum err e = prom_index_open(b->index_file.bytes, &b->a, &b->index, reterr);
    if (e)
        return fail_in(e, path, reterr);
    TRY(open_chunks(p, b, reterr));
    path = arena_printf(&b->a, STR_FMT "/tombstones", STR_ARG(b->dir));
    struct mapped t = { 0 };
    e = mapped_open(p->fs, path.p, &t, reterr);
    if (e == ERR_NOT_FOUND)
        return OK;
    TRY(e);
    e = prom_tombstones_read(t.bytes, &b->a, &b->tombs.p, &b->tombs.n, reterr);
    mapped_close(&t);
    prom_tombs_sort(&b->tombs);
    return e ? fail_in(e, path, reterr) : OK;
}

enum err transfer_prom_open(struct fs *fs, const char *dir, const struct transfer_prom_config *cfg,
                            struct transfer_prom **ret, struct err_text *reterr)
{
    struct transfer_prom *p = mem_zalloc(sizeof(*p));
    p->fs = fs;
    p->cfg = *cfg;
    if (!p->cfg.memory_max)
        p->cfg.memory_max = 256u << 20;
    arena_init(&p->a, 0);
    p->dir = arena_str(&p->a, str_c(dir));
    struct prom_meta meta;
    struct err_text why;
    enum err e = read_meta(p, p->dir, &meta, &why);
    if (e == OK)
        add_block(p, p->dir, p->dir, &meta); /* DIR is a block */
    else if (e != ERR_NOT_FOUND)
        *reterr = why;
    else
        e = list_blocks(p, reterr);
    if (!e)
        e = head_list(p, reterr);
    if (!e && !p->blocks.n && !p->head.bytes)
        e = err_fail(
            reterr, ERR_NOT_FOUND,
            "%s: neither blocks nor a log of Prometheus: name the folder of --storage.tsdb.path, a snapshot of "
            "it, or one block",
            dir);
    if (e) {
        transfer_prom_close(p);
        return e;
    }
    drop_parents(p);
    if (p->blocks.n > 1)
        qsort(p->blocks.p, p->blocks.n, sizeof(*p->blocks.p), by_age);
    p->head.min_valid = INT64_MIN;
    vec_each (struct block, b, &p->blocks)
        if (!b->meta.out_of_order)
            p->head.min_valid = MAX(p->head.min_valid, b->meta.max_ms);
    return *ret = p, OK;
}

void transfer_prom_close(struct transfer_prom *p)
{
    if (!p)
        return;
    vec_each (struct block, b, &p->blocks)
        close_block(b);
    vec_free(&p->blocks);
    vec_free(&p->head.snapshot);
    vec_free(&p->head.checkpoint);
    vec_free(&p->head.wal);
    vec_free(&p->head.wbl);
    vec_free(&p->head.chunks);
    arena_deinit(&p->a);
    mem_free(p);
}

void transfer_prom_facts(const struct transfer_prom *p, struct transfer_prom_facts *ret)
{
    *ret = (struct transfer_prom_facts){
        .blocks = p->blocks.n, .head = p->head.bytes > 0, .min_ms = INT64_MAX, .max_ms = INT64_MIN
    };
    vec_each (const struct block, b, &p->blocks) {
        ret->block_samples += b->meta.samples;
        ret->min_ms = MIN(ret->min_ms, b->meta.min_ms);
        ret->max_ms = MAX(ret->max_ms, b->meta.max_ms - 1);
    }
}

/* ---- reading ---- */
static enum err block_error(struct block *b, enum err e, const char *file, struct err_text *reterr)
{
    err_prefix(reterr, STR_FMT "/%s", STR_ARG(b->dir), file);
    return e;
}

/* The next series of a block in b->series; have false at the end. */
static enum err block_next(struct transfer_prom *p, struct block *b, struct err_text *reterr)
{
    do {
        b->have = b->next < b->index.n_series;
        if (!b->have)
            return OK;
        if (b->next) {
            arena_reset(&b->last_a);
            b->last = labels_copy(&b->last_a, b->series.labels);
        }
        arena_reset(&b->series_a);
        enum err e = prom_index_series(&b->index, b->next, &b->series_a, &b->series, reterr);
        if (e)
            return block_error(b, e, "index", reterr);
        if (b->next && labels_cmp(b->last, b->series.labels) >= 0) {
            IGNORE_ERR(err_fail(reterr, ERR_CORRUPT, "series %u is not in order of labels", b->next));
            return block_error(b, ERR_CORRUPT, "index", reterr);
        }
        b->next++;
    } while (!prom_wants(p, b->series.labels));
    return OK;
}

/* Samples of b->series in [from, to]. */
static enum err block_samples(struct block *b, int64_t from, int64_t to, struct arena *a, struct xor_samples *out,
                              struct err_text *reterr)
{
    for (size_t i = 0; i < b->series.n_chunks; i++) {
        const struct prom_chunk_meta *c = &b->series.chunks[i];
        char file[32];
        if (c->max_ms < from || c->min_ms > to)
            continue;
        snprintf(file, sizeof(file), "chunks/%06u", c->segment + 1);
        if (c->segment >= b->n_chunk_files) {
            IGNORE_ERR(err_fail(reterr, ERR_CORRUPT, "the file is missing, the index refers to it"));
            return block_error(b, ERR_CORRUPT, file, reterr);
        }
        struct prom_chunk chunk;
        size_t at = out->n, k = at;
        enum err e = prom_chunk_at(b->chunk_files[c->segment].bytes, c->offset, &chunk, reterr);
        if (!e) {
            e = xor_chunk_read(chunk.encoding, chunk.data, a, out, reterr);
            if (e)
                err_prefix(reterr, "offset %u", c->offset);
        }
        if (e)
            return block_error(b, e, file, reterr);
        prom_tombs_apply(&b->tombs, b->series.ref, out, at);
        if (out->n > at && (out->ts[at] < from || out->ts[out->n - 1] > to)) {
            for (size_t x = at; x < out->n; x++)
                if (out->ts[x] >= from && out->ts[x] <= to) {
                    out->ts[k] = out->ts[x];
                    out->v[k] = out->v[x];
                    out->h[k] = out->h[x];
                    out->start[k++] = out->start[x];
                }
            out->n = k;
        }
    }
    return OK;
}

static bool sorted(const struct xor_samples *s)
{
    for (size_t i = 1; i < s->n; i++)
        if (s->ts[i] <= s->ts[i - 1])
            return false;
    return true;
}

static enum err hand_over(const struct transfer_sink *to, struct labels ls, struct xor_samples *s,
                          struct err_text *reterr)
{
    if (!s->n)
        return OK;
    if (!sorted(s))
        transfer_samples_sort(s);
    struct tsdb_bulk_series x = { .labels = ls,
                                  .points = { .ts = s->ts,
                                              .v = s->v,
                                              .h = s->any_hist ? s->h : NULL,
                                              .start_ms = s->any_start ? s->start : NULL,
                                              .n = s->n } };
    return to->series(to->ctx, &x, reterr);
}

static enum err read_day(struct transfer_prom *p, struct block **v, size_t n, int64_t from, int64_t to_ms,
                         const struct transfer_sink *to, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    struct xor_samples s = { 0 };
    enum err e = OK;
    arena_init(&a, 0);
    for (size_t i = 0; i < n && !e; i++) {
        v[i]->next = 0;
        e = block_next(p, v[i], reterr);
    }
    while (!e) {
        const struct block *least = NULL;
        for (size_t i = 0; i < n; i++)
            if (v[i]->have && (!least || labels_cmp(v[i]->series.labels, least->series.labels) < 0))
                least = v[i];
        if (!least)
            break;
        arena_reset(&a);
        xor_samples_clear(&s);
        struct labels ls = labels_copy(&a, least->series.labels);
        for (size_t i = 0; i < n && !e; i++) {
            if (!v[i]->have || !labels_eq(v[i]->series.labels, ls))
                continue;
            e = block_samples(v[i], from, to_ms, &a, &s, reterr);
            if (!e)
                e = block_next(p, v[i], reterr);
        }
        if (!e) {
            size_t taken = s.n;
            e = hand_over(to, ls, &s, reterr);
            prom_progress(p, taken);
        }
    }
    xor_samples_deinit(&s);
    return e;
}

static enum err read_blocks(struct transfer_prom *p, int64_t from_ms, int64_t to_ms, const struct transfer_sink *to,
                            struct err_text *reterr)
{
    AUTO_FREE struct block **v = mem_alloc((p->blocks.n + 1) * sizeof(*v));
    int64_t next = INT64_MIN; /* days before are done */
    for (;;) {
        int64_t day = INT64_MAX;
        size_t n = 0;
        vec_each (struct block, b, &p->blocks) {
            int64_t first = MAX(b->meta.min_ms, from_ms), last = MIN(b->meta.max_ms, to_ms);
            if (first > last || transfer_day(last) < next)
                close_block(b);
            else
                day = MIN(day, MAX(transfer_day(first), next));
        }
        if (day == INT64_MAX)
            return OK;
        int64_t from = MAX(day * DAY_MS, from_ms), until = MIN(day * DAY_MS + DAY_MS - 1, to_ms);
        vec_each (struct block, b, &p->blocks)
            if (b->meta.min_ms <= until && b->meta.max_ms >= from) {
                TRY(open_block(p, b, reterr));
                v[n++] = b;
            }
        TRY(read_day(p, v, n, from, until, to, reterr));
        next = day + 1;
    }
}

enum err transfer_prom_read(struct transfer_prom *p, int64_t from_ms, int64_t to_ms, const struct transfer_sink *to,
                            struct err_text *reterr)
{
    p->done = 0;
    p->work = 2 * p->head.bytes; /* read twice */
    vec_each (struct block, b, &p->blocks)
        p->work += b->meta.samples;
    TRY(read_blocks(p, MAX(from_ms, TS_MS_MIN), MIN(to_ms, TS_MS_MAX), to, reterr));
    return head_read(p, from_ms, to_ms, to, reterr);
}
