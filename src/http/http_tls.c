/* Certificates of servers: read from files, exchanged while connections go on (manual: http.h).
 *
 * What a file set became is a `struct http_cred`, shared by reference count: a connection keeps the one it began with, the
 * next connection takes the newest. Changed files (time, size, inode) are noticed when a connection comes in, at most
 * every CHECK_MS. */
#include <stdio.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "base/fs.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stats.h"
#include "http/http_int.h"

enum { PEM_BYTES_MAX = 4 << 20, CHECK_MS = 2000 };

static struct stat reloads_ok =
    STAT_COUNTER("vane_http_tls_reloads_total", "TLS certificates read again", "result=\"ok\"");
static struct stat reloads_failed =
    STAT_COUNTER("vane_http_tls_reloads_total", "TLS certificates read again", "result=\"failed\"");

static struct stat expiry =
    STAT_GAUGE("vane_http_tls_certificate_expiry_timestamp_seconds", "When the certificate in use ends", "");

struct http_cred {
    gnutls_certificate_credentials_t cred;
    int64_t expires_s; /* 0: unknown */
    enum http_client_auth client_auth;
    gnutls_priority_t priority; /* NULL: the server's own */
    atomic_uint refs;
};
struct http_certificates {
    struct http_certificates_config cfg; /* strings owned, in a */
    struct arena a;
    struct mtx mu; /* guards what follows */
    struct http_cred *now;
    uint64_t stamp, checked_ns;
};

/* ---- one set of files ---- */

void http_cred_unref(struct http_cred *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (c->cred)
        gnutls_certificate_free_credentials(c->cred);
    if (c->priority)
        gnutls_priority_deinit(c->priority);
    mem_free(c);
}

static enum err read_pem(struct arena *a, const char *path, gnutls_datum_t *ret, struct err_text *reterr)
{
    str text;
    TRY(fs_read_file(fs_os(), path, PEM_BYTES_MAX, a, &text, reterr));
    *ret = (gnutls_datum_t){ (unsigned char *)(uintptr_t)text.p, (unsigned)text.n };
    return OK;
}

static int verify_client(gnutls_session_t session)
{
    unsigned status = 0, n = 0;
    if (!gnutls_certificate_get_peers(session, &n) || n == 0)
        return 0; /* that there is one is asked for by gnutls_certificate_server_set_request */
    if (gnutls_certificate_verify_peers3(session, NULL, &status) != 0 || status != 0)
        return GNUTLS_E_CERTIFICATE_ERROR;
    return 0;
}

static enum err load_client_ca(struct http_cred *c, const struct http_certificates_config *cfg, struct arena *a,
                               struct err_text *reterr)
{
    gnutls_datum_t ca;
    if (cfg->client_auth >= HTTP_CLIENT_VERIFY_IF_GIVEN)
        gnutls_certificate_set_verify_function(c->cred, verify_client);
    if (!cfg->client_ca_file)
        return OK;
    TRY(read_pem(a, cfg->client_ca_file, &ca, reterr));
    int r = gnutls_certificate_set_x509_trust_mem(c->cred, &ca, GNUTLS_X509_FMT_PEM);
    if (r <= 0)
        return err_fail(reterr, ERR_INVALID, "client CA %s: %s", cfg->client_ca_file,
                        r < 0 ? gnutls_strerror(r) : "no certificate in it");
    return OK;
}

static enum err load_versions(struct http_cred *c, const struct http_certificates_config *cfg, struct err_text *reterr)
{
    static const struct {
        unsigned v;
        const char *name;
    } versions[] = { { 10, "1.0" }, { 11, "1.1" }, { 12, "1.2" }, { 13, "1.3" } };
    char text[200] = "NORMAL:-VERS-ALL";
    unsigned min = cfg->min_version ? cfg->min_version : 12, max = cfg->max_version ? cfg->max_version : 13;
    for (size_t i = ARRAY_LEN(versions); i-- > 0;)
        if (versions[i].v >= min && versions[i].v <= max) {
            size_t n = strlen(text);
            snprintf(text + n, sizeof(text) - n, ":+VERS-TLS%s", versions[i].name);
        }
    if (gnutls_priority_init(&c->priority, text, NULL) != 0)
        return err_fail(reterr, ERR_INVALID, "TLS versions %u to %u cannot be used", min, max);
    return OK;
}

static int64_t expiry_of(gnutls_certificate_credentials_t cred)
{
    gnutls_x509_crt_t *chain = NULL;
    unsigned n = 0;
    time_t end = -1;
    if (gnutls_certificate_get_x509_crt(cred, 0, &chain, &n) != 0)
        return 0;
    if (n)
        end = gnutls_x509_crt_get_expiration_time(chain[0]);
    for (unsigned i = 0; i < n; i++)
        gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
    return end > 0 ? (int64_t)end : 0;
}

static enum err cred_load(const struct http_certificates_config *cfg, struct http_cred *c, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    gnutls_datum_t cert, key;
    arena_init(&a, 0);
    TRY(read_pem(&a, cfg->cert_file, &cert, reterr));
    TRY(read_pem(&a, cfg->key_file, &key, reterr));
    if (gnutls_certificate_allocate_credentials(&c->cred) != 0)
        return err_fail(reterr, ERR_LIMIT, "TLS credentials: no memory");
    int r = gnutls_certificate_set_x509_key_mem(c->cred, &cert, &key, GNUTLS_X509_FMT_PEM);
    explicit_bzero(key.data, key.size);
    if (r < 0)
        return err_fail(reterr, ERR_INVALID, "TLS certificate %s with key %s: %s (valid PEM, and a pair?)",
                        cfg->cert_file, cfg->key_file, gnutls_strerror(r));
    c->client_auth = cfg->client_auth;
    c->expires_s = expiry_of(c->cred);
    TRY(load_client_ca(c, cfg, &a, reterr));
    return load_versions(c, cfg, reterr);
}

static struct http_cred *cred_new(const struct http_certificates_config *cfg, struct err_text *reterr)
{
    struct http_cred *c = mem_zalloc(sizeof(*c));
    atomic_init(&c->refs, 1);
    if (cred_load(cfg, c, reterr) == OK)
        return c;
    http_cred_unref(c);
    return NULL;
}

/* ---- the exchange ---- */

static uint64_t stamp_of(const struct http_certificates_config *cfg)
{
    const char *files[] = { cfg->cert_file, cfg->key_file, cfg->client_ca_file };
    uint64_t h = 1;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        h = hash_u64(h + (files[i] ? fs_stamp(files[i]) : 0));
    return h;
}

static void install(struct http_certificates *c, struct http_cred *next, uint64_t stamp)
{
    mtx_lock(&c->mu);
    struct http_cred *old = next ? c->now : NULL;
    if (next)
        c->now = next;
    if (next && next->expires_s)
        stat_set(&expiry, next->expires_s);
    c->stamp = stamp;
    mtx_unlock(&c->mu);
    http_cred_unref(old);
}

enum err http_certificates_reload(struct http_certificates *c, struct err_text *reterr)
{
    struct err_text why = { .msg = "" };
    uint64_t stamp = stamp_of(&c->cfg);
    struct http_cred *next = cred_new(&c->cfg, &why);
    install(c, next, stamp);
    stat_add(next ? &reloads_ok : &reloads_failed, 1);
    if (!next)
        return err_fail(reterr, ERR_INVALID, "%s", why.msg);
    return OK;
}

/* On whatever thread accepts a connection: one of them looks, the others go on with what is there. */
static void look_at_files(struct http_certificates *c)
{
    struct err_text why = { .msg = "" };
    uint64_t now = os_mono_ns();
    mtx_lock(&c->mu);
    bool due = now - c->checked_ns >= CHECK_MS * 1000000ull;
    uint64_t known = c->stamp;
    if (due)
        c->checked_ns = now;
    mtx_unlock(&c->mu);
    if (!due || stamp_of(&c->cfg) == known)
        return;
    if (http_certificates_reload(c, &why) == OK)
        LOG_INFO("TLS certificate files changed: new connections use them", "file", c->cfg.cert_file);
    else
        LOG_WARN("TLS certificate files changed and cannot be used, the old ones stay", "err", why.msg);
}

struct http_cred *http_cred_take(struct http_certificates *c)
{
    look_at_files(c);
    mtx_lock(&c->mu);
    struct http_cred *now = c->now;
    atomic_fetch_add_explicit(&now->refs, 1, memory_order_relaxed);
    mtx_unlock(&c->mu);
    return now;
}

bool http_cred_apply(struct http_cred *c, gnutls_session_t session, gnutls_priority_t priority)
{
    static const gnutls_certificate_request_t request[] = {
        [HTTP_CLIENT_NONE] = GNUTLS_CERT_IGNORE,
        [HTTP_CLIENT_REQUEST] = GNUTLS_CERT_REQUEST,
        [HTTP_CLIENT_REQUIRE_ANY] = GNUTLS_CERT_REQUIRE,
        [HTTP_CLIENT_VERIFY_IF_GIVEN] = GNUTLS_CERT_REQUEST,
        [HTTP_CLIENT_REQUIRE_VERIFY] = GNUTLS_CERT_REQUIRE,
    };
    gnutls_certificate_server_set_request(session, request[c->client_auth]);
    return gnutls_priority_set(session, priority ? priority : c->priority) == 0 &&
           gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, c->cred) == 0;
}

/* ---- life ---- */

static const char *copy(struct arena *a, const char *s)
{
    return s && *s ? arena_cstr(a, str_c(s)) : NULL;
}

enum err http_certificates_open(const struct http_certificates_config *cfg, struct http_certificates **ret,
                                struct err_text *reterr)
{
    static atomic_bool registered;
    if (!atomic_exchange(&registered, true)) {
        stat_register(&reloads_ok);
        stat_register(&reloads_failed);
    }
    struct http_certificates *c = mem_zalloc(sizeof(*c));
    mtx_init(&c->mu, 0);
    arena_init(&c->a, 0);
    c->cfg = *cfg;
    c->cfg.cert_file = copy(&c->a, cfg->cert_file);
    c->cfg.key_file = copy(&c->a, cfg->key_file ? cfg->key_file : cfg->cert_file);
    c->cfg.client_ca_file = copy(&c->a, cfg->client_ca_file);
    c->checked_ns = os_mono_ns();
    c->stamp = stamp_of(&c->cfg);
    c->now = cred_new(&c->cfg, reterr);
    if (!c->now) {
        http_certificates_close(c);
        return ERR_INVALID;
    }
    if (c->now->expires_s)
        stat_set(&expiry, c->now->expires_s);
    *ret = c;
    return OK;
}

void http_certificates_close(struct http_certificates *c)
{
    if (!c)
        return;
    http_cred_unref(c->now);
    arena_deinit(&c->a);
    mtx_deinit(&c->mu);
    mem_free(c);
}
