/* String columns and dictionaries (docs/format/codec.md).
 *
 * A dictionary: uvarint n, uvarint bytes of entries, u32 offset of every 16th entry, entries. In a block of 16 the
 * first entry is whole (uvarint length, bytes); each other one is uvarint shared prefix with the one before,
 * uvarint rest length, rest. Looking one up: binary search over the whole entries, then at most 15 steps. */
#include "base/check.h"
#include "store/codec_int.h"

enum { GROUP = 16, ENTRY_BYTES_MAX = 16 << 20 };

static size_t shared_prefix(str a, str b)
{
    size_t n = MIN(a.n, b.n), i = 0;
    while (i < n && a.p[i] == b.p[i])
        i++;
    return i;
}

void codec_dict_encode(struct buf *out, const str *sorted, size_t n)
{
    AUTO_BUF struct buf entries, offsets;
    ASSERT(n <= CODEC_VALUES_MAX);
    buf_init(&entries, 0);
    buf_init(&offsets, 0);
    for (size_t i = 0; i < n; i++) {
        if (i % GROUP == 0) {
            ASSERT(entries.n <= UINT32_MAX);
            buf_u32(&offsets, (uint32_t)entries.n);
            buf_lstr(&entries, sorted[i]);
            continue;
        }
        size_t same = shared_prefix(sorted[i - 1], sorted[i]);
        buf_uvarint(&entries, same);
        buf_lstr(&entries, str_skip(sorted[i], same));
    }
    buf_uvarint(out, n);
    buf_uvarint(out, entries.n);
    buf_str_add(out, buf_str(&offsets));
    buf_str_add(out, buf_str(&entries));
}

static uint32_t group_offset(const struct codec_dict *d, uint32_t group)
{
    uint32_t off;
    memcpy(&off, d->offsets + (size_t)group * 4, 4);
    return off;
}

enum err codec_dict_open(str in, struct codec_dict *ret, size_t *ret_used)
{
    struct rd r = rd_init(in);
    uint64_t n = rd_uvarint(&r), bytes = rd_uvarint(&r);
    if (!rd_ok(&r) || n > CODEC_VALUES_MAX || bytes > in.n)
        return ERR_CORRUPT;
    size_t groups = ((size_t)n + GROUP - 1) / GROUP;
    struct codec_dict d = { .n = (uint32_t)n };
    d.offsets = rd_bytes(&r, groups * 4).p;
    d.data = rd_bytes(&r, (size_t)bytes);
    if (!rd_ok(&r))
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < groups; i++)
        if (group_offset(&d, i) > d.data.n || (i && group_offset(&d, i) < group_offset(&d, i - 1)))
            return ERR_CORRUPT;
    *ret = d;
    if (ret_used)
        *ret_used = in.n - rd_left(&r);
    return OK;
}

/* Reads the entries of a group one after the other; `cur` is in scratch or, for the first, in the data. */
struct walk {
    struct rd r;
    struct buf *scratch;
    size_t at; /* where in scratch */
    str cur;
    bool first;
};

static struct walk walk_begin(const struct codec_dict *d, uint32_t group, struct buf *scratch)
{
    return (struct walk){ .r = rd_init(str_skip(d->data, group_offset(d, group))), .scratch = scratch, .first = true };
}

static bool walk_next(struct walk *w)
{
    if (w->first) {
        w->cur = rd_lstr(&w->r);
        w->first = false;
        return rd_ok(&w->r);
    }
    uint64_t same = rd_uvarint(&w->r);
    str rest = rd_lstr(&w->r);
    if (!rd_ok(&w->r) || same > w->cur.n || same + rest.n > ENTRY_BYTES_MAX)
        return false;
    /* cur may be the scratch itself: make room first, then point again */
    bool own = w->cur.p && w->scratch->p && w->cur.p >= w->scratch->p && w->cur.p < w->scratch->p + w->scratch->cap;
    if (!own)
        w->at = w->scratch->n;
    if (!buf_reserve(w->scratch, (size_t)same + rest.n + w->cur.n))
        return false;
    if (!w->scratch->p) /* nothing but empty strings so far */
        return true;
    char *p = w->scratch->p + w->at;
    if (!own && same)
        memcpy(p, w->cur.p, (size_t)same);
    if (rest.n)
        memcpy(p + same, rest.p, rest.n);
    w->scratch->n = w->at + (size_t)same + rest.n;
    w->cur = str_n(p, (size_t)same + rest.n);
    return true;
}

enum err codec_dict_get(const struct codec_dict *d, uint32_t i, struct buf *scratch, str *ret)
{
    if (i >= d->n)
        return ERR_NOT_FOUND;
    struct walk w = walk_begin(d, i / GROUP, scratch);
    for (uint32_t k = 0; k <= i % GROUP; k++)
        if (!walk_next(&w))
            return ERR_CORRUPT;
    *ret = w.cur;
    return OK;
}

enum err codec_dict_find(const struct codec_dict *d, str key, struct buf *scratch, uint32_t *ret_i, bool *ret_equal)
{
    uint32_t lo = 0, hi = (d->n + GROUP - 1) / GROUP; /* groups whose first entry is < key: [0, lo) */
    size_t keep = scratch->n;
    if (d->n == 0) {
        *ret_i = 0;
        *ret_equal = false;
        return OK;
    }
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        struct walk w = walk_begin(d, mid, scratch);
        if (!walk_next(&w))
            return ERR_CORRUPT;
        if (str_cmp(w.cur, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    uint32_t i = lo ? (lo - 1) * GROUP : 0, end = MIN(lo * GROUP, d->n);
    bool equal = false;
    struct walk w = walk_begin(d, lo ? lo - 1 : 0, scratch);
    int c = -1;
    for (; i < end && c < 0; i += c < 0) {
        if (!walk_next(&w))
            return ERR_CORRUPT;
        c = str_cmp(w.cur, key);
        equal = c == 0;
    }
    if (c < 0 && i < d->n) { /* the next group's first */
        w = walk_begin(d, i / GROUP, scratch);
        if (!walk_next(&w))
            return ERR_CORRUPT;
        equal = str_eq(w.cur, key);
    }
    scratch->n = keep;
    *ret_i = i;
    *ret_equal = equal;
    return OK;
}

enum err codec_dict_all(const struct codec_dict *d, struct arena *a, str **ret)
{
    str *all = arena_array(a, str, d->n + 1u);
    AUTO_BUF struct buf scratch;
    buf_init(&scratch, 0);
    struct walk w = { 0 };
    for (uint32_t i = 0; i < d->n; i++) {
        if (i % GROUP == 0) {
            buf_clear(&scratch);
            w = walk_begin(d, i / GROUP, &scratch);
        }
        if (!walk_next(&w))
            return ERR_CORRUPT;
        all[i] = arena_str(a, w.cur);
    }
    *ret = all;
    return OK;
}

/* ---- any order: lengths, then bytes ---- */
void codec_strs_encode(struct buf *out, const str *v, size_t n)
{
    AUTO_FREE int64_t *len = mem_alloc((n + 1) * sizeof(*len));
    for (size_t i = 0; i < n; i++)
        len[i] = (int64_t)v[i].n;
    codec_i64_encode(out, len, n);
    for (size_t i = 0; i < n; i++)
        buf_str_add(out, v[i]);
}

enum err codec_strs_decode(str in, size_t n, str *ret_v, size_t *ret_used)
{
    if (n > CODEC_VALUES_MAX)
        return ERR_CORRUPT;
    AUTO_FREE int64_t *len = mem_alloc((n + 1) * sizeof(*len));
    struct rd r = rd_init(in);
    if (!codec_i64_read(&r, n, len))
        return ERR_CORRUPT;
    for (size_t i = 0; i < n; i++) {
        if (len[i] < 0)
            return ERR_CORRUPT;
        ret_v[i] = rd_bytes(&r, (size_t)len[i]);
    }
    if (!rd_ok(&r))
        return ERR_CORRUPT;
    if (ret_used)
        *ret_used = in.n - rd_left(&r);
    return OK;
}
