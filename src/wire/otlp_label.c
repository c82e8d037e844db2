/* OTLP attributes -> labels of a series (otlp_dec_int.h). */
#include "wire/otlp_dec_int.h"

/* ---- refusals ---- */

void otlp_reject(struct dec *d, size_t points, const struct err_text *why)
{
    d->rejects->samples += points;
    if (!d->rejects->first.msg[0])
        IGNORE_ERR(err_fail(&d->rejects->first, ERR_INVALID, "metric \"" STR_FMT "\": %s",
                            STR_ARG(str_take(d->metric_name, 100)), why->msg));
}

/* ---- labels ---- */

struct label *label_list_find(struct label_list *l, str name)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->p[i].name, name))
            return &l->p[i];
    return NULL;
}
void label_list_set(struct dec *d, struct label_list *l, str name, str value)
{
    struct label *old = label_list_find(l, name);
    if (old)
        old->value = value;
    else
        avec_push(d->a, l, ((struct label){ name, value }));
}

/* The label name of an attribute, STR_NONE if it has none. */
str otlp_label_of(struct dec *d, str attr)
{
    bool fresh;
    str *slot = names_put(&d->names, attr, &fresh);
    if (!fresh)
        return *slot;
    struct otlp_label_options o = { d->utf8, d->opt->label_name_preserve_multiple_underscores,
                                    d->opt->label_name_underscore_sanitization };
    str name;
    if (otlp_label_name(d->a, attr, &o, &name, NULL) != OK || !wire_utf8_ok(name))
        name = STR_NONE;
    *slot = name;
    return name;
}

void otlp_attrs_sort(struct otlp_attrs *at)
{
    for (size_t i = 1; i < at->n; i++)
        for (size_t k = i; k > 0 && str_cmp(at->p[k - 1].key, at->p[k].key) > 0; k--) {
            struct otlp_attr swap = at->p[k];
            at->p[k] = at->p[k - 1];
            at->p[k - 1] = swap;
        }
}

/* Attributes as labels: names sanitised, values of names that meet joined in the order of the attribute names. */
static enum err attrs_to_labels(struct dec *d, struct otlp_attrs *at, struct label_list *out, struct err_text *why)
{
    if (at->n > d->opt->limits.labels_max)
        return err_fail(why, ERR_INVALID, "%zu attributes, at most %zu are allowed", at->n, d->opt->limits.labels_max);
    otlp_attrs_sort(at);
    for (size_t i = 0; i < at->n; i++) {
        str name = otlp_label_of(d, at->p[i].key);
        if (!name.p)
            return err_fail(why, ERR_INVALID, "the attribute name \"" STR_FMT "\" cannot be a label name",
                            STR_ARG(str_take(at->p[i].key, 100)));
        if (str_eq(name, LABEL_NAME))
            continue;
        struct label *old = label_list_find(out, name);
        if (!old)
            avec_push(d->a, out, ((struct label){ name, at->p[i].value }));
        else
            old->value = arena_printf(d->a, STR_FMT ";" STR_FMT, STR_ARG(old->value), STR_ARG(at->p[i].value));
    }
    return OK;
}

/* d->attrs -> d->base. */
enum err otlp_point_labels(struct dec *d, struct err_text *why)
{
    d->base.n = 0;
    TRY(attrs_to_labels(d, &d->attrs, &d->base, why));
    for (size_t i = 0; i < d->promoted.n; i++)
        if (!label_list_find(&d->base, d->promoted.p[i].name))
            avec_push(d->a, &d->base, d->promoted.p[i]);
    for (size_t i = 0; i < d->fixed.n; i++)
        label_list_set(d, &d->base, d->fixed.p[i].name, d->fixed.p[i].value);
    TRY(labels_sort(d->base.p, &d->base.n, why));
    /* one more for the name, one for le or quantile */
    if (d->base.n + 2 > d->opt->limits.labels_max)
        return err_fail(why, ERR_INVALID, "%zu labels, at most %zu are allowed", d->base.n + 2,
                        d->opt->limits.labels_max);
    str name = d->family;
    struct label with_name[1] = { { LABEL_NAME, name } };
    TRY(wire_labels_check((struct labels){ with_name, 1 }, &d->opt->limits, why));
    for (size_t i = 0; i < d->base.n; i++) {
        const struct label *l = &d->base.p[i];
        if (!wire_utf8_ok(l->value))
            return err_fail(why, ERR_INVALID, "the value of attribute \"" STR_FMT "\" is not valid UTF-8",
                            STR_ARG(str_take(l->name, 100)));
        if (l->name.n > d->opt->limits.label_name_bytes_max || l->value.n > d->opt->limits.label_value_bytes_max)
            return err_fail(why, ERR_INVALID, "attribute \"" STR_FMT "\" is too long: name %zu, value %zu bytes",
                            STR_ARG(str_take(l->name, 60)), l->name.n, l->value.n);
    }
    return OK;
}

/* base + __name__ + (extra) -> the open run of labels; base is sorted, and so is the result. */
struct labels otlp_merge_labels(struct dec *d, str name, const struct label *extra)
{
    bool name_put = false, extra_put = extra == NULL;
    for (size_t i = 0; i < d->base.n; i++) {
        const struct label *l = &d->base.p[i];
        if (!name_put && str_cmp(LABEL_NAME, l->name) < 0) {
            RUN_PUSH(d->a, &d->labels, ((struct label){ LABEL_NAME, name }));
            name_put = true;
        }
        int c = extra_put ? -1 : str_cmp(extra->name, l->name);
        if (!extra_put && c <= 0) {
            if (!name_put && str_cmp(LABEL_NAME, extra->name) < 0) {
                RUN_PUSH(d->a, &d->labels, ((struct label){ LABEL_NAME, name }));
                name_put = true;
            }
            RUN_PUSH(d->a, &d->labels, *extra);
            extra_put = true;
            if (c == 0)
                continue;
        } else if (extra && str_eq(extra->name, l->name)) {
            continue;
        }
        RUN_PUSH(d->a, &d->labels, *l);
    }
    if (!name_put)
        RUN_PUSH(d->a, &d->labels, ((struct label){ LABEL_NAME, name }));
    if (!extra_put)
        RUN_PUSH(d->a, &d->labels, *extra);
    struct labels ls = { RUN_START(&d->labels), RUN_LEN(&d->labels) };
    RUN_CLOSE(&d->labels);
    return ls;
}
