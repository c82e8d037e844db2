/* Series of a remote: labels after external labels and write_relabel_configs, made once per series; metadata by name.
 * While there are tenants, the label __tenant__ is there for the rules and leaves as the header X-Scope-OrgID of
 * the request, never as a label; metadata of a tenant is sent for those for whom its series are. */
#include "forward/forward_int.h"
#include "ingest/ingest.h"
#include "wire/remote_write.h"

void fwd_table_init(struct fwd_table *t, struct relabel_rules rules, struct labels external, bool v2, bool one_tenant)
{
    *t = (struct fwd_table){ .rules = rules, .external = external, .v2 = v2, .one_tenant = one_tenant };
    mtx_init(&t->tenants_mu, 25);
    arena_init(&t->scratch, 0);
    t->pages = mem_zalloc(FWD_PAGES * sizeof(*t->pages));
}

void fwd_table_deinit(struct fwd_table *t)
{
    for (size_t i = 0; i < FWD_PAGES; i++)
        mem_free(t->pages[i]);
    mem_free(t->pages);
    map_each (fwd_series_map, slot, &t->series)
        mem_free(slot->value);
    fwd_series_map_free(&t->series);
    for (size_t i = t->retired_done; i < t->retired.n; i++)
        mem_free((void *)(uintptr_t)t->retired.p[i].meta);
    vec_free(&t->retired);
    map_each (fwd_families, slot, &t->families) {
        mem_free((void *)(uintptr_t)atomic_load_explicit(&slot->value->meta, memory_order_relaxed));
        mem_free((void *)(uintptr_t)slot->value->name.p);
        mem_free(slot->value);
    }
    fwd_families_free(&t->families);
    vec_each (struct fwd_tenant, x, &t->tenants) {
        mem_free((void *)(uintptr_t)x->stored.p);
        mem_free((void *)(uintptr_t)x->sent.p);
    }
    vec_free(&t->tenants);
    mtx_deinit(&t->tenants_mu);
    arena_deinit(&t->scratch);
}

static void retire(struct fwd_table *t, struct fwd_series *s, const struct metric_meta *meta)
{
    struct fwd_retired x = { s, meta, t->lsn };
    vec_push(&t->retired, x);
}

/* An id of the log stands for it no more. */
static void series_unref(struct fwd_table *t, struct fwd_series *s)
{
    if (!s || --s->refs > 0 || s->retired_lsn == t->lsn)
        return;
    s->retired_lsn = t->lsn;
    retire(t, s, NULL);
}

void fwd_table_free_retired(struct fwd_table *t, uint64_t place)
{
    for (; t->retired_done < t->retired.n && t->retired.p[t->retired_done].lsn <= place; t->retired_done++) {
        struct fwd_retired x = t->retired.p[t->retired_done];
        mem_free((void *)(uintptr_t)x.meta);
        if (x.s && x.s->refs == 0 && x.s->retired_lsn == x.lsn) {
            fwd_series_map_del(&t->series, x.s->id);
            mem_free(x.s);
        }
    }
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
    const struct metric_meta *old =
        atomic_exchange_explicit(&f->meta, meta, memory_order_acq_rel); /* fwd_series_meta */
    if (old)
        retire(t, NULL, old);
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

/* Families have their tenant in front of the name (METRIC_FAMILY_TENANT_END). */
static struct fwd_family *family_of_tenant(struct fwd_table *t, str stored, str name)
{
    if (!stored.n)
        return family_of(t, name.p ? name : STR(""));
    AUTO_BUF struct buf key = { 0 };
    buf_str_add(&key, stored);
    buf_u8(&key, METRIC_FAMILY_TENANT_END);
    buf_str_add(&key, name);
    return family_of(t, buf_str(&key));
}

static void tenant_note(struct fwd_table *t, str stored, str sent)
{
    bool known = false;
    mtx_lock(&t->tenants_mu);
    vec_each (struct fwd_tenant, x, &t->tenants)
        known |= str_eq(x->stored, stored) && str_eq(x->sent, sent);
    if (!known) {
        struct fwd_tenant x = { mem_dup(stored), mem_dup(sent) };
        vec_push(&t->tenants, x);
    }
    mtx_unlock(&t->tenants_mu);
}

/* stored, sent: tenants; empty while there are none. */
static struct fwd_series *series_of(struct fwd_table *t, struct labels ls, str stored, str sent)
{
    hash128 id = labels_hash128(ls, hash64(sent));
    bool is_new;
    struct fwd_series **slot = fwd_series_map_put(&t->series, id, &is_new);
    if (!is_new) {
        (*slot)->refs++;
        return *slot;
    }
    size_t bytes = sizeof(struct fwd_series) + ls.n * sizeof(struct label) + sent.n;
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
    s->tenant = put_str(&p, sent);
    s->id = id;
    s->refs = 1;
    str name = labels_name(s->ls), base = base_name(name);
    s->family = family_of_tenant(t, stored, name);
    s->base = base.n ? family_of_tenant(t, stored, base) : NULL;
    *slot = s;
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
    struct fwd_series *old = k->s;
    struct label_builder b;
    lb_init(&b, &t->scratch);
    lb_reset(&b, ls);
    labels_each (l, t->external)
        if (!lb_get(&b, l->name).n)
            lb_set(&b, l->name, l->value);
    struct fwd_series *s = NULL;
    struct err_text why;
    if (relabel_apply(t->rules, &b)) {
        str stored = labels_get(ls, LABEL_TENANT), sent = arena_str(&t->scratch, lb_get(&b, LABEL_TENANT));
        if (t->one_tenant)
            sent = STR("");
        lb_del(&b, LABEL_TENANT);
        struct labels out = lb_labels(&b);
        if (sent.n && !ingest_tenant_valid(sent, &why))
            LOG_WARN("write_relabel_configs make a tenant that is none, its series are not sent", "err", why.msg);
        else if (out.n)
            s = series_of(t, out, stored, sent);
        if (s && (stored.n || sent.n))
            tenant_note(t, stored, sent);
    }
    *k = (struct fwd_known){ key, true, s };
    series_unref(t, old);
    arena_reset(&t->scratch);
}
