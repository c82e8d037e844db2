/* The file of a pushed group (docs/format/pushed.md), one per group, replaced whole:
 *
 *   "VANEPSH1"  u32 CRC-32C of the rest  rest:
 *   i64 time of the last push, i64 of the last failed one (ms, 0 = never)
 *   uvarint labels of the key, each lstr name, lstr value
 *   uvarint families, each lstr name, uvarint samples, lstr text (exposition 0.0.4)
 *
 * Integers little endian; lstr: uvarint length, bytes. */
#include "base/check.h"
#include "base/rd.h"
#include "push/push_int.h"

#define MAGIC STR("VANEPSH1")

hash128 push_file_id(struct labels key)
{
    return labels_hash128(key, 0);
}

void push_file_encode(struct buf *out, const struct push_group *g)
{
    AUTO_BUF struct buf rest;
    buf_init(&rest, 0);
    buf_u64(&rest, (uint64_t)g->pushed_ms);
    buf_u64(&rest, (uint64_t)g->failed_ms);
    buf_uvarint(&rest, g->key.n);
    labels_each (l, g->key) {
        buf_lstr(&rest, l->name);
        buf_lstr(&rest, l->value);
    }
    buf_uvarint(&rest, g->n_families);
    for (size_t i = 0; i < g->n_families; i++) {
        buf_lstr(&rest, g->families[i].name);
        buf_uvarint(&rest, g->families[i].n_samples);
        buf_lstr(&rest, g->families[i].text);
    }
    buf_str_add(out, MAGIC);
    buf_u32(out, crc32c(0, buf_str(&rest)));
    buf_str_add(out, buf_str(&rest));
}

static bool labels_read(struct rd *r, struct arena *a, struct labels *ret)
{
    uint64_t n = rd_uvarint(r);
    if (n > rd_left(r))
        return false;
    struct label *p = arena_array(a, struct label, n);
    for (size_t i = 0; i < n; i++) {
        p[i].name = rd_lstr(r);
        p[i].value = rd_lstr(r);
    }
    size_t sorted = n;
    *ret = (struct labels){ p, n };
    return rd_ok(r) && labels_sort(p, &sorted, NULL) == OK && sorted == n;
}

static enum err rest_read(struct push_group *g, struct rd *r, struct labels key, struct err_text *reterr)
{
    uint64_t n = rd_uvarint(r);
    if (n > rd_left(r))
        return err_fail(reterr, ERR_CORRUPT, "the list of families is damaged");
    g->families = arena_array(&g->a, struct expo_family_text, n);
    for (size_t i = 0; i < n; i++) {
        struct expo_family_text *f = &g->families[i];
        f->name = arena_str(&g->a, rd_lstr(r));
        f->n_samples = rd_uvarint(r);
        f->text = arena_str(&g->a, rd_lstr(r));
        g->bytes += f->text.n;
    }
    g->n_families = n;
    if (!rd_end(r) || key.n == 0)
        return err_fail(reterr, ERR_CORRUPT, "the families are damaged");
    return OK;
}

enum err push_file_decode(str content, struct push_group **ret, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct rd r = rd_init(content);
    struct labels key;
    if (!str_eq(rd_bytes(&r, MAGIC.n), MAGIC))
        return err_fail(reterr, ERR_CORRUPT, "not the file of a pushed group");
    uint32_t crc = rd_u32(&r);
    if (!rd_ok(&r) || crc != crc32c(0, (str){ r.p, rd_left(&r) }))
        return err_fail(reterr, ERR_CORRUPT, "the checksum does not fit");
    int64_t pushed_ms = (int64_t)rd_u64(&r), failed_ms = (int64_t)rd_u64(&r);
    if (!labels_read(&r, &a, &key))
        return err_fail(reterr, ERR_CORRUPT, "the grouping key is damaged");
    struct push_group *g = push_group_new(key);
    g->pushed_ms = pushed_ms;
    g->failed_ms = failed_ms;
    enum err e = rest_read(g, &r, key, reterr);
    if (e != OK)
        push_group_free(g);
    else
        *ret = g;
    return e;
}
