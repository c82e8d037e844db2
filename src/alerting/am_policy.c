/* alert_policy: its keys, the routes and receivers they become, and what the dispatcher asks of them. */
#include "alerting/am_policy.h"

#include <stdlib.h>

#include "alerting/am_config_int.h"
#include "base/num.h"
#include "base/vec.h"

#define MINUTE_MS 60000
#define DAY_S     86400

/* ---- keys ---- */
static enum err read_response(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    int64_t *ms = field;
    str s;
    TRY(conf_read_str(cx, n, &s));
    if (str_eq(s, STR("immediately")))
        *ms = 0;
    else if (str_eq(s, STR("business_hours")))
        *ms = AM_BUSINESS_HOURS;
    else
        return conf_read_duration(cx, n, ms);
    return OK;
}

static void print_response(struct conf_out *out, const void *field)
{
    int64_t ms = *(const int64_t *)field;
    if (ms == 0 || ms == AM_BUSINESS_HOURS || ms == INT64_MAX)
        conf_out_scalar(out, ms == 0 ? STR("immediately") : ms < 0 ? STR("business_hours") : STR(""));
    else
        am_print_duration(out, field);
}

static enum err read_minute(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s;
    uint64_t h, m;
    TRY(conf_read_str(cx, n, &s));
    bool ok = s.n == 5 && s.p[2] == ':' && str_to_u64(str_take(s, 2), &h) && str_to_u64(str_skip(s, 3), &m);
    if (!ok || h > 23 || m > 59)
        return conf_error(cx, n, "\"" STR_FMT "\" is not a time of day: write it as \"08:00\"", STR_ARG(s));
    *(int *)field = (int)(h * 60 + m);
    return OK;
}

static void print_minute(struct conf_out *out, const void *field)
{
    int v = *(const int *)field;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "%02d:%02d", v / 60, v % 60);
    conf_out_scalar(out, buf_str(&b));
}

/* Days and zone as a time interval has them. */
static void read_days(struct conf_ctx *cx, const struct conf_node *n, const struct conf_node *weekdays, str zone,
                      struct am_interval *ret)
{
    struct conf_node *map = arena_new(cx->a, struct conf_node), *list = arena_new(cx->a, struct conf_node);
    struct am_intervals v = { 0 };
    *map = *list = *n;
    map->kind = CONF_MAP;
    map->n = 0;
    map->items = arena_array(cx->a, struct conf_node *, 4);
    if (weekdays) {
        struct conf_node *key = arena_new(cx->a, struct conf_node);
        *key = *n;
        key->kind = CONF_SCALAR;
        key->text = STR("weekdays");
        map->items[0] = key;
        map->items[1] = (struct conf_node *)(uintptr_t)weekdays;
        map->n = 1;
    }
    list->kind = CONF_SEQ;
    list->n = 1;
    list->items = arena_array(cx->a, struct conf_node *, 1);
    list->items[0] = map;
    if (am_intervals_conf(cx, list, &v) == OK && v.n)
        *ret = v.p[0];
    struct err_text why;
    if (zone.n && tz_load(zone, &ret->tz, &why) != OK)
        IGNORE_ERR(conf_error(cx, conf_get(n, STR("time_zone")), "unknown time zone \"" STR_FMT "\"", STR_ARG(zone)));
}

static void check_digest(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct am_digest *d = obj;
    if (!d->channels.n)
        FAIL("a digest needs channels: the receivers that it is sent to");
    read_days(cx, n, d->weekdays, d->time_zone, &d->on);
}

static void check_drill(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct am_drill_plan *d = obj;
    if ((d->rule.n != 0) + (d->receiver.n != 0) + (d->labels.n != 0) != 1)
        FAIL("a drill is of one of rule, receiver and labels");
    read_days(cx, n, d->weekdays, d->time_zone, &d->on);
}

static void check_watchdog(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_watchdog *w = obj;
    if (n->kind == CONF_MAP && (w->url.value.n != 0) == (w->url_file.n != 0))
        FAIL("watchdog needs one of url and url_file: what is to be pinged");
    if (w->period_ms < 1000)
        FAIL("watchdog: a period is 1s at least");
}

#define CALENDAR(T)                                                                                          \
    CF(T, at_minute, "at", CONF_CUSTOM, .read = read_minute, .print = print_minute, .flags = CONF_REQUIRED), \
        CF(T, time_zone, "time_zone", CONF_STR), CF(T, weekdays, "weekdays", CONF_NODE)

#define F(m, key, t, ...) CF(struct am_severity, m, key, t, ##__VA_ARGS__)
static const struct conf_field severity_fields[] = {
    F(match, "match", CONF_LIST, .of = CONF_STR),
    F(channels, "channels", CONF_LIST, .of = CONF_STR),
    F(response_ms, "response", CONF_CUSTOM, .read = read_response, .print = print_response),
    F(escalation, "escalation", CONF_STR),
    F(digest, "digest", CONF_STR),
    F(repeat_ms, "repeat", CONF_DURATION, .flags = CONF_POSITIVE),
    F(group_wait_ms, "group_wait", CONF_DURATION),
    F(resolve_wait_ms, "resolve_wait", CONF_DURATION),
    F(goes_on, "continue", CONF_BOOL),
};
#undef F
static const struct am_severity severity_defaults = {
    .response_ms = INT64_MAX, .repeat_ms = -1, .group_wait_ms = -1, .resolve_wait_ms = -1
};
static CONF_SCHEMA(severity_schema, struct am_severity, "alert_policy.severity", severity_fields,
                   .defaults = &severity_defaults);

static const struct conf_field step_fields[] = {
    CF(struct am_step, after_ms, "after", CONF_DURATION, .flags = CONF_POSITIVE | CONF_REQUIRED),
    CF(struct am_step, channels, "channels", CONF_LIST, .of = CONF_STR, .flags = CONF_REQUIRED),
};
static CONF_SCHEMA(step_schema, struct am_step, "alert_policy.escalation.step", step_fields);
static const struct conf_field escalation_fields[] = {
    CF(struct am_escalation, steps, "steps", CONF_LIST, .of = CONF_STRUCT, .schema = &step_schema,
       .flags = CONF_REQUIRED),
};
static CONF_SCHEMA(escalation_schema, struct am_escalation, "alert_policy.escalation", escalation_fields);

static const struct conf_field digest_fields[] = {
    CALENDAR(struct am_digest),
    CF(struct am_digest, channels, "channels", CONF_LIST, .of = CONF_STR),
};
static CONF_SCHEMA(digest_schema, struct am_digest, "alert_policy.digest", digest_fields, .check = check_digest);

static const struct conf_field flapping_fields[] = {
    CF(struct am_flapping, changes, "changes", CONF_UINT, .flags = CONF_POSITIVE),
    CF(struct am_flapping, window_ms, "window", CONF_DURATION, .flags = CONF_POSITIVE),
};
static const struct am_flapping flapping_defaults = { .changes = 6, .window_ms = 15 * MINUTE_MS };
static void check_flapping(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_flapping *f = obj;
    if (f->changes > AM_FLAP_CHANGES_MAX)
        FAIL("flapping: at most %u changes", AM_FLAP_CHANGES_MAX);
}
static CONF_SCHEMA(flapping_schema, struct am_flapping, "alert_policy.flapping", flapping_fields,
                   .defaults = &flapping_defaults, .check = check_flapping);

#define F(m, key, t, ...) CF(struct am_heartbeat, m, key, t, ##__VA_ARGS__)
static const struct conf_field heartbeat_fields[] = {
    F(period_ms, "period", CONF_DURATION, .flags = CONF_POSITIVE | CONF_REQUIRED),
    F(grace_ms, "grace", CONF_DURATION),
    F(labels, "labels", CONF_DICT, .of = CONF_STR),
    F(annotations, "annotations", CONF_DICT, .of = CONF_STR),
};
#undef F
static void check_heartbeat(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_heartbeat *h = obj;
    for (size_t i = 0; i < h->labels.n; i++)
        if (!labels_valid_name(h->labels.keys[i]) || !h->labels.p[i].n)
            FAIL("invalid label \"" STR_FMT "\" of a heartbeat", STR_ARG(h->labels.keys[i]));
    for (size_t i = 0; i < h->annotations.n; i++)
        if (!labels_valid_name(h->annotations.keys[i]))
            FAIL("invalid annotation \"" STR_FMT "\" of a heartbeat", STR_ARG(h->annotations.keys[i]));
}
static const struct am_heartbeat heartbeat_defaults = { .grace_ms = MINUTE_MS };
static CONF_SCHEMA(heartbeat_schema, struct am_heartbeat, "alert_policy.heartbeat", heartbeat_fields,
                   .defaults = &heartbeat_defaults, .check = check_heartbeat);

#define F(m, key, t, ...) CF(struct am_watchdog, m, key, t, ##__VA_ARGS__)
static const struct conf_field watchdog_fields[] = {
    F(alert, "alert", CONF_STR),
    F(url, "url", CONF_SECRET),
    F(url_file, "url_file", CONF_STR),
    F(period_ms, "period", CONF_DURATION),
};
#undef F
static const struct am_watchdog watchdog_defaults = { .alert = STR_INIT("Watchdog"), .period_ms = MINUTE_MS };
static CONF_SCHEMA(watchdog_schema, struct am_watchdog, "alert_policy.watchdog", watchdog_fields,
                   .defaults = &watchdog_defaults, .check = check_watchdog);

#define F(m, key, t, ...) CF(struct am_drill_plan, m, key, t, ##__VA_ARGS__)
static const struct conf_field drill_fields[] = {
    F(rule, "rule", CONF_STR),
    F(receiver, "receiver", CONF_STR),
    F(labels, "labels", CONF_DICT, .of = CONF_STR),
    F(severity, "severity", CONF_STR),
    CALENDAR(struct am_drill_plan),
};
#undef F
static CONF_SCHEMA(drill_schema, struct am_drill_plan, "alert_policy.drill", drill_fields, .check = check_drill);

#define F(m, key, t, ...) CF(struct am_policy, m, key, t, ##__VA_ARGS__)
static const struct conf_field policy_fields[] = {
    F(severity_label, "severity_label", CONF_STR),
    F(channels, "channels", CONF_NODE),
    F(business_hours, "business_hours", CONF_NODE),
    F(severities, "severities", CONF_DICT, .of = CONF_STRUCT, .schema = &severity_schema),
    F(escalations, "escalations", CONF_DICT, .of = CONF_STRUCT, .schema = &escalation_schema),
    F(digests, "digests", CONF_DICT, .of = CONF_STRUCT, .schema = &digest_schema),
    F(flapping, "flapping", CONF_PTR, .schema = &flapping_schema),
    F(resolve_wait_ms, "resolve_wait", CONF_DURATION),
    F(current_value, "current_value", CONF_BOOL, .flags = CONF_ALWAYS),
    F(changes, "changes", CONF_BOOL, .flags = CONF_ALWAYS),
    F(heartbeats, "heartbeats", CONF_DICT, .of = CONF_STRUCT, .schema = &heartbeat_schema),
    F(watchdog, "watchdog", CONF_PTR, .schema = &watchdog_schema),
    F(drills, "drills", CONF_LIST, .of = CONF_STRUCT, .schema = &drill_schema),
};
#undef F
static const struct am_policy policy_defaults = { .severity_label = STR_INIT("severity"),
                                                  .current_value = true,
                                                  .changes = true };
CONF_SCHEMA(am_policy_schema, struct am_policy, "alert_policy", policy_fields, .defaults = &policy_defaults);

/* ---- severities: the four that everybody knows, and what the file says of them ---- */
static const struct {
    str name, match[4], channels[4];
    int64_t response_ms;
} known[] = {
    { STR_INIT("P1"),
      { STR_INIT("critical"), STR_INIT("page") },
      { STR_INIT("phone"), STR_INIT("sms"), STR_INIT("email"), STR_INIT("chat") },
      0 },
    { STR_INIT("P2"),
      { STR_INIT("high"), STR_INIT("error") },
      { STR_INIT("phone"), STR_INIT("sms"), STR_INIT("email"), STR_INIT("chat") },
      3600000 },
    { STR_INIT("P3"), { STR_INIT("warning"), STR_INIT("medium") }, { STR_INIT("email"), STR_INIT("chat") }, 86400000 },
    { STR_INIT("P4"), { STR_INIT("info"), STR_INIT("low") }, { { 0 } }, AM_BUSINESS_HOURS },
};

static const struct am_channel *channel(const struct am_policy *p, str name)
{
    for (size_t i = 0; i < p->n_channel; i++)
        if (str_eq(p->channel[i].name, name))
            return &p->channel[i];
    return NULL;
}

static bool has(const am_strs *v, str s)
{
    for (size_t i = 0; i < v->n; i++)
        if (str_eq(v->p[i], s))
            return true;
    return false;
}

static void add(struct arena *a, am_strs *v, str s)
{
    if (!s.n || has(v, s))
        return;
    str *p = arena_array(a, str, v->n + 1);
    if (v->n)
        memcpy(p, v->p, v->n * sizeof(*p));
    p[v->n++] = s;
    v->p = p;
}

static bool known_severity(str name, size_t *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq(known[i].name, name)) {
            *ret = i;
            return true;
        }
    return false;
}

#define HAS_KEY(dict, name) dict_has((dict).keys, (dict).n, name)
static bool dict_has(const str *keys, size_t n, str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(keys[i], name))
            return true;
    return false;
}

/* What the file leaves open about P1 to P4. n: its node, or NULL. */
static void fill_known(struct arena *a, const struct am_policy *p, const struct conf_node *n, size_t k,
                       struct am_severity *s)
{
    bool said = n && n->kind == CONF_MAP;
    for (size_t i = 0; i < 4 && !(said && conf_has(n, "match")); i++)
        add(a, &s->match, known[k].match[i]);
    for (size_t i = 0; i < 4 && !(said && conf_has(n, "channels")); i++)
        if (channel(p, known[k].channels[i]))
            add(a, &s->channels, known[k].channels[i]);
    if (!said || !conf_has(n, "response"))
        s->response_ms = known[k].response_ms;
    if (k < 2 && !(said && conf_has(n, "escalation")) && HAS_KEY(p->escalations, STR("default")))
        s->escalation = STR("default");
    if (k == 3 && !(said && conf_has(n, "digest")) && HAS_KEY(p->digests, STR("daily")))
        s->digest = STR("daily");
}

static void list_severities(struct conf_ctx *cx, const struct conf_node *list, struct am_policy *p)
{
    size_t k;
    p->all = arena_array(cx->a, struct am_severity, ARRAY_LEN(known) + p->severities.n);
    for (k = 0; k < ARRAY_LEN(known); k++) {
        struct am_severity s = severity_defaults;
        for (size_t i = 0; i < p->severities.n; i++)
            if (str_eq(p->severities.keys[i], known[k].name))
                s = p->severities.p[i];
        s.name = known[k].name;
        fill_known(cx->a, p, list ? conf_get(list, known[k].name) : NULL, k, &s);
        p->all[p->n_all++] = s;
    }
    for (size_t i = 0; i < p->severities.n; i++) {
        if (known_severity(p->severities.keys[i], &k))
            continue;
        p->severities.p[i].name = p->severities.keys[i];
        p->all[p->n_all++] = p->severities.p[i];
    }
    for (size_t i = 0; i < p->n_all; i++)
        add(cx->a, &p->all[i].match, p->all[i].name);
}

static void list_channels(struct conf_ctx *cx, struct am_policy *p)
{
    const struct conf_node *n = p->channels;
    if (!n)
        return;
    if (n->kind != CONF_MAP) {
        FAIL("channels is a mapping of names to receivers of alertmanager.yml");
        return;
    }
    p->channel = arena_array(cx->a, struct am_channel, n->n + 1);
    for (size_t i = 0; i < n->n; i++) {
        const struct conf_node *v = n->items[2 * i + 1];
        struct am_channel *c = &p->channel[p->n_channel++];
        *c = (struct am_channel){ .name = n->items[2 * i]->text };
        if (v->kind == CONF_SEQ) {
            struct conf_list l = { 0 };
            if (conf_read_strs(cx, v, &l) == OK) {
                c->receivers.p = l.p;
                c->receivers.n = l.n;
            }
        } else {
            c->receivers.p = arena_new(cx->a, str);
            if (conf_read_str(cx, v, c->receivers.p) == OK)
                c->receivers.n = 1;
        }
    }
}

/* ---- names must exist ---- */
static bool file_has_receiver(const struct conf_node *file, str name)
{
    const struct conf_node *list = conf_get(file, STR("receivers"));
    for (size_t i = 0; list && list->kind == CONF_SEQ && i < list->n; i++) {
        const struct conf_node *n = conf_get(list->items[i], STR("name"));
        if (n && n->kind == CONF_SCALAR && str_eq(n->text, name))
            return true;
    }
    return false;
}

static void check_channels(struct conf_ctx *cx, const struct conf_node *at, const struct conf_node *file,
                           const struct am_policy *p, const am_strs *names)
{
    for (size_t i = 0; i < names->n; i++)
        if (!channel(p, names->p[i]) && !file_has_receiver(file, names->p[i]))
            IGNORE_ERR(conf_error(cx, at,
                                  "\"" STR_FMT "\" is neither one of alert_policy.channels nor a receiver of "
                                  "alertmanager.yml",
                                  STR_ARG(names->p[i])));
}

static const struct conf_node *below(const struct conf_node *n, str key, str name)
{
    const struct conf_node *m = conf_get(n, key), *v = m ? conf_get(m, name) : NULL;
    return v ? v : m ? m : n;
}

static void check_names(struct conf_ctx *cx, const struct conf_node *n, const struct conf_node *file,
                        struct am_policy *p)
{
    for (size_t i = 0; i < p->n_channel; i++)
        for (size_t k = 0; k < p->channel[i].receivers.n; k++)
            if (!file_has_receiver(file, p->channel[i].receivers.p[k]))
                IGNORE_ERR(conf_error(cx, p->channels->items[2 * i + 1],
                                      "undefined receiver \"" STR_FMT "\": channels are receivers of alertmanager.yml",
                                      STR_ARG(p->channel[i].receivers.p[k])));
    for (size_t i = 0; i < p->n_all; i++) {
        const struct am_severity *s = &p->all[i];
        const struct conf_node *at = below(n, STR("severities"), s->name);
        check_channels(cx, at, file, p, &s->channels);
        if (s->escalation.n && !HAS_KEY(p->escalations, s->escalation))
            IGNORE_ERR(conf_error(cx, at, "undefined escalation \"" STR_FMT "\"", STR_ARG(s->escalation)));
        if (s->digest.n && !HAS_KEY(p->digests, s->digest))
            IGNORE_ERR(conf_error(cx, at, "undefined digest \"" STR_FMT "\"", STR_ARG(s->digest)));
        for (size_t k = 0; k < i; k++)
            for (size_t m = 0; m < s->match.n; m++)
                if (has(&p->all[k].match, s->match.p[m]))
                    IGNORE_ERR(conf_error(cx, at,
                                          "\"" STR_FMT "\" means " STR_FMT " already: one value is one severity",
                                          STR_ARG(s->match.p[m]), STR_ARG(p->all[k].name)));
    }
    for (size_t i = 0; i < p->escalations.n; i++) {
        const struct conf_node *at = below(n, STR("escalations"), p->escalations.keys[i]);
        for (size_t k = 0; k < p->escalations.p[i].steps.n; k++) {
            check_channels(cx, at, file, p, &p->escalations.p[i].steps.p[k].channels);
            if (k && p->escalations.p[i].steps.p[k].after_ms <= p->escalations.p[i].steps.p[k - 1].after_ms)
                IGNORE_ERR(conf_error(cx, at, "steps come one after the other: `after` must grow"));
        }
    }
    for (size_t i = 0; i < p->digests.n; i++)
        check_channels(cx, below(n, STR("digests"), p->digests.keys[i]), file, p, &p->digests.p[i].channels);
    for (size_t i = 0; i < p->drills.n; i++)
        if (p->drills.p[i].receiver.n && !file_has_receiver(file, p->drills.p[i].receiver))
            IGNORE_ERR(conf_error(cx, conf_get(n, STR("drills")), "undefined receiver \"" STR_FMT "\" of a drill",
                                  STR_ARG(p->drills.p[i].receiver)));
}

size_t am_policy_receivers(const struct am_policy *p, const am_strs *channels, struct arena *a, str **ret)
{
    am_strs v = { 0 };
    for (size_t i = 0; i < channels->n; i++) {
        const struct am_channel *c = channel(p, channels->p[i]);
        if (!c)
            add(a, &v, channels->p[i]);
        for (size_t k = 0; c && k < c->receivers.n; k++)
            add(a, &v, c->receivers.p[k]);
    }
    *ret = v.p;
    return v.n;
}

/* ---- writing YAML ---- */
struct writer {
    struct conf_ctx *cx;
    const struct conf_node *at; /* where errors point */
    const struct am_policy *p;
    VEC(struct conf_node *) routes, receivers;
};

/* room: entries of a sequence, or pairs of a map. */
static struct conf_node *node(struct writer *w, enum conf_node_kind kind, size_t room)
{
    struct conf_node *n = arena_new(w->cx->a, struct conf_node);
    *n = *w->at;
    n->kind = kind;
    n->plain = false;
    n->text = STR("");
    n->n = 0;
    n->weight = 1;
    n->items = arena_array(w->cx->a, struct conf_node *, 2 * room + 1);
    return n;
}

static struct conf_node *scalar(struct writer *w, str text)
{
    struct conf_node *n = node(w, CONF_SCALAR, 0);
    n->text = arena_str(w->cx->a, text);
    return n;
}

static struct conf_node *plain(struct writer *w, str text)
{
    struct conf_node *n = scalar(w, text);
    n->plain = true;
    return n;
}

static void put(struct writer *w, struct conf_node *map, const char *key, struct conf_node *value)
{
    map->items[2 * map->n] = plain(w, str_c(key));
    map->items[2 * map->n++ + 1] = value;
}

static void put_ms(struct writer *w, struct conf_node *map, const char *key, int64_t ms)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_duration(&b, ms);
    put(w, map, key, plain(w, buf_str(&b)));
}

static struct conf_node *list_of(struct writer *w, struct conf_node *item)
{
    struct conf_node *n = node(w, CONF_SEQ, 1);
    n->items[n->n++] = item;
    return n;
}

/* severity=~"P1|critical", with what a regular expression means something by escaped */
static str severity_matcher(struct writer *w, const struct am_severity *s)
{
    AUTO_BUF struct buf b, re;
    buf_init(&b, 0);
    buf_init(&re, 0);
    for (size_t i = 0; i < s->match.n; i++) {
        if (i)
            buf_u8(&re, '|');
        for (size_t k = 0; k < s->match.p[i].n; k++) {
            if (str_find_char(STR("\\.+*?()|[]{}^$"), s->match.p[i].p[k]) != SIZE_MAX)
                buf_u8(&re, '\\');
            buf_u8(&re, (unsigned char)s->match.p[i].p[k]);
        }
    }
    if (labels_valid_name(w->p->severity_label)) /* older tools know no quotes here */
        buf_str_add(&b, w->p->severity_label);
    else
        buf_go_quote(&b, w->p->severity_label);
    buf_lit(&b, "=~");
    buf_go_quote(&b, buf_str(&re));
    return arena_str(w->cx->a, buf_str(&b));
}

static struct conf_node *route(struct writer *w, str matcher, str receiver)
{
    struct conf_node *r = node(w, CONF_MAP, 10);
    put(w, r, "receiver", scalar(w, receiver));
    put(w, r, "matchers", list_of(w, scalar(w, matcher)));
    put(w, r, "continue", plain(w, STR("true")));
    vec_push(&w->routes, r);
    return r;
}

static struct conf_node *label_map(struct writer *w, const char *key, str value)
{
    struct conf_node *m = node(w, CONF_MAP, 1);
    put(w, m, key, scalar(w, value));
    return m;
}

static const struct am_digest *digest_of(const struct am_policy *p, str name)
{
    for (size_t i = 0; i < p->digests.n; i++)
        if (name.n && str_eq(p->digests.keys[i], name))
            return &p->digests.p[i];
    return NULL;
}

static const struct am_escalation *escalation_of(const struct am_policy *p, str name)
{
    for (size_t i = 0; i < p->escalations.n; i++)
        if (name.n && str_eq(p->escalations.keys[i], name))
            return &p->escalations.p[i];
    return NULL;
}

/* One route of a severity, in the order in which they are written; am_policy_attach() goes the same way. */
struct made {
    const struct am_severity *severity;
    str receiver;
    const struct am_digest *digest;
    const struct am_escalation *escalation;
    unsigned step;
    int64_t after_ms;
};
#define DASHBOARD "vane-dashboard" /* a receiver that tells nobody */
#define WATCHDOG  "vane-watchdog"

static size_t routes_of(struct arena *a, const struct am_policy *p, const struct am_severity *s, struct made **ret)
{
    VEC(struct made) v = { 0 };
    str *names;
    const struct am_escalation *e = escalation_of(p, s->escalation);
    const struct am_digest *d = digest_of(p, s->digest);
    size_t n = am_policy_receivers(p, &s->channels, a, &names);
    for (size_t i = 0; i < n; i++)
        avec_push(a, &v, ((struct made){ .severity = s, .receiver = names[i], .escalation = e }));
    n = d ? am_policy_receivers(p, &d->channels, a, &names) : 0;
    for (size_t i = 0; i < n; i++)
        avec_push(a, &v, ((struct made){ .severity = s, .receiver = names[i], .digest = d }));
    for (size_t k = 0; v.n && e && k < e->steps.n; k++) {
        n = am_policy_receivers(p, &e->steps.p[k].channels, a, &names);
        for (size_t i = 0; i < n; i++)
            avec_push(a, &v, ((struct made){ s, names[i], NULL, e, (unsigned)k + 1, e->steps.p[k].after_ms }));
    }
    if (!v.n && !s->digest.n && s->response_ms == AM_BUSINESS_HOURS) /* seen in the UI alone */
        avec_push(a, &v, ((struct made){ .severity = s, .receiver = STR(DASHBOARD) }));
    *ret = v.p;
    return v.n;
}

static void write_severity(struct writer *w, const struct am_severity *s)
{
    struct made *v;
    str matcher = severity_matcher(w, s);
    size_t n = routes_of(w->cx->a, w->p, s, &v);
    for (size_t i = 0; i < n; i++) {
        struct conf_node *r = route(w, matcher, v[i].receiver);
        if (v[i].digest) {
            put(w, r, "group_by", node(w, CONF_SEQ, 0));
            put_ms(w, r, "group_interval", 6 * 3600000ll); /* for how long sending is tried again */
            put(w, r, "labels", label_map(w, "digest", s->digest));
        } else if (v[i].step) {
            put_ms(w, r, "group_wait", 0);
        } else if (s->group_wait_ms >= 0) {
            put_ms(w, r, "group_wait", s->group_wait_ms);
        }
        if (!v[i].digest && s->repeat_ms > 0)
            put_ms(w, r, "repeat_interval", s->repeat_ms);
    }
    if (n && !s->goes_on) {
        struct conf_node *last = vec_last(&w->routes);
        last->items[5] = plain(w, STR("false"));
    }
}

static void write_watchdog(struct writer *w, const struct am_watchdog *d)
{
    AUTO_BUF struct buf b;
    struct conf_node *r, *hook = node(w, CONF_MAP, 3), *receiver = node(w, CONF_MAP, 2);
    buf_init(&b, 0);
    buf_lit(&b, "alertname=");
    buf_go_quote(&b, d->alert);
    r = route(w, buf_str(&b), STR(WATCHDOG));
    put(w, r, "group_by", list_of(w, scalar(w, STR("alertname"))));
    put_ms(w, r, "group_wait", 0);
    put_ms(w, r, "group_interval", d->period_ms);
    put_ms(w, r, "repeat_interval", MAX(d->period_ms / 2, 1));
    r->items[5] = plain(w, STR("false")); /* nobody else wants to hear of it */
    put(w, hook, "send_resolved", plain(w, STR("false")));
    put(w, hook, d->url_file.n ? "url_file" : "url", scalar(w, d->url_file.n ? d->url_file : d->url.value));
    put(w, receiver, "name", scalar(w, STR(WATCHDOG)));
    put(w, receiver, "webhook_configs", list_of(w, hook));
    vec_push(&w->receivers, receiver);
}

/* A copy of a map with one key's list having more in front or behind. */
static const struct conf_node *with_list(struct writer *w, const struct conf_node *map, str key,
                                         struct conf_node *const *more, size_t n, bool in_front)
{
    const struct conf_node *old = conf_get(map, key);
    struct conf_node *copy = arena_new(w->cx->a, struct conf_node), *list;
    size_t n_old = old && old->kind == CONF_SEQ ? old->n : 0, at = map->n;
    if (!n || (old && old->kind != CONF_SEQ && old->kind != CONF_NULL)) /* wrong: said where it is read */
        return map;
    list = node(w, CONF_SEQ, n_old + n);
    if (old) {
        struct conf_node *items = (struct conf_node *)(void *)list->items;
        *list = *old;
        list->kind = CONF_SEQ;
        list->items = (void *)items;
    }
    list->n = n_old + n;
    for (size_t i = 0; i < n_old; i++)
        list->items[in_front ? n + i : i] = old->items[i];
    for (size_t i = 0; i < n; i++)
        list->items[in_front ? i : n_old + i] = more[i];
    *copy = *map;
    copy->items = arena_array(w->cx->a, struct conf_node *, 2 * map->n + 2);
    if (map->n)
        memcpy(copy->items, map->items, 2 * map->n * sizeof(*copy->items));
    for (size_t i = 0; i < map->n; i++)
        if (str_eq(map->items[2 * i]->text, key))
            at = i;
    if (at == map->n) {
        copy->items[2 * at] = plain(w, key);
        copy->n++;
    }
    copy->items[2 * at + 1] = list;
    return copy;
}

static const struct conf_node *with_value(struct writer *w, const struct conf_node *map, str key,
                                          const struct conf_node *value)
{
    struct conf_node *copy = arena_new(w->cx->a, struct conf_node);
    *copy = *map;
    copy->items = arena_array(w->cx->a, struct conf_node *, 2 * map->n + 2);
    if (map->n)
        memcpy(copy->items, map->items, 2 * map->n * sizeof(*copy->items));
    for (size_t i = 0; i < map->n; i++)
        if (str_eq(map->items[2 * i]->text, key))
            copy->items[2 * i + 1] = (struct conf_node *)(uintptr_t)value;
    return copy;
}

static void read_hours(struct conf_ctx *cx, const struct conf_node *n, struct am_policy *p)
{
    if (p->business_hours && p->business_hours->kind != CONF_SEQ)
        IGNORE_ERR(conf_error(cx, p->business_hours,
                              "business_hours is a list of time intervals, as `time_intervals` of alertmanager.yml has "
                              "them"));
    else if (p->business_hours)
        IGNORE_ERR(am_intervals_conf(cx, p->business_hours, &p->hours)); /* said in cx */
    (void)n;
}

static void write_dashboard(struct writer *w)
{
    for (size_t i = 0; i < w->routes.n; i++)
        if (str_eq(w->routes.p[i]->items[1]->text, STR(DASHBOARD))) {
            struct conf_node *r = node(w, CONF_MAP, 1);
            put(w, r, "name", scalar(w, STR(DASHBOARD)));
            vec_push(&w->receivers, r);
            return;
        }
}

enum err am_policy_compile(struct conf_ctx *cx, const struct conf_node *n, const struct conf_node *file,
                           const struct conf_node **ret_root, struct am_policy **ret)
{
    size_t errors = cx->n_errors;
    struct am_policy *p = arena_new(cx->a, struct am_policy);
    *ret_root = file;
    *ret = NULL;
    if (!n || n->kind == CONF_NULL)
        return OK;
    TRY(conf_decode(cx, n, &am_policy_schema, p));
    for (size_t i = 0; i < p->digests.n; i++)
        p->digests.p[i].name = p->digests.keys[i];
    list_channels(cx, p);
    list_severities(cx, conf_get(n, STR("severities")), p);
    read_hours(cx, n, p);
    check_names(cx, n, file, p);
    if (cx->n_errors != errors)
        return ERR_INVALID;
    struct writer w = { .cx = cx, .at = n, .p = p };
    if (p->watchdog)
        write_watchdog(&w, p->watchdog);
    for (size_t i = 0; i < p->n_all; i++)
        write_severity(&w, &p->all[i]);
    write_dashboard(&w);
    const struct conf_node *root = with_list(&w, file, STR("receivers"), w.receivers.p, w.receivers.n, false),
                           *top = conf_get(file, STR("route"));
    if (top && top->kind == CONF_MAP)
        root = with_value(&w, root, STR("route"), with_list(&w, top, STR("routes"), w.routes.p, w.routes.n, true));
    vec_free(&w.routes);
    vec_free(&w.receivers);
    *ret_root = root;
    *ret = p;
    return OK;
}

/* ---- after the routes were read ---- */
static void attach(struct conf_ctx *cx, struct am_route *r, const struct made *m)
{
    struct am_route_policy *rp = arena_new(cx->a, struct am_route_policy);
    *rp = (struct am_route_policy){
        m->severity, m->digest, m->escalation, m->severity->escalation, m->step, m->after_ms
    };
    r->policy = rp;
    /* Two routes to one receiver must not share what they were told. */
    str part = m->digest ? arena_printf(cx->a, "/{digest=\"" STR_FMT "\"}", STR_ARG(m->digest->name))
               : m->step
                   ? arena_printf(cx->a, "/{escalation=\"" STR_FMT "/%u\"}", STR_ARG(rp->escalation_name), m->step)
                   : STR("");
    r->key = arena_printf(cx->a, STR_FMT STR_FMT, STR_ARG(r->key), STR_ARG(part));
    r->id = arena_printf(cx->a, STR_FMT STR_FMT, STR_ARG(r->id), STR_ARG(part));
}

static struct am_route *drill_route(struct arena *a, const struct am_config *c, size_t i)
{
    static const str by[] = { STR_INIT("alertname"), STR_INIT(AM_DRILL_RECEIVER) };
    struct am_route *r = arena_new(a, struct am_route);
    *r = *c->route;
    r->parent = c->route;
    r->routes = NULL;
    r->n_routes = 0;
    r->index = c->n_routes + i;
    r->goes_on = false;
    r->receiver = c->receivers.p[i].name;
    r->group_by = (str *)(uintptr_t)by;
    r->n_group_by = ARRAY_LEN(by);
    r->group_by_all = false;
    r->group_wait_ms = 0;
    r->key = r->id = arena_printf(a, "{}/{" AM_DRILL_RECEIVER "=\"" STR_FMT "\"}", STR_ARG(r->receiver));
    return r;
}

void am_policy_attach(struct conf_ctx *cx, struct am_config *c)
{
    const struct am_policy *p = c->policy;
    size_t at = p && p->watchdog ? 1 : 0;
    if (!c->route)
        return;
    c->drill_routes = arena_array(cx->a, const struct am_route *, c->receivers.n + 1);
    for (size_t i = 0; i < c->receivers.n; i++)
        c->drill_routes[i] = drill_route(cx->a, c, i);
    for (size_t i = 0; p && i < p->n_all; i++) {
        struct made *v;
        size_t n = routes_of(cx->a, p, &p->all[i], &v);
        for (size_t k = 0; k < n && at < c->route->n_routes; k++)
            attach(cx, c->route->routes[at++], &v[k]);
    }
}

/* ---- questions ---- */
const struct am_severity *am_policy_severity(const struct am_policy *p, struct labels ls)
{
    str v = labels_get(ls, p->severity_label);
    for (size_t i = 0; v.n && i < p->n_all; i++)
        if (has(&p->all[i].match, v))
            return &p->all[i];
    return NULL;
}

/* The end of the first stretch of business hours that holds or follows a moment, to the minute. */
static int64_t business_end_ms(const struct am_intervals *hours, int64_t ms)
{
    int64_t t = ms / 1000 / 60 * 60, end = t + 62 * DAY_S;
    while (t < end && !am_intervals_contain(hours, t))
        t += 60;
    while (t < end && am_intervals_contain(hours, t))
        t += 60;
    return t < end ? t * 1000 : INT64_MAX;
}

int64_t am_policy_due_ms(const struct am_policy *p, const struct am_severity *s, int64_t start_ms)
{
    if (s->response_ms != AM_BUSINESS_HOURS)
        return s->response_ms == INT64_MAX ? INT64_MAX : start_ms + s->response_ms;
    return p->hours.n ? business_end_ms(&p->hours, start_ms) : INT64_MAX;
}

int64_t am_policy_last_end_ms(const struct am_policy *p, int64_t now_ms)
{
    int64_t t = now_ms / 1000 / 60 * 60, from = t - 62 * DAY_S;
    bool inside = p->hours.n && am_intervals_contain(&p->hours, t);
    for (; p->hours.n && t > from; t -= 60) {
        bool before = am_intervals_contain(&p->hours, t - 60);
        if (before && !inside)
            return t * 1000;
        inside = before;
    }
    return INT64_MIN;
}

/* In business hours: the first stretch that holds or follows the beginning is over when any ended after it. */
bool am_policy_overdue(const struct am_policy *p, const struct am_severity *s, int64_t start_ms, int64_t now_ms,
                       int64_t last_end_ms)
{
    return s->response_ms == AM_BUSINESS_HOURS ? last_end_ms > start_ms : am_policy_due_ms(p, s, start_ms) < now_ms;
}

int64_t am_policy_resolve_wait_ms(const struct am_policy *p, const struct am_route *r)
{
    if (!p)
        return 0;
    const struct am_severity *s = r->policy ? r->policy->severity : NULL;
    return s && s->resolve_wait_ms >= 0 ? s->resolve_wait_ms : p->resolve_wait_ms;
}

/* ---- drills ---- */
bool am_is_drill(struct labels ls)
{
    return str_eq(labels_get(ls, STR(AM_DRILL_LABEL)), STR("true"));
}

size_t am_config_routes(const struct am_config *c, struct labels ls, const struct am_route **ret, size_t max)
{
    str name = am_is_drill(ls) ? labels_get(ls, STR(AM_DRILL_RECEIVER)) : STR("");
    for (size_t i = 0; name.n && i < c->receivers.n; i++)
        if (str_eq(c->receivers.p[i].name, name)) {
            if (max)
                ret[0] = c->drill_routes[i];
            return 1;
        }
    return am_route_match(c->route, ls, ret, max);
}
