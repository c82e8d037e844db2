/* Amazon SNS: one signed Publish. Credentials are those of the configuration, of the environment, or of the profile in
 * the shared file; with a role, STS exchanges them for temporary ones.
 * Spec: docs.aws.amazon.com/sns/latest/api/API_Publish.html, docs.aws.amazon.com/STS/latest/APIReference. */
#include <stdlib.h>

#include "alerting/am_build.h"
#include "base/num.h"
#include "http/http_aws.h"

#define MESSAGE_MAX     (256u << 10)
#define SMS_MAX         1600
#define SUBJECT_MAX     99
#define PROFILE_MAX     (1u << 20)
#define ROLE_EARLIER_MS 300000 /* temporary credentials are exchanged before they end */

struct sns {
    struct am_build *b;
    const struct am_sns *c;
    struct am_delivery *d;
    str region;
    struct http_aws_key key;
};

static str env(const char *name)
{
    const char *v = getenv(name);
    return str_c(v ? v : "");
}

/* ---- credentials ---- */
static void of_file(struct sns *x, const char *variable, const char *name, str profile)
{
    struct arena *a = x->b->a;
    str path = env(variable), text;
    if (!path.n)
        path = arena_printf(a, STR_FMT "/.aws/%s", STR_ARG(env("HOME")), name);
    if (fs_read_file(x->b->m->fs, arena_cstr(a, path), PROFILE_MAX, a, &text, NULL) == OK)
        http_aws_profile(a, text, profile, &x->key, &x->region);
}

static bool find_key(struct sns *x)
{
    const struct sigv4_config *s = &x->c->sigv4;
    struct am_build *b = x->b;
    str profile = s->profile.n ? s->profile : env("AWS_PROFILE");
    x->region = s->region.n ? s->region : env("AWS_REGION");
    x->region = x->region.n ? x->region : env("AWS_DEFAULT_REGION");
    if (s->access_key.n) {
        x->key = (struct http_aws_key){ .id = s->access_key, .secret = s->secret_key.value };
    } else if (!s->profile.n && env("AWS_ACCESS_KEY_ID").n) {
        x->key =
            (struct http_aws_key){ env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), env("AWS_SESSION_TOKEN") };
    } else {
        profile = profile.n ? profile : STR("default");
        of_file(x, "AWS_SHARED_CREDENTIALS_FILE", "credentials", profile);
        of_file(x, "AWS_CONFIG_FILE", "config", profile);
    }
    am_build_hide(b, x->key.secret);
    am_build_hide(b, x->key.token);
    if (!x->key.id.n || !x->key.secret.n)
        am_build_fail(b, err_fail(b->why, ERR_PERMISSION,
                                  "no AWS credentials: set sigv4.access_key and secret_key, AWS_ACCESS_KEY_ID and "
                                  "AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials"));
    return b->err == OK;
}

static void sign(struct sns *x, struct am_request *rq, str service)
{
    struct http_pair type = { STR("Content-Type"), rq->content_type }, more[HTTP_AWS_HEADERS];
    const struct http_aws_request in = { .method = rq->method,
                                         .url = rq->url,
                                         .region = x->region,
                                         .service = service,
                                         .headers = &type,
                                         .n_headers = 1,
                                         .body = rq->body,
                                         .now_ms = x->b->m->now_ms };
    size_t n = http_aws_sign(&in, &x->key, x->b->a, more);
    for (size_t i = 0; i < n; i++)
        am_request_header(rq, more[i].name, more[i].value);
}

static str endpoint(struct sns *x, const char *service)
{
    return arena_printf(x->b->a, "https://" STR_FMT "/", STR_ARG(http_aws_host(x->b->a, service, x->region)));
}

static enum am_outcome post(struct sns *x, str url, str service, struct buf *form, struct am_answer *ret)
{
    struct am_request rq = { .method = STR("POST"),
                             .url = url,
                             .content_type = STR("application/x-www-form-urlencoded"),
                             .body = arena_str(x->b->a, buf_str(form)) };
    sign(x, &rq, service);
    enum am_outcome o = am_call(x->b, &rq, ret, x->d);
    bool busy = str_contains(ret->body, STR("<Code>Throttling")) || str_contains(ret->body, STR("<Code>Throttled"));
    return o == AM_REFUSED && busy ? AM_RETRY : o;
}

/* "id secret token", kept until shortly before they end. */
static bool kept_role(struct sns *x, str cache)
{
    str kept = x->b->line->recall ? x->b->line->recall(x->b->line->ctx, cache, x->b->a) : STR("");
    struct http_aws_key k = { STR(""), STR(""), kept };
    if (!str_cut(&k.token, ' ', &k.id) || !str_cut(&k.token, ' ', &k.secret))
        return false;
    x->key = k;
    return true;
}

static enum am_outcome assume_role(struct sns *x)
{
    const struct sigv4_config *s = &x->c->sigv4;
    struct am_answer answer;
    AUTO_BUF struct buf form;
    buf_init(&form, 0);
    str url = env("AWS_ENDPOINT_URL_STS"),
        cache = arena_printf(x->b->a, "sts:" STR_FMT ":" STR_FMT, STR_ARG(s->role_arn), STR_ARG(x->key.id));
    if (!s->role_arn.n || kept_role(x, cache))
        return AM_SENT;
    if (!url.n)
        url = endpoint(x, s->use_fips ? "sts-fips" : "sts");
    am_form_add(&form, "Action", STR("AssumeRole"));
    am_form_add(&form, "Version", STR("2011-06-15"));
    am_form_add(&form, "RoleArn", s->role_arn);
    am_form_add(&form, "RoleSessionName", STR("vane"));
    am_form_add(&form, "ExternalId", s->external_id);
    enum am_outcome o = post(x, url, STR("sts"), &form, &answer);
    if (o != AM_SENT)
        return o;
    struct arena *a = x->b->a;
    struct http_aws_xml *doc = NULL;
    const struct http_aws_xml *c = http_aws_xml_parse(a, answer.body, &doc, NULL)
                                       ? http_aws_xml_at(doc, STR("AssumeRoleResult/Credentials"))
                                       : NULL;
    struct http_aws_key k = { http_aws_xml_text(c, STR("AccessKeyId")), http_aws_xml_text(c, STR("SecretAccessKey")),
                              http_aws_xml_text(c, STR("SessionToken")) };
    int64_t until;
    am_build_hide(x->b, k.secret);
    am_build_hide(x->b, k.token);
    if (!k.id.n || !k.secret.n) {
        IGNORE_ERR(err_fail(x->b->why, ERR_EXEC, "the answer of STS to AssumeRole cannot be read"));
        return AM_RETRY;
    }
    x->key = k;
    if (x->b->line->keep && num_parse_time(http_aws_xml_text(c, STR("Expiration")), &until))
        x->b->line->keep(
            x->b->line->ctx, cache,
            arena_printf(a, STR_FMT " " STR_FMT " " STR_FMT, STR_ARG(k.id), STR_ARG(k.secret), STR_ARG(k.token)),
            until - ROLE_EARLIER_MS);
    return AM_SENT;
}

/* ---- the message ---- */
static void put_attribute(struct sns *x, struct buf *form, size_t number, str name, str value)
{
    am_form_add(form, arena_printf(x->b->a, "MessageAttributes.entry.%zu.Name", number).p, name);
    am_form_add(form, arena_printf(x->b->a, "MessageAttributes.entry.%zu.Value.DataType", number).p, STR("String"));
    am_form_add(form, arena_printf(x->b->a, "MessageAttributes.entry.%zu.Value.StringValue", number).p, value);
}

static str one_line(struct arena *a, str s)
{
    char *p = arena_cstr(a, str_trim(s));
    for (char *c = p; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    return str_c(p);
}

static void put_message(struct sns *x, struct buf *form)
{
    struct am_build *b = x->b;
    const struct am_sns *c = x->c;
    str topic = am_needed(b, c->topic_arn, "topic_arn"), phone = am_needed(b, c->phone_number, "phone_number"),
        message = am_shown(b, c->message), subject = am_shown(b, c->subject), part;
    if (!x->region.n && topic.n) { /* arn:aws:sns:eu-central-1:123:name */
        str rest = topic;
        for (int i = 0; i < 4 && str_cut(&rest, ':', &part); i++)
            x->region = part;
    }
    size_t room = c->phone_number.n ? SMS_MAX : MESSAGE_MAX, n = 0, cut = room;
    bool truncated = message.n > room;
    while (truncated && cut > 0 && ((unsigned char)message.p[cut] & 0xc0) == 0x80)
        cut--;
    am_form_add(form, "Action", STR("Publish"));
    am_form_add(form, "Version", STR("2010-03-31"));
    am_form_add(form, "TopicArn", topic);
    am_form_add(form, "TargetArn", am_needed(b, c->target_arn, "target_arn"));
    am_form_add(form, "PhoneNumber", phone);
    am_form_add(form, "Subject", am_truncate_runes(b->a, one_line(b->a, subject), SUBJECT_MAX));
    am_form_add(form, "Message", truncated ? str_take(message, cut) : message);
    for (size_t i = 0; i < c->attributes.n; i++)
        put_attribute(x, form, ++n, am_text(b, c->attributes.keys[i]), am_text(b, c->attributes.p[i]));
    if (truncated)
        put_attribute(x, form, ++n, STR("truncated"), STR("true"));
    if (str_has_suffix(topic, STR(".fifo"))) {
        am_form_add(form, "MessageGroupId", am_group_hash(b));
        am_form_add(form, "MessageDeduplicationId",
                    arena_printf(b->a, "%016llx", (unsigned long long)b->m->idempotency));
    }
}

enum am_outcome am_sns(struct am_build *b, struct am_delivery *d)
{
    struct sns x = { .b = b, .c = (const void *)b->m->integration->of, .d = d };
    struct am_answer answer;
    AUTO_BUF struct buf form;
    buf_init(&form, 2u << 20);
    str url = am_needed(b, x.c->api_url, "api_url");
    url = url.n ? url : env("AWS_ENDPOINT_URL_SNS");
    if (!find_key(&x))
        return AM_REFUSED;
    put_message(&x, &form);
    if (!b->err && !x.region.n)
        am_build_fail(b, err_fail(b->why, ERR_INVALID, "no AWS region: set sigv4.region or AWS_REGION"));
    if (b->err)
        return AM_REFUSED;
    if (url.n && !str_contains(url, STR("://")))
        url = arena_printf(b->a, "https://" STR_FMT, STR_ARG(url));
    enum am_outcome o = assume_role(&x);
    return o == AM_SENT ? post(&x, url.n ? url : endpoint(&x, "sns"), STR("sns"), &form, &answer) : o;
}
