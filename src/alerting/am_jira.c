/* Jira: one issue for a group. It is found again by a label that names the group; then updated, reopened, resolved.
 * Spec: developer.atlassian.com/cloud/jira/platform/rest/v2 (and /v3), docs.atlassian.com (Data Center). */
#include <jansson.h>
#include <stdlib.h>

#include "alerting/am_build.h"
#include "base/vec.h"

#define SUMMARY_MAX     255
#define DESCRIPTION_MAX 32767

struct jira {
    struct am_build *b;
    const struct am_jira *c;
    str url;   /* without a slash at its end */
    str label; /* ALERT{hash of the group} */
    struct am_delivery *d;
};
struct issue {
    str key, category; /* of its status: "done" ...; key "": there is none */
};

static enum am_outcome call(struct jira *x, const char *method, str url, struct buf *body, struct am_answer *ret)
{
    struct am_request rq = { .method = str_c(method), .url = url, .content_type = STR("application/json") };
    if (body)
        rq.body = arena_str(x->b->a, buf_str(body));
    am_request_header(&rq, STR("Accept-Language"), STR("en"));
    return am_call(x->b, &rq, ret, x->d);
}

static bool cloud(const struct jira *x)
{
    if (str_eq(x->c->api_type, STR("cloud")) || str_eq(x->c->api_type, STR("datacenter")))
        return str_eq(x->c->api_type, STR("cloud"));
    str host = str_skip(x->url, str_find(x->url, STR("://")) + 3);
    host = str_take(host, str_find_char(host, '/'));
    host = str_take(host, str_find_char(host, ':'));
    return str_has_suffix(host, STR("atlassian.net"));
}

/* Cloud has the search at version 3 only. */
static str search_url(struct jira *x)
{
    static const str v2 = STR_INIT("/rest/api/2");
    str url = x->url;
    if (!cloud(x))
        return arena_printf(x->b->a, STR_FMT "/search", STR_ARG(url));
    if (str_has_suffix(url, v2))
        url = arena_printf(x->b->a, STR_FMT "/rest/api/3", STR_ARG(str_take(url, url.n - v2.n)));
    return arena_printf(x->b->a, STR_FMT "/search/jql", STR_ARG(url));
}

static void put_jql(struct jira *x, struct buf *q)
{
    long long minutes = (long long)x->c->reopen_duration_ms / 60000;
    if (x->c->wont_fix_resolution.n) {
        buf_lit(q, "resolution != ");
        buf_go_quote(q, x->c->wont_fix_resolution);
        buf_lit(q, " and ");
    }
    if (am_firing(x->b) && x->c->reopen_transition.n && minutes > 0)
        buf_printf(q, "(resolutiondate is EMPTY OR resolutiondate >= -%lldm) and ", minutes);
    else
        buf_lit(q, "statusCategory != Done and ");
    buf_lit(q, "project=");
    buf_go_quote(q, am_needed(x->b, x->c->project, "project"));
    buf_lit(q, " and labels=");
    buf_go_quote(q, x->label);
    buf_lit(q, " order by status ASC,resolutiondate DESC");
}

static str json_text(struct arena *a, const json_t *v)
{
    return json_is_string(v) ? arena_str(a, str_n(json_string_value(v), json_string_length(v))) : STR("");
}

static enum am_outcome unreadable(struct jira *x, const char *what)
{
    IGNORE_ERR(err_fail(x->b->why, ERR_EXEC, "Jira's answer to %s cannot be read", what));
    return AM_RETRY;
}

static enum am_outcome search(struct jira *x, struct issue *ret)
{
    struct am_answer answer;
    AUTO_BUF struct buf q, body;
    buf_init(&q, 0);
    buf_init(&body, 0);
    *ret = (struct issue){ STR(""), STR("") };
    put_jql(x, &q);
    if (x->b->err)
        return AM_REFUSED;
    struct json_out j = json_out_init(&body);
    json_obj(&j);
    json_key(&j, STR("fields"));
    json_arr(&j);
    json_str(&j, STR("status"));
    json_arr_end(&j);
    am_put(&j, "jql", buf_str(&q));
    json_ki64(&j, "maxResults", 2);
    json_obj_end(&j);
    enum am_outcome o = call(x, "POST", search_url(x), &body, &answer);
    if (o != AM_SENT)
        return o;
    json_t *doc = json_loadb(answer.body.p, answer.body.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *issues = json_object_get(doc, "issues"), *first = json_array_get(issues, 0);
    ret->key = json_text(x->b->a, json_object_get(first, "key"));
    const json_t *status = json_object_get(json_object_get(first, "fields"), "status");
    ret->category = json_text(x->b->a, json_object_get(json_object_get(status, "statusCategory"), "key"));
    bool ok = json_is_array(issues);
    json_decref(doc);
    return ok ? AM_SENT : unreadable(x, "a search");
}

/* ---- the issue ---- */
static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static void put_labels(struct jira *x, struct json_out *j)
{
    VEC(str) v = { 0 };
    for (size_t i = 0; i < x->c->labels.n; i++)
        avec_push(x->b->a, &v, am_text(x->b, x->c->labels.p[i]));
    avec_push(x->b->a, &v, x->label);
    qsort(v.p, v.n, sizeof(*v.p), by_text);
    json_key(j, STR("labels"));
    json_arr(j);
    for (size_t i = 0; i < v.n; i++)
        json_str(j, v.p[i]);
    json_arr_end(j);
}

static bool is_json(struct arena *a, str s)
{
    struct json_in in;
    json_in_init(&in, a, s);
    return json_next(&in) == JSON_TOK_OBJ && json_skip(&in) && json_next(&in) == JSON_TOK_END;
}

/* Version 3 takes documents: one that the template gives, or a paragraph with its text. */
static void put_description(struct jira *x, struct json_out *j, str text)
{
    text = am_truncate_runes(x->b->a, text, DESCRIPTION_MAX);
    if (!str_has_suffix(x->url, STR("/3"))) {
        am_put(j, "description", text);
        return;
    }
    json_key(j, STR("description"));
    if (is_json(x->b->a, str_trim(text))) {
        json_raw(j, str_trim(text));
        return;
    }
    json_raw(j, STR("{\"version\":1,\"type\":\"doc\",\"content\":[{\"type\":\"paragraph\",\"content\":[{\"type\":"
                    "\"text\",\"text\":"));
    json_escape(j->b, text);
    buf_lit(j->b, "}]}]}");
}

static void put_named(struct json_out *j, const char *key, const char *inner, str value)
{
    json_key(j, str_c(key));
    json_obj(j);
    am_put(j, inner, value);
    json_obj_end(j);
}

static void put_fields(struct jira *x, struct json_out *j, bool update)
{
    const struct am_jira *c = x->c;
    struct am_build *b = x->b;
    str description = am_shown(b, c->description.text), priority = am_text(b, c->priority);
    bool own[6] = { 0 }; /* what the configured fields say themselves */
    static const char *const names[6] = { "description", "issuetype", "labels", "priority", "project", "summary" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        own[i] = c->fields && conf_get(c->fields, str_c(names[i]));
    if (!own[0] && description.n && !(update && c->description.enable_update == AM_FALSE))
        put_description(x, j, description);
    if (!own[1])
        put_named(j, "issuetype", "name", am_needed(b, c->issue_type, "issue_type"));
    if (!own[2] && !(update && c->labels_update == AM_FALSE))
        put_labels(x, j);
    if (!own[3] && priority.n)
        put_named(j, "priority", "name", priority);
    if (!own[4])
        put_named(j, "project", "key", am_needed(b, c->project, "project"));
    if (!own[5] && !(update && c->summary.enable_update == AM_FALSE))
        am_put(j, "summary", am_truncate_runes(b->a, am_shown(b, c->summary.text), SUMMARY_MAX));
    for (size_t i = 0; c->fields && i < c->fields->n; i++) {
        json_key(j, c->fields->items[2 * i]->text);
        am_put_tree(b, j, c->fields->items[2 * i + 1]);
    }
}

static enum am_outcome write_issue(struct jira *x, const struct issue *old)
{
    struct am_answer answer;
    AUTO_BUF struct buf body;
    buf_init(&body, 4u << 20);
    struct json_out j = json_out_init(&body);
    json_obj(&j);
    json_key(&j, STR("fields"));
    json_obj(&j);
    put_fields(x, &j, old->key.n != 0);
    json_obj_end(&j);
    json_obj_end(&j);
    if (x->b->err)
        return AM_REFUSED;
    str url =
        arena_printf(x->b->a, STR_FMT "/issue%s" STR_FMT, STR_ARG(x->url), old->key.n ? "/" : "", STR_ARG(old->key));
    return call(x, old->key.n ? "PUT" : "POST", url, &body, &answer);
}

/* ---- its status ---- */
static enum am_outcome transition_id(struct jira *x, str url, str name, str *ret)
{
    struct am_answer answer;
    *ret = STR("");
    enum am_outcome o = call(x, "GET", url, NULL, &answer);
    if (o != AM_SENT)
        return o;
    json_t *doc = json_loadb(answer.body.p, answer.body.n, 0, NULL);
    const json_t *list = json_object_get(doc, "transitions");
    for (size_t i = 0; i < json_array_size(list) && !ret->n; i++)
        if (str_eq(json_text(x->b->a, json_object_get(json_array_get(list, i), "name")), name))
            *ret = json_text(x->b->a, json_object_get(json_array_get(list, i), "id"));
    bool ok = json_is_array(list);
    json_decref(doc);
    if (!ok)
        return unreadable(x, "a question for transitions");
    if (ret->n)
        return AM_SENT;
    IGNORE_ERR(err_fail(x->b->why, ERR_NOT_FOUND, "can't find transition " STR_FMT " for the issue", STR_ARG(name)));
    return AM_REFUSED;
}

static enum am_outcome transition(struct jira *x, const struct issue *i)
{
    struct am_answer answer;
    bool done = str_eq(i->category, STR("done")), firing = am_firing(x->b);
    str name = firing ? x->c->reopen_transition : x->c->resolve_transition, id;
    if (!i->key.n || !i->category.n || done != firing || !name.n)
        return AM_SENT;
    str url = arena_printf(x->b->a, STR_FMT "/issue/" STR_FMT "/transitions", STR_ARG(x->url), STR_ARG(i->key));
    enum am_outcome o = transition_id(x, url, name, &id);
    if (o != AM_SENT)
        return o;
    AUTO_BUF struct buf body;
    buf_init(&body, 0);
    struct json_out j = json_out_init(&body);
    json_obj(&j);
    put_named(&j, "transition", "id", id);
    json_obj_end(&j);
    return call(x, "POST", url, &body, &answer);
}

enum am_outcome am_jira(struct am_build *b, struct am_delivery *d)
{
    struct jira x = { .b = b, .c = (const void *)b->m->integration->of, .d = d };
    struct issue old;
    x.url = am_needed(b, x.c->api_url, "api_url");
    while (x.url.n && x.url.p[x.url.n - 1] == '/')
        x.url.n--;
    x.label = arena_printf(b->a, "ALERT{" STR_FMT "}", STR_ARG(am_group_hash(b)));
    if (b->err)
        return AM_REFUSED;
    enum am_outcome o = search(&x, &old);
    if (o != AM_SENT || (!old.key.n && !am_firing(b))) /* what is over needs no issue */
        return o;
    o = write_issue(&x, &old);
    return o == AM_SENT ? transition(&x, &old) : o;
}
