/* Sending mail over SMTP (RFC 5321): one message over one connection, by libcurl. */
#ifndef VANE_HTTP_HTTP_MAIL_H
#define VANE_HTTP_HTTP_MAIL_H

#include "http/http.h"

enum http_mail_tls {
    HTTP_MAIL_PLAIN,
    HTTP_MAIL_STARTTLS, /* required: without it the mail is not sent */
    HTTP_MAIL_TLS       /* from the first byte (port 465) */
};
struct http_mail {
    str host, port, hello; /* hello: name said in EHLO; empty = localhost */
    str from;              /* bare address */
    const str *to;         /* bare addresses */
    size_t n_to;
    str user, password; /* empty user: no authentication; password: PLAIN, LOGIN */
    str secret;         /* CRAM-MD5, if there is no password or the server takes none of the above */
    str identity;       /* on whose behalf (PLAIN); mostly empty */
    str message;        /* headers and body, CRLF lines; dots are doubled here */
    enum http_mail_tls tls;
    const struct http_tls *settings; /* may be NULL */
    int64_t timeout_ms;              /* 0 = 30 s */
    const atomic_bool *cancel;       /* true ends it with ERR_CANCELLED soon; may be NULL */
};
struct http_mail_result {
    int code; /* last SMTP reply: 250 when taken; 4xx may be tried again, 5xx not; 0 = none */
};
/* Blocks. OK: the server took the message. ERR_IO, ERR_TIMEOUT, ERR_PERMISSION (authentication), ERR_EXEC (refused);
 * reterr says why, without the password. Threads: any number at once. */
enum err http_mail_send(const struct http_mail *m, struct http_mail_result *ret, struct err_text *reterr) MUST_CHECK;

#endif
