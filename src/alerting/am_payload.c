#include "alerting/am_payload.h"

#include <nettle/sha2.h>
#include <stdio.h>

#include "base/check.h"
#include "base/json.h"
#include "base/num.h"

#define SECRET_BYTES_MAX 65536

struct build {
    const struct am_message *m;
    struct arena *a;
    struct am_request *ret;
    size_t n;
    struct err_text *why;
    enum err err; /* sticky */
    struct tmpl_am world;
    struct tmpl_run run;
};

/* ---- cutting ---- */
str am_truncate_runes(struct arena *a, str s, size_t n)
{
    size_t count = 0, cut = 0, keep = n > 3 ? n - 1 : n;
    uint32_t r;
    for (str left = s; left.n; count++) {
        if (count == keep)
            cut = s.n - left.n;
        left = str_skip(left, str_utf8_get(left, &r));
    }
    if (count <= n)
        return s;
    return n > 3 ? arena_printf(a, STR_FMT "\xe2\x80\xa6", (int)cut, s.p) : str_take(s, cut);
}

str am_truncate_bytes(struct arena *a, str s, size_t n)
{
    if (s.n <= n)
        return s;
    if (n < 3)
        return str_take(STR(".."), n);
    size_t cut = n - 3;
    while (cut > 0 && ((unsigned char)s.p[cut] & 0xc0) == 0x80)
        cut--;
    return arena_printf(a, STR_FMT "\xe2\x80\xa6", (int)cut, s.p);
}

/* ---- templates and secrets ---- */
static void fail(struct build *b, enum err e)
{
    if (!b->err)
        b->err = e;
}

static str render(struct build *b, const struct tmpl_set *set, str text)
{
    struct err_text why = { 0 };
    if (b->err || str_find(text, STR("{{")) == SIZE_MAX)
        return text.p ? text : STR("");
    struct buf out;
    buf_init(&out, 0);
    b->world.set = set;
    enum err e = tmpl_once(NULL, set, STR(""), text, b->m->data, &b->run, &out, &why);
    if (e)
        fail(b, err_fail(b->why, e, "%s", why.msg));
    str s = arena_str(b->a, buf_str(&out));
    buf_deinit(&out);
    return s;
}

static str text(struct build *b, str t)
{
    return render(b, b->m->text, t);
}

/* A secret given as such (a template) or in a file. */
static str secret(struct build *b, const struct conf_secret *value, str file)
{
    str s;
    if (!file.n)
        return text(b, value->value);
    enum err e = fs_read_file(b->m->fs, arena_cstr(b->a, file), SECRET_BYTES_MAX, b->a, &s, NULL);
    if (e) {
        fail(b, err_fail(b->why, e, STR_FMT ": %s", STR_ARG(file), err_describe(e)));
        return STR("");
    }
    return str_trim(s);
}

static str hashed_key(struct build *b)
{
    struct sha256_ctx ctx;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char *hex = arena_alloc(b->a, 2 * sizeof(digest) + 1);
    sha256_init(&ctx);
    sha256_update(&ctx, b->m->group_key.n, (const uint8_t *)b->m->group_key.p);
    sha256_digest(&ctx, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return str_n(hex, 2 * sizeof(digest));
}

static bool firing(const struct build *b)
{
    return am_data_firing(b->m->data);
}

/* ---- requests ---- */
static struct am_request *request(struct build *b, const char *method, str url, struct buf *json)
{
    ASSERT(b->n < AM_REQUESTS_MAX);
    struct am_request *r = &b->ret[b->n++];
    *r = (struct am_request){ .method = str_c(method), .url = url, .content_type = STR("application/json") };
    r->body = arena_str(b->a, buf_str(json));
    buf_clear(json);
    return r;
}

static void header(struct am_request *r, str name, str value)
{
    ASSERT(r->n_headers < ARRAY_LEN(r->headers));
    r->headers[r->n_headers++] = (struct http_pair){ name, value };
}

static void put(struct json_out *j, const char *key, str value)
{
    json_key(j, str_c(key));
    json_str(j, value);
}

static void put_some(struct json_out *j, const char *key, str value) /* left out when empty */
{
    if (value.n)
        put(j, key, value);
}

/* What a template gave, typed as YAML would type it: numbers, booleans, lists and objects stay such. */
static void put_typed(struct json_out *j, struct arena *a, str s)
{
    struct json_in in;
    str t = str_trim(s);
    bool scalar = t.n && (t.p[0] == '-' || (t.p[0] >= '0' && t.p[0] <= '9'));
    bool word = str_eq(t, STR("true")) || str_eq(t, STR("false")) || str_eq(t, STR("null"));
    if (t.n && (t.p[0] == '{' || t.p[0] == '[' || scalar || word)) {
        json_in_init(&in, a, t);
        if (json_next(&in) != JSON_TOK_ERR && json_skip(&in) && json_next(&in) == JSON_TOK_END) {
            json_raw(j, t);
            return;
        }
    }
    json_str(j, s);
}

/* A configured tree with templates in its strings. */
static void put_tree(struct build *b, struct json_out *j, const struct conf_node *n)
{
    if (j->depth >= JSON_DEPTH_MAX - 1) {
        json_put_null(j);
        return;
    }
    switch (n->kind) {
    case CONF_MAP:
        json_obj(j);
        for (size_t i = 0; i < n->n; i++) {
            json_key(j, text(b, n->items[2 * i]->text));
            put_tree(b, j, n->items[2 * i + 1]);
        }
        json_obj_end(j);
        break;
    case CONF_SEQ:
        json_arr(j);
        for (size_t i = 0; i < n->n; i++)
            put_tree(b, j, n->items[i]);
        json_arr_end(j);
        break;
    case CONF_SCALAR:
        if (n->plain || str_find(n->text, STR("{{")) != SIZE_MAX)
            put_typed(j, b->a, text(b, n->text));
        else
            json_str(j, n->text);
        break;
    default:
        json_put_null(j);
    }
}

/* ---- webhook, incident.io ---- */
static void webhook_body(struct build *b, struct buf *out, uint64_t max_alerts)
{
    static const char *const keys[] = { "receiver",          "status",     "alerts", "groupLabels", "commonLabels",
                                        "commonAnnotations", "externalURL" };
    struct tmpl_val alerts = b->m->data->list.p[2];
    size_t cut = max_alerts && alerts.list.n > max_alerts ? alerts.list.n - (size_t)max_alerts : 0;
    alerts.list.n -= cut;
    buf_u8(out, '{');
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        buf_printf(out, "%s\"%s\":", i ? "," : "", keys[i]);
        tmpl_json(out, i == 2 ? &alerts : &b->m->data->list.p[i]);
    }
    buf_lit(out, ",\"version\":\"4\",\"groupKey\":");
    json_escape(out, b->m->group_key);
    buf_printf(out, ",\"truncatedAlerts\":%zu}", cut);
}

static void build_webhook(struct build *b, struct buf *out)
{
    const struct am_webhook *c = (const void *)b->m->integration->of;
    str url = secret(b, &c->url, c->url_file);
    if (c->payload) {
        struct json_out j = json_out_init(out);
        put_tree(b, &j, c->payload);
    } else {
        webhook_body(b, out, c->max_alerts);
    }
    request(b, "POST", url, out);
}

static void build_incidentio(struct build *b, struct buf *out)
{
    const struct am_incidentio *c = (const void *)b->m->integration->of;
    struct conf_secret url = { c->url };
    str to = secret(b, &url, c->url_file), token = secret(b, &c->alert_source_token, c->alert_source_token_file);
    webhook_body(b, out, c->max_alerts);
    struct am_request *r = request(b, "POST", to, out);
    if (token.n)
        header(r, STR("Authorization"), arena_printf(b->a, "Bearer " STR_FMT, STR_ARG(token)));
}

/* ---- Slack, Rocket.Chat, Mattermost ---- */
static void put_fields(struct build *b, struct json_out *j, const struct am_field *p, size_t n, bool short_default)
{
    if (!n)
        return;
    json_key(j, STR("fields"));
    json_arr(j);
    for (size_t i = 0; i < n; i++) {
        json_obj(j);
        put(j, "title", text(b, p[i].title));
        put(j, "value", text(b, p[i].value));
        json_kbool(j, "short", p[i].short_ == AM_UNSET ? short_default : p[i].short_ == AM_TRUE);
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void put_slack_action(struct build *b, struct json_out *j, const struct am_slack_action *x)
{
    json_obj(j);
    put(j, "type", text(b, x->type));
    put(j, "text", text(b, x->text));
    put_some(j, "url", text(b, x->url));
    put_some(j, "style", text(b, x->style));
    put_some(j, "name", text(b, x->name));
    put_some(j, "value", text(b, x->value));
    if (x->confirm) {
        json_key(j, STR("confirm"));
        json_obj(j);
        put(j, "text", text(b, x->confirm->text));
        put_some(j, "title", text(b, x->confirm->title));
        put_some(j, "ok_text", text(b, x->confirm->ok_text));
        put_some(j, "dismiss_text", text(b, x->confirm->dismiss_text));
        json_obj_end(j);
    }
    json_obj_end(j);
}

static void slack_attachment(struct build *b, struct json_out *j, const struct am_slack *c)
{
    static const str mrkdwn[] = { STR_INIT("fallback"), STR_INIT("pretext"), STR_INIT("text") };
    json_obj(j);
    put_some(j, "title", am_truncate_runes(b->a, text(b, c->title), 1024));
    put_some(j, "title_link", text(b, c->title_link));
    put_some(j, "pretext", text(b, c->pretext));
    put(j, "text", text(b, c->text));
    put(j, "fallback", text(b, c->fallback));
    put(j, "callback_id", text(b, c->callback_id));
    put_fields(b, j, c->fields.p, c->fields.n, c->short_fields);
    if (c->actions.n) {
        json_key(j, STR("actions"));
        json_arr(j);
        for (size_t i = 0; i < c->actions.n; i++)
            put_slack_action(b, j, &c->actions.p[i]);
        json_arr_end(j);
    }
    put_some(j, "image_url", text(b, c->image_url));
    put_some(j, "thumb_url", text(b, c->thumb_url));
    put(j, "footer", text(b, c->footer));
    put_some(j, "color", text(b, c->color));
    json_key(j, STR("mrkdwn_in"));
    json_arr(j);
    const str *in = c->mrkdwn_in.n ? c->mrkdwn_in.p : mrkdwn;
    for (size_t i = 0; i < (c->mrkdwn_in.n ? c->mrkdwn_in.n : ARRAY_LEN(mrkdwn)); i++)
        json_str(j, in[i]);
    json_arr_end(j);
    json_obj_end(j);
}

static void build_slack(struct build *b, struct buf *out)
{
    const struct am_slack *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str token = secret(b, &c->app_token, c->app_token_file);
    str url = c->api_url.value.n || c->api_url_file.n ? secret(b, &c->api_url, c->api_url_file) : text(b, c->app_url);
    json_obj(&j);
    put_some(&j, "channel", text(b, c->channel));
    put_some(&j, "username", text(b, c->username));
    put_some(&j, "icon_emoji", text(b, c->icon_emoji));
    put_some(&j, "icon_url", text(b, c->icon_url));
    if (c->link_names)
        json_kbool(&j, "link_names", true);
    put_some(&j, "text", text(b, c->message_text));
    json_key(&j, STR("attachments"));
    json_arr(&j);
    slack_attachment(b, &j, c);
    json_arr_end(&j);
    json_obj_end(&j);
    struct am_request *r = request(b, "POST", url, out);
    if (token.n && !c->api_url.value.n && !c->api_url_file.n)
        header(r, STR("Authorization"), arena_printf(b->a, "Bearer " STR_FMT, STR_ARG(token)));
}

static void build_rocketchat(struct build *b, struct buf *out)
{
    const struct am_rocketchat *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str slash = c->api_url.n && c->api_url.p[c->api_url.n - 1] == '/' ? STR("") : STR("/");
    json_obj(&j);
    put_some(&j, "channel", text(b, c->channel));
    put_some(&j, "emoji", text(b, c->emoji));
    put_some(&j, "avatar", text(b, c->icon_url));
    json_key(&j, STR("attachments"));
    json_arr(&j);
    json_obj(&j);
    put_some(&j, "title", am_truncate_runes(b->a, text(b, c->title), 1024));
    put_some(&j, "title_link", text(b, c->title_link));
    put_some(&j, "text", text(b, c->text));
    put_some(&j, "image_url", text(b, c->image_url));
    put_some(&j, "thumb_url", text(b, c->thumb_url));
    put_some(&j, "color", text(b, c->color));
    put_fields(b, &j, c->fields.p, c->fields.n, c->short_fields);
    json_obj_end(&j);
    json_arr_end(&j);
    json_obj_end(&j);
    struct am_request *r = request(
        b, "POST",
        arena_printf(b->a, STR_FMT STR_FMT "api/v1/chat.postMessage", STR_ARG(text(b, c->api_url)), STR_ARG(slash)),
        out);
    header(r, STR("X-User-Id"), secret(b, &c->token_id, c->token_id_file));
    header(r, STR("X-Auth-Token"), secret(b, &c->token, c->token_file));
}

static void mattermost_attachment(struct build *b, struct json_out *j, const struct am_mattermost_attachment *x)
{
    json_obj(j);
    put_some(j, "fallback", text(b, x->fallback));
    put_some(j, "color", text(b, x->color));
    put_some(j, "pretext", text(b, x->pretext));
    put_some(j, "text", text(b, x->text));
    put_some(j, "author_name", text(b, x->author_name));
    put_some(j, "author_link", text(b, x->author_link));
    put_some(j, "author_icon", text(b, x->author_icon));
    put_some(j, "title", text(b, x->title));
    put_some(j, "title_link", text(b, x->title_link));
    put_fields(b, j, x->fields.p, x->fields.n, false);
    put_some(j, "thumb_url", text(b, x->thumb_url));
    put_some(j, "footer", text(b, x->footer));
    put_some(j, "footer_icon", text(b, x->footer_icon));
    put_some(j, "image_url", text(b, x->image_url));
    json_obj_end(j);
}

static void build_mattermost(struct build *b, struct buf *out)
{
    const struct am_mattermost *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str url = secret(b, &c->webhook_url, c->webhook_url_file);
    json_obj(&j);
    put_some(&j, "channel", text(b, c->channel));
    put_some(&j, "username", text(b, c->username));
    put_some(&j, "icon_url", text(b, c->icon_url));
    put_some(&j, "icon_emoji", text(b, c->icon_emoji));
    json_key(&j, STR("attachments"));
    json_arr(&j);
    if (!c->attachments.n)
        mattermost_attachment(b, &j, &c->main);
    for (size_t i = 0; i < c->attachments.n; i++)
        mattermost_attachment(b, &j, &c->attachments.p[i]);
    json_arr_end(&j);
    put_some(&j, "type", text(b, c->type));
    if (c->props) {
        json_key(&j, STR("props"));
        json_obj(&j);
        put_some(&j, "card", text(b, c->props->card));
        json_obj_end(&j);
    }
    if (c->priority) {
        json_key(&j, STR("priority"));
        json_obj(&j);
        put(&j, "priority", text(b, c->priority->priority));
        json_kbool(&j, "requested_ack", c->priority->requested_ack);
        json_kbool(&j, "persistent_notifications", c->priority->persistent_notifications);
        json_obj_end(&j);
    }
    json_obj_end(&j);
    request(b, "POST", url, out);
}

/* ---- PagerDuty ---- */
static void pagerduty_details(struct build *b, struct json_out *j, const struct am_pagerduty *c)
{
    json_obj(j);
    for (size_t i = 0; i < ARRAY_LEN(am_pagerduty_details); i++)
        if (!c->details || !conf_get(c->details, am_pagerduty_details[i].name)) {
            json_key(j, am_pagerduty_details[i].name);
            put_typed(j, b->a, text(b, am_pagerduty_details[i].value));
        }
    for (size_t i = 0; c->details && c->details->kind == CONF_MAP && i < c->details->n; i++) {
        json_key(j, c->details->items[2 * i]->text);
        put_tree(b, j, c->details->items[2 * i + 1]);
    }
    json_obj_end(j);
}

static void pagerduty_links(struct build *b, struct json_out *j, const struct am_pagerduty *c)
{
    if (c->images.n) {
        json_key(j, STR("images"));
        json_arr(j);
        for (size_t i = 0; i < c->images.n; i++) {
            str src = text(b, c->images.p[i].src);
            if (!src.n)
                continue;
            json_obj(j);
            put(j, "src", src);
            put(j, "alt", text(b, c->images.p[i].alt));
            put(j, "href", text(b, c->images.p[i].href));
            json_obj_end(j);
        }
        json_arr_end(j);
    }
    if (c->links.n) {
        json_key(j, STR("links"));
        json_arr(j);
        for (size_t i = 0; i < c->links.n; i++) {
            str href = text(b, c->links.p[i].href);
            if (!href.n)
                continue;
            json_obj(j);
            put(j, "href", href);
            put(j, "text", text(b, c->links.p[i].text));
            json_obj_end(j);
        }
        json_arr_end(j);
    }
}

static void pagerduty_v1(struct build *b, struct buf *out, const struct am_pagerduty *c)
{
    struct json_out j = json_out_init(out);
    json_obj(&j);
    put(&j, "service_key", secret(b, &c->service_key, c->service_key_file));
    put(&j, "incident_key", hashed_key(b));
    put(&j, "event_type", firing(b) ? STR("trigger") : STR("resolve"));
    put(&j, "description", am_truncate_runes(b->a, text(b, c->description), 1024));
    if (firing(b)) {
        put_some(&j, "client", text(b, c->client));
        put_some(&j, "client_url", text(b, c->client_url));
    }
    json_key(&j, STR("details"));
    pagerduty_details(b, &j, c);
    json_obj_end(&j);
    request(b, "POST", text(b, c->url), out);
}

static void pagerduty_v2(struct build *b, struct buf *out, const struct am_pagerduty *c, bool details)
{
    struct json_out j = json_out_init(out);
    json_obj(&j);
    put(&j, "routing_key", secret(b, &c->routing_key, c->routing_key_file));
    put(&j, "dedup_key", hashed_key(b));
    put(&j, "event_action", firing(b) ? STR("trigger") : STR("resolve"));
    json_key(&j, STR("payload"));
    json_obj(&j);
    put(&j, "summary", am_truncate_runes(b->a, text(b, c->description), 1024));
    put(&j, "source", text(b, c->source));
    str severity = text(b, c->severity);
    put(&j, "severity", severity.n ? severity : STR("error"));
    put_some(&j, "class", text(b, c->class_));
    put_some(&j, "component", text(b, c->component));
    put_some(&j, "group", text(b, c->group));
    json_key(&j, STR("custom_details"));
    if (details) {
        pagerduty_details(b, &j, c);
    } else {
        json_obj(&j);
        put(&j, "error",
            STR("Custom details have been removed because the original event exceeds the maximum size of 500KB"));
        json_obj_end(&j);
    }
    json_obj_end(&j);
    put_some(&j, "client", text(b, c->client));
    put_some(&j, "client_url", text(b, c->client_url));
    pagerduty_links(b, &j, c);
    json_obj_end(&j);
}

static void build_pagerduty(struct build *b, struct buf *out)
{
    const struct am_pagerduty *c = (const void *)b->m->integration->of;
    if (c->service_key.value.n || c->service_key_file.n) {
        pagerduty_v1(b, out, c);
        return;
    }
    pagerduty_v2(b, out, c, true);
    if (out->n > 512000) {
        buf_clear(out);
        pagerduty_v2(b, out, c, false);
    }
    request(b, "POST", text(b, c->url), out);
}

/* ---- Opsgenie ---- */
static void put_list(struct json_out *j, const char *key, str csv)
{
    str head;
    if (!csv.n)
        return;
    json_key(j, str_c(key));
    json_arr(j);
    while (str_cut(&csv, ',', &head))
        if (str_trim(head).n)
            json_str(j, str_trim(head));
    json_arr_end(j);
}

static void opsgenie_responders(struct build *b, struct json_out *j, const struct am_opsgenie *c)
{
    if (!c->responders.n)
        return;
    json_key(j, STR("responders"));
    json_arr(j);
    for (size_t i = 0; i < c->responders.n; i++) {
        const struct am_responder *x = &c->responders.p[i];
        str id = text(b, x->id), name = text(b, x->name), user = text(b, x->username), type = text(b, x->type);
        bool teams = str_eq(type, STR("teams"));
        str rest = name, one;
        if (!id.n && !name.n && !user.n)
            continue;
        while (teams ? str_cut(&rest, ',', &one) : true) {
            json_obj(j);
            put_some(j, "id", id);
            put_some(j, "name", teams ? str_trim(one) : name);
            put_some(j, "username", user);
            put(j, "type", teams ? STR("team") : type);
            json_obj_end(j);
            if (!teams)
                break;
        }
    }
    json_arr_end(j);
}

static void opsgenie_details(struct build *b, struct json_out *j, const struct am_opsgenie *c)
{
    const struct tmpl_val *common = &b->m->data->list.p[4];
    json_key(j, STR("details"));
    json_obj(j);
    for (size_t i = 0; i < common->map.n; i++) {
        bool over = false;
        for (size_t k = 0; k < c->details.n; k++)
            over |= str_eq(c->details.keys[k], common->map.p[i].k);
        if (!over) {
            json_key(j, common->map.p[i].k);
            json_str(j, common->map.p[i].v.s);
        }
    }
    for (size_t k = 0; k < c->details.n; k++) {
        json_key(j, c->details.keys[k]);
        json_str(j, text(b, c->details.p[k]));
    }
    json_obj_end(j);
}

static void opsgenie_auth(struct build *b, struct am_request *r, const struct am_opsgenie *c)
{
    header(r, STR("Authorization"),
           arena_printf(b->a, "GenieKey " STR_FMT, STR_ARG(secret(b, &c->api_key, c->api_key_file))));
}

static void opsgenie_update(struct build *b, struct buf *out, const struct am_opsgenie *c, const char *what, str value)
{
    struct json_out j = json_out_init(out);
    json_obj(&j);
    put(&j, what, value);
    json_obj_end(&j);
    opsgenie_auth(b,
                  request(b, "PUT",
                          arena_printf(b->a, STR_FMT "v2/alerts/" STR_FMT "/%s?identifierType=alias",
                                       STR_ARG(text(b, c->api_url)), STR_ARG(hashed_key(b)), what),
                          out),
                  c);
}

static void build_opsgenie(struct build *b, struct buf *out)
{
    const struct am_opsgenie *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str url = text(b, c->api_url), alias = hashed_key(b);
    json_obj(&j);
    if (!firing(b)) {
        put(&j, "source", text(b, c->source));
        json_obj_end(&j);
        opsgenie_auth(b,
                      request(b, "POST",
                              arena_printf(b->a, STR_FMT "v2/alerts/" STR_FMT "/close?identifierType=alias",
                                           STR_ARG(url), STR_ARG(alias)),
                              out),
                      c);
        return;
    }
    str message = am_truncate_runes(b->a, text(b, c->message), 130), description = text(b, c->description);
    put(&j, "alias", alias);
    put(&j, "message", message);
    put_some(&j, "description", description);
    opsgenie_details(b, &j, c);
    put(&j, "source", text(b, c->source));
    opsgenie_responders(b, &j, c);
    put_list(&j, "tags", text(b, c->tags));
    put_some(&j, "note", text(b, c->note));
    put_some(&j, "priority", text(b, c->priority));
    put_some(&j, "entity", text(b, c->entity));
    put_list(&j, "actions", text(b, c->actions));
    json_obj_end(&j);
    opsgenie_auth(b, request(b, "POST", arena_printf(b->a, STR_FMT "v2/alerts", STR_ARG(url)), out), c);
    if (c->update_alerts) {
        opsgenie_update(b, out, c, "message", message);
        opsgenie_update(b, out, c, "description", description);
    }
}

/* ---- VictorOps, Pushover, Telegram ---- */
static void build_victorops(struct build *b, struct buf *out)
{
    static const str known[] = { STR_INIT("INFO"), STR_INIT("WARNING"), STR_INIT("CRITICAL") };
    const struct am_victorops *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str type = text(b, c->message_type), key = secret(b, &c->api_key, c->api_key_file);
    bool good = false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        good |= str_eq(type, known[i]);
    json_obj(&j);
    for (size_t i = 0; i < c->custom_fields.n; i++) {
        json_key(&j, c->custom_fields.keys[i]);
        json_str(&j, text(b, c->custom_fields.p[i]));
    }
    put(&j, "message_type", !firing(b) ? STR("RECOVERY") : good ? type : STR("CRITICAL"));
    put(&j, "entity_id", hashed_key(b));
    put(&j, "entity_display_name", text(b, c->entity_display_name));
    put(&j, "state_message", am_truncate_runes(b->a, text(b, c->state_message), 20480));
    put(&j, "monitoring_tool", text(b, c->monitoring_tool));
    json_obj_end(&j);
    request(b, "POST",
            arena_printf(b->a, STR_FMT STR_FMT "/" STR_FMT, STR_ARG(text(b, c->api_url)), STR_ARG(key),
                         STR_ARG(text(b, c->routing_key))),
            out);
}

static void add_param(struct buf *out, const char *name, str value)
{
    static const char plain[] = "-_.~";
    if (!value.n)
        return;
    buf_printf(out, "%s%s=", out->n && out->p[out->n - 1] != '?' ? "&" : "", name);
    for (size_t i = 0; i < value.n; i++) {
        unsigned char ch = (unsigned char)value.p[i];
        bool as_is = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
                     (ch && strchr(plain, ch));
        if (ch == ' ')
            buf_u8(out, '+');
        else if (as_is)
            buf_u8(out, ch);
        else
            buf_printf(out, "%%%02X", ch);
    }
}

static void build_pushover(struct build *b, struct buf *out)
{
    const struct am_pushover *c = (const void *)b->m->integration->of;
    str message = str_trim(c->html ? render(b, b->m->html, c->message) : text(b, c->message));
    message = am_truncate_runes(b->a, message, 1024);
    add_param(out, "token", secret(b, &c->token, c->token_file));
    add_param(out, "user", secret(b, &c->user_key, c->user_key_file));
    add_param(out, "title", am_truncate_runes(b->a, text(b, c->title), 250));
    add_param(out, "message", message.n ? message : STR("(no details)"));
    add_param(out, "url", am_truncate_runes(b->a, str_trim(text(b, c->url)), 512));
    add_param(out, "url_title", text(b, c->url_title));
    add_param(out, "priority", text(b, c->priority));
    add_param(out, "retry", arena_printf(b->a, "%lld", (long long)c->retry_ms / 1000));
    add_param(out, "expire", arena_printf(b->a, "%lld", (long long)c->expire_ms / 1000));
    if (c->ttl_ms)
        add_param(out, "ttl", arena_printf(b->a, "%lld", (long long)c->ttl_ms / 1000));
    add_param(out, "device", text(b, c->device));
    add_param(out, "sound", text(b, c->sound));
    if (c->html)
        add_param(out, "html", STR("1"));
    if (c->monospace)
        add_param(out, "monospace", STR("1"));
    struct am_request *r = request(b, "POST", STR("https://api.pushover.net/1/messages.json"), out);
    r->content_type = STR("application/x-www-form-urlencoded");
}

static void build_telegram(struct build *b, struct buf *out)
{
    const struct am_telegram *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    bool html = str_eq(c->parse_mode, STR("HTML"));
    str token = secret(b, &c->bot_token, c->bot_token_file), chat;
    struct conf_secret none = { STR_NONE };
    chat = c->chat_id_file.n ? secret(b, &none, c->chat_id_file) : arena_printf(b->a, "%lld", (long long)c->chat_id);
    json_obj(&j);
    put(&j, "chat_id", chat);
    put(&j, "text", am_truncate_runes(b->a, render(b, html ? b->m->html : b->m->text, c->message), 4096));
    put_some(&j, "parse_mode", c->parse_mode);
    put(&j, "disable_web_page_preview", STR("true"));
    if (c->disable_notifications)
        put(&j, "disable_notification", STR("true"));
    if (c->message_thread_id)
        put(&j, "message_thread_id", arena_printf(b->a, "%lld", (long long)c->message_thread_id));
    json_obj_end(&j);
    request(b, "POST", arena_printf(b->a, STR_FMT "/bot" STR_FMT "/sendMessage", STR_ARG(c->api_url), STR_ARG(token)),
            out);
}

/* ---- Discord, Webex, Teams ---- */
static void build_discord(struct build *b, struct buf *out)
{
    const struct am_discord *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str url = secret(b, &c->webhook_url, c->webhook_url_file);
    json_obj(&j);
    put(&j, "content", am_truncate_runes(b->a, text(b, c->content), 2000));
    json_key(&j, STR("embeds"));
    json_arr(&j);
    json_obj(&j);
    put(&j, "title", am_truncate_runes(b->a, text(b, c->title), 256));
    put(&j, "description", am_truncate_runes(b->a, text(b, c->message), 4096));
    json_ki64(&j, "color", firing(b) ? 0x992d22 : 0x2ecc71);
    json_obj_end(&j);
    json_arr_end(&j);
    put_some(&j, "username", text(b, c->username));
    put_some(&j, "avatar_url", text(b, c->avatar_url));
    json_obj_end(&j);
    request(b, "POST", url, out);
}

static void build_webex(struct build *b, struct buf *out)
{
    const struct am_webex *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    json_obj(&j);
    put(&j, "markdown", am_truncate_bytes(b->a, text(b, c->message), 7439));
    put(&j, "roomId", text(b, c->room_id));
    json_obj_end(&j);
    request(b, "POST", text(b, c->api_url), out);
}

static void build_msteams(struct build *b, struct buf *out)
{
    const struct am_msteams *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str url = secret(b, &c->webhook_url, c->webhook_url_file);
    json_obj(&j);
    put(&j, "@context", STR("http://schema.org/extensions"));
    put(&j, "type", STR("MessageCard"));
    put(&j, "title", text(b, c->title));
    put(&j, "summary", text(b, c->summary));
    put(&j, "text", text(b, c->text));
    put(&j, "themeColor", firing(b) ? STR("8C1A1A") : STR("2DC72D"));
    json_obj_end(&j);
    request(b, "POST", url, out);
}

static void build_msteamsv2(struct build *b, struct buf *out)
{
    const struct am_msteams *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str url = secret(b, &c->webhook_url, c->webhook_url_file);
    json_obj(&j);
    put(&j, "type", STR("message"));
    json_key(&j, STR("attachments"));
    json_arr(&j);
    json_obj(&j);
    put(&j, "contentType", STR("application/vnd.microsoft.card.adaptive"));
    json_key(&j, STR("contentUrl"));
    json_put_null(&j);
    json_key(&j, STR("content"));
    json_obj(&j);
    put(&j, "$schema", STR("http://adaptivecards.io/schemas/adaptive-card.json"));
    put(&j, "type", STR("AdaptiveCard"));
    put(&j, "version", STR("1.2"));
    json_key(&j, STR("body"));
    json_arr(&j);
    json_obj(&j);
    put(&j, "type", STR("TextBlock"));
    put(&j, "text", text(b, c->title));
    put(&j, "weight", STR("Bolder"));
    put(&j, "size", STR("Medium"));
    json_kbool(&j, "wrap", true);
    put(&j, "style", STR("heading"));
    put(&j, "color", firing(b) ? STR("Attention") : STR("Good"));
    json_obj_end(&j);
    json_obj(&j);
    put(&j, "type", STR("TextBlock"));
    put(&j, "text", text(b, c->text));
    json_kbool(&j, "wrap", true);
    json_obj_end(&j);
    json_arr_end(&j);
    json_key(&j, STR("msteams"));
    json_obj(&j);
    put(&j, "width", STR("full"));
    json_obj_end(&j);
    json_obj_end(&j);
    json_obj_end(&j);
    json_arr_end(&j);
    json_obj_end(&j);
    request(b, "POST", url, out);
}

static void (*const builders[AM_KINDS])(struct build *b, struct buf *out) = {
    [AM_WEBHOOK] = build_webhook,       [AM_PAGERDUTY] = build_pagerduty,   [AM_OPSGENIE] = build_opsgenie,
    [AM_SLACK] = build_slack,           [AM_VICTOROPS] = build_victorops,   [AM_PUSHOVER] = build_pushover,
    [AM_TELEGRAM] = build_telegram,     [AM_DISCORD] = build_discord,       [AM_WEBEX] = build_webex,
    [AM_MSTEAMS] = build_msteams,       [AM_MSTEAMSV2] = build_msteamsv2,   [AM_ROCKETCHAT] = build_rocketchat,
    [AM_MATTERMOST] = build_mattermost, [AM_INCIDENTIO] = build_incidentio,
};

enum err am_payload_build(const struct am_message *m, struct arena *a, struct am_request ret[AM_REQUESTS_MAX],
                          size_t *ret_n, struct err_text *reterr)
{
    struct build b = { .m = m, .a = a, .ret = ret, .why = reterr };
    enum am_kind kind = m->integration->kind;
    *ret_n = 0;
    if (!builders[kind])
        return err_fail(reterr, ERR_UNSUPPORTED, "vane does not notify through %s", am_kind_name(kind));
    b.world = (struct tmpl_am){ .now_ms = m->now_ms, .set = m->text, .data = m->data, .run = &b.run };
    b.run = (struct tmpl_run){ .a = a, .ctx = &b.world };
    struct buf out;
    buf_init(&out, 16u << 20);
    builders[kind](&b, &out);
    bool failed = out.failed;
    buf_deinit(&out);
    if (!b.err && failed)
        b.err = err_fail(reterr, ERR_LIMIT, "the notification is too large");
    *ret_n = b.n;
    return b.err;
}

/* ---- answers ---- */
static bool says_not_ok(str body) /* Slack's Web API: {"ok":false,"error":...} */
{
    return str_find(body, STR("\"ok\":false")) != SIZE_MAX || str_find(body, STR("\"ok\": false")) != SIZE_MAX;
}

enum am_outcome am_payload_judge(enum am_kind kind, int status, str body, struct err_text *why)
{
    bool also_429 = kind == AM_PAGERDUTY || kind == AM_OPSGENIE || kind == AM_PUSHOVER;
    why->msg[0] = 0;
    if (status == 0) {
        IGNORE_ERR(err_fail(why, ERR_IO, "no answer"));
        return AM_RETRY;
    }
    str shown = str_take(str_trim(body), 200);
    if (status / 100 == 2) {
        if ((kind == AM_SLACK || kind == AM_ROCKETCHAT) && body.n && body.p[0] == '{' && says_not_ok(body)) {
            IGNORE_ERR(err_fail(why, ERR_EXEC, "refused: " STR_FMT, STR_ARG(shown)));
            return AM_REFUSED;
        }
        return AM_SENT;
    }
    IGNORE_ERR(err_fail(why, ERR_EXEC, "unexpected status code %d: " STR_FMT, status, STR_ARG(shown)));
    return status / 100 == 5 || (status == 429 && also_429) ? AM_RETRY : AM_REFUSED;
}
