/* Signed requests against a server that is everything at once: STS, an instance's metadata, a container's credentials, and
 * a service that checks signatures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <unistd.h>

#include "base/check.h"
#include "base/fs.h"
#include "http/http_aws.h"

static struct http_server *server;
static struct http_client *client;
static struct arena a;
static struct http_result result;
static struct err_text why;
static char base[64], home[64];
static atomic_int asked[4], life_s, refuse;
enum { A_TOKEN, A_KEY, A_STS, A_CONTAINER };

static str until(struct http_request *rq)
{
    time_t at = (time_t)(os_now_ms() / 1000) + atomic_load(&life_s);
    struct tm tm;
    char text[32];
    gmtime_r(&at, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return arena_str(rq->a, str_c(text));
}

/* Is the request signed with this key? Its Authorization must be the one that is made here from what has arrived. */
static bool signed_by(struct http_request *rq, str service, str id, str secret, str token)
{
    struct http_pair type = { STR("Content-Type"), http_header(rq, STR("Content-Type")) }, made[HTTP_AWS_HEADERS];
    struct tm tm = { 0 };
    str date = http_header(rq, STR("X-Amz-Date"));
    if (date.n != 16 || !strptime(arena_cstr(rq->a, date), "%Y%m%dT%H%M%SZ", &tm))
        return false;
    const struct http_aws_request in = {
        .method = http_method_name(rq->method),
        .url = arena_printf(rq->a, "%s" STR_FMT "%s", base, STR_ARG(rq->path),
                            http_param(rq, STR("b")).p ? "?a=1%2F&b=2" : ""),
        .region = STR("eu-central-1"),
        .service = service,
        .headers = &type,
        .n_headers = type.value.n > 0,
        .body = rq->body,
        .now_ms = (int64_t)timegm(&tm) * 1000,
    };
    struct http_aws_key key = { id, secret, token };
    http_aws_sign(&in, &key, rq->a, made);
    return str_eq(made[0].value, http_header(rq, STR("Authorization"))) &&
           str_eq(token, str_take(http_header(rq, STR("X-Amz-Security-Token")), 100)) &&
           llabs(in.now_ms - os_now_ms()) < 600000;
}

static void service(struct http_request *rq, struct http_response *rs)
{
    static const struct {
        const char *id, *secret, *token;
    } keys[] = { { "AK", "S/K", "" },  { "IK1", "IS", "IT" }, { "IK2", "IS", "IT" }, { "CK", "CS", "CT" },
                 { "RK", "RS", "RT" }, { "WK", "WS", "WT" },  { "FK", "FS", "" } };
    rs->status = 403;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (signed_by(rq, STR("aps"), str_c(keys[i].id), str_c(keys[i].secret), str_c(keys[i].token))) {
            rs->status = atomic_load(&refuse) ? 403 : 200;
            buf_printf(&rs->body, "%s", keys[i].id);
        }
}

static void sts(struct http_request *rq, struct http_response *rs)
{
    atomic_fetch_add(&asked[A_STS], 1);
    bool web = str_eq(http_param(rq, STR("Action")), STR("AssumeRoleWithWebIdentity"));
    if (str_eq(http_param(rq, STR("ExternalId")), STR("wrong")) ||
        (web ? !str_eq(http_param(rq, STR("WebIdentityToken")), STR("jwt"))
             : !signed_by(rq, STR("sts"), STR("AK"), STR("S/K"), STR(""))) ||
        !str_eq(http_param(rq, STR("RoleArn")), STR("arn:r"))) {
        rs->status = 403;
        buf_lit(&rs->body, "<ErrorResponse xmlns=\"x\"><Error><Code>AccessDenied</Code><Message>not &quot;you&quot;"
                           "</Message></Error></ErrorResponse>");
        return;
    }
    const char *action = web ? "AssumeRoleWithWebIdentity" : "AssumeRole", *k = web ? "W" : "R";
    buf_printf(
        &rs->body,
        "<?xml version=\"1.0\"?>\n<!-- <x> --><%sResponse xmlns=\"x/>\"><%sResult><Empty/><Credentials><SessionToken>"
        "%sT</SessionToken><SecretAccessKey>%sS</SecretAccessKey><Expiration>" STR_FMT
        "</Expiration><AccessKeyId>%sK</AccessKeyId></Credentials></%sResult></%sResponse>",
        action, action, k, k, STR_ARG(until(rq)), k, action, action);
}

static void instance_token(struct http_request *rq, struct http_response *rs)
{
    atomic_fetch_add(&asked[A_TOKEN], 1);
    rs->status = http_header(rq, STR("X-aws-ec2-metadata-token-ttl-seconds")).n ? 200 : 400;
    buf_lit(&rs->body, "tok");
}

static void instance(struct http_request *rq, struct http_response *rs)
{
    if (!str_eq(http_header(rq, STR("X-aws-ec2-metadata-token")), STR("tok"))) {
        rs->status = 401;
    } else if (str_has_suffix(rq->path, STR("/region"))) {
        buf_lit(&rs->body, "eu-central-1");
    } else if (str_has_suffix(rq->path, STR("/security-credentials/"))) {
        buf_lit(&rs->body, "my-role\n");
    } else if (str_has_suffix(rq->path, STR("/my-role"))) {
        int n = atomic_fetch_add(&asked[A_KEY], 1) + 1;
        buf_printf(&rs->body,
                   "{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"IK%d\",\"SecretAccessKey\":\"IS\","
                   "\"Token\":\"IT\",\"More\":[1,{}],\"Expiration\":\"" STR_FMT "\"}",
                   MIN(n, 2), STR_ARG(until(rq)));
    } else {
        rs->status = 404;
    }
}

static void container(struct http_request *rq, struct http_response *rs)
{
    atomic_fetch_add(&asked[A_CONTAINER], 1);
    rs->status = str_eq(http_header(rq, STR("Authorization")), STR("ctok")) ? 200 : 401;
    buf_printf(&rs->body,
               "{\"AccessKeyId\":\"CK\",\"SecretAccessKey\":\"CS\",\"Token\":\"CT\",\"Expiration\":\"" STR_FMT "\"}",
               STR_ARG(until(rq)));
}

static const struct http_route routes[] = {
    { HTTP_BIT(HTTP_GET) | HTTP_BIT(HTTP_POST), "/service/{any}", service, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_POST), "/sts", sts, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_PUT), "/latest/api/token", instance_token, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/latest/meta-data/iam/security-credentials/", instance, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/latest/meta-data/iam/security-credentials/{role}", instance, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/latest/meta-data/placement/region", instance, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/container", container, HTTP_CONTROL, NULL, 0 },
};

static int set_up(void **state)
{
    (void)state;
    const struct http_listener l = { .address = "127.0.0.1" };
    const struct http_table t = { routes, ARRAY_LEN(routes), NULL, 0 };
    struct http_server_config cfg = { .listeners = &l, .n_listeners = 1, .tables = &t, .n_tables = 1, .drain_ms = 200 };
    static const char *const names[] = { "AWS_ACCESS_KEY_ID",
                                         "AWS_PROFILE",
                                         "AWS_REGION",
                                         "AWS_DEFAULT_REGION",
                                         "AWS_WEB_IDENTITY_TOKEN_FILE",
                                         "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                         "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                         "AWS_SHARED_CREDENTIALS_FILE",
                                         "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                         "AWS_CONFIG_FILE",
                                         "AWS_EC2_METADATA_DISABLED",
                                         "AWS_SESSION_TOKEN" };
    char text[100];
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
    assert_int_equal(http_server_open(&cfg, &server, &why), OK);
    assert_int_equal(http_client_open(&(struct http_client_config){ .threads = 2 }, &client), OK);
    snprintf(base, sizeof(base), "http://127.0.0.1:%u", http_server_port(server, 0));
    snprintf(text, sizeof(text), "%s/sts", base);
    snprintf(home, sizeof(home), "/tmp/vane_aws_XXXXXX");
    assert_non_null(mkdtemp(home));
    setenv("HOME", home, 1);
    setenv("AWS_ENDPOINT_URL_STS", text, 1);
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", base, 1);
    arena_init(&a, 0);
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        atomic_store(&asked[i], 0);
    atomic_store(&life_s, 3600);
    atomic_store(&refuse, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_client_close(client);
    http_server_close(server);
    arena_deinit(&a);
    rmdir(home);
    return 0;
}

static enum err call(const struct http_sigv4 *s, const char *path, str *ret_body)
{
    const struct http_pair h[] = { { STR("Content-Type"), STR("application/x-protobuf") },
                                   { STR("X-Other"), STR("1") } };
    struct http_sigv4 mine = *s;
    mine.service = STR("aps");
    struct http_fetch f = { .url = arena_printf(&a, "%s/service/%s", base, path),
                            .method = HTTP_POST,
                            .body = STR("payload"),
                            .headers = h,
                            .n_headers = 2,
                            .sigv4 = &mine,
                            .timeout_ms = 20000 };
    return http_fetch_sync(client, &f, &a, &result, ret_body, &why);
}

static void is(const struct http_sigv4 *s, const char *path, const char *key)
{
    str body;
    if (call(s, path, &body) != OK)
        fail_msg("%s", why.msg);
    assert_int_equal(result.status, 200);
    assert_true(str_eq(body, str_c(key)));
}

static void fails(const struct http_sigv4 *s, const char *text)
{
    str body;
    assert_int_equal(call(s, "w", &body), ERR_PERMISSION);
    if (!str_contains(str_c(why.msg), str_c(text)))
        fail_msg("%s", why.msg);
}

static const struct http_sigv4 given = { .region = STR_INIT("eu-central-1"),
                                         .access_key = STR_INIT("AK"),
                                         .secret_key = STR_INIT("S/K") };

static void keys_and_roles(void **state)
{
    (void)state;
    struct http_sigv4 s = given;
    is(&s, "w", "AK");
    is(&s, "w?b=2&a=1%2F", "AK"); /* the query is signed in its canonical order */
    s.role_arn = STR("arn:r");
    s.external_id = STR("e");
    for (int i = 0; i < 5; i++)
        is(&s, "w", "RK");
    assert_int_equal(atomic_load(&asked[A_STS]), 1);
    s.external_id = STR("wrong");
    fails(&s, "STS (role_arn): HTTP status 403, AccessDenied: not \"you\"");
    fails(&s, "AccessDenied"); /* remembered */
    assert_int_equal(atomic_load(&asked[A_STS]), 2);
    atomic_store(&refuse, 1);
    str body;
    assert_int_equal(call(&given, "w", &body), OK);
    assert_int_equal(result.status, 403);
}

static void environment_and_files(void **state)
{
    (void)state;
    struct http_sigv4 s = { .region = STR("eu-central-1") };
    char file[100];
    setenv("AWS_ACCESS_KEY_ID", "AK", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "S/K", 1);
    setenv("AWS_DEFAULT_REGION", "eu-central-1", 1);
    is(&s, "w", "AK");
    is(&(struct http_sigv4){ .use_fips_sts = true }, "w",
       "AK"); /* settings of their own: the region of the environment */
    unsetenv("AWS_DEFAULT_REGION");
    snprintf(file, sizeof(file), "%s/credentials", home);
    str text = STR("[default]\naws_access_key_id=no\n[ p ]\naws_access_key_id = FK\naws_secret_access_key=FS\n"
                   "region = eu-central-1\n");
    assert_int_equal(fs_write_file_atomic(fs_os(), file, text), OK);
    setenv("AWS_SHARED_CREDENTIALS_FILE", file, 1);
    is(&(struct http_sigv4){ .profile = STR("p") }, "w", "FK");
    fails(&(struct http_sigv4){ .profile = STR("q") }, "profile q");
    unsetenv("AWS_ACCESS_KEY_ID");
    assert_int_equal(fs_write_file_atomic(fs_os(), file, STR("jwt\n")), OK);
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file, 1);
    setenv("AWS_ROLE_ARN", "arn:r", 1);
    s.external_id = STR("1");
    is(&s, "w", "WK");
    unlink(file);
}

static void instances(void **state)
{
    (void)state;
    str region, text;
    enum http_region r = HTTP_REGION_WAIT;
    const struct http_sigv4 s = { .service = STR("aps") };
    for (int i = 0; i < 1000 && r == HTTP_REGION_WAIT; i++, os_sleep_ms(10))
        r = http_sigv4_region(client, &s, &a, &region, &text);
    assert_int_equal(r, HTTP_REGION_READY);
    assert_true(str_eq(region, STR("eu-central-1")));
    is(&s, "w", "IK1");
    is(&s, "w", "IK1");
    assert_int_equal(atomic_load(&asked[A_TOKEN]), 1);
    assert_int_equal(atomic_load(&asked[A_KEY]), 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    fails(&(struct http_sigv4){ .external_id = STR("2") }, "neither access_key");
    unsetenv("AWS_EC2_METADATA_DISABLED");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", 1); /* nobody there */
    fails(&(struct http_sigv4){ .external_id = STR("3") }, "the instance's metadata: ");
}

/* Six seconds to live: renewed after three, while the old ones are still good. */
static void renewed_in_time(void **state)
{
    (void)state;
    str body;
    const struct http_sigv4 s = { .region = STR("eu-central-1") };
    atomic_store(&life_s, 6);
    is(&s, "w", "IK1");
    uint64_t end = os_mono_ns() + 30000000000u;
    do {
        os_sleep_ms(50);
        assert_int_equal(call(&s, "w", &body), OK);
        assert_int_equal(result.status, 200);
    } while (str_eq(body, STR("IK1")) && os_mono_ns() < end);
    assert_true(str_eq(body, STR("IK2")));
}

static void containers(void **state)
{
    (void)state;
    char text[100];
    const struct http_sigv4 s = { .region = STR("eu-central-1") };
    snprintf(text, sizeof(text), "%s/container", base);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", text, 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "ctok", 1);
    is(&s, "w", "CK");
    is(&s, "w", "CK");
    assert_int_equal(atomic_load(&asked[A_CONTAINER]), 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "no", 1);
    fails(&(struct http_sigv4){ .external_id = STR("1") }, "the container's credentials: HTTP status 401");
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1.example.org/x", 1);
    fails(&(struct http_sigv4){ .external_id = STR("2") }, "neither https nor a host");
    snprintf(text, sizeof(text), "%s/token", home);
    assert_int_equal(fs_write_file_atomic(fs_os(), text, STR("ctok\n")), OK);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", text, 1);
    snprintf(text, sizeof(text), "%s/container", base);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", text, 1);
    is(&(struct http_sigv4){ .external_id = STR("3"), .region = STR("eu-central-1") }, "w", "CK");
    snprintf(text, sizeof(text), "%s/token", home);
    unlink(text);
}

static void xml(void **state)
{
    (void)state;
    struct http_aws_xml *x;
    assert_true(
        http_aws_xml_parse(&a, STR("<a:r><b>1 &amp; &#x41;&#66;&nope;&</b><b>2</b><c><d> e </d></c></a:r>"), &x, &why));
    assert_true(str_eq(x->name, STR("r")));
    assert_true(str_eq(http_aws_xml_text(x, STR("b")), STR("1 & AB&nope;&")));
    assert_true(str_eq(http_aws_xml_text(x, STR("c/d")), STR(" e ")));
    assert_true(str_eq(http_aws_xml_text(x, STR("c/x/y")), STR("")));
    static const char *const bad[] = { "",        "x",       "<",     "<a", "<a>", "<a><b></a>",
                                       "<a x='>", "<a></b>", "<!-- ", "<>", "</a>" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(http_aws_xml_parse(&a, str_c(bad[i]), &x, &why));
    AUTO_BUF struct buf deep;
    buf_init(&deep, 0);
    for (int i = 0; i < 100000; i++)
        buf_lit(&deep, "<a>");
    assert_false(http_aws_xml_parse(&a, buf_str(&deep), &x, &why));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = { T(keys_and_roles), T(environment_and_files),
                                        T(instances),      T(renewed_in_time),
                                        T(containers),     T(xml) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
