/* Notifications as mail: the message of an e-mail integration (RFC 5322, MIME), and whom it goes to. */
#ifndef VANE_ALERTING_AM_MAIL_H
#define VANE_ALERTING_AM_MAIL_H

#include "alerting/am_payload.h"

#define AM_MAIL_RECIPIENTS_MAX 1000
#define AM_MAIL_PICTURES_MAX   4

struct am_mail_picture {
    str png;
    struct labels labels; /* said above it */
};
struct am_mail_extra {                                     /* what the reference does not put into a mail */
    struct am_mail_picture pictures[AM_MAIL_PICTURES_MAX]; /* inside the HTML (cid:) */
    size_t n_pictures;
    bool text_too; /* a plain text beside the HTML, though none is configured */
};
struct am_mail {
    str from; /* bare address */
    str *to;  /* bare addresses */
    size_t n_to;
    str password, secret; /* of auth_password and auth_secret (CRAM-MD5); empty: none */
    str message;
    struct err_text trouble; /* a template failed: its error stands in the mail */
};
/* Everything lives in a. m->idempotency makes Message-Id and the boundary unique. x may be NULL.
 * ERR_EXEC (from, to), ERR_INVALID (addresses), ERR_NOT_FOUND ...: a secret's file. */
enum err am_mail_build(const struct am_message *m, const struct am_mail_extra *x, struct arena *a, struct am_mail *ret,
                       struct err_text *reterr) MUST_CHECK;

#endif
