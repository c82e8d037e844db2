/* WeChat Work: a token for an application, then messages with it.
 * Spec: developer.work.weixin.qq.com/document/path/90236 (message/send). */
#include <nettle/sha2.h>

#include "alerting/am_build.h"

#define TOKEN_MS 7200000 /* the service's own time */

static str cache_key(struct am_build *b, const struct am_wechat *c, str corp, str secret)
{
    struct sha256_ctx x;
    uint64_t digest[SHA256_DIGEST_SIZE / 8];
    sha256_init(&x);
    sha256_update(&x, c->api_url.n, (const uint8_t *)c->api_url.p);
    sha256_update(&x, corp.n + 1, (const uint8_t *)arena_cstr(b->a, corp));
    sha256_update(&x, secret.n, (const uint8_t *)secret.p);
    sha256_digest(&x, sizeof(digest), (uint8_t *)digest);
    return arena_printf(b->a, "wechat:%016llx%016llx", (unsigned long long)digest[0], (unsigned long long)digest[1]);
}

static enum am_outcome token_of(struct am_build *b, const struct am_wechat *c, str corp, str secret, str key,
                                struct am_delivery *d, str *ret)
{
    struct am_answer answer;
    AUTO_BUF struct buf url = { 0 };
    *ret = b->line->recall ? b->line->recall(b->line->ctx, key, b->a) : STR("");
    if (ret->n)
        return AM_SENT;
    buf_init(&url, 0);
    buf_printf(&url, STR_FMT "gettoken?", STR_ARG(c->api_url));
    am_form_add(&url, "corpid", corp);
    am_form_add(&url, "corpsecret", secret);
    struct am_request rq = { .method = STR("GET"), .url = arena_str(b->a, buf_str(&url)) };
    enum am_outcome o = am_call(b, &rq, &answer, d);
    if (o != AM_SENT)
        return o;
    *ret = am_answer_text(b->a, answer.body, "access_token");
    if (!ret->n) {
        IGNORE_ERR(err_fail(b->why, ERR_PERMISSION, "invalid api_secret for corp_id " STR_FMT ": " STR_FMT,
                            STR_ARG(corp), STR_ARG(str_take(am_answer_text(b->a, answer.body, "errmsg"), 100))));
        return AM_REFUSED;
    }
    if (b->line->keep)
        b->line->keep(b->line->ctx, key, *ret, b->m->now_ms + TOKEN_MS);
    return AM_SENT;
}

static void message(struct am_build *b, struct buf *out, const struct am_wechat *c)
{
    bool markdown = str_eq(c->message_type, STR("markdown"));
    str text = am_shown(b, c->message);
    struct json_out j = json_out_init(out);
    json_obj(&j);
    for (int i = 0; i < 2; i++) { /* both are always there, as the reference has it */
        json_key(&j, i ? STR("markdown") : STR("text"));
        json_obj(&j);
        am_put(&j, "content", markdown == (i == 1) ? text : STR(""));
        json_obj_end(&j);
    }
    am_put_some(&j, "touser", am_text(b, c->to_user));
    am_put_some(&j, "toparty", am_text(b, c->to_party));
    am_put_some(&j, "totag", am_text(b, c->to_tag));
    am_put_some(&j, "agentid", am_text(b, c->agent_id));
    am_put(&j, "safe", STR("0"));
    am_put(&j, "msgtype", c->message_type);
    json_obj_end(&j);
}

enum am_outcome am_wechat(struct am_build *b, struct am_delivery *d)
{
    const struct am_wechat *c = (const void *)b->m->integration->of;
    struct am_answer answer;
    struct am_request rq[AM_REQUESTS_MAX];
    AUTO_BUF struct buf url, out;
    str corp = am_needed(b, c->corp_id, "corp_id"), secret = am_secret(b, &c->api_secret, c->api_secret_file), token;
    buf_init(&url, 0);
    buf_init(&out, 1u << 20);
    b->ret = rq;
    if (b->err)
        return AM_REFUSED;
    str key = cache_key(b, c, corp, secret);
    enum am_outcome o = token_of(b, c, corp, secret, key, d, &token);
    if (o != AM_SENT)
        return o;
    am_build_hide(b, token);
    buf_printf(&url, STR_FMT "message/send?", STR_ARG(c->api_url));
    am_form_add(&url, "access_token", token);
    message(b, &out, c);
    am_request_add(b, "POST", arena_str(b->a, buf_str(&url)), &out);
    o = am_call(b, rq, &answer, d);
    str code = am_answer_text(b->a, answer.body, "errcode");
    if (o != AM_SENT || str_eq(code, STR("0")))
        return o;
    IGNORE_ERR(err_fail(b->why, ERR_EXEC, "error " STR_FMT ": " STR_FMT, STR_ARG(str_take(code, 20)),
                        STR_ARG(str_take(am_answer_text(b->a, answer.body, "errmsg"), 200))));
    if (!code.n)
        return AM_RETRY; /* not the service's answer */
    if (!str_eq(code, STR("42001")) && !str_eq(code, STR("40014")))
        return AM_REFUSED;
    if (b->line->keep) /* the token ended: the next attempt fetches one */
        b->line->keep(b->line->ctx, key, STR(""), 0);
    return AM_RETRY;
}
