/* Notifications as mail: the message of an e-mail integration (RFC 5322, MIME), and whom it goes to. */
#ifndef VANE_ALERTING_AM_MAIL_H
#define VANE_ALERTING_AM_MAIL_H

#include "alerting/am_payload.h"

#define AM_MAIL_RECIPIENTS_MAX 1000

struct am_mail {
    str from; /* bare address */
    str *to;  /* bare addresses */
    size_t n_to;
    str password; /* of smtp_auth; empty: none */
    str message;
};
/* Everything lives in a. id: makes Message-Id and the boundary unique. ERR_EXEC (template), ERR_INVALID (addresses). */
enum err am_mail_build(const struct am_message *m, struct arena *a, uint64_t id, struct am_mail *ret,
                       struct err_text *reterr) MUST_CHECK;

#endif
