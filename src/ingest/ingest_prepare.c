/* What a batch becomes before it is written, when there are tenants or replicas:
 *
 *   tenant    every series gets the label __tenant__ (part of its identity, so that nothing else has to know of
 *             tenants: limits, postings, segments, replay), every family a name with the tenant in front
 *   replica   one replica of a cluster is taken (ingest_ha.c); its label is dropped, so that a failover goes on
 *             with the same series
 *
 * Series that are known by their label bytes come without labels and stay so: the salt of those bytes says whose they are
 * (ingest_salt), and batch.fix does the same to labels that are read again. */
#include "ingest/ingest_int.h"

static struct stat refused =
    STAT_COUNTER("vane_ingest_reserved_label_total", "Series refused because the sender had set __tenant__", "");

bool ingest_tenant_valid(str tenant, struct err_text *reterr)
{
    if (tenant.n == 0 || tenant.n > 150) {
        IGNORE_ERR(err_fail(reterr, ERR_INVALID,
                            tenant.n ? "tenant ID is too long: max 150 characters" : "tenant ID is empty"));
        return false;
    }
    for (size_t i = 0; i < tenant.n; i++) {
        char c = tenant.p[i];
        bool ok =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("!-_.*'()", c));
        if (ok)
            continue;
        bool printable = c >= 0x20 && c < 0x7f;
        if (c == '|')
            IGNORE_ERR(err_fail(reterr, ERR_UNSUPPORTED,
                                "queries over several tenants (a|b) are not supported: ask for one tenant"));
        else if (printable)
            IGNORE_ERR(err_fail(reterr, ERR_INVALID, "tenant ID '" STR_FMT "' contains unsupported character '%c'",
                                STR_ARG(str_take(tenant, i)), c));
        else
            IGNORE_ERR(err_fail(reterr, ERR_INVALID, "tenant ID contains an unsupported character (0x%02x)",
                                (unsigned char)c));
        return false;
    }
    if (str_eq(tenant, STR(".")) || str_eq(tenant, STR(".."))) {
        IGNORE_ERR(err_fail(reterr, ERR_INVALID, "tenant ID is '.' or '..'"));
        return false;
    }
    return true;
}

/* Sorted in, sorted out. */
static struct labels fix_labels(const void *ctx, struct arena *a, struct labels ls)
{
    const struct fix *f = ctx;
    struct label *p = arena_array(a, struct label, ls.n + 1);
    size_t n = 0;
    bool put = f->tenant.n == 0 || (f->labelled && labels_has(ls, LABEL_TENANT));
    labels_each (l, ls) {
        if (f->replica.n && str_eq(l->name, f->replica))
            continue;
        if (!put && str_cmp(LABEL_TENANT, l->name) < 0) {
            p[n++] = (struct label){ LABEL_TENANT, f->tenant };
            put = true;
        }
        p[n++] = *l;
    }
    if (!put)
        p[n++] = (struct label){ LABEL_TENANT, f->tenant };
    return (struct labels){ p, n };
}

static struct labels first_labels(const struct batch *b, struct arena *a)
{
    if (b->series.n == 0)
        return LABELS_NONE;
    const struct batch_series *bs = &b->series.p[0];
    return bs->labels.n || !bs->key ? bs->labels : b->labels_of(a, bs->key->bytes);
}

static str family_key(struct arena *a, str tenant, str name)
{
    return tenant.n ? arena_printf(a, STR_FMT "%c" STR_FMT, STR_ARG(tenant), METRIC_FAMILY_TENANT_END, STR_ARG(name))
                    : name;
}

static void change(struct arena *a, const struct fix *fix, const struct batch *b, struct batch *to,
                   struct tsdb_write_result *ret)
{
    *to = *b;
    to->a = a;
    to->fix = fix_labels;
    to->fix_ctx = fix;
    to->series.p = arena_array(a, struct batch_series, b->series.n);
    to->series.n = to->series.cap = 0;
    for (size_t i = 0; i < b->series.n; i++) {
        struct batch_series *bs = &to->series.p[to->series.n];
        *bs = b->series.p[i];
        if (bs->labels.n && fix->tenant.n && !fix->labelled && labels_has(bs->labels, LABEL_TENANT)) {
            ret->rejected[TSDB_REJECT_LABELS] += MAX(bs->n_samples + bs->n_hists, 1);
            stat_add(&refused, 1);
            if (!ret->first.msg[0])
                IGNORE_ERR(
                    err_fail(&ret->first, ERR_INVALID, "the label __tenant__ is reserved: senders may not set it"));
            continue;
        }
        if (bs->labels.n)
            bs->labels = fix_labels(fix, a, bs->labels);
        to->series.n++;
    }
    to->families.p = arena_array(a, struct batch_family, b->families.n);
    to->families.cap = b->families.n;
    for (size_t i = 0; i < b->families.n; i++)
        to->families.p[i] =
            (struct batch_family){ family_key(a, fix->tenant, b->families.p[i].name), b->families.p[i].meta };
}

enum err prepare(struct ingest *in, const struct settings *s, const struct ingest_source *who, struct arena *a,
                 struct fix *fix, const struct batch **b, struct tsdb_write_result *ret)
{
    *fix = (struct fix){ .tenant = STR(""), .replica = STR(""), .labelled = who->flags & INGEST_LABELLED };
    if (in->tenants)
        fix->tenant = who->tenant.n ? who->tenant : in->default_tenant;
    if (s->ha.on && (who->flags & INGEST_REPLICAS)) {
        enum ha_verdict v = ha_ask(in, &s->ha, fix->tenant, first_labels(*b, a), (*b)->n_samples);
        if (v == HA_OTHER) { /* the replica that is taken has sent them, too: as good as written */
            ret->duplicates = (*b)->n_samples;
            return ERR_EXISTS;
        }
        fix->replica = v == HA_TAKEN ? s->ha.replica_label : STR("");
    }
    if (!fix->tenant.n && !fix->replica.n)
        return OK;
    struct batch *to = arena_new(a, struct batch);
    change(a, fix, *b, to, ret);
    *b = to;
    return OK;
}
