/* What is known of series beside their labels: type, temporality and OTLP resource per series (interned), and
 * type, help and unit per metric family. Kept in memory, in the log once per generation, and in every segment. */
#include "tsdb/tsdb_int.h"

#define FAMILIES_MAX   200000
#define HELP_BYTES_MAX 4096

void meta_labels_encode(struct buf *out, struct labels ls)
{
    buf_uvarint(out, ls.n);
    labels_each (l, ls) {
        buf_lstr(out, l->name);
        buf_lstr(out, l->value);
    }
}

bool meta_labels_decode(struct rd *r, struct arena *a, struct labels *ret)
{
    uint64_t n = rd_uvarint(r);
    if (n > rd_left(r))
        return false;
    struct label *l = arena_array(a, struct label, n + 1);
    for (size_t i = 0; i < n; i++) {
        l[i].name = rd_lstr(r);
        l[i].value = rd_lstr(r);
    }
    *ret = (struct labels){ l, (size_t)n };
    return rd_ok(r);
}

/* 0 = nothing is known; ids live as long as the store. */
uint32_t meta_info_id(struct tsdb *db, enum metric_type type, enum temporality t, str resource)
{
    if (!type && !t && !resource.n)
        return 0;
    AUTO_BUF struct buf key = { 0 };
    buf_u8(&key, (uint8_t)type);
    buf_u8(&key, (uint8_t)t);
    buf_str_add(&key, resource);
    mtx_lock(&db->meta_mu);
    uint32_t *have = infomap_get(&db->info_ids, buf_str(&key));
    uint32_t id;
    if (have) {
        id = *have;
    } else {
        str owned = mem_dup(buf_str(&key));
        if (!db->infos.n)
            vec_push(&db->infos, ((struct series_info){ 0 }));
        id = (uint32_t)db->infos.n;
        vec_push(&db->infos, ((struct series_info){ (uint8_t)type, (uint8_t)t, str_skip(owned, 2) }));
        *infomap_put(&db->info_ids, owned, NULL) = id;
        atomic_fetch_add_explicit(&db->bytes_meta, (int64_t)owned.n + 80, memory_order_relaxed);
    }
    mtx_unlock(&db->meta_mu);
    return id;
}

struct series_info meta_info(struct tsdb *db, uint32_t id)
{
    mtx_lock(&db->meta_mu);
    struct series_info i = id < db->infos.n ? db->infos.p[id] : (struct series_info){ 0 };
    mtx_unlock(&db->meta_mu);
    return i;
}

bool meta_family_put(struct tsdb *db, str name, const struct metric_meta *m, uint32_t gen)
{
    str help = str_take(m->help, HELP_BYTES_MAX);
    help = str_take(help, str_utf8_valid_len(help));
    mtx_lock(&db->meta_mu);
    struct family *f = fammap_get(&db->families, name);
    bool changed =
        !f || f->type != m->type || (help.n && !str_eq(f->help, help)) || (m->unit.n && !str_eq(f->unit, m->unit));
    bool log = changed || f->gen != gen;
    if (!f && db->families.n < FAMILIES_MAX)
        f = fammap_put(&db->families, mem_dup(name), NULL);
    if (f && changed) {
        atomic_store(&db->families_new, true);
        if (help.n) {
            mem_free((void *)(uintptr_t)f->help.p);
            f->help = mem_dup(help);
        }
        if (m->unit.n) {
            mem_free((void *)(uintptr_t)f->unit.p);
            f->unit = mem_dup(m->unit);
        }
        f->type = m->type ? m->type : f->type;
        atomic_fetch_add_explicit(&db->bytes_meta, (int64_t)(help.n + 100), memory_order_relaxed);
    }
    if (f)
        f->gen = gen;
    mtx_unlock(&db->meta_mu);
    return f && log;
}

void meta_deinit(struct tsdb *db)
{
    map_each (infomap, s, &db->info_ids)
        mem_free((void *)(uintptr_t)s->key.p);
    infomap_free(&db->info_ids);
    vec_free(&db->infos);
    map_each (fammap, s, &db->families) {
        mem_free((void *)(uintptr_t)s->key.p);
        mem_free((void *)(uintptr_t)s->value.help.p);
        mem_free((void *)(uintptr_t)s->value.unit.p);
    }
    fammap_free(&db->families);
}

static int cmp_meta(const void *a, const void *b)
{
    return str_cmp(((const struct tsdb_metadata *)a)->name, ((const struct tsdb_metadata *)b)->name);
}

enum err tsdb_metadata(struct tsdb *db, str name, size_t limit, struct arena *a, struct tsdb_metadata **ret,
                       size_t *ret_n)
{
    VEC(struct tsdb_metadata) v = { 0 };
    mtx_lock(&db->meta_mu);
    map_each (fammap, s, &db->families) {
        if (name.n && !str_eq(name, s->key))
            continue;
        struct tsdb_metadata m = { arena_str(a, s->key),
                                   { s->value.type, arena_str(a, s->value.help), arena_str(a, s->value.unit) } };
        avec_push(a, &v, m);
    }
    mtx_unlock(&db->meta_mu);
    if (v.n)
        qsort(v.p, v.n, sizeof(*v.p), cmp_meta);
    *ret = v.p;
    *ret_n = limit && v.n > limit ? limit : v.n;
    return OK;
}
