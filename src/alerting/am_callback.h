/* Acknowledging by key press or reply: providers of calls and text messages ask vane back, at
 *   CALLBACK_URL/api/v1/alerting/callback/{phone|sms}/{receiver}/{index}[?code=123456]
 * What they send is believed only with the provider's signature: Twilio's X-Twilio-Signature (HMAC-SHA1 with the
 * account's token), Vonage's signed webhooks (HMAC-SHA256, or a JWT with the body's hash), and for the http provider
 * X-Vane-Signature: sha256=HEX (HMAC-SHA256 of the body with callback_secret).
 * Pure but for the acknowledgement, which is the caller's. Threads: any.
 * Spec: twilio.com/docs/usage/security, developer.vonage.com/en/getting-started/concepts/webhooks. */
#ifndef VANE_ALERTING_AM_CALLBACK_H
#define VANE_ALERTING_AM_CALLBACK_H

#include "alerting/am_config.h"

#define AM_CODE_LEN 6
/* The code of a group in texts and callbacks: the same as long as the group is, also after a restart. */
void am_callback_code(str group_key, char ret[AM_CODE_LEN + 1]);
/* Where a provider asks back; in a. base: "https://vane.example", code may be empty. */
str am_callback_url(struct arena *a, str base, enum am_kind kind, str receiver, size_t index, str code);

struct am_callback {
    enum am_kind kind; /* AM_PHONE, AM_SMS */
    str receiver;
    size_t index;
    str external_url; /* where the integration names no callback_url */
    const struct http_pair *query;
    size_t n_query;
    str content_type, body;                              /* as received */
    str twilio_signature, authorization, vane_signature; /* headers; "" = absent */
    int64_t now_ms;
    /* Groups that fire now; their keys are what is acknowledged. */
    const str *groups;
    size_t n_groups;
};
struct am_callback_deed {
    int status;       /* 200, or what to answer and nothing else: 400, 403, 404 */
    str text;         /* why, for people */
    str content_type; /* of the answer in the provider's language, given whether it could be acknowledged */
    str *group_keys;  /* acknowledge these; 0: nothing is to be done */
    size_t n_group_keys;
    str owner; /* "phone:+49301234" */
};
/* What is wanted, if it is genuine. Everything lives in a. */
void am_callback_read(const struct am_config *cfg, const struct am_callback *cb, struct fs *fs, struct arena *a,
                      struct am_callback_deed *ret);
/* What the provider is to say: said to the caller, or texted back. */
str am_callback_answer(const struct am_config *cfg, const struct am_callback *cb, str said, struct arena *a,
                       str *ret_content_type);

#endif
