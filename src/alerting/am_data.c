#include "alerting/am_data.h"

#include "base/check.h"

static uint64_t mix(uint64_t h, str s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 1099511628211u;
    return (h ^ 0xff) * 1099511628211u;
}

uint64_t am_fingerprint(struct labels ls)
{
    uint64_t h = 14695981039346656037u;
    labels_each (l, ls)
        h = mix(mix(h, l->name), l->value);
    return h;
}

static bool is_drill(struct labels ls)
{
    return str_eq(labels_get(ls, STR("drill")), STR("true"));
}

static struct tmpl_val kv(struct arena *a, struct labels ls, bool drill)
{
    struct tmpl_val v = tmpl_map(a, &tmpl_am_kv, ls.n);
    for (size_t i = 0; i < ls.n; i++) {
        bool named = drill && str_eq(ls.p[i].name, STR("alertname"));
        str value = named ? arena_printf(a, "[DRILL] " STR_FMT, STR_ARG(ls.p[i].value)) : ls.p[i].value;
        v.map.p[i] = (struct tmpl_pair){ ls.p[i].name, tmpl_str(value) };
    }
    return v;
}

static struct tmpl_val changes(struct arena *a, const struct am_data_changes *c)
{
    struct tmpl_val v = tmpl_struct(a, &tmpl_am_changes);
    v.list.p[0] = tmpl_int((int64_t)c->n_new);
    v.list.p[1] = tmpl_int((int64_t)c->n_resolved);
    v.list.p[2] = tmpl_int((int64_t)c->n_unchanged);
    return v;
}

static struct tmpl_val time_of(struct arena *a, int64_t ms)
{
    return ms ? tmpl_time_ms(a, ms) : tmpl_time(a, TMPL_TIME_ZERO_S, 0, tz_utc);
}

static struct tmpl_val alert(struct arena *a, const struct am_data_alert *al, int64_t now_ms)
{
    struct tmpl_val v = tmpl_struct(a, &tmpl_am_alert);
    bool resolved = al->ends_ms && al->ends_ms <= now_ms;
    v.list.p[0] = tmpl_str(resolved ? STR("resolved") : STR("firing"));
    v.list.p[1] = kv(a, al->labels, is_drill(al->labels));
    v.list.p[2] = kv(a, al->annotations, false);
    v.list.p[3] = time_of(a, al->starts_ms);
    v.list.p[4] = time_of(a, resolved ? al->ends_ms : 0);
    v.list.p[5] = tmpl_str(al->generator_url);
    v.list.p[6] = tmpl_str(arena_printf(a, "%016llx", (unsigned long long)am_fingerprint(al->labels)));
    return v;
}

/* Pairs that all alerts have. */
static struct labels common(struct arena *a, const struct am_data_input *in, bool annotations)
{
    if (!in->n)
        return LABELS_NONE;
    struct labels first = annotations ? in->alerts[0].annotations : in->alerts[0].labels;
    struct label *p = arena_array(a, struct label, first.n + 1);
    size_t n = 0;
    labels_each (l, first) {
        bool all = true;
        for (size_t i = 1; i < in->n && all; i++) {
            str v = labels_get(annotations ? in->alerts[i].annotations : in->alerts[i].labels, l->name);
            all = v.p && str_eq(v, l->value);
        }
        if (all)
            p[n++] = *l;
    }
    return (struct labels){ p, n };
}

struct tmpl_val am_data(struct arena *a, const struct am_data_input *in)
{
    struct tmpl_val v = tmpl_struct(a, in->changes ? &tmpl_am_data_changes : &tmpl_am_data);
    struct labels shared = common(a, in, false); /* a group of drills is one, though it is not grouped by that */
    bool firing = false;
    v.list.p[2] = tmpl_list(a, &tmpl_am_alerts, in->n);
    for (size_t i = 0; i < in->n; i++) {
        v.list.p[2].list.p[i] = alert(a, &in->alerts[i], in->now_ms);
        firing |= !(in->alerts[i].ends_ms && in->alerts[i].ends_ms <= in->now_ms);
    }
    v.list.p[0] = tmpl_str(in->receiver);
    v.list.p[1] = tmpl_str(firing ? STR("firing") : STR("resolved"));
    v.list.p[3] = kv(a, in->group_labels, is_drill(shared));
    v.list.p[4] = kv(a, shared, is_drill(shared));
    v.list.p[5] = kv(a, common(a, in, true), false);
    v.list.p[6] = tmpl_str(in->external_url);
    v.list.p[7] = kv(a, in->route_labels, false);
    if (in->changes)
        v.list.p[8] = changes(a, in->changes);
    return v;
}

bool am_data_firing(const struct tmpl_val *data)
{
    return str_eq(data->list.p[1].s, STR("firing"));
}
