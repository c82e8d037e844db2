/* Private to am_payload*.c and the integrations that converse: what the making of a notification needs. Templates that
 * fail at run time do not stop a notification: texts for people say why in their place, other fields stay empty, and
 * only what the message cannot be addressed without (am_needed) fails it.
 * Everything lives in b->a. */
#ifndef VANE_ALERTING_AM_BUILD_H
#define VANE_ALERTING_AM_BUILD_H

#include "alerting/am_exchange.h"
#include "base/check.h"
#include "base/json.h"
#include "tmpl/tmpl_lib.h"

#define AM_KEPT_SECRETS_MAX 24

struct am_build {
    const struct am_message *m;
    struct arena *a;
    const struct am_line *line; /* NULL while only requests are made */
    struct am_request *ret;
    size_t n;
    struct err_text *why;
    enum err err;                /* sticky */
    struct err_text trouble;     /* of the first template that failed and was replaced */
    const struct tmpl_val *data; /* the notification's, with markup made harmless where the service would act on it */
    struct tmpl_am world;
    struct tmpl_run run;
    str secrets[AM_KEPT_SECRETS_MAX]; /* in use: kept out of texts for people */
    size_t n_secrets;
};
void am_build_init(struct am_build *b, const struct am_message *m, struct arena *a, struct err_text *why);
void am_build_fail(struct am_build *b, enum err e);
/* Replace the secrets in a text for people. */
void am_build_scrub(const struct am_build *b, struct err_text *text);
void am_build_hide(struct am_build *b, str secret);

str am_text(struct am_build *b, str t);  /* "" if it fails */
str am_shown(struct am_build *b, str t); /* for people */
str am_shown_html(struct am_build *b, str t);
str am_needed(struct am_build *b, str t, const char *what);                   /* fails the message */
str am_secret(struct am_build *b, const struct conf_secret *value, str file); /* a template, or a file's text */
enum err am_secret_of(struct fs *fs, struct arena *a, const struct conf_secret *value, str file, str *ret,
                      struct err_text *reterr) MUST_CHECK; /* as it stands there */
str am_group_hash(struct am_build *b);                     /* SHA-256 of the group key, hex */
bool am_firing(const struct am_build *b);

struct am_request *am_request_add(struct am_build *b, const char *method, str url, struct buf *body); /* empties body */
void am_request_header(struct am_request *r, str name, str value);
void am_put(struct json_out *j, const char *key, str value);
void am_put_some(struct json_out *j, const char *key, str value); /* left out when empty */
void am_put_typed(struct json_out *j, struct arena *a, str s);    /* numbers, booleans, lists, objects stay such */
void am_put_tree(struct am_build *b, struct json_out *j, const struct conf_node *n); /* with templates in its strings */
void am_form_add(struct buf *out, const char *name, str value); /* application/x-www-form-urlencoded; not if empty */
str am_fallback(struct am_build *b, const char *why);           /* "[FIRING:2] Down (job=x): why" */

/* am_payload_chat.c */
void am_build_slack(struct am_build *b, struct buf *out, str channel, str ts, str thread_ts, str url);
void am_build_chat(struct am_build *b, struct buf *out);

/* Integrations that converse; b->line is there. */
enum am_outcome am_slack(struct am_build *b, struct am_delivery *d);
enum am_outcome am_telegram(struct am_build *b, struct am_delivery *d);
enum am_outcome am_wechat(struct am_build *b, struct am_delivery *d);
enum am_outcome am_jira(struct am_build *b, struct am_delivery *d);
enum am_outcome am_sns(struct am_build *b, struct am_delivery *d);
enum am_outcome am_dial(struct am_build *b, struct am_delivery *d);
/* A string of an object of JSON; "" if there is none such. */
str am_answer_text(struct arena *a, str json, const char *key);
/* One request: AM_SENT with *ret, or what became of it (b->why says it). */
enum am_outcome am_call(struct am_build *b, const struct am_request *rq, struct am_answer *ret, struct am_delivery *d);

#endif
