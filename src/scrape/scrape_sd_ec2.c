/* EC2 discovery: the instances of a region, asked for page by page at every refresh_interval.
 * Spec: prometheus.io/docs, <ec2_sd_config>; docs.aws.amazon.com/AWSEC2/latest/APIReference (DescribeInstances,
 * DescribeAvailabilityZones). */
#include <stdlib.h>

#include "http/http_aws.h"
#include "scrape/scrape_sd_remote.h"

#define META     "__meta_ec2_"
#define API      "2016-11-15"
#define PAGE     1000 /* instances of one answer */
#define PAGES    1000
#define NICS_MAX 256

struct zone {
    str name, id;
};
enum stage { RESTS, NEEDS_REGION, ASKS_ZONES, ASKS_INSTANCES };
struct ec2 {
    struct remote *r;
    struct remote_call call;
    struct arena a; /* of what follows, but for g */
    struct http_sigv4 sigv4;
    str url, region;
    VEC(struct zone) zones; /* in a; empty: not known yet */
    enum stage stage;
    uint64_t next_ns;
    unsigned pages;
    struct sd_groups *g; /* of the pages so far */
    VEC(struct labels) targets;
};

static void *ec2_open(struct remote *r)
{
    const struct sd_any *c = r->cfg;
    struct ec2 *x = mem_zalloc(sizeof(*x));
    x->r = r;
    x->sigv4 = (struct http_sigv4){ .region = c->s[S_EC2_REGION],
                                    .service = STR("ec2"),
                                    .access_key = c->s[S_EC2_ACCESS_KEY],
                                    .secret_key = c->secret[SEC_EC2_SECRET_KEY].value,
                                    .profile = c->s[S_EC2_PROFILE],
                                    .role_arn = c->s[S_EC2_ROLE_ARN],
                                    .external_id = c->s[S_EC2_EXTERNAL_ID] };
    arena_init(&x->a, 0);
    remote_call_init(&x->call, r);
    return x;
}

static void ec2_close(void *state)
{
    struct ec2 *x = state;
    remote_call_deinit(&x->call);
    sd_groups_free(x->g);
    arena_deinit(&x->a);
    mem_free(x);
}

/* ---- questions ---- */

static void form_add(struct buf *b, str name, str value)
{
    if (b->n)
        buf_u8(b, '&');
    buf_str_add(b, name);
    buf_u8(b, '=');
    http_url_encode(b, value);
}

static void ask(struct ec2 *x, struct buf *form)
{
    static const struct http_pair type = { STR_INIT("Content-Type"),
                                           STR_INIT("application/x-www-form-urlencoded; charset=utf-8") };
    form_add(form, STR("Version"), STR(API));
    str body = arena_str(&x->call.a, buf_str(form));
    remote_call_start(&x->call, &(struct remote_ask){ .http = &x->r->cfg->http,
                                                      .url = x->url,
                                                      .method = HTTP_POST,
                                                      .body = body,
                                                      .sigv4 = &x->sigv4,
                                                      .headers = &type,
                                                      .n_headers = 1,
                                                      .timeout_ms = 60000 });
}

static void ask_zones(struct ec2 *x)
{
    AUTO_BUF struct buf form;
    buf_init(&form, 0);
    remote_call_begin(&x->call);
    form_add(&form, STR("Action"), STR("DescribeAvailabilityZones"));
    x->stage = ASKS_ZONES;
    ask(x, &form);
}

/* token: "" for the first page. It may be of the answer before, which the call still holds. */
static void ask_instances(struct ec2 *x, str token)
{
    const struct sd_any *c = x->r->cfg;
    AUTO_BUF struct buf form;
    buf_init(&form, 0);
    form_add(&form, STR("Action"), STR("DescribeInstances"));
    form_add(&form, STR("MaxResults"), arena_printf(&x->call.a, "%d", PAGE));
    for (size_t i = 0; i < c->filters.n; i++) {
        form_add(&form, arena_printf(&x->call.a, "Filter.%zu.Name", i + 1), c->filters.p[i].name);
        for (size_t k = 0; k < c->filters.p[i].values.n; k++)
            form_add(&form, arena_printf(&x->call.a, "Filter.%zu.Value.%zu", i + 1, k + 1),
                     c->filters.p[i].values.p[k]);
    }
    if (token.n)
        form_add(&form, STR("NextToken"), token);
    remote_call_begin(&x->call);
    x->stage = ASKS_INSTANCES;
    ask(x, &form);
}

static void begin(struct ec2 *x)
{
    str why = STR(""), endpoint = x->r->cfg->s[S_EC2_ENDPOINT];
    struct arena *a = remote_call_begin(&x->call);
    str region = x->sigv4.region;
    enum http_region state =
        region.n ? HTTP_REGION_READY : http_sigv4_region(x->r->s->http, &x->sigv4, a, &region, &why);
    x->stage = state == HTTP_REGION_WAIT ? NEEDS_REGION : RESTS;
    if (state == HTTP_REGION_FAILED)
        remote_error(x->r, "ec2: " STR_FMT, STR_ARG(str_take(why, 230)));
    if (state != HTTP_REGION_READY)
        return;
    if (!str_eq(region, x->region)) { /* another than last time, or the first time */
        arena_reset(&x->a);
        memset(&x->zones, 0, sizeof(x->zones));
        x->region = arena_str(&x->a, region);
        if (!endpoint.n)
            endpoint = http_aws_host(&x->a, "ec2", region);
        x->url = str_contains(endpoint, STR("://")) ? endpoint
                                                    : arena_printf(&x->a, "https://" STR_FMT "/", STR_ARG(endpoint));
    }
    sd_groups_free(x->g);
    x->g = sd_groups_new();
    memset(&x->targets, 0, sizeof(x->targets));
    x->pages = 0;
    if (x->zones.n)
        ask_instances(x, STR(""));
    else
        ask_zones(x);
}

/* ---- labels ---- */

struct texts {
    VEC(str) v;
};

static bool has(const struct texts *t, str s)
{
    for (size_t i = 0; i < t->v.n; i++)
        if (str_eq(t->v.p[i], s))
            return true;
    return false;
}

/* ",a,b," */
static str joined(struct arena *a, const struct texts *t)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < t->v.n; i++)
        buf_printf(&b, "," STR_FMT, STR_ARG(t->v.p[i]));
    buf_lit(&b, ",");
    return t->v.n ? arena_str(a, buf_str(&b)) : STR(",,");
}

static void put(struct label_builder *b, str name, str value)
{
    lb_set(b, name, arena_str(b->a, value));
}

static void put_networks(struct label_builder *b, const struct http_aws_xml *instance, struct arena *a)
{
    struct texts subnets = { 0 }, addresses = { 0 }, primary = { 0 };
    const struct http_aws_xml *set = http_aws_xml_at(instance, STR("networkInterfaceSet"));
    for (const struct http_aws_xml *nic = set ? set->first : NULL; nic; nic = nic->next) {
        str subnet = http_aws_xml_text(nic, STR("subnetId"));
        uint64_t device = 0;
        if (!subnet.n)
            continue;
        if (!has(&subnets, subnet))
            avec_push(a, &subnets.v, subnet);
        if (!str_to_u64(http_aws_xml_text(nic, STR("attachment/deviceIndex")), &device))
            device = 0;
        const struct http_aws_xml *all = http_aws_xml_at(nic, STR("ipv6AddressesSet"));
        for (const struct http_aws_xml *one = all ? all->first : NULL; one; one = one->next) {
            str address = http_aws_xml_text(one, STR("ipv6Address"));
            avec_push(a, &addresses.v, address);
            if (!str_eq(http_aws_xml_text(one, STR("isPrimaryIpv6")), STR("true")) || device >= NICS_MAX)
                continue;
            while (primary.v.n <= device) /* the place says which network interface it is of */
                avec_push(a, &primary.v, STR(""));
            primary.v.p[device] = address;
        }
    }
    put(b, STR(META "primary_subnet_id"), http_aws_xml_text(instance, STR("subnetId")));
    put(b, STR(META "subnet_id"), joined(a, &subnets));
    if (addresses.v.n)
        put(b, STR(META "ipv6_addresses"), joined(a, &addresses));
    if (primary.v.n)
        put(b, STR(META "primary_ipv6_addresses"), joined(a, &primary));
}

static void put_zone(struct label_builder *b, const struct ec2 *x, str zone)
{
    put(b, STR(META "availability_zone"), zone);
    for (size_t i = 0; i < x->zones.n; i++)
        if (str_eq(x->zones.p[i].name, zone))
            put(b, STR(META "availability_zone_id"), x->zones.p[i].id);
}

static void add_instance(struct ec2 *x, const struct http_aws_xml *n, str owner)
{
    static const struct {
        str label, path;
    } plain[] = { { STR_INIT(META "instance_id"), STR_INIT("instanceId") },
                  { STR_INIT(META "private_dns_name"), STR_INIT("privateDnsName") },
                  { STR_INIT(META "platform"), STR_INIT("platform") },
                  { STR_INIT(META "ami"), STR_INIT("imageId") },
                  { STR_INIT(META "instance_state"), STR_INIT("instanceState/name") },
                  { STR_INIT(META "instance_type"), STR_INIT("instanceType") },
                  { STR_INIT(META "instance_lifecycle"), STR_INIT("instanceLifecycle") },
                  { STR_INIT(META "architecture"), STR_INIT("architecture") },
                  { STR_INIT(META "vpc_id"), STR_INIT("vpcId") } };
    struct arena *a = &x->g->a, *scratch = &x->call.a;
    struct label_builder b;
    str ip = http_aws_xml_text(n, STR("privateIpAddress")), public = http_aws_xml_text(n, STR("ipAddress"));
    if (!ip.n)
        return;
    lb_init(&b, a);
    lb_set(&b, STR("__address__"), sd_host_port(a, ip, x->r->cfg->number[NUMBER_EC2_PORT]));
    for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++)
        put(&b, plain[i].label, http_aws_xml_text(n, plain[i].path));
    put(&b, STR(META "owner_id"), owner);
    put(&b, STR(META "region"), x->region);
    put(&b, STR(META "private_ip"), ip);
    if (public.n) {
        put(&b, STR(META "public_ip"), public);
        put(&b, STR(META "public_dns_name"), http_aws_xml_text(n, STR("dnsName")));
    }
    put_zone(&b, x, http_aws_xml_text(n, STR("placement/availabilityZone")));
    if (http_aws_xml_text(n, STR("vpcId")).n)
        put_networks(&b, n, scratch);
    const struct http_aws_xml *tags = http_aws_xml_at(n, STR("tagSet"));
    for (const struct http_aws_xml *t = tags ? tags->first : NULL; t; t = t->next)
        put(&b, sd_label_name(a, META "tag_", http_aws_xml_text(t, STR("key"))), http_aws_xml_text(t, STR("value")));
    struct labels ls = lb_labels(&b);
    avec_push(a, &x->targets, ls);
}

/* ---- answers ---- */

/* NULL: trouble, which was said. */
static const struct http_aws_xml *answer(struct ec2 *x, const char *action)
{
    struct http_aws_xml *doc = NULL;
    struct err_text why = { .msg = "" };
    if (x->call.err) {
        remote_error(x->r, "ec2: %.200s", x->call.error);
        return NULL;
    }
    bool ok = http_aws_xml_parse(&x->call.a, buf_str(&x->call.in), &doc, &why);
    if (x->call.status != 200)
        remote_error(x->r, "ec2: %s: HTTP status %d " STR_FMT, action, x->call.status,
                     STR_ARG(str_take(ok ? http_aws_xml_error(&x->call.a, doc) : STR(""), 180)));
    else if (!ok)
        remote_error(x->r, "ec2: %s: %.180s", action, why.msg);
    return ok && x->call.status == 200 ? doc : NULL;
}

static void took_zones(struct ec2 *x)
{
    const struct http_aws_xml *doc = answer(x, "DescribeAvailabilityZones"),
                              *set = http_aws_xml_at(doc, STR("availabilityZoneInfo"));
    for (const struct http_aws_xml *z = set ? set->first : NULL; z; z = z->next) {
        struct zone zone = { arena_str(&x->a, http_aws_xml_text(z, STR("zoneName"))),
                             arena_str(&x->a, http_aws_xml_text(z, STR("zoneId"))) };
        avec_push(&x->a, &x->zones, zone);
    }
    ask_instances(x, STR("")); /* without them only a label is missing */
}

static void took_instances(struct ec2 *x)
{
    const struct http_aws_xml *doc = answer(x, "DescribeInstances"), *set = http_aws_xml_at(doc, STR("reservationSet"));
    x->stage = RESTS;
    if (!doc)
        return;
    for (const struct http_aws_xml *r = set ? set->first : NULL; r; r = r->next) {
        const struct http_aws_xml *instances = http_aws_xml_at(r, STR("instancesSet"));
        for (const struct http_aws_xml *n = instances ? instances->first : NULL; n; n = n->next)
            add_instance(x, n, http_aws_xml_text(r, STR("ownerId")));
    }
    str token = http_aws_xml_text(doc, STR("nextToken"));
    if (token.n && (++x->pages >= PAGES || x->targets.n > SCRAPE_SD_TARGETS_MAX)) {
        remote_error(x->r, "ec2: more than %u pages or %u instances: set filters", PAGES, SCRAPE_SD_TARGETS_MAX);
    } else if (token.n) {
        ask_instances(x, token);
    } else {
        struct sd_group group = { x->targets.p, x->targets.n };
        avec_push(&x->g->a, &x->g->v, group);
        remote_install(x->r, x->g);
        x->g = NULL;
    }
}

static void ec2_step(void *state, uint64_t now_ns)
{
    struct ec2 *x = state;
    if (x->stage == RESTS && x->next_ns <= now_ns) {
        x->next_ns = now_ns + (uint64_t)MAX(x->r->cfg->refresh_ms, 1000) * 1000000u;
        begin(x);
        return;
    }
    if (x->stage == NEEDS_REGION) {
        begin(x);
        return;
    }
    if (x->stage == RESTS || remote_call_state(&x->call) != CALL_DONE)
        return;
    remote_call_reset(&x->call);
    if (x->stage == ASKS_ZONES)
        took_zones(x);
    else
        took_instances(x);
}

const struct remote_kind remote_ec2 = { ec2_open, ec2_step, ec2_close };
