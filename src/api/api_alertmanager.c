/* Alertmanager's API, version 2, under /api/v2 and /alertmanager/api/v2: alerts, groups, silences, receivers, status.
 * Errors are JSON strings or {"code","message"}, as its clients (amtool, Prometheus, Grafana) expect them.
 * Alerts and silences are the default tenant's.
 * Spec: github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml. */
#include <stdio.h>

#include "alerting/am.h"

#include "api/api_int.h"

enum { AM_POST_ALERTS_MAX = 100000 };

/* ---- answers ---- */
static void fail(struct http_response *rs, int status, str message)
{
    struct json_out j = json_out_init(&rs->body);
    rs->status = status;
    json_str(&j, message);
}

static void fail_code(struct http_response *rs, int status, int code, str message)
{
    struct json_out j = json_out_init(&rs->body);
    rs->status = status;
    json_obj(&j);
    json_ki64(&j, "code", code);
    json_kstr(&j, "message", message);
    json_obj_end(&j);
}

static void empty(struct http_response *rs, int status)
{
    http_answer(rs, status, STR(""), STR(""));
}

static struct am *engine(struct http_request *rq, struct http_response *rs)
{
    const struct api_alertmanager *x = api_of(rq)->d.alertmanager;
    if (x && !api_tenant_foreign(rq, rs))
        return x->am;
    if (!x)
        fail(rs, 404, STR("no Alertmanager runs here: name its file under `alertmanager:` in vane.yaml"));
    return NULL;
}

static void wake(struct http_request *rq)
{
    const struct api_alertmanager *x = api_of(rq)->d.alertmanager;
    if (x->wake)
        x->wake(x->ctx);
}

static void json_time(struct json_out *j, str key, int64_t ms)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_rfc3339_ms(&b, ms);
    if (ms % 1000 == 0) { /* always with milliseconds */
        b.n--;
        buf_lit(&b, ".000Z");
    }
    json_key(j, key);
    json_str(j, buf_str(&b));
}

static void json_fingerprint(struct json_out *j, uint64_t fp)
{
    char text[17];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)fp);
    json_str(j, str_c(text));
}

static void json_name(struct json_out *j, str name)
{
    json_obj(j);
    json_kstr(j, "name", name);
    json_obj_end(j);
}

/* ---- parameters ---- */
static bool flag(const struct http_request *rq, str name)
{
    static const char *const yes[] = { "true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled" };
    str v = http_param(rq, name);
    bool is = !v.p || !v.n;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        is |= str_ieq(v, str_c(yes[i]));
    return is;
}

struct filter {
    struct am_matchers m;
    struct rx *receiver; /* NULL: all */
    bool active, silenced, inhibited;
};

static void filter_free(struct filter *f)
{
    am_matchers_free(&f->m);
    rx_free(f->receiver);
}

static bool read_matchers(struct http_request *rq, struct http_response *rs, struct filter *f)
{
    const str *texts;
    size_t n = http_params(rq, STR("filter"), &texts);
    struct err_text why;
    f->m.p = arena_array(rq->a, struct am_matcher, n + 1);
    for (size_t i = 0; i < n && i < AM_MATCHERS_MAX; i++) {
        if (am_matcher_parse(rq->a, texts[i], AM_FALLBACK, &f->m.p[i], &why) != OK) {
            fail(rs, 400, arena_printf(rq->a, "bad matcher format: " STR_FMT, STR_ARG(str_take(texts[i], 500))));
            return false;
        }
        f->m.n++;
    }
    return true;
}

static bool read_filter(struct http_request *rq, struct http_response *rs, struct filter *f)
{
    str receiver = http_param(rq, STR("receiver"));
    struct err_text why;
    *f = (struct filter){ .active = flag(rq, STR("active")),
                          .silenced = flag(rq, STR("silenced")),
                          .inhibited = flag(rq, STR("inhibited")) };
    bool ok = read_matchers(rq, rs, f);
    if (ok && receiver.n && rx_compile(receiver, true, &f->receiver, &why) != OK) {
        f->receiver = NULL;
        fail(rs, 400, arena_printf(rq->a, "failed to parse receiver param: %s", why.msg));
        ok = false;
    }
    if (!ok)
        filter_free(f);
    return ok;
}

static bool wanted(const struct filter *f, const struct am_alert_view *v)
{
    bool suppressed = v->n_silenced_by || v->n_inhibited_by, to = !f->receiver;
    for (size_t i = 0; i < v->n_receivers && !to; i++)
        to = rx_match(f->receiver, v->receivers[i]);
    return to && (f->active || suppressed) && (f->silenced || !v->n_silenced_by) &&
           (f->inhibited || !v->n_inhibited_by) && am_matchers_match(&f->m, v->alert.labels);
}

/* ---- alerts ---- */
static void alert_json(struct json_out *j, const struct am_alert_view *v)
{
    bool suppressed = v->n_silenced_by || v->n_inhibited_by;
    json_obj(j);
    json_key(j, STR("annotations"));
    labels_json(j, v->alert.annotations);
    json_time(j, STR("endsAt"), v->alert.ends_ms);
    json_key(j, STR("fingerprint"));
    json_fingerprint(j, v->alert.fingerprint);
    json_key(j, STR("receivers"));
    json_arr(j);
    for (size_t i = 0; i < v->n_receivers; i++)
        json_name(j, v->receivers[i]);
    json_arr_end(j);
    json_time(j, STR("startsAt"), v->alert.starts_ms);
    json_key(j, STR("status"));
    json_obj(j);
    json_key(j, STR("inhibitedBy"));
    json_arr(j);
    for (size_t i = 0; i < v->n_inhibited_by; i++)
        json_fingerprint(j, v->inhibited_by[i]);
    json_arr_end(j);
    json_key(j, STR("silencedBy"));
    json_arr(j);
    for (size_t i = 0; i < v->n_silenced_by; i++)
        json_str(j, v->silenced_by[i]);
    json_arr_end(j);
    json_kstr(j, "state", suppressed ? STR("suppressed") : STR("active"));
    json_obj_end(j);
    json_time(j, STR("updatedAt"), v->alert.updated_ms);
    if (v->alert.generator_url.n)
        json_kstr(j, "generatorURL", v->alert.generator_url);
    json_key(j, STR("labels"));
    labels_json(j, v->alert.labels);
    json_obj_end(j);
}

static void get_alerts(struct http_request *rq, struct http_response *rs)
{
    struct am *am = engine(rq, rs);
    struct filter f;
    struct am_alert_view *v;
    size_t n;
    if (!am || !read_filter(rq, rs, &f))
        return;
    struct json_out j = json_out_init(&rs->body);
    am_alerts(am, api_now_ms(api_of(rq)), rq->a, &v, &n);
    json_arr(&j);
    for (size_t i = 0; i < n; i++)
        if (wanted(&f, &v[i]))
            alert_json(&j, &v[i]);
    json_arr_end(&j);
    filter_free(&f);
}

static void group_json(struct json_out *j, const struct filter *f, const struct am_group_view *g)
{
    bool any = false;
    for (size_t i = 0; i < g->n; i++) {
        if (!wanted(f, g->alerts[i]))
            continue;
        if (!any) {
            json_obj(j);
            json_key(j, STR("alerts"));
            json_arr(j);
        }
        any = true;
        alert_json(j, g->alerts[i]);
    }
    if (!any)
        return;
    json_arr_end(j);
    json_key(j, STR("labels"));
    labels_json(j, g->labels);
    json_key(j, STR("receiver"));
    json_name(j, g->receiver);
    json_obj_end(j);
}

static void get_groups(struct http_request *rq, struct http_response *rs)
{
    struct am *am = engine(rq, rs);
    struct filter f;
    struct am_group_view *g;
    size_t n;
    if (!am || !read_filter(rq, rs, &f))
        return;
    struct json_out j = json_out_init(&rs->body);
    am_groups(am, api_now_ms(api_of(rq)), rq->a, &g, &n);
    json_arr(&j);
    for (size_t i = 0; i < n; i++)
        if (!f.receiver || rx_match(f.receiver, g[i].receiver))
            group_json(&j, &f, &g[i]);
    json_arr_end(&j);
    filter_free(&f);
}

/* ---- reading bodies ---- */
struct reader { /* the first thing wrong is kept in why */
    struct json_in in;
    struct arena *a;
    const char *go_type; /* "models.PostableAlerts" */
    str why;
    str missing[8]; /* of required fields */
    size_t n_missing;
};

static const char *kind_of(enum json_tok t)
{
    return t == JSON_TOK_OBJ   ? "object"
           : t == JSON_TOK_ARR ? "array"
           : t == JSON_TOK_STR ? "string"
           : t == JSON_TOK_NUM ? "number"
                               : "bool";
}

static void broken(struct reader *r, enum json_tok got)
{
    struct err_text why;
    if (r->why.n)
        return;
    if (got != JSON_TOK_ERR)
        r->why = arena_printf(r->a, "json: cannot unmarshal %s into Go value of type %s", kind_of(got), r->go_type);
    else if (r->in.p >= r->in.end)
        r->why = STR("unexpected EOF");
    else {
        IGNORE_ERR(json_fail(&r->in, &why)); /* the text is what is wanted */
        r->why = arena_printf(r->a, "%s", why.msg);
    }
}

static bool expect(struct reader *r, enum json_tok want)
{
    enum json_tok t = json_next(&r->in);
    if (t != want)
        broken(r, t);
    return t == want;
}

/* The next key of an object: false at its end, or if something is wrong. */
static bool next_key(struct reader *r, str *ret)
{
    enum json_tok t = json_next(&r->in);
    *ret = r->in.text;
    if (t != JSON_TOK_KEY && t != JSON_TOK_OBJ_END)
        broken(r, t);
    return t == JSON_TOK_KEY;
}

static void read_str(struct reader *r, str *ret)
{
    enum json_tok t = json_next(&r->in);
    if (t == JSON_TOK_STR)
        *ret = arena_str(r->a, r->in.text);
    else if (t != JSON_TOK_NULL)
        broken(r, t);
}

static void read_bool(struct reader *r, bool *ret)
{
    enum json_tok t = json_next(&r->in);
    if (t == JSON_TOK_TRUE || t == JSON_TOK_FALSE)
        *ret = t == JSON_TOK_TRUE;
    else if (t != JSON_TOK_NULL)
        broken(r, t);
}

static void read_time(struct reader *r, int64_t *ret_ms)
{
    str s = STR("");
    read_str(r, &s);
    if (!s.n || str_has_prefix(s, STR("0001-01-01T00:00:00")))
        return;
    if ((s.n < 11 || s.p[10] != 'T' || !num_parse_time(s, ret_ms)) && !r->why.n)
        r->why = arena_printf(r->a, "parsing time \"" STR_FMT "\" as RFC 3339 failed", STR_ARG(str_take(s, 60)));
}

static void skip_value(struct reader *r)
{
    enum json_tok t = json_next(&r->in);
    if (t == JSON_TOK_ERR || !json_skip(&r->in))
        broken(r, JSON_TOK_ERR);
}

static bool read_labels(struct reader *r, struct labels *ret)
{
    struct label_builder b;
    str key;
    enum json_tok t = json_next(&r->in);
    if (t == JSON_TOK_NULL)
        return false;
    if (t != JSON_TOK_OBJ) {
        broken(r, t);
        return false;
    }
    VEC(struct label) v = { 0 };
    lb_init(&b, r->a);
    while (!r->why.n && next_key(r, &key)) {
        struct label l = { arena_str(r->a, key), STR("") };
        read_str(r, &l.value);
        avec_push(r->a, &v, l);
    }
    /* A duplicate name: the last one counts, as in Go's JSON. Sorting is the engine's. */
    lb_reset(&b, LABELS_NONE);
    for (size_t i = 0; i < v.n && v.n < 1000; i++)
        lb_set(&b, v.p[i].name, v.p[i].value.n ? v.p[i].value : STR(""));
    *ret = v.n < 1000 ? lb_labels(&b) : (struct labels){ v.p, v.n };
    if (v.n >= 1000 && !r->why.n)
        r->why = STR("more than 1000 labels");
    return true;
}

static void missing(struct reader *r, const char *name)
{
    if (r->n_missing < ARRAY_LEN(r->missing))
        r->missing[r->n_missing++] = arena_printf(r->a, "%s in body is required", name);
}

static void parse_failed(struct http_request *rq, struct http_response *rs, const struct reader *r, const char *what)
{
    fail_code(rs, 400, 400,
              arena_printf(rq->a, "parsing %s body from \"\" failed, because " STR_FMT, what, STR_ARG(r->why)));
}

static void required_failed(struct http_request *rq, struct http_response *rs, const struct reader *r)
{
    AUTO_BUF struct buf b;
    (void)rq;
    buf_init(&b, 0);
    if (r->n_missing > 1)
        buf_lit(&b, "validation failure list:\n");
    for (size_t i = 0; i < r->n_missing; i++)
        buf_printf(&b, "%s" STR_FMT, i ? "\n" : "", STR_ARG(r->missing[i]));
    fail_code(rs, 422, r->n_missing > 1 ? 422 : 602, buf_str(&b));
}

static bool read_alert(struct reader *r, size_t index, struct am_alert *al)
{
    str key;
    bool has_labels = false;
    *al = (struct am_alert){ 0 };
    while (!r->why.n && next_key(r, &key)) {
        if (str_eq(key, STR("labels")))
            has_labels = read_labels(r, &al->labels);
        else if (str_eq(key, STR("annotations")))
            read_labels(r, &al->annotations);
        else if (str_eq(key, STR("startsAt")))
            read_time(r, &al->starts_ms);
        else if (str_eq(key, STR("endsAt")))
            read_time(r, &al->ends_ms);
        else if (str_eq(key, STR("generatorURL")))
            read_str(r, &al->generator_url);
        else
            skip_value(r);
    }
    if (!r->why.n && !has_labels)
        missing(r, arena_printf(r->a, "%zu.labels", index).p);
    return !r->why.n;
}

static void post_alerts(struct http_request *rq, struct http_response *rs)
{
    struct am *am = engine(rq, rs);
    struct reader r = { .a = rq->a, .go_type = "models.PostableAlerts" };
    VEC(struct am_alert) v = { 0 };
    AUTO_BUF struct buf why = { 0 };
    enum json_tok t;
    if (!am)
        return;
    buf_init(&why, 1 << 16);
    json_in_init(&r.in, rq->a, rq->body);
    if (expect(&r, JSON_TOK_ARR)) {
        r.go_type = "models.PostableAlert";
        while (!r.why.n && (t = json_next(&r.in)) != JSON_TOK_ARR_END) {
            struct am_alert al;
            if (t != JSON_TOK_OBJ)
                broken(&r, t);
            else if (v.n >= AM_POST_ALERTS_MAX)
                r.why = STR("more than 100000 alerts in one request");
            else if (read_alert(&r, v.n, &al))
                avec_push(rq->a, &v, al);
        }
        if (!r.why.n)
            expect(&r, JSON_TOK_END);
    }
    if (r.why.n) {
        parse_failed(rq, rs, &r, "alerts");
    } else if (r.n_missing) {
        required_failed(rq, rs, &r);
    } else {
        enum err e = am_post(am, v.p, v.n, api_now_ms(api_of(rq)), NULL, &why);
        wake(rq);
        if (e)
            fail(rs, e == ERR_INVALID ? 400 : 500, buf_str(&why));
        else
            empty(rs, 200);
    }
}

/* ---- silences ---- */
static void silence_json(struct json_out *j, const struct am_silence *s, int64_t now_ms)
{
    static const char *const states[] = { "active", "pending", "expired" };
    json_obj(j);
    json_kstr(j, "id", s->id);
    json_key(j, STR("status"));
    json_obj(j);
    json_kstr(j, "state", str_c(states[am_silence_state(s, now_ms)]));
    json_obj_end(j);
    json_time(j, STR("updatedAt"), s->updated_ms);
    json_kstr(j, "comment", s->comment);
    json_kstr(j, "createdBy", s->created_by);
    json_time(j, STR("endsAt"), s->ends_ms);
    json_key(j, STR("matchers"));
    json_arr(j);
    for (size_t i = 0; i < s->matchers.n; i++) {
        const struct am_matcher *m = &s->matchers.p[i];
        json_obj(j);
        json_kbool(j, "isEqual", m->type == AM_EQ || m->type == AM_RE);
        json_kbool(j, "isRegex", m->type == AM_RE || m->type == AM_NRE);
        json_kstr(j, "name", m->name);
        json_kstr(j, "value", m->value);
        json_obj_end(j);
    }
    json_arr_end(j);
    json_time(j, STR("startsAt"), s->starts_ms);
    json_obj_end(j);
}

/* Filters look at a silence's matchers as if they were labels. */
static bool silence_wanted(const struct filter *f, const struct am_silence *s, struct arena *a)
{
    struct label_builder b;
    if (!f->m.n)
        return true;
    lb_init(&b, a);
    lb_reset(&b, LABELS_NONE);
    for (size_t i = 0; i < s->matchers.n; i++)
        lb_set(&b, s->matchers.p[i].name, s->matchers.p[i].value);
    return am_matchers_match(&f->m, lb_labels(&b));
}

static void get_silences(struct http_request *rq, struct http_response *rs)
{
    struct am *am = engine(rq, rs);
    struct filter f = { 0 };
    struct am_silence *s;
    size_t n;
    int64_t now = api_now_ms(api_of(rq));
    if (am && read_matchers(rq, rs, &f)) {
        struct json_out j = json_out_init(&rs->body);
        am_silences(am, now, rq->a, &s, &n);
        json_arr(&j);
        for (size_t i = 0; i < n; i++)
            if (silence_wanted(&f, &s[i], rq->a))
                silence_json(&j, &s[i], now);
        json_arr_end(&j);
    }
    filter_free(&f);
}

static bool is_uuid(str s)
{
    bool ok = s.n == AM_ID_LEN;
    for (size_t i = 0; i < s.n && ok; i++)
        ok = i == 8 || i == 13 || i == 18 || i == 23 ? s.p[i] == '-' : strchr("0123456789abcdefABCDEF", s.p[i]) != NULL;
    return ok;
}

static struct am *engine_and_id(struct http_request *rq, struct http_response *rs)
{
    struct am *am = engine(rq, rs);
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    if (!am || is_uuid(rq->captures[0]))
        return am;
    buf_lit(&b, "silenceID in path must be of type uuid: ");
    buf_go_quote(&b, str_take(rq->captures[0], 200));
    fail_code(rs, 422, 601, buf_str(&b));
    return NULL;
}

static void get_silence(struct http_request *rq, struct http_response *rs)
{
    struct am *am = engine_and_id(rq, rs);
    struct am_silence *s;
    size_t n;
    int64_t now = api_now_ms(api_of(rq));
    if (!am)
        return;
    am_silences(am, now, rq->a, &s, &n);
    for (size_t i = 0; i < n; i++)
        if (str_eq(s[i].id, rq->captures[0])) {
            struct json_out j = json_out_init(&rs->body);
            silence_json(&j, &s[i], now);
            return;
        }
    empty(rs, 404);
}

static void delete_silence(struct http_request *rq, struct http_response *rs)
{
    struct am *am = engine_and_id(rq, rs);
    struct err_text why;
    enum err e = am ? am_silence_expire(am, rq->captures[0], api_now_ms(api_of(rq)), &why) : OK;
    if (am && (e == OK || e == ERR_NOT_FOUND))
        empty(rs, e ? 404 : 200);
    else if (am)
        fail(rs, 500, str_c(why.msg));
}

struct posted {
    struct am_silence s;
    str invalid; /* of a matcher */
};

/* Why a regular expression is bad, in Go's words. */
static void regexp_error(struct buf *b, str value)
{
    static const char *const words[][2] = {
        { "missing ]", "missing closing ]" },
        { "missing )", "missing closing )" },
        { "no argument for repetition operator", "missing argument to repetition operator" },
        { "bad repetition operator", "invalid nested repetition operator" },
        { "trailing \\", "trailing backslash at end of expression" },
    };
    struct rx *rx = NULL;
    struct err_text why = { .msg = "invalid" };
    if (rx_compile(value, false, &rx, &why) == OK)
        rx_free(rx);
    str what = str_c(why.msg), part = STR(""), head = STR("error parsing regexp: ");
    if (str_has_prefix(what, head))
        what = str_skip(what, head.n);
    size_t colon = str_find(what, STR(": "));
    if (colon != SIZE_MAX) {
        part = str_skip(what, colon + 2);
        what = str_take(what, colon);
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq(what, str_c(words[i][0])))
            what = str_c(words[i][1]);
    buf_str_add(b, what);
    if (part.n)
        buf_printf(b, ": `" STR_FMT "`", STR_ARG(part));
}

static void read_matcher(struct reader *r, struct posted *p)
{
    str key, name = STR_NONE, value = STR_NONE;
    bool regex = false, equal = true;
    size_t i = p->s.matchers.n;
    struct err_text why;
    while (!r->why.n && next_key(r, &key)) {
        if (str_eq(key, STR("name")))
            read_str(r, &name);
        else if (str_eq(key, STR("value")))
            read_str(r, &value);
        else if (str_eq(key, STR("isRegex")))
            read_bool(r, &regex);
        else if (str_eq(key, STR("isEqual")))
            read_bool(r, &equal);
        else
            skip_value(r);
    }
    if (r->why.n)
        return;
    if (!name.p)
        missing(r, arena_printf(r->a, "matchers.%zu.name", i).p);
    if (!value.p)
        missing(r, arena_printf(r->a, "matchers.%zu.value", i).p);
    enum am_match type = regex ? (equal ? AM_RE : AM_NRE) : equal ? AM_EQ : AM_NE;
    if (!name.n && !p->invalid.n)
        p->invalid = arena_printf(r->a, "silence invalid: invalid label matcher %zu: invalid label name \"\"", i);
    else if (am_matcher_init(&p->s.matchers.p[i], r->a, type, name, value.p ? value : STR(""), &why) == OK)
        p->s.matchers.n++;
    else if (!p->invalid.n) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        buf_printf(&b, "silence invalid: invalid label matcher %zu: invalid regular expression ", i);
        buf_go_quote(&b, value);
        buf_lit(&b, ": error parsing regexp: ");
        regexp_error(&b, value);
        p->invalid = arena_str(r->a, buf_str(&b));
    }
}

static void read_silence_matchers(struct reader *r, struct posted *p)
{
    enum json_tok t;
    if (!expect(r, JSON_TOK_ARR))
        return;
    p->s.matchers.p = arena_array(r->a, struct am_matcher, AM_MATCHERS_MAX);
    while (!r->why.n && (t = json_next(&r->in)) != JSON_TOK_ARR_END) {
        if (t != JSON_TOK_OBJ)
            broken(r, t);
        else if (p->s.matchers.n >= AM_MATCHERS_MAX)
            r->why = STR("more than 1000 matchers");
        else
            read_matcher(r, p);
    }
}

static void read_silence(struct reader *r, struct posted *p)
{
    str key;
    if (!expect(r, JSON_TOK_OBJ))
        return;
    p->s.created_by = p->s.comment = STR_NONE;
    while (!r->why.n && next_key(r, &key)) {
        if (str_eq(key, STR("id")))
            read_str(r, &p->s.id);
        else if (str_eq(key, STR("comment")))
            read_str(r, &p->s.comment);
        else if (str_eq(key, STR("createdBy")))
            read_str(r, &p->s.created_by);
        else if (str_eq(key, STR("startsAt")))
            read_time(r, &p->s.starts_ms);
        else if (str_eq(key, STR("endsAt")))
            read_time(r, &p->s.ends_ms);
        else if (str_eq(key, STR("matchers")))
            read_silence_matchers(r, p);
        else
            skip_value(r);
    }
    if (!r->why.n)
        expect(r, JSON_TOK_END);
    if (!p->s.comment.p)
        missing(r, "comment");
    if (!p->s.created_by.p)
        missing(r, "createdBy");
    if (!p->s.ends_ms)
        missing(r, "endsAt");
    if (!p->s.matchers.p)
        missing(r, "matchers");
    if (!p->s.starts_ms)
        missing(r, "startsAt");
}

static void set_silence(struct http_request *rq, struct http_response *rs, struct am *am, const struct posted *p)
{
    char id[AM_ID_LEN + 1];
    struct err_text why;
    enum err e = p->invalid.n ? ERR_INVALID : am_silence_set(am, &p->s, api_now_ms(api_of(rq)), id, &why);
    if (e) {
        bool theirs = e == ERR_INVALID || e == ERR_LIMIT || e == ERR_PARSE;
        fail(rs, e == ERR_NOT_FOUND ? 404 : theirs ? 400 : 500, p->invalid.n ? p->invalid : str_c(why.msg));
        return;
    }
    wake(rq);
    struct json_out j = json_out_init(&rs->body);
    json_obj(&j);
    json_kstr(&j, "silenceID", str_c(id));
    json_obj_end(&j);
}

static void post_silences(struct http_request *rq, struct http_response *rs)
{
    struct am *am = engine(rq, rs);
    struct reader r = { .a = rq->a, .go_type = "models.PostableSilence" };
    struct posted p = { 0 };
    if (!am)
        return;
    json_in_init(&r.in, rq->a, rq->body);
    read_silence(&r, &p);
    if (r.why.n)
        parse_failed(rq, rs, &r, "silence");
    else if (r.n_missing)
        required_failed(rq, rs, &r);
    else
        set_silence(rq, rs, am, &p);
    am_matchers_free(&p.s.matchers);
}

/* ---- receivers, status ---- */
static void get_receivers(struct http_request *rq, struct http_response *rs)
{
    struct am *am = engine(rq, rs);
    if (!am)
        return;
    struct am_config *c = am_config_in_use(am);
    struct json_out j = json_out_init(&rs->body);
    json_arr(&j);
    for (size_t i = 0; i < c->receivers.n; i++)
        json_name(&j, c->receivers.p[i].name);
    json_arr_end(&j);
    am_config_unref(c);
}

static void get_status(struct http_request *rq, struct http_response *rs)
{
    struct am *am = engine(rq, rs);
    const struct api_build *b = &api_of(rq)->d.build;
    AUTO_BUF struct buf yaml;
    buf_init(&yaml, 0);
    if (!am)
        return;
    struct am_config *c = am_config_in_use(am);
    am_config_print(c, &yaml);
    am_config_unref(c);
    struct json_out j = json_out_init(&rs->body);
    json_obj(&j);
    json_key(&j, STR("cluster"));
    json_obj(&j);
    json_key(&j, STR("peers"));
    json_arr(&j);
    json_arr_end(&j);
    json_kstr(&j, "status", STR("disabled"));
    json_obj_end(&j);
    json_key(&j, STR("config"));
    json_obj(&j);
    json_kstr(&j, "original", buf_str(&yaml));
    json_obj_end(&j);
    json_time(&j, STR("uptime"), api_of(rq)->d.start_ms);
    json_key(&j, STR("versionInfo"));
    json_obj(&j);
    json_kstr(&j, "branch", b->branch);
    json_kstr(&j, "buildDate", b->build_date);
    json_kstr(&j, "buildUser", b->build_user);
    json_kstr(&j, "goVersion", STR(""));
    json_kstr(&j, "revision", b->revision);
    json_kstr(&j, "version", b->version);
    json_obj_end(&j);
    json_obj_end(&j);
}

static const struct http_limits post_limits = { .body_bytes_max = 32 << 20, .decoded_bytes_max = 64 << 20 };
#define GET  HTTP_BIT(HTTP_GET)
#define POST HTTP_BIT(HTTP_POST)
#define ROUTES(at)                                                                           \
    { GET, at "/alerts", get_alerts, HTTP_CONTROL, NULL, HTTP_CORS },                        \
        { POST, at "/alerts", post_alerts, HTTP_INGEST, &post_limits, HTTP_NO_FORM },        \
        { GET, at "/alerts/groups", get_groups, HTTP_CONTROL, NULL, HTTP_CORS },             \
        { GET, at "/silences", get_silences, HTTP_CONTROL, NULL, HTTP_CORS },                \
        { POST, at "/silences", post_silences, HTTP_INGEST, &post_limits, HTTP_NO_FORM },    \
        { GET, at "/silence/{id}", get_silence, HTTP_CONTROL, NULL, HTTP_CORS },             \
        { HTTP_BIT(HTTP_DELETE), at "/silence/{id}", delete_silence, HTTP_INGEST, NULL, 0 }, \
        { GET, at "/receivers", get_receivers, HTTP_CONTROL, NULL, HTTP_CORS },              \
    {                                                                                        \
        GET, at "/status", get_status, HTTP_CONTROL, NULL, HTTP_CORS                         \
    }
const struct http_route api_alertmanager_routes[] = { ROUTES("/api/v2"), ROUTES("/alertmanager/api/v2") };
const size_t api_alertmanager_routes_n = ARRAY_LEN(api_alertmanager_routes);
