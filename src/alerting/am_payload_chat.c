/* Notifications for chats: Slack, Rocket.Chat, Mattermost, Telegram, Discord, Webex, Microsoft Teams. */
#include <stdio.h>

#include "alerting/am_build.h"

#define TEAMS_TEXT_MAX 20000 /* Teams takes messages of 28 KB */

/* ---- Slack, Rocket.Chat, Mattermost ---- */
static void put_fields(struct am_build *b, struct json_out *j, const struct am_field *p, size_t n, bool short_default)
{
    if (!n)
        return;
    json_key(j, STR("fields"));
    json_arr(j);
    for (size_t i = 0; i < n; i++) {
        json_obj(j);
        am_put(j, "title", am_text(b, p[i].title));
        am_put(j, "value", am_shown(b, p[i].value));
        json_kbool(j, "short", p[i].short_ == AM_UNSET ? short_default : p[i].short_ == AM_TRUE);
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void put_slack_action(struct am_build *b, struct json_out *j, const struct am_slack_action *x)
{
    json_obj(j);
    am_put(j, "type", am_text(b, x->type));
    am_put(j, "text", am_shown(b, x->text));
    am_put_some(j, "url", am_text(b, x->url));
    am_put_some(j, "style", am_text(b, x->style));
    am_put_some(j, "name", am_text(b, x->name));
    am_put_some(j, "value", am_text(b, x->value));
    if (x->confirm) {
        json_key(j, STR("confirm"));
        json_obj(j);
        am_put(j, "text", am_text(b, x->confirm->text));
        am_put_some(j, "title", am_text(b, x->confirm->title));
        am_put_some(j, "ok_text", am_text(b, x->confirm->ok_text));
        am_put_some(j, "dismiss_text", am_text(b, x->confirm->dismiss_text));
        json_obj_end(j);
    }
    json_obj_end(j);
}

static void slack_attachment(struct am_build *b, struct json_out *j, const struct am_slack *c)
{
    static const str mrkdwn[] = { STR_INIT("fallback"), STR_INIT("pretext"), STR_INIT("text") };
    json_obj(j);
    am_put_some(j, "title", am_truncate_runes(b->a, am_shown(b, c->title), 1024));
    am_put_some(j, "title_link", am_text(b, c->title_link));
    am_put_some(j, "pretext", am_text(b, c->pretext));
    am_put(j, "text", am_shown(b, c->text));
    am_put(j, "fallback", am_shown(b, c->fallback));
    am_put(j, "callback_id", am_text(b, c->callback_id));
    put_fields(b, j, c->fields.p, c->fields.n, c->short_fields);
    if (c->actions.n) {
        json_key(j, STR("actions"));
        json_arr(j);
        for (size_t i = 0; i < c->actions.n; i++)
            put_slack_action(b, j, &c->actions.p[i]);
        json_arr_end(j);
    }
    am_put_some(j, "image_url", am_text(b, c->image_url));
    am_put_some(j, "thumb_url", am_text(b, c->thumb_url));
    am_put(j, "footer", am_text(b, c->footer));
    am_put_some(j, "color", am_text(b, c->color));
    json_key(j, STR("mrkdwn_in"));
    json_arr(j);
    const str *in = c->mrkdwn_in.n ? c->mrkdwn_in.p : mrkdwn;
    for (size_t i = 0; i < (c->mrkdwn_in.n ? c->mrkdwn_in.n : ARRAY_LEN(mrkdwn)); i++)
        json_str(j, in[i]);
    json_arr_end(j);
    json_obj_end(j);
}

void am_build_slack(struct am_build *b, struct buf *out, str channel, str ts, str thread_ts, str url)
{
    const struct am_slack *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    json_obj(&j);
    am_put_some(&j, "channel", channel);
    am_put_some(&j, "username", am_text(b, c->username));
    am_put_some(&j, "icon_emoji", am_text(b, c->icon_emoji));
    am_put_some(&j, "icon_url", am_text(b, c->icon_url));
    if (c->link_names)
        json_kbool(&j, "link_names", true);
    am_put_some(&j, "text", am_shown(b, c->message_text));
    json_key(&j, STR("attachments"));
    json_arr(&j);
    slack_attachment(b, &j, c);
    json_arr_end(&j);
    am_put_some(&j, "ts", ts);
    am_put_some(&j, "thread_ts", thread_ts);
    json_obj_end(&j);
    am_request_add(b, "POST", url, out);
}

static str slack_url(struct am_build *b)
{
    const struct am_slack *c = (const void *)b->m->integration->of;
    str url = am_secret(b, &c->api_url, c->api_url_file);
    return url.n || b->err ? url : am_needed(b, c->app_url, "app_url");
}

/* "C012 1715000000.000100": channel and time stamp of the first message, which later ones change or answer. */
static bool first_message(str memory, str *ret_channel, str *ret_ts)
{
    *ret_ts = memory;
    return str_cut(ret_ts, ' ', ret_channel) && ret_channel->n && ret_ts->n;
}

static enum am_outcome slack_say(struct am_build *b, struct am_delivery *d, str channel, str ts, str thread_ts, str url,
                                 struct am_answer *ret)
{
    struct am_request rq[AM_REQUESTS_MAX];
    AUTO_BUF struct buf out;
    buf_init(&out, 16u << 20);
    b->ret = rq;
    b->n = 0;
    am_build_slack(b, &out, channel, ts, thread_ts, url);
    return b->err ? AM_REFUSED : am_call(b, rq, ret, d);
}

static bool message_is_gone(str body)
{
    return str_contains(body, STR("message_not_found")) || str_contains(body, STR("cant_update_message")) ||
           str_contains(body, STR("edit_window_closed")) || str_contains(body, STR("channel_not_found"));
}

/* With a bot's token, later messages of a group change the first one, or stand in its thread; with both, the first one
 * is also copied into its thread, because its text will change. */
enum am_outcome am_slack(struct am_build *b, struct am_delivery *d)
{
    const struct am_slack *c = (const void *)b->m->integration->of;
    struct am_answer answer;
    str url = slack_url(b), channel, ts, thread = STR("/chat.postMessage");
    bool bot = c->update_message || c->post_updates_to_thread;
    if (b->err)
        return AM_REFUSED;
    if (bot && first_message(b->m->memory, &channel, &ts)) {
        str update = !str_has_suffix(url, thread)
                         ? url
                         : arena_printf(b->a, STR_FMT "/chat.update", STR_ARG(str_take(url, url.n - thread.n)));
        enum am_outcome o = c->update_message ? slack_say(b, d, channel, ts, STR(""), update, &answer) : AM_SENT;
        if (o == AM_SENT && c->post_updates_to_thread)
            o = slack_say(b, d, channel, STR(""), ts, url, &answer);
        if (o != AM_REFUSED || !message_is_gone(answer.body))
            return o;
    }
    enum am_outcome o = slack_say(b, d, am_text(b, c->channel), STR(""), STR(""), url, &answer);
    if (o != AM_SENT || !bot)
        return o;
    ts = am_answer_text(b->a, answer.body, "ts");
    channel = am_answer_text(b->a, answer.body, "channel");
    if (!ts.n || !channel.n)
        return o;
    snprintf(d->memory, sizeof(d->memory), STR_FMT " " STR_FMT, STR_ARG(str_take(channel, 100)),
             STR_ARG(str_take(ts, 100)));
    if (c->update_message && c->post_updates_to_thread) {
        struct err_text ignored = *b->why; /* the message itself was taken */
        struct am_delivery copy = *d;
        (void)slack_say(b, &copy, channel, STR(""), ts, url, &answer);
        *b->why = ignored;
    }
    return AM_SENT;
}

static void build_rocketchat(struct am_build *b, struct buf *out)
{
    const struct am_rocketchat *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str slash = c->api_url.n && c->api_url.p[c->api_url.n - 1] == '/' ? STR("") : STR("/");
    json_obj(&j);
    am_put_some(&j, "channel", am_text(b, c->channel));
    am_put_some(&j, "emoji", am_text(b, c->emoji));
    am_put_some(&j, "avatar", am_text(b, c->icon_url));
    json_key(&j, STR("attachments"));
    json_arr(&j);
    json_obj(&j);
    am_put_some(&j, "title", am_truncate_runes(b->a, am_shown(b, c->title), 1024));
    am_put_some(&j, "title_link", am_text(b, c->title_link));
    am_put_some(&j, "text", am_shown(b, c->text));
    am_put_some(&j, "image_url", am_text(b, c->image_url));
    am_put_some(&j, "thumb_url", am_text(b, c->thumb_url));
    am_put_some(&j, "color", am_text(b, c->color));
    put_fields(b, &j, c->fields.p, c->fields.n, c->short_fields);
    json_obj_end(&j);
    json_arr_end(&j);
    json_obj_end(&j);
    struct am_request *r = am_request_add(b, "POST",
                                          arena_printf(b->a, STR_FMT STR_FMT "api/v1/chat.postMessage",
                                                       STR_ARG(am_needed(b, c->api_url, "api_url")), STR_ARG(slash)),
                                          out);
    am_request_header(r, STR("X-User-Id"), am_secret(b, &c->token_id, c->token_id_file));
    am_request_header(r, STR("X-Auth-Token"), am_secret(b, &c->token, c->token_file));
}

static void mattermost_attachment(struct am_build *b, struct json_out *j, const struct am_mattermost_attachment *x)
{
    json_obj(j);
    am_put_some(j, "fallback", am_shown(b, x->fallback));
    am_put_some(j, "color", am_text(b, x->color));
    am_put_some(j, "pretext", am_text(b, x->pretext));
    am_put_some(j, "text", am_shown(b, x->text));
    am_put_some(j, "author_name", am_text(b, x->author_name));
    am_put_some(j, "author_link", am_text(b, x->author_link));
    am_put_some(j, "author_icon", am_text(b, x->author_icon));
    am_put_some(j, "title", am_shown(b, x->title));
    am_put_some(j, "title_link", am_text(b, x->title_link));
    put_fields(b, j, x->fields.p, x->fields.n, false);
    am_put_some(j, "thumb_url", am_text(b, x->thumb_url));
    am_put_some(j, "footer", am_text(b, x->footer));
    am_put_some(j, "footer_icon", am_text(b, x->footer_icon));
    am_put_some(j, "image_url", am_text(b, x->image_url));
    json_obj_end(j);
}

static void build_mattermost(struct am_build *b, struct buf *out)
{
    const struct am_mattermost *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str url = am_secret(b, &c->webhook_url, c->webhook_url_file);
    json_obj(&j);
    am_put_some(&j, "channel", am_text(b, c->channel));
    am_put_some(&j, "username", am_text(b, c->username));
    am_put_some(&j, "icon_url", am_text(b, c->icon_url));
    am_put_some(&j, "icon_emoji", am_text(b, c->icon_emoji));
    json_key(&j, STR("attachments"));
    json_arr(&j);
    if (!c->attachments.n)
        mattermost_attachment(b, &j, &c->main);
    for (size_t i = 0; i < c->attachments.n; i++)
        mattermost_attachment(b, &j, &c->attachments.p[i]);
    json_arr_end(&j);
    am_put_some(&j, "type", am_text(b, c->type));
    if (c->props) {
        json_key(&j, STR("props"));
        json_obj(&j);
        am_put_some(&j, "card", am_text(b, c->props->card));
        json_obj_end(&j);
    }
    if (c->priority) {
        json_key(&j, STR("priority"));
        json_obj(&j);
        am_put(&j, "priority", am_text(b, c->priority->priority));
        json_kbool(&j, "requested_ack", c->priority->requested_ack);
        json_kbool(&j, "persistent_notifications", c->priority->persistent_notifications);
        json_obj_end(&j);
    }
    json_obj_end(&j);
    am_request_add(b, "POST", url, out);
}

/* ---- Telegram ---- */
static void build_telegram(struct am_build *b, struct buf *out, str parse_mode)
{
    const struct am_telegram *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    bool html = str_eq(parse_mode, STR("HTML"));
    str token = am_secret(b, &c->bot_token, c->bot_token_file), chat;
    struct conf_secret none = { STR_NONE };
    chat = c->chat_id_file.n ? am_secret(b, &none, c->chat_id_file) : arena_printf(b->a, "%lld", (long long)c->chat_id);
    json_obj(&j);
    am_put(&j, "chat_id", chat);
    am_put(&j, "text", am_truncate_runes(b->a, html ? am_shown_html(b, c->message) : am_shown(b, c->message), 4096));
    am_put_some(&j, "parse_mode", parse_mode);
    am_put(&j, "disable_web_page_preview", STR("true"));
    if (c->disable_notifications)
        am_put(&j, "disable_notification", STR("true"));
    if (c->message_thread_id)
        am_put(&j, "message_thread_id", arena_printf(b->a, "%lld", (long long)c->message_thread_id));
    json_obj_end(&j);
    am_request_add(b, "POST",
                   arena_printf(b->a, STR_FMT "/bot" STR_FMT "/sendMessage", STR_ARG(c->api_url), STR_ARG(token)), out);
}

/* A text whose markup Telegram cannot read (a cut tag, an underscore in a label) is sent again as plain text. */
enum am_outcome am_telegram(struct am_build *b, struct am_delivery *d)
{
    const struct am_telegram *c = (const void *)b->m->integration->of;
    enum am_outcome o = AM_REFUSED;
    for (int plain = 0; plain < 2; plain++) {
        struct am_request rq[AM_REQUESTS_MAX];
        struct am_answer answer;
        AUTO_BUF struct buf out;
        buf_init(&out, 1u << 20);
        b->ret = rq;
        b->n = 0;
        build_telegram(b, &out, plain ? STR("") : c->parse_mode);
        if (b->err)
            return AM_REFUSED;
        o = am_call(b, rq, &answer, d);
        if (o != AM_REFUSED || answer.status != 400 || !str_contains(answer.body, STR("parse entities")))
            break;
    }
    return o;
}

/* ---- Discord, Webex, Teams ---- */
static void build_discord(struct am_build *b, struct buf *out)
{
    const struct am_discord *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str url = am_secret(b, &c->webhook_url, c->webhook_url_file);
    json_obj(&j);
    am_put(&j, "content", am_truncate_runes(b->a, am_shown(b, c->content), 2000));
    json_key(&j, STR("embeds"));
    json_arr(&j);
    json_obj(&j);
    am_put(&j, "title", am_truncate_runes(b->a, am_shown(b, c->title), 256));
    am_put(&j, "description", am_truncate_runes(b->a, am_shown(b, c->message), 4096));
    json_ki64(&j, "color", am_firing(b) ? 0x992d22 : 0x2ecc71);
    json_obj_end(&j);
    json_arr_end(&j);
    am_put_some(&j, "username", am_text(b, c->username));
    am_put_some(&j, "avatar_url", am_text(b, c->avatar_url));
    json_obj_end(&j);
    am_request_add(b, "POST", url, out);
}

static void build_webex(struct am_build *b, struct buf *out)
{
    const struct am_webex *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    json_obj(&j);
    am_put(&j, "markdown", am_truncate_bytes(b->a, am_shown(b, c->message), 7439));
    am_put(&j, "roomId", am_needed(b, c->room_id, "room_id"));
    json_obj_end(&j);
    am_request_add(b, "POST", am_needed(b, c->api_url, "api_url"), out);
}

static void build_msteams(struct am_build *b, struct buf *out)
{
    const struct am_msteams *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str url = am_secret(b, &c->webhook_url, c->webhook_url_file);
    json_obj(&j);
    am_put(&j, "@context", STR("http://schema.org/extensions"));
    am_put(&j, "type", STR("MessageCard"));
    am_put(&j, "title", am_shown(b, c->title));
    am_put(&j, "summary", am_shown(b, c->summary));
    am_put(&j, "text", am_truncate_bytes(b->a, am_shown(b, c->text), TEAMS_TEXT_MAX));
    am_put(&j, "themeColor", am_firing(b) ? STR("8C1A1A") : STR("2DC72D"));
    json_obj_end(&j);
    am_request_add(b, "POST", url, out);
}

static void build_msteamsv2(struct am_build *b, struct buf *out)
{
    const struct am_msteams *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str url = am_secret(b, &c->webhook_url, c->webhook_url_file);
    json_obj(&j);
    am_put(&j, "type", STR("message"));
    json_key(&j, STR("attachments"));
    json_arr(&j);
    json_obj(&j);
    am_put(&j, "contentType", STR("application/vnd.microsoft.card.adaptive"));
    json_key(&j, STR("contentUrl"));
    json_put_null(&j);
    json_key(&j, STR("content"));
    json_obj(&j);
    am_put(&j, "$schema", STR("http://adaptivecards.io/schemas/adaptive-card.json"));
    am_put(&j, "type", STR("AdaptiveCard"));
    am_put(&j, "version", STR("1.2"));
    json_key(&j, STR("body"));
    json_arr(&j);
    json_obj(&j);
    am_put(&j, "type", STR("TextBlock"));
    am_put(&j, "text", am_shown(b, c->title));
    am_put(&j, "weight", STR("Bolder"));
    am_put(&j, "size", STR("Medium"));
    json_kbool(&j, "wrap", true);
    am_put(&j, "style", STR("heading"));
    am_put(&j, "color", am_firing(b) ? STR("Attention") : STR("Good"));
    json_obj_end(&j);
    json_obj(&j);
    am_put(&j, "type", STR("TextBlock"));
    am_put(&j, "text", am_truncate_bytes(b->a, am_shown(b, c->text), TEAMS_TEXT_MAX));
    json_kbool(&j, "wrap", true);
    json_obj_end(&j);
    json_arr_end(&j);
    json_key(&j, STR("msteams"));
    json_obj(&j);
    am_put(&j, "width", STR("full"));
    json_obj_end(&j);
    json_obj_end(&j);
    json_obj_end(&j);
    json_arr_end(&j);
    json_obj_end(&j);
    am_request_add(b, "POST", url, out);
}

void am_build_chat(struct am_build *b, struct buf *out)
{
    switch (b->m->integration->kind) {
    case AM_SLACK:
        am_build_slack(b, out, am_text(b, ((const struct am_slack *)(const void *)b->m->integration->of)->channel),
                       STR(""), STR(""), slack_url(b));
        break;
    case AM_TELEGRAM:
        build_telegram(b, out, ((const struct am_telegram *)(const void *)b->m->integration->of)->parse_mode);
        break;
    case AM_DISCORD:
        build_discord(b, out);
        break;
    case AM_WEBEX:
        build_webex(b, out);
        break;
    case AM_MSTEAMS:
        build_msteams(b, out);
        break;
    case AM_MSTEAMSV2:
        build_msteamsv2(b, out);
        break;
    case AM_ROCKETCHAT:
        build_rocketchat(b, out);
        break;
    default:
        build_mattermost(b, out);
        break;
    }
}
