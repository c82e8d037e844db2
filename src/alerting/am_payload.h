/* Notifications as HTTP requests: what each service is told, in the form it expects (Alertmanager's integrations), and
 * what its answer means. Pure: no network. E-mail is not HTTP and stands elsewhere. */
#ifndef VANE_ALERTING_AM_PAYLOAD_H
#define VANE_ALERTING_AM_PAYLOAD_H

#include "alerting/am_config.h"
#include "alerting/am_data.h"
#include "http/http.h"

#define AM_REQUESTS_MAX 4 /* of one notification */

struct am_message {
    const struct am_receiver *receiver;
    const struct am_integration *integration;
    const struct tmpl_val *data;        /* am_data() */
    const struct tmpl_set *text, *html; /* am_config_templates() */
    str group_key;                      /* {}/{a="b"}:{alertname="A"} */
    int64_t now_ms;
    struct fs *fs; /* for secrets in files */
    uint64_t idempotency;
    str memory;       /* am_delivery.memory of the group's last message */
    str callback_url; /* where receivers of calls and texts reach this vane; "" = nowhere */
};
struct am_request {
    str method, url, content_type, body;
    struct http_pair headers[6];
    size_t n_headers;
    str basic_user, basic_password; /* basic_user "" = none */
};
/* The requests of one notification, to be sent in order; everything lives in a.
 * ERR_EXEC: a template failed; ERR_UNSUPPORTED: vane does not speak to this service; ERR_NOT_FOUND ...: a secret's file. */
enum err am_payload_build(const struct am_message *m, struct arena *a, struct am_request ret[AM_REQUESTS_MAX],
                          size_t *ret_n, struct err_text *reterr) MUST_CHECK;

enum am_outcome { AM_SENT, AM_RETRY, AM_REFUSED };
/* What an answer means; why (not NULL) says it for people, without secrets. status 0: no answer. */
enum am_outcome am_payload_judge(enum am_kind kind, int status, str body, struct err_text *why);

/* ---- what came of it ---- */
#define AM_MEMORY_BYTES 256
struct am_delivery {     /* what came of one attempt; the sender fills it in before am_sent() (am.h) */
    int status;          /* of the provider's last answer (HTTP, SMTP); 0: none came */
    int64_t took_ms;     /* of the attempt */
    int64_t retry_in_ms; /* AM_RETRY: no attempt before (Retry-After, rate limits); 0: the engine's own pause */
    char answer[256];    /* for people, without secrets; also what was odd about a message that was taken; "" */
    /* AM_SENT: what the integration is to be told with its next message of this group; "": as before */
    char memory[AM_MEMORY_BYTES];
};

/* At most n characters / bytes, an ellipsis at the end if something was cut off. In a or s itself. */
str am_truncate_runes(struct arena *a, str s, size_t n);
str am_truncate_bytes(struct arena *a, str s, size_t n);

#endif
