/* Basic authentication against bcrypt hashes, as a web configuration file of Prometheus has them.
 *
 * bcrypt is slow on purpose (60 ms at cost 10), and every request carries the password: what was right is remembered by
 * a keyed hash (HMAC-SHA256, key made at start), nothing of the password itself. One thread computes at a time, so that
 * wrong passwords cannot take all cores; an unknown name costs as much as a wrong password. Spec: RFC 7617, crypt(5). */
#include <crypt.h>

#include <gnutls/crypto.h>

#include "base/log.h"
#include "http/http_int.h"

enum { USERS_MAX = 1000, REMEMBERED = 128, COST_MAX = 16, DIGEST = 32, AUTH_BYTES_MAX = 4096 };
/* Of a password nobody has. */
#define NOBODY "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"

struct http_users {
    struct mtx mu; /* guards what follows */
    struct arena a;
    const struct http_pair *list; /* name, hash */
    size_t n;
    uint8_t seen[REMEMBERED][DIGEST];
    size_t n_seen;
    struct mtx crypt_mu; /* guards work */
    struct crypt_data work;
    uint8_t key[DIGEST];
};

struct http_users *http_users_new(void)
{
    struct http_users *u = mem_zalloc(sizeof(*u));
    mtx_init(&u->mu, 0);
    mtx_init(&u->crypt_mu, 0);
    arena_init(&u->a, 0);
    ASSERT(gnutls_rnd(GNUTLS_RND_KEY, u->key, sizeof(u->key)) == 0);
    return u;
}

void http_users_free(struct http_users *u)
{
    if (!u)
        return;
    explicit_bzero(u->key, sizeof(u->key));
    arena_deinit(&u->a);
    mtx_deinit(&u->mu);
    mtx_deinit(&u->crypt_mu);
    mem_free(u);
}

/* "$2y$10$" and 53 characters; the cost is bounded. */
static enum err hash_check(const struct http_pair *user, struct err_text *reterr)
{
    str h = user->value;
    uint64_t cost = 0;
    bool form = h.n == 60 && h.p[0] == '$' && h.p[1] == '2' && h.p[3] == '$' && h.p[6] == '$' &&
                memchr("aby", h.p[2], 3) && str_to_u64(str_take(str_skip(h, 4), 2), &cost);
    if (!form || cost < 4)
        return err_fail(reterr, ERR_INVALID,
                        "basic_auth_users: the password of \"" STR_FMT
                        "\" is no bcrypt hash (htpasswd -nBC 10 \"\" makes one)",
                        STR_ARG(str_take(user->name, 100)));
    if (cost > COST_MAX)
        return err_fail(reterr, ERR_LIMIT, "basic_auth_users: the hash of \"" STR_FMT "\" has cost %llu, at most %d",
                        STR_ARG(str_take(user->name, 100)), (unsigned long long)cost, COST_MAX);
    if (user->name.n == 0 || str_find_char(user->name, ':') != SIZE_MAX)
        return err_fail(reterr, ERR_INVALID, "basic_auth_users: a name must not be empty or have a colon");
    return OK;
}

enum err http_users_set(struct http_users *u, const struct http_pair *users, size_t n, struct err_text *reterr)
{
    if (n > USERS_MAX)
        return err_fail(reterr, ERR_LIMIT, "basic_auth_users: more than %d", USERS_MAX);
    for (size_t i = 0; i < n; i++)
        TRY(hash_check(&users[i], reterr));
    struct arena a;
    arena_init(&a, 0);
    struct http_pair *list = arena_array(&a, struct http_pair, n + 1);
    for (size_t i = 0; i < n; i++)
        list[i] = (struct http_pair){ arena_str(&a, users[i].name), arena_str(&a, users[i].value) };
    mtx_lock(&u->mu);
    struct arena old = u->a;
    u->a = a;
    u->list = list;
    u->n = n;
    u->n_seen = 0;
    mtx_unlock(&u->mu);
    arena_deinit(&old);
    return OK;
}

/* "Basic bmFtZTpwYXNz" -> name, password; both in a. */
static bool basic_decode(struct arena *a, str authorization, str *ret_name, str *ret_password)
{
    str kind, rest = str_trim(authorization);
    gnutls_datum_t plain;
    if (rest.n > AUTH_BYTES_MAX || !str_cut(&rest, ' ', &kind) || !str_ieq(kind, STR("Basic")))
        return false;
    rest = str_trim(rest);
    gnutls_datum_t in = { (unsigned char *)(uintptr_t)rest.p, (unsigned)rest.n };
    if (rest.n == 0 || gnutls_base64_decode2(&in, &plain) != 0)
        return false;
    str text = arena_str(a, str_n((const char *)plain.data, plain.size));
    explicit_bzero(plain.data, plain.size);
    gnutls_free(plain.data);
    size_t colon = str_find_char(text, ':');
    if (colon == SIZE_MAX || memchr(text.p, 0, text.n))
        return false;
    *ret_name = arena_str(a, str_take(text, colon));
    *ret_password = str_skip(text, colon + 1);
    return true;
}

static void digest_of(const struct http_users *u, str name, str password, str hash, uint8_t out[DIGEST])
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_lstr(&b, name);
    buf_lstr(&b, password);
    buf_lstr(&b, hash);
    ASSERT(gnutls_hmac_fast(GNUTLS_MAC_SHA256, u->key, sizeof(u->key), b.p, b.n, out) == 0);
    explicit_bzero(b.p, b.n);
}

static bool seen_locked(const struct http_users *u, const uint8_t digest[DIGEST])
{
    for (size_t i = 0; i < MIN(u->n_seen, (size_t)REMEMBERED); i++)
        if (gnutls_memcmp(u->seen[i], digest, DIGEST) == 0)
            return true;
    return false;
}

static bool hash_matches(struct http_users *u, const char *password, const char *hash)
{
    mtx_lock(&u->crypt_mu);
    const char *made = crypt_rn(password, hash, &u->work, sizeof(u->work));
    bool ok = made && strlen(made) == strlen(hash) && gnutls_memcmp(made, hash, strlen(hash)) == 0;
    explicit_bzero(&u->work, sizeof(u->work));
    mtx_unlock(&u->crypt_mu);
    return ok;
}

bool http_users_allow(struct http_users *u, str authorization)
{
    AUTO_ARENA struct arena a;
    str name, password, hash = STR_NONE;
    uint8_t digest[DIGEST];
    arena_init(&a, 0);
    mtx_lock(&u->mu);
    bool open = u->n == 0;
    mtx_unlock(&u->mu);
    if (open)
        return true;
    if (!basic_decode(&a, authorization, &name, &password))
        return false;
    mtx_lock(&u->mu);
    for (size_t i = 0; i < u->n; i++)
        if (str_eq(u->list[i].name, name))
            hash = arena_str(&a, u->list[i].value);
    digest_of(u, name, password, hash, digest);
    bool seen = hash.n && seen_locked(u, digest);
    mtx_unlock(&u->mu);
    if (seen)
        return true;
    bool ok = hash_matches(u, password.p, hash.n ? hash.p : NOBODY) && hash.n;
    if (ok) {
        mtx_lock(&u->mu); /* exchanged meanwhile: the digest holds the hash, so it cannot let anybody else in */
        memcpy(u->seen[u->n_seen++ % REMEMBERED], digest, DIGEST);
        mtx_unlock(&u->mu);
    } else {
        LOG_WARN("wrong name or password", "name", LOG_STR(str_take(name, 100)));
    }
    return ok;
}
