/* Series of a remote: labels after external labels and write_relabel_configs, made once per series; metadata by name. */
#include "forward/forward_int.h"
#include "wire/remote_write.h"

void fwd_table_init(struct fwd_table *t, struct relabel_rules rules, struct labels external, bool v2)
{
    *t = (struct fwd_table){ .rules = rules, .external = external, .v2 = v2 };
    arena_init(&t->scratch, 0);
    t->pages = mem_zalloc(FWD_PAGES * sizeof(*t->pages));
}

void fwd_table_deinit(struct fwd_table *t)
{
    for (size_t i = 0; i < FWD_PAGES; i++) {
        for (size_t k = 0; t->pages[i] && k < FWD_PAGE; k++)
            mem_free(t->pages[i][k].s);
        mem_free(t->pages[i]);
    }
    mem_free(t->pages);
    for (size_t i = t->retired_done; i < t->retired.n; i++)
        mem_free(t->retired.p[i].p);
    vec_free(&t->retired);
    map_each (fwd_families, slot, &t->families) {
        mem_free((void *)(uintptr_t)atomic_load_explicit(&slot->value->meta, memory_order_relaxed));
        mem_free((void *)(uintptr_t)slot->value->name.p);
        mem_free(slot->value);
    }
    fwd_families_free(&t->families);
    arena_deinit(&t->scratch);
}

static void retire(struct fwd_table *t, const void *p)
{
    struct fwd_retired x = { (void *)(uintptr_t)p, t->lsn };
    if (p)
        vec_push(&t->retired, x);
}

void fwd_table_free_retired(struct fwd_table *t, uint64_t place)
{
    while (t->retired_done < t->retired.n && t->retired.p[t->retired_done].lsn <= place)
        mem_free(t->retired.p[t->retired_done++].p);
    if (t->retired_done == t->retired.n)
        t->retired.n = t->retired_done = 0;
}

static struct fwd_family *family_of(struct fwd_table *t, str name)
{
    struct fwd_family **have = fwd_families_get(&t->families, name);
    if (have)
        return *have;
    struct fwd_family *f = mem_zalloc(sizeof(*f));
    f->name = mem_dup(name);
    *fwd_families_put(&t->families, f->name, NULL) = f;
    return f;
}

static str put_str(char **p, str s)
{
    str out = { *p, s.n };
    if (s.n)
        memcpy(*p, s.p, s.n);
    *p += s.n;
    return out;
}

/* The newest wins. */
void fwd_table_family(struct fwd_table *t, str name, const struct metric_meta *m)
{
    struct fwd_family *f = family_of(t, name);
    struct metric_meta *meta = mem_alloc(sizeof(*meta) + m->help.n + m->unit.n);
    char *p = (char *)(meta + 1);
    meta->type = m->type;
    meta->help = put_str(&p, m->help);
    meta->unit = put_str(&p, m->unit);
    retire(t, atomic_exchange_explicit(&f->meta, meta, memory_order_acq_rel)); /* pairs with fwd_series_meta */
}

struct metric_meta fwd_series_meta(const struct fwd_series *s)
{
    const struct metric_meta *m = atomic_load_explicit(&s->family->meta, memory_order_acquire);
    if (!m && s->base)
        m = atomic_load_explicit(&s->base->meta, memory_order_acquire);
    struct metric_meta out = m ? *m : (struct metric_meta){ 0 };
    unsigned char type = atomic_load_explicit(&s->type, memory_order_relaxed);
    if (type)
        out.type = (enum metric_type)type;
    return out;
}

static str base_name(str name)
{
    static const char *const parts[] = { "_bucket", "_count", "_sum" };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (str_has_suffix(name, str_c(parts[i])))
            return str_take(name, name.n - strlen(parts[i]));
    return STR_NONE;
}

static struct fwd_series *series_make(struct fwd_table *t, struct labels ls)
{
    size_t bytes = sizeof(struct fwd_series) + ls.n * sizeof(struct label);
    labels_each (l, ls)
        bytes += l->name.n + l->value.n;
    AUTO_BUF struct buf encoded = { 0 };
    if (!t->v2)
        rw1_labels_encode(&encoded, ls);
    struct fwd_series *s = mem_zalloc(bytes + encoded.n);
    struct label *to = (struct label *)(void *)(s + 1);
    char *p = (char *)(to + ls.n);
    for (size_t i = 0; i < ls.n; i++) {
        to[i].name = put_str(&p, ls.p[i].name);
        to[i].value = put_str(&p, ls.p[i].value);
    }
    s->ls = (struct labels){ to, ls.n };
    s->key.bytes = put_str(&p, buf_str(&encoded));
    s->hash = (uint32_t)labels_hash(ls);
    str name = labels_name(s->ls), base = base_name(name);
    s->family = family_of(t, name.p ? name : STR(""));
    s->base = base.n ? family_of(t, base) : NULL;
    return s;
}

void fwd_table_define(struct fwd_table *t, uint32_t id, struct labels ls)
{
    ASSERT(id < (uint32_t)FWD_PAGE * FWD_PAGES);
    struct fwd_known **page = &t->pages[id / FWD_PAGE];
    if (!*page)
        *page = mem_zalloc(FWD_PAGE * sizeof(**page));
    struct fwd_known *k = &(*page)[id % FWD_PAGE];
    hash128 key = labels_hash128(ls, 0x9ae16a3b2f90404full);
    if (k->is_known && hash128_eq(k->key, key))
        return; /* a new log file says again what is known */
    retire(t, k->s);
    struct label_builder b;
    lb_init(&b, &t->scratch);
    lb_reset(&b, ls);
    labels_each (l, t->external)
        if (!lb_get(&b, l->name).n)
            lb_set(&b, l->name, l->value);
    struct fwd_series *s = NULL;
    if (relabel_apply(t->rules, &b)) {
        struct labels out = lb_labels(&b);
        s = out.n ? series_make(t, out) : NULL;
    }
    *k = (struct fwd_known){ key, true, s };
    arena_reset(&t->scratch);
}
