/* The search for Amazon's credentials (manual: http_aws_keys.h): one question after the other, each chosen by what is still
 * missing when the answer to the one before is there. */
#include "http/http_aws_keys.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/num.h"
#include "base/vec.h"

enum {
    ENTRIES_MAX = 256,
    FILE_BYTES_MAX = 1 << 20,
    ANSWER_BYTES_MAX = 1 << 20,
    KEY_BYTES_MAX = 16 * 1024,
    METADATA_MS_MAX = 2000, /* elsewhere than at Amazon nobody answers there */
    CONTAINER_MS_MAX = 5000,
    STS_MS_MAX = 30000,
    FILE_MS = 60000, /* keys of files and of the environment are looked at again */
    RENEW_MS = 300000,
    LAST_MS = 30000,
    BACKOFF_MS_MIN = 1000,
    BACKOFF_MS_MAX = 30000,
    YOUNG_MS = 10000,
};
#define MS              1000000ull
#define METADATA        "http://169.254.169.254"
#define METADATA_IPV6   "http://[fd00:ec2::254]"
#define CONTAINER_HOST  "http://169.254.170.2"
#define ROLES_PATH      "/latest/meta-data/iam/security-credentials/"
#define REGION_PATH     "/latest/meta-data/placement/region"
#define TOKEN_PATH      "/latest/api/token"
#define TOKEN_TTL_NAME  "X-aws-ec2-metadata-token-ttl-seconds"
#define TOKEN_NAME      "X-aws-ec2-metadata-token"
#define TOKEN_TTL_VALUE "300"

enum step { WEB_IDENTITY, CONTAINER, INSTANCE_TOKEN, INSTANCE_ROLE, INSTANCE_KEY, INSTANCE_REGION, ASSUME_ROLE };

struct entry {
    struct http_aws_keys *keys;
    hash128 id;
    struct arena key_a; /* of key, region */
    struct http_aws_key key;
    str region;
    uint64_t issued_ns; /* 0: none yet */
    uint64_t renew_ns, end_ns, retry_ns, used_ns;
    unsigned backoff_ms;
    char error[300];

    /* the search under way, in search_a */
    bool searching;
    struct arena search_a;
    struct http_sigv4 s;
    enum step step;
    struct http_aws_key got;
    str got_region, instance_token, instance_role;
    int64_t until_ms; /* 0: they do not end */
    bool role_assumed;
};
struct http_aws_keys {
    struct http_client *client;
    struct mtx mu;
    VEC(struct entry *) entries;
};

/* ---- entries, under mu ---- */

static hash128 id_of(const struct http_sigv4 *s)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    const str all[] = { s->region, s->access_key, s->secret_key, s->profile, s->role_arn, s->external_id };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_lstr(&b, all[i]);
    buf_u8(&b, s->use_fips_sts);
    return hash128_seed(buf_str(&b), 0);
}

static void entry_free(struct entry *e)
{
    arena_deinit(&e->key_a);
    arena_deinit(&e->search_a);
    mem_free(e);
}

static struct entry *entry_find(struct http_aws_keys *k, const struct http_sigv4 *s)
{
    hash128 id = id_of(s);
    for (size_t i = 0; i < k->entries.n; i++)
        if (hash128_eq(k->entries.p[i]->id, id))
            return k->entries.p[i];
    return NULL;
}

/* The one that was not used for longest makes room. NULL: all are being searched for. */
static struct entry *entry_new(struct http_aws_keys *k, const struct http_sigv4 *s)
{
    size_t oldest = SIZE_MAX;
    for (size_t i = 0; k->entries.n >= ENTRIES_MAX && i < k->entries.n; i++)
        if (!k->entries.p[i]->searching &&
            (oldest == SIZE_MAX || k->entries.p[i]->used_ns < k->entries.p[oldest]->used_ns))
            oldest = i;
    if (oldest != SIZE_MAX) {
        entry_free(k->entries.p[oldest]);
        vec_remove_swap(&k->entries, oldest);
    } else if (k->entries.n >= ENTRIES_MAX) {
        return NULL;
    }
    struct entry *e = mem_zalloc(sizeof(*e));
    e->keys = k;
    e->id = id_of(s);
    arena_init(&e->key_a, 0);
    arena_init(&e->search_a, 0);
    vec_push(&k->entries, e);
    return e;
}

/* ---- the end of a search, under mu ---- */

static void failed(struct entry *e, const char *why)
{
    e->searching = false;
    e->backoff_ms = e->backoff_ms ? MIN(e->backoff_ms * 2, BACKOFF_MS_MAX) : BACKOFF_MS_MIN;
    e->retry_ns = os_mono_ns() + e->backoff_ms * MS;
    snprintf(e->error, sizeof(e->error), "no way to sign for AWS: %.250s", why);
    LOG_WARN("AWS credentials were not found, trying again later", "err", e->error, "again_in_ms", LOG_I64(e->backoff_ms));
}

static void found(struct entry *e)
{
    uint64_t now = os_mono_ns();
    int64_t life_ms = e->until_ms - os_now_ms();
    if (e->until_ms && life_ms <= 0) {
        failed(e, "those that were handed out have ended already (is the clock right?)");
        return;
    }
    uint64_t life = e->until_ms ? (uint64_t)life_ms * MS : 0;
    arena_reset(&e->key_a);
    e->key = (struct http_aws_key){ arena_str(&e->key_a, e->got.id), arena_str(&e->key_a, e->got.secret),
                                    arena_str(&e->key_a, e->got.token) };
    e->region = arena_str(&e->key_a, e->got_region);
    e->issued_ns = now;
    e->renew_ns = life ? now + life - MIN(life / 2, RENEW_MS * MS) : now + FILE_MS * MS;
    e->end_ns = life ? now + life - MIN(life / 10, LAST_MS * MS) : UINT64_MAX;
    e->searching = false;
    e->backoff_ms = 0;
    e->retry_ns = 0;
    e->error[0] = 0;
}

/* ---- answers ---- */

static bool clean(str s, size_t max)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
            return false;
    return s.n <= max;
}

static bool accept_key(struct entry *e, struct http_aws_key k, str until, struct err_text *why)
{
    int64_t until_ms = 0;
    if (!k.id.n || !k.secret.n || !clean(k.id, KEY_BYTES_MAX) || !clean(k.secret, KEY_BYTES_MAX) ||
        !clean(k.token, KEY_BYTES_MAX) || (until.n && !num_parse_time(until, &until_ms))) {
        IGNORE_ERR(err_fail(why, ERR_PARSE, "the answer has no usable keys"));
        return false;
    }
    e->got = k;
    e->until_ms = until_ms;
    return true;
}

/* {"Code": "Success", "AccessKeyId": ..., "SecretAccessKey": ..., "Token": ..., "Expiration": ...} */
static bool took_json(struct entry *e, str body, struct err_text *why)
{
    struct arena *a = &e->search_a;
    struct http_aws_key k = { STR(""), STR(""), STR("") };
    str until = STR(""), code = STR(""), message = STR("");
    const struct {
        str name, *to;
    } fields[] = { { STR("AccessKeyId"), &k.id }, { STR("SecretAccessKey"), &k.secret },
                   { STR("Token"), &k.token },    { STR("Expiration"), &until },
                   { STR("Code"), &code },        { STR("code"), &code },
                   { STR("Message"), &message },  { STR("message"), &message } };
    struct json_in j;
    json_in_init(&j, a, body);
    if (json_next(&j) != JSON_TOK_OBJ) {
        IGNORE_ERR(err_fail(why, ERR_PARSE, "the answer is not a JSON object"));
        return false;
    }
    while (json_next(&j) == JSON_TOK_KEY) {
        str *to = NULL;
        for (size_t i = 0; i < ARRAY_LEN(fields); i++)
            if (str_eq(j.text, fields[i].name))
                to = fields[i].to;
        json_next(&j);
        if (to && j.tok == JSON_TOK_STR)
            *to = arena_str(a, j.text);
        else if (!json_skip(&j))
            break;
    }
    if (code.n && !str_eq(code, STR("Success"))) {
        IGNORE_ERR(err_fail(why, ERR_PERMISSION, STR_FMT ": " STR_FMT, STR_ARG(str_take(code, 80)),
                            STR_ARG(str_take(message, 120))));
        return false;
    }
    return accept_key(e, k, until, why);
}

static bool took_sts(struct entry *e, const char *action, str body, struct err_text *why)
{
    struct arena *a = &e->search_a;
    struct http_aws_xml *doc;
    if (!http_aws_xml_parse(a, body, &doc, why))
        return false;
    const struct http_aws_xml *c = http_aws_xml_at(doc, arena_printf(a, "%sResult/Credentials", action));
    return accept_key(e,
                      (struct http_aws_key){ http_aws_xml_text(c, STR("AccessKeyId")),
                                             http_aws_xml_text(c, STR("SecretAccessKey")),
                                             http_aws_xml_text(c, STR("SessionToken")) },
                      http_aws_xml_text(c, STR("Expiration")), why);
}

static bool took_word(struct entry *e, str body, str *ret, struct err_text *why)
{
    str word;
    body = str_trim(body);
    if (!str_cut(&body, '\n', &word) || !clean(str_trim(word), 1024)) {
        IGNORE_ERR(err_fail(why, ERR_PARSE, "the answer is empty or not a word"));
        return false;
    }
    *ret = arena_str(&e->search_a, str_trim(word));
    return true;
}

static bool took(struct entry *e, str body, struct err_text *why)
{
    switch (e->step) {
    case WEB_IDENTITY:
        return took_sts(e, "AssumeRoleWithWebIdentity", body, why);
    case ASSUME_ROLE:
        e->role_assumed = true;
        return took_sts(e, "AssumeRole", body, why);
    case CONTAINER:
    case INSTANCE_KEY:
        return took_json(e, body, why);
    case INSTANCE_TOKEN:
        return took_word(e, body, &e->instance_token, why);
    case INSTANCE_ROLE:
        return took_word(e, body, &e->instance_role, why);
    case INSTANCE_REGION:
        return took_word(e, body, &e->got_region, why);
    }
    return false;
}

/* ---- questions, under mu ---- */

static const char *const step_names[] = {
    [WEB_IDENTITY] = "STS (web identity)",
    [CONTAINER] = "the container's credentials",
    [INSTANCE_TOKEN] = "the instance's metadata",
    [INSTANCE_ROLE] = "the instance's role",
    [INSTANCE_KEY] = "the credentials of the instance's role",
    [INSTANCE_REGION] = "the instance's region",
    [ASSUME_ROLE] = "STS (role_arn)",
};
static void next(struct entry *e);

static str env(const char *name)
{
    const char *v = getenv(name);
    return str_c(v ? v : "");
}

static void answer_failed(struct entry *e, const struct http_result *r, const char *why)
{
    struct arena *a = &e->search_a;
    struct http_aws_xml *doc;
    str said = STR("");
    if (r->err == OK && (e->step == WEB_IDENTITY || e->step == ASSUME_ROLE) &&
        http_aws_xml_parse(a, buf_str(r->body), &doc, NULL))
        said = http_aws_xml_error(a, doc);
    if (r->err)
        said = str_c(r->error);
    else if (r->status != 200)
        said = arena_printf(a, "HTTP status %d%s" STR_FMT, r->status, said.n ? ", " : "", STR_ARG(said));
    else
        said = str_c(why);
    failed(e, arena_printf(a, "%s: " STR_FMT, step_names[e->step], STR_ARG(said)).p);
}

static void answered(void *ctx, const struct http_result *r)
{
    struct entry *e = ctx;
    struct http_aws_keys *k = e->keys;
    struct err_text why = { .msg = "" };
    mtx_lock(&k->mu);
    if (r->err == OK && r->status == 200 && took(e, buf_str(r->body), &why))
        next(e);
    else
        answer_failed(e, r, why.msg);
    bool ended = !e->searching;
    mtx_unlock(&k->mu);
    if (ended)
        http_client_wake(k->client);
}

static void ask(struct entry *e, enum step step, struct http_fetch f)
{
    e->step = step;
    f.body_bytes_max = ANSWER_BYTES_MAX;
    f.done = answered;
    f.ctx = e;
    enum err err = http_start(e->keys->client, &f, NULL);
    if (err)
        failed(e, err_describe(err));
}

static str metadata_url(struct entry *e, const char *path)
{
    str base = env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (!base.n)
        base = str_ieq(env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"), STR("IPv6")) ? STR(METADATA_IPV6) : STR(METADATA);
    while (base.n && base.p[base.n - 1] == '/')
        base.n--;
    return arena_printf(&e->search_a, STR_FMT "%s", STR_ARG(base), path);
}

/* One question to the instance: first for a token, which every other needs. */
static void ask_instance(struct entry *e, enum step step, const char *path)
{
    bool first = !e->instance_token.n;
    struct http_pair *h = arena_new(&e->search_a, struct http_pair);
    *h = first ? (struct http_pair){ STR(TOKEN_TTL_NAME), STR(TOKEN_TTL_VALUE) }
               : (struct http_pair){ STR(TOKEN_NAME), e->instance_token };
    ask(e, first ? INSTANCE_TOKEN : step,
        (struct http_fetch){ .url = metadata_url(e, first ? TOKEN_PATH : path),
                             .method = first ? HTTP_PUT : HTTP_GET,
                             .headers = h,
                             .n_headers = 1,
                             .timeout_ms = METADATA_MS_MAX });
}

static bool instance_is_asked(void)
{
    return !str_ieq(env("AWS_EC2_METADATA_DISABLED"), STR("true"));
}

/* A secret goes in clear to this machine and to what hands out credentials to containers only. */
static bool container_url_ok(str url)
{
    static const char *const hosts[] = { "localhost",     "127.0.0.1",      "[::1]",
                                         "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]" };
    if (str_has_prefix(url, STR("https://")))
        return true;
    if (!str_has_prefix(url, STR("http://")))
        return false;
    str rest = str_skip(url, 7);
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        str after = str_has_prefix(rest, str_c(hosts[i])) ? str_skip(rest, strlen(hosts[i])) : STR("x");
        if (!after.n || strchr(":/?", after.p[0]))
            return true;
    }
    return false;
}

static bool read_word(struct entry *e, str path, str *ret, struct err_text *why)
{
    struct arena *a = &e->search_a;
    if (fs_read_file(fs_os(), arena_cstr(a, path), FILE_BYTES_MAX, a, ret, why) != OK)
        return false;
    *ret = str_trim(*ret);
    if (ret->n && clean(*ret, KEY_BYTES_MAX))
        return true;
    IGNORE_ERR(err_fail(why, ERR_PARSE, STR_FMT " holds no token", STR_ARG(path)));
    return false;
}

static void ask_container(struct entry *e)
{
    struct arena *a = &e->search_a;
    struct err_text why = { .msg = "" };
    str url = env("AWS_CONTAINER_CREDENTIALS_FULL_URI"), relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        file = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), token = env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    struct http_pair *h = arena_new(a, struct http_pair);
    if (relative.n)
        url = arena_printf(a, CONTAINER_HOST STR_FMT, STR_ARG(relative));
    if (!container_url_ok(url)) {
        failed(e, "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor a host of this machine or of ECS or EKS");
        return;
    }
    if (file.n && !read_word(e, file, &token, &why)) {
        failed(e, why.msg);
        return;
    }
    *h = (struct http_pair){ STR("Authorization"), token };
    ask(e, CONTAINER,
        (struct http_fetch){
            .url = arena_str(a, url), .headers = h, .n_headers = token.n > 0, .timeout_ms = CONTAINER_MS_MAX });
}

static void form_add(struct buf *b, str name, str value)
{
    if (!value.n)
        return;
    if (b->n)
        buf_u8(b, '&');
    http_url_encode(b, name);
    buf_u8(b, '=');
    http_url_encode(b, value);
}

/* key: NULL for a question that needs no signature. */
static void ask_sts(struct entry *e, enum step step, struct buf *form, const struct http_aws_key *key)
{
    struct arena *a = &e->search_a;
    struct http_pair *h = arena_array(a, struct http_pair, HTTP_AWS_HEADERS + 1);
    str url = env("AWS_ENDPOINT_URL_STS"), region = e->got_region.n ? e->got_region : STR("us-east-1");
    size_t n = 1;
    if (!url.n)
        url = arena_printf(a, "https://" STR_FMT "/",
                           STR_ARG(http_aws_host(a, e->s.use_fips_sts ? "sts-fips" : "sts", region)));
    h[0] = (struct http_pair){ STR("Content-Type"), STR("application/x-www-form-urlencoded") };
    struct http_fetch f = { .url = arena_str(a, url),
                            .method = HTTP_POST,
                            .body = arena_str(a, buf_str(form)),
                            .headers = h,
                            .timeout_ms = STS_MS_MAX };
    const struct http_aws_request rq = { .method = STR("POST"),
                                         .url = f.url,
                                         .region = region,
                                         .service = STR("sts"),
                                         .headers = h,
                                         .n_headers = 1,
                                         .body = f.body,
                                         .now_ms = os_now_ms() };
    if (key)
        n += http_aws_sign(&rq, key, a, h + 1);
    f.n_headers = n;
    ask(e, step, f);
}

static void ask_web_identity(struct entry *e)
{
    AUTO_BUF struct buf form;
    struct err_text why = { .msg = "" };
    str token, name = env("AWS_ROLE_SESSION_NAME");
    buf_init(&form, 0);
    if (!read_word(e, env("AWS_WEB_IDENTITY_TOKEN_FILE"), &token, &why)) {
        failed(e, why.msg);
        return;
    }
    form_add(&form, STR("Action"), STR("AssumeRoleWithWebIdentity"));
    form_add(&form, STR("Version"), STR("2011-06-15"));
    form_add(&form, STR("RoleArn"), env("AWS_ROLE_ARN"));
    form_add(&form, STR("RoleSessionName"), name.n ? name : STR("vane"));
    form_add(&form, STR("WebIdentityToken"), token);
    ask_sts(e, WEB_IDENTITY, &form, NULL);
}

static void ask_role(struct entry *e)
{
    AUTO_BUF struct buf form;
    buf_init(&form, 0);
    form_add(&form, STR("Action"), STR("AssumeRole"));
    form_add(&form, STR("Version"), STR("2011-06-15"));
    form_add(&form, STR("RoleArn"), e->s.role_arn);
    form_add(&form, STR("RoleSessionName"), STR("vane"));
    form_add(&form, STR("ExternalId"), e->s.external_id);
    ask_sts(e, ASSUME_ROLE, &form, &e->got);
}

static void ask_for_key(struct entry *e)
{
    if (e->s.profile.n)
        failed(e,
               arena_printf(&e->search_a, "the profile " STR_FMT " of ~/.aws/credentials and ~/.aws/config has no keys",
                            STR_ARG(str_take(e->s.profile, 60)))
                   .p);
    else if (env("AWS_WEB_IDENTITY_TOKEN_FILE").n && env("AWS_ROLE_ARN").n)
        ask_web_identity(e);
    else if (env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").n || env("AWS_CONTAINER_CREDENTIALS_FULL_URI").n)
        ask_container(e);
    else if (!instance_is_asked())
        failed(e, "neither access_key and secret_key, nor AWS_ACCESS_KEY_ID, nor a profile");
    else if (e->instance_role.n)
        ask_instance(e, INSTANCE_KEY, arena_printf(&e->search_a, ROLES_PATH STR_FMT, STR_ARG(e->instance_role)).p);
    else
        ask_instance(e, INSTANCE_ROLE, ROLES_PATH);
}

static void next(struct entry *e)
{
    if (!e->got.id.n) {
        ask_for_key(e);
    } else if (!e->got_region.n && instance_is_asked()) {
        ask_instance(e, INSTANCE_REGION, REGION_PATH);
    } else if (!e->got_region.n) {
        failed(e, "no region: set region or AWS_REGION");
    } else if (e->s.role_arn.n && !e->role_assumed) {
        ask_role(e);
    } else {
        found(e);
    }
}

static void read_profile(struct entry *e, const char *variable, const char *name, str profile, struct http_aws_key *key)
{
    struct arena *a = &e->search_a;
    str path = env(variable), text;
    if (!path.n)
        path = arena_printf(a, STR_FMT "/.aws/%s", STR_ARG(env("HOME")), name);
    if (fs_read_file(fs_os(), arena_cstr(a, path), FILE_BYTES_MAX, a, &text, NULL) == OK)
        http_aws_profile(a, text, profile, key, &e->got_region);
}

/* What is there without asking anybody. */
static void look(struct entry *e)
{
    struct arena *a = &e->search_a;
    struct http_sigv4 *s = &e->s;
    struct http_aws_key of_file = { STR(""), STR(""), STR("") }, none = of_file;
    str profile = s->profile.n ? s->profile : env("AWS_PROFILE");
    e->got = none;
    e->got_region = s->region.n ? s->region : env("AWS_REGION");
    e->got_region = arena_str(a, e->got_region.n ? e->got_region : env("AWS_DEFAULT_REGION"));
    profile = profile.n ? profile : STR("default");
    read_profile(e, "AWS_SHARED_CREDENTIALS_FILE", "credentials", profile, &of_file);
    read_profile(e, "AWS_CONFIG_FILE", "config", profile, &of_file);
    bool web = env("AWS_WEB_IDENTITY_TOKEN_FILE").n && env("AWS_ROLE_ARN").n;
    if (s->access_key.n)
        e->got = (struct http_aws_key){ s->access_key, s->secret_key, STR("") };
    else if (!s->profile.n && env("AWS_ACCESS_KEY_ID").n)
        e->got =
            (struct http_aws_key){ arena_str(a, env("AWS_ACCESS_KEY_ID")), arena_str(a, env("AWS_SECRET_ACCESS_KEY")),
                                   arena_str(a, env("AWS_SESSION_TOKEN")) };
    else if (of_file.id.n && of_file.secret.n && (s->profile.n || !web))
        e->got = of_file;
    if (!clean(e->got.id, KEY_BYTES_MAX) || !clean(e->got.token, KEY_BYTES_MAX))
        e->got = none;
}

static void search(struct entry *e, const struct http_sigv4 *s)
{
    struct arena *a = &e->search_a;
    arena_reset(a);
    e->s = *s;
    str *all[] = { &e->s.region,  &e->s.service,  &e->s.access_key, &e->s.secret_key,
                   &e->s.profile, &e->s.role_arn, &e->s.external_id };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        *all[i] = arena_str(a, *all[i]);
    e->instance_token = e->instance_role = STR("");
    e->until_ms = 0;
    e->role_assumed = false;
    e->searching = true;
    look(e);
    next(e);
}

/* ---- for the client ---- */

static enum http_token_state take(struct entry *e, const struct http_sigv4 *s, struct arena *a,
                                  struct http_aws_found *ret)
{
    uint64_t now = os_mono_ns();
    e->used_ns = now;
    if ((!e->issued_ns || now >= MIN(e->renew_ns, e->end_ns)) && !e->searching && now >= e->retry_ns)
        search(e, s);
    if (e->issued_ns && now < e->end_ns) {
        ret->key =
            (struct http_aws_key){ arena_str(a, e->key.id), arena_str(a, e->key.secret), arena_str(a, e->key.token) };
        ret->region = arena_str(a, e->region);
        ret->issued_ns = e->issued_ns;
        return HTTP_TOKEN_READY;
    }
    if (e->searching)
        return HTTP_TOKEN_WAIT;
    ret->why = arena_str(a, str_c(e->error));
    return HTTP_TOKEN_FAILED;
}

enum http_token_state http_aws_keys_take(struct http_aws_keys *k, const struct http_sigv4 *s, struct arena *a,
                                         struct http_aws_found *ret)
{
    *ret =
        (struct http_aws_found){ .why = STR("no way to sign for AWS: too many different settings are waiting for some") };
    mtx_lock(&k->mu);
    struct entry *e = entry_find(k, s);
    if (!e)
        e = entry_new(k, s);
    enum http_token_state state = e ? take(e, s, a, ret) : HTTP_TOKEN_FAILED;
    mtx_unlock(&k->mu);
    return state;
}

void http_aws_keys_refused(struct http_aws_keys *k, const struct http_sigv4 *s, uint64_t issued_ns)
{
    mtx_lock(&k->mu);
    struct entry *e = entry_find(k, s);
    if (e && e->issued_ns == issued_ns && os_mono_ns() - issued_ns > YOUNG_MS * MS)
        e->end_ns = 0;
    mtx_unlock(&k->mu);
}

struct http_aws_keys *http_aws_keys_open(struct http_client *c)
{
    struct http_aws_keys *k = mem_zalloc(sizeof(*k));
    k->client = c;
    mtx_init(&k->mu, 0);
    return k;
}

void http_aws_keys_close(struct http_aws_keys *k)
{
    for (size_t i = 0; i < k->entries.n; i++)
        entry_free(k->entries.p[i]);
    vec_free(&k->entries);
    mtx_deinit(&k->mu);
    mem_free(k);
}
