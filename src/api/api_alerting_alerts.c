/* GET /api/v1/alerting/alerts: what fires and what is pending now, of rules and of the Alertmanager together, counted and
 * in groups, with the first alerts of the first groups: a page for people, whose size does not grow with the alerts.
 * Alerts are the default tenant's. */
#include <stdio.h>
#include <stdlib.h>

#include "alerting/am_ack.h"
#include "alerting/am_data.h"
#include "api/api_int.h"
#include "base/vec.h"
#include "rules/rules_manager.h"

enum {
    ROWS = 25,           /* of a group, unless limit= says */
    ROWS_ALL_MAX = 250,  /* of all groups together */
    ROWS_ONE_MAX = 5000, /* of a single group */
    GROUPS = 20,
    GROUPS_MAX = 1000,
    NAMES_MAX = 200,
    TRIES = 5,
};

struct item {                         /* an alert of a rule, of the Alertmanager, or of both */
    const struct rule_alert *al;      /* NULL: sent by others */
    const struct rule_facts *rule;    /* of al */
    const struct rules_view *group;   /* of al */
    const struct am_alert_view *sent; /* NULL: the Alertmanager does not know it */
};
struct section {
    str key, title;
    size_t firing, pending;
    const struct item *first;
    const struct item **rows;
    size_t n_rows, max;
};
#define MAP_NAME     section_map
#define MAP_KEY      str
#define MAP_VALUE    struct section *
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"
#define MAP_NAME     name_map
#define MAP_KEY      str
#define MAP_VALUE    uint8_t
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct question {
    str by, state, q, group;
    size_t limit, n_groups;
    struct am_matchers m;
};
struct look {
    struct arena *a;
    struct question ask;
    VEC(struct item) items;
    VEC(str) words; /* of q, in small letters */
    struct buf key, hay;
    struct section_map sections;
    struct name_map names;
    size_t n_rules, n_failing, firing, pending, quiet, sent, matching;
};

static struct labels labels_of(const struct item *i)
{
    return i->al ? i->al->labels : i->sent->alert.labels;
}

/* As the Alertmanager has them, where it does: sending may have added some. */
static struct labels sent_labels(const struct item *i)
{
    return i->sent ? i->sent->alert.labels : i->al->labels;
}

static str label_of(const struct item *i, str name)
{
    str v = labels_get(labels_of(i), name);
    return v.n ? v : labels_get(sent_labels(i), name);
}

static bool fires(const struct item *i)
{
    return !i->al || i->al->state == ALERT_FIRING;
}

static bool is_quiet(const struct item *i)
{
    return i->sent && (i->sent->n_silenced_by || i->sent->n_inhibited_by);
}

/* ---- both lists become one ---- */
struct known { /* the Alertmanager's alerts, sorted by fingerprint */
    const struct am_alert_view *v;
    size_t n, tries;
    bool *taken;
    struct labels extra; /* that sending adds to the labels of rules */
};

static int cmp_fingerprint(const void *x, const void *y)
{
    const struct am_alert_view *a = x, *b = y;
    return (a->alert.fingerprint > b->alert.fingerprint) - (a->alert.fingerprint < b->alert.fingerprint);
}

static const struct am_alert_view *find_exactly(const struct known *k, struct labels ls)
{
    struct am_alert_view key = { .alert.fingerprint = am_fingerprint(ls) };
    return k->n ? bsearch(&key, k->v, k->n, sizeof(*k->v), cmp_fingerprint) : NULL;
}

static struct labels with_extra(struct arena *a, struct labels ls, struct labels extra)
{
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, extra);
    labels_each (l, ls)
        lb_set(&b, l->name, l->value);
    return lb_labels(&b);
}

static bool has_all(struct labels ls, struct labels of)
{
    labels_each (l, of)
        if (!str_eq(labels_get(ls, l->name), l->value))
            return false;
    return true;
}

/* Relabeling may add labels, the same to all: what the first that is found has more is looked for with the others. */
static const struct am_alert_view *find_like(struct known *k, struct arena *a, struct labels ls)
{
    for (size_t i = 0; k->tries && i < k->n; i++)
        if (has_all(k->v[i].alert.labels, ls)) {
            struct label_builder b;
            lb_init(&b, a);
            lb_reset(&b, LABELS_NONE);
            labels_each (l, k->v[i].alert.labels)
                if (!labels_get(ls, l->name).n)
                    lb_set(&b, l->name, l->value);
            k->extra = lb_labels(&b);
            k->tries = 0;
            return &k->v[i];
        }
    k->tries -= k->tries > 0;
    return NULL;
}

static const struct am_alert_view *find(struct known *k, struct arena *a, struct labels ls)
{
    const struct am_alert_view *v = k->n ? find_exactly(k, ls) : NULL;
    if (!v && k->n && k->extra.n)
        v = find_exactly(k, with_extra(a, ls, k->extra));
    if (!v && k->n)
        v = find_like(k, a, ls);
    if (v)
        k->taken[v - k->v] = true;
    return v;
}

static void gather(struct look *l, const struct rules_snapshot *s, struct known *k)
{
    for (size_t g = 0; g < s->n; g++)
        for (size_t i = 0; i < s->groups[g]->group->n_rules; i++) {
            const struct rule_facts *r = &s->groups[g]->rules[i];
            l->n_rules += r->rule->alerting;
            l->n_failing += r->rule->alerting && str_eq(str_c(r->health), STR("err"));
            for (size_t x = 0; r->rule->alerting && x < r->n_alerts; x++) {
                const struct rule_alert *al = r->alerts[x];
                if (al->state != ALERT_INACTIVE)
                    avec_push(l->a, &l->items,
                              ((struct item){ al, r, s->groups[g],
                                              al->state == ALERT_FIRING ? find(k, l->a, al->labels) : NULL }));
            }
        }
    for (size_t i = 0; i < k->n; i++)
        if (!k->taken[i])
            avec_push(l->a, &l->items, ((struct item){ .sent = &k->v[i] }));
}

/* ---- which of them ---- */
static void add_small(struct buf *b, str s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_u8(b, (unsigned char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]));
}

static void add_pairs(struct buf *b, struct labels ls)
{
    labels_each (x, ls) {
        add_small(b, x->name);
        buf_u8(b, '=');
        add_small(b, x->value);
        buf_u8(b, ' ');
    }
}

/* Every word is somewhere in a label or annotation. */
static bool has_words(struct look *l, const struct item *i)
{
    if (!l->words.n)
        return true;
    buf_clear(&l->hay);
    add_pairs(&l->hay, labels_of(i));
    add_pairs(&l->hay, i->al ? i->al->annotations : i->sent->alert.annotations);
    for (size_t w = 0; w < l->words.n; w++)
        if (str_find(buf_str(&l->hay), l->words.p[w]) == SIZE_MAX)
            return false;
    return true;
}

static bool wanted(struct look *l, const struct item *i)
{
    str s = l->ask.state;
    bool is = str_eq(s, STR("sent"))      ? i->sent != NULL
              : str_eq(s, STR("quiet"))   ? is_quiet(i)
              : str_eq(s, STR("firing"))  ? fires(i)
              : str_eq(s, STR("pending")) ? !fires(i)
                                          : true;
    return is && am_matchers_match(&l->ask.m, sent_labels(i)) && has_words(l, i);
}

/* ---- groups ---- */
static struct section *section(struct look *l, str key, str title, bool make)
{
    struct section **slot = section_map_get(&l->sections, key), *s;
    if (slot || !make)
        return slot ? *slot : NULL;
    s = arena_new(l->a, struct section);
    *s = (struct section){ .key = arena_str(l->a, key), .title = arena_str(l->a, title) };
    *section_map_put(&l->sections, s->key, NULL) = s;
    return s;
}

static void into(struct look *l, const struct item *i, str key, str title, bool count)
{
    struct section *s = section(l, key, title, count);
    if (count) {
        s->first = s->first ? s->first : i;
        s->firing += fires(i);
        s->pending += !fires(i);
    } else if (s && s->n_rows < s->max) {
        s->rows[s->n_rows++] = i;
    }
}

static void into_all(struct look *l, const struct item *i, bool count)
{
    str title = label_of(i, str_eq(l->ask.by, STR("rule")) ? STR("alertname") : l->ask.by);
    if (str_eq(l->ask.by, STR("receiver"))) {
        for (size_t r = 0; i->sent && r < i->sent->n_receivers; r++)
            into(l, i, i->sent->receivers[r], i->sent->receivers[r], count);
        if (!i->sent || !i->sent->n_receivers)
            into(l, i, STR(""), STR(""), count);
    } else if (str_eq(l->ask.by, STR("rule"))) {
        buf_clear(&l->key);
        if (i->al)
            buf_printf(&l->key, STR_FMT ";" STR_FMT ";%zu", STR_ARG(i->group->group->file),
                       STR_ARG(i->group->group->name), (size_t)(i->rule - i->group->rules));
        else
            buf_u8(&l->key, '=');
        if (!i->al)
            buf_str_add(&l->key, title);
        into(l, i, buf_str(&l->key), title, count);
    } else {
        into(l, i, title, title, count);
    }
}

static int cmp_section(const void *x, const void *y)
{
    const struct section *a = *(struct section *const *)x, *b = *(struct section *const *)y;
    int c = (b->firing > 0) - (a->firing > 0);
    c = c ? c : str_cmp(a->title, b->title);
    return c ? c : str_cmp(a->key, b->key);
}

/* The sections in order; the first of them, or the one that is asked for, have rows. Returns how many are shown. */
static size_t arrange(struct look *l, struct section ***ret)
{
    struct section **p = arena_array(l->a, struct section *, l->sections.n + 1);
    bool one = l->ask.group.p != NULL;
    size_t n = 0, left = one ? ROWS_ONE_MAX : ROWS_ALL_MAX;
    map_each (section_map, s, &l->sections)
        if (!one || str_eq(s->key, l->ask.group))
            p[n++] = s->value;
    if (n)
        qsort(p, n, sizeof(*p), cmp_section);
    n = MIN(n, l->ask.n_groups);
    for (size_t i = 0; i < n; i++) {
        struct section *s = p[i];
        s->max = MIN(MIN(l->ask.limit, left), s->firing + s->pending);
        s->rows = arena_array(l->a, const struct item *, s->max + 1);
        left -= s->max;
    }
    for (size_t i = 0; n && i < l->items.n; i++)
        if (wanted(l, &l->items.p[i]))
            into_all(l, &l->items.p[i], false);
    *ret = p;
    return n;
}

static void note_names(struct look *l, struct labels ls)
{
    labels_each (n, ls)
        if (l->names.n < NAMES_MAX)
            name_map_put(&l->names, n->name, NULL);
}

static void count(struct look *l)
{
    for (size_t i = 0; i < l->items.n; i++) {
        const struct item *x = &l->items.p[i];
        l->firing += fires(x);
        l->pending += !fires(x);
        l->quiet += is_quiet(x);
        l->sent += x->sent != NULL;
        note_names(l, labels_of(x));
        if (x->al && x->sent)
            note_names(l, x->sent->alert.labels);
        if (wanted(l, x)) {
            l->matching++;
            into_all(l, x, true);
        }
    }
}

/* ---- answer ---- */
static void json_hex(struct json_out *j, str key, uint64_t v)
{
    char text[17];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)v);
    json_key(j, key);
    json_str(j, str_c(text));
}

static void json_strs(struct json_out *j, str key, const str *p, size_t n)
{
    json_key(j, key);
    json_arr(j);
    for (size_t i = 0; i < n; i++)
        json_str(j, p[i]);
    json_arr_end(j);
}

static void ack_json(struct json_out *j, struct am *am, uint64_t fingerprint, int64_t now_ms, struct arena *a)
{
    struct am_ack k;
    json_key(j, STR("ack"));
    if (!am_ack_get(am, fingerprint, now_ms, a, &k)) {
        json_put_null(j);
        return;
    }
    json_obj(j);
    json_kstr(j, "owner", k.owner);
    json_kstr(j, "comment", k.comment);
    api_json_moment(j, STR("at"), k.at_ms);
    api_json_moment(j, STR("until"), k.until_ms);
    json_obj_end(j);
}

static void sent_json(struct json_out *j, struct am *am, const struct am_alert_view *v, int64_t now_ms, struct arena *a)
{
    json_obj(j);
    json_hex(j, STR("fingerprint"), v->alert.fingerprint);
    json_key(j, STR("labels"));
    labels_json(j, v->alert.labels);
    json_kstr(j, "generatorURL", v->alert.generator_url);
    json_strs(j, STR("receivers"), v->receivers, v->n_receivers);
    json_strs(j, STR("silencedBy"), v->silenced_by, v->n_silenced_by);
    json_key(j, STR("inhibitedBy"));
    json_arr(j);
    for (size_t i = 0; i < v->n_inhibited_by; i++) {
        char text[17];
        snprintf(text, sizeof(text), "%016llx", (unsigned long long)v->inhibited_by[i]);
        json_str(j, str_c(text));
    }
    json_arr_end(j);
    ack_json(j, am, v->alert.fingerprint, now_ms, a);
    json_obj_end(j);
}

static void rule_json(struct json_out *j, const struct item *i)
{
    AUTO_BUF struct buf query = { 0 };
    json_key(j, STR("rule"));
    if (!i->al) {
        json_put_null(j);
        return;
    }
    buf_init(&query, 0);
    promql_print(&query, i->rule->rule->parsed);
    json_obj(j);
    json_kstr(j, "name", i->rule->rule->name);
    json_kstr(j, "group", i->group->group->name);
    json_kstr(j, "query", buf_str(&query));
    json_obj_end(j);
}

static void item_json(struct json_out *j, struct am *am, const struct item *i, int64_t now_ms, struct arena *a)
{
    AUTO_BUF struct buf value;
    buf_init(&value, 0);
    json_obj(j);
    json_key(j, STR("labels"));
    labels_json(j, labels_of(i));
    json_key(j, STR("annotations"));
    labels_json(j, i->al ? i->al->annotations : i->sent->alert.annotations);
    json_kstr(j, "state", fires(i) ? STR("firing") : STR("pending"));
    api_json_moment(j, STR("since"), i->al ? i->al->active_at_ms : i->sent->alert.starts_ms);
    json_key(j, STR("value"));
    if (i->al) {
        buf_f64_e(&value, i->al->value);
        json_str(j, buf_str(&value));
    } else {
        json_put_null(j);
    }
    rule_json(j, i);
    json_key(j, STR("sent"));
    if (i->sent)
        sent_json(j, am, i->sent, now_ms, a);
    else
        json_put_null(j);
    json_obj_end(j);
}

static int cmp_name(const void *x, const void *y)
{
    return str_cmp(*(const str *)x, *(const str *)y);
}

static void names_json(struct json_out *j, struct look *l)
{
    str *p = arena_array(l->a, str, l->names.n + 1);
    size_t n = 0;
    map_each (name_map, s, &l->names)
        p[n++] = s->key;
    if (n)
        qsort(p, n, sizeof(*p), cmp_name);
    json_strs(j, STR("labelNames"), p, n);
}

static void answer(struct http_response *rs, struct look *l, struct am *am, int64_t now_ms)
{
    struct section **p;
    size_t n = arrange(l, &p);
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_kbool(&j, "configured", am != NULL);
    json_ku64(&j, "rules", l->n_rules);
    json_ku64(&j, "failingRules", l->n_failing);
    json_ku64(&j, "firing", l->firing);
    json_ku64(&j, "pending", l->pending);
    json_ku64(&j, "quiet", l->quiet);
    json_ku64(&j, "sent", l->sent);
    json_ku64(&j, "matching", l->matching);
    json_ku64(&j, "groupsMatching", l->sections.n);
    names_json(&j, l);
    json_key(&j, STR("groups"));
    json_arr(&j);
    for (size_t i = 0; i < n; i++) {
        json_obj(&j);
        json_kstr(&j, "key", p[i]->key);
        json_kstr(&j, "title", p[i]->title);
        json_ku64(&j, "firing", p[i]->firing);
        json_ku64(&j, "pending", p[i]->pending);
        if (str_eq(l->ask.by, STR("rule")))
            rule_json(&j, p[i]->first);
        json_key(&j, STR("alerts"));
        json_arr(&j);
        for (size_t k = 0; k < p[i]->n_rows; k++)
            item_json(&j, am, p[i]->rows[k], now_ms, l->a);
        json_arr_end(&j);
        json_obj_end(&j);
    }
    json_arr_end(&j);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

/* ---- question ---- */
static bool read_filters(struct http_request *rq, struct http_response *rs, struct am_matchers *ret)
{
    const str *texts;
    size_t n = http_params(rq, STR("filter"), &texts);
    struct err_text why;
    ret->p = arena_array(rq->a, struct am_matcher, n + 1);
    for (size_t i = 0; i < n && i < AM_MATCHERS_MAX; i++, ret->n++)
        if (am_matcher_parse(rq->a, texts[i], AM_FALLBACK, &ret->p[i], &why) != OK) {
            api_fail_param(rs, "filter", why.msg);
            return false;
        }
    return true;
}

static bool read_question(struct http_request *rq, struct http_response *rs, struct question *ask)
{
    static const char *const states[] = { "", "all", "firing", "pending", "quiet", "sent" };
    bool known = false;
    *ask = (struct question){ .by = http_param(rq, STR("by")),
                              .state = http_param(rq, STR("state")),
                              .q = http_param(rq, STR("q")),
                              .group = http_param(rq, STR("group")) };
    ask->by = ask->by.n ? ask->by : STR("rule");
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        known |= str_eq(ask->state, str_c(states[i]));
    if (!known)
        api_fail_param(rs, "state", "it is one of all, firing, pending, quiet and sent");
    if (!known || !api_limit_param(rq, rs, "limit", &ask->limit) || !api_limit_param(rq, rs, "groups", &ask->n_groups))
        return false;
    ask->limit = ask->limit ? ask->limit : ROWS;
    ask->n_groups = MIN(ask->n_groups ? ask->n_groups : GROUPS, GROUPS_MAX);
    return read_filters(rq, rs, &ask->m);
}

static void split_words(struct look *l)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    add_small(&b, l->ask.q);
    str rest = arena_str(l->a, buf_str(&b)), word;
    while (str_cut(&rest, ' ', &word))
        if (word.n)
            avec_push(l->a, &l->words, word);
}

static void get_alerts(struct http_request *rq, struct http_response *rs)
{
    struct api *api = api_of(rq);
    struct am *am = api->d.alertmanager ? api->d.alertmanager->am : NULL;
    int64_t now = api_now_ms(api);
    struct look l = { .a = rq->a };
    struct known k = { .tries = TRIES };
    struct am_alert_view *v = NULL;
    if (api_tenant_foreign(rq, rs))
        return;
    if (read_question(rq, rs, &l.ask)) {
        struct rules_snapshot s = rules_manager_snapshot(api->d.rules);
        buf_init(&l.key, 0);
        buf_init(&l.hay, 0);
        if (am)
            am_alerts(am, now, rq->a, &v, &k.n);
        k.v = v;
        k.taken = arena_zarray(rq->a, bool, k.n + 1);
        api_external_labels(api, rq->a, &k.extra);
        split_words(&l);
        gather(&l, &s, &k);
        count(&l);
        answer(rs, &l, am, now);
        section_map_free(&l.sections);
        name_map_free(&l.names);
        buf_deinit(&l.key);
        buf_deinit(&l.hay);
        rules_snapshot_deinit(&s);
    }
    am_matchers_free(&l.ask.m);
}

const struct http_route api_alerts_routes[] = {
    { HTTP_BIT(HTTP_GET), "/api/v1/alerting/alerts", get_alerts, HTTP_QUERY, NULL, HTTP_CORS },
};
const size_t api_alerts_routes_n = ARRAY_LEN(api_alerts_routes);
