/* Schemas of every service discovery Prometheus has. Four kinds (static, file, http, dns) have structs of their own;
 * the others, of which kubernetes, consul and docker run here, are checked as strictly and decode into one struct of common parts (struct sd_any), of which
 * each kind's rows use what they need: enough to print them back and to say what is wrong with them. */
#include "scrape/scrape_config_sd.h"

/* ---- target groups ---- */

static void check_group(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct target_group *g = obj;
    const struct conf_node *labels = conf_get(n, STR("labels"));
    for (size_t i = 0; i < g->labels.n; i++)
        if (!relabel_valid_name(g->labels.keys[i], NAMES_UTF8))
            invalid_label_name(cx, labels->items[2 * i], g->labels.keys[i]);
}
static const struct conf_field group_fields[] = {
    CF(struct target_group, targets, "targets", CONF_LIST, .of = CONF_STR),
    CF(struct target_group, labels, "labels", CONF_DICT, .of = CONF_STR),
};
SCHEMA(target_group_schema, struct target_group, "targetgroup.plain", group_fields, .check = check_group);

/* ---- file, http, dns ---- */

/* ^[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)$ */
static bool file_pattern_ok(str s)
{
    static const char *const ends[] = { ".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML" };
    size_t star = str_find_char(s, '*');
    bool ok = false;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        ok |= str_has_suffix(s, str_c(ends[i]));
    return ok && (star == SIZE_MAX || str_find_char(str_skip(s, star), '/') == SIZE_MAX);
}

static void check_file_sd(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct file_sd_config *c = obj;
    if (c->files.n == 0)
        FAIL("file service discovery config must contain at least one path name");
    for (size_t i = 0; i < c->files.n; i++)
        if (!file_pattern_ok(c->files.p[i]))
            FAIL("path name \"" STR_FMT "\" is not valid for file discovery", STR_ARG(c->files.p[i]));
}
static const struct file_sd_config file_sd_defaults = { .refresh_ms = 300000 };
static const struct conf_field file_sd_fields[] = {
    CF(struct file_sd_config, files, "files", CONF_LIST, .of = CONF_STR),
    CF(struct file_sd_config, refresh_ms, "refresh_interval", CONF_DURATION),
};
static SCHEMA(file_sd_schema, struct file_sd_config, "file.plain", file_sd_fields, .defaults = &file_sd_defaults,
              .check = check_file_sd);

static void check_required_url(struct conf_ctx *cx, const struct conf_node *n, str url)
{
    struct err_text et;
    if (url.n == 0)
        FAIL("URL is missing");
    else if (conf_check_url(url, true, &et))
        FAIL("%s", et.msg);
}
static void check_http_sd(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    check_required_url(cx, n, ((struct http_sd_config *)obj)->url);
}
static const struct http_sd_config http_sd_defaults = { .refresh_ms = 60000 };
static const struct conf_field http_sd_fields[] = {
    CF(struct http_sd_config, http, "", CONF_INLINE, .schema = &http_config_schema),
    CF(struct http_sd_config, refresh_ms, "refresh_interval", CONF_DURATION),
    CF(struct http_sd_config, url, "url", CONF_STR),
};
static SCHEMA(http_sd_schema, struct http_sd_config, "http.plain", http_sd_fields, .defaults = &http_sd_defaults,
              .check = check_http_sd);

static void check_dns_sd(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct dns_sd_config *c = obj;
    static const char *const names[] = { "SRV", "A", "AAAA", "MX", "NS" };
    int type = -1;
    for (int i = 0; i < (int)ARRAY_LEN(names); i++)
        if (str_ieq(c->type_name, str_c(names[i])))
            type = i;
    if (c->names.n == 0)
        FAIL("DNS-SD config must contain at least one SRV record name");
    else if (type < 0)
        FAIL("invalid DNS-SD records type " STR_FMT, STR_ARG(c->type_name));
    else if (type != DNS_SRV && c->port == 0)
        FAIL("a port is required in DNS-SD configs for all record types except SRV");
    if (type >= 0)
        c->type = (enum dns_sd_type)type;
}
static const struct dns_sd_config dns_sd_defaults = { .refresh_ms = 30000, .type_name = STR_INIT("SRV") };
static const struct conf_field dns_sd_fields[] = {
    CF(struct dns_sd_config, names, "names", CONF_LIST, .of = CONF_STR),
    CF(struct dns_sd_config, refresh_ms, "refresh_interval", CONF_DURATION),
    CF(struct dns_sd_config, type_name, "type", CONF_STR),
    CF(struct dns_sd_config, port, "port", CONF_INT),
};
static SCHEMA(dns_sd_schema, struct dns_sd_config, "dns.plain", dns_sd_fields, .defaults = &dns_sd_defaults,
              .check = check_dns_sd);

/* ---- the others ---- */

static const struct conf_field filter_fields[] = {
    CF(struct sd_filter, name, "name", CONF_STR),
    CF(struct sd_filter, values, "values", CONF_LIST, .of = CONF_STR),
};
static SCHEMA(filter_schema, struct sd_filter, "plain", filter_fields);

static const struct conf_field selector_fields[] = {
    CF(struct sd_selector, role, "role", CONF_STR),
    CF(struct sd_selector, label, "label", CONF_STR),
    CF(struct sd_selector, field, "field", CONF_STR),
};
static SCHEMA(selector_schema, struct sd_selector, "kubernetes.plain", selector_fields);

static const struct conf_field namespaces_fields[] = {
    CF(struct sd_namespaces, own, "own_namespace", CONF_BOOL),
    CF(struct sd_namespaces, names, "names", CONF_LIST, .of = CONF_STR),
};
static SCHEMA(namespaces_schema, struct sd_namespaces, "kubernetes.plain", namespaces_fields);

static const struct conf_field metadata_fields[] = {
    CF(struct sd_metadata, node, "node", CONF_BOOL),
    CF(struct sd_metadata, namespace, "namespace", CONF_BOOL),
};
static SCHEMA(metadata_schema, struct sd_metadata, "kubernetes.plain", metadata_fields);

#define A(m, key, t, ...) CF(struct sd_any, m, key, t, ##__VA_ARGS__)
#define S(i, key)         A(s[i], key, CONF_STR)
#define SEC(i, key)       A(secret[i], key, CONF_SECRET)
#define L(i, key)         A(list[i], key, CONF_LIST, .of = CONF_STR)
#define N(i, key)         A(number[i], key, CONF_INT)
#define B(i, key)         A(flag[i], key, CONF_BOOL)
#define HTTP              A(http, "", CONF_INLINE, .schema = &http_config_schema)
#define TLS               A(tls, "tls_config", CONF_STRUCT, .schema = &tls_config_schema)
#define REFRESH           A(refresh_ms, "refresh_interval", CONF_DURATION)
#define TIMEOUT(key)      A(timeout_ms, key, CONF_DURATION)
#define FILTERS           A(filters, "filters", CONF_LIST, .of = CONF_STRUCT, .schema = &filter_schema)
#define CHECK(kind)       static void check_##kind(struct conf_ctx *cx, const struct conf_node *n, void *obj)
#define SD                UNUSED const struct sd_any *c = obj

/* One row per kind: `kind`, its fields, its defaults. check_<kind> stands above it. */
#define KIND(kind, defaults_, ...)                                                                           \
    static const struct sd_any kind##_defaults = defaults_;                                                  \
    static const struct conf_field kind##_fields[] = { __VA_ARGS__ };                                        \
    static SCHEMA(kind##_schema, struct sd_any, #kind ".plain", kind##_fields, .defaults = &kind##_defaults, \
                  .check = check_##kind)
#define DEF(...)    \
    {               \
        __VA_ARGS__ \
    }

static bool one_of(str s, const char *list)
{
    str rest = str_c(list), item;
    while (str_cut(&rest, ' ', &item))
        if (str_eq(item, s))
            return true;
    return false;
}
static bool require(struct conf_ctx *cx, const struct conf_node *n, str s, const char *message)
{
    if (s.n == 0)
        FAIL("%s", message);
    return s.n > 0;
}
#define REQUIRE(i, message)                \
    if (!require(cx, n, c->s[i], message)) \
    return

static void check_secret_pair(struct conf_ctx *cx, const struct conf_node *n, const struct conf_secret *key, str file)
{
    if (key->value.n && file.n)
        FAIL("at most one of secret_key & secret_key_file must be configured");
    else if (!key->value.n && !file.n)
        FAIL("one of secret_key & secret_key_file must be configured");
}
static void check_filters(struct conf_ctx *cx, const struct conf_node *n, const struct sd_any *c)
{
    for (size_t i = 0; i < c->filters.n; i++)
        if (c->filters.p[i].values.n == 0)
            FAIL("EC2 SD configuration filter values cannot be empty");
}

CHECK(azure)
{
    SD;
    bool oauth = str_eq(c->s[1], STR("OAuth"));
    REQUIRE(2, "azure SD configuration requires a subscription_id");
    if (oauth || str_eq(c->s[1], STR("WorkloadIdentity"))) {
        REQUIRE(3, "azure SD configuration requires a tenant_id");
        REQUIRE(4, "azure SD configuration requires a client_id");
    }
    if (oauth && !c->secret[0].value.n)
        FAIL("azure SD configuration requires a client_secret");
    else if (!one_of(c->s[1], "OAuth ManagedIdentity SDK WorkloadIdentity"))
        FAIL("unknown authentication_type \"" STR_FMT
             "\". Supported types are \"OAuth\", \"ManagedIdentity\", \"SDK\" or "
             "\"WorkloadIdentity\"",
             STR_ARG(c->s[1]));
}
KIND(azure, DEF(.s[0] = STR_INIT("AzurePublicCloud"), .s[1] = STR_INIT("OAuth"), .number[0] = 80, .refresh_ms = 300000),
     S(0, "environment"), S(1, "authentication_method"), S(2, "subscription_id"), S(3, "tenant_id"), S(4, "client_id"),
     SEC(0, "client_secret"), S(5, "resource_group"), N(0, "port"), REFRESH, HTTP);

CHECK(consul)
{
    SD;
    REQUIRE(0, "consul SD configuration requires a server address");
    if ((c->s[6].n || c->secret[1].value.n) && c->http.basic_auth)
        FAIL("at most one of consul SD configuration username and password and basic auth can be configured");
    else if (c->secret[0].value.n && (c->http.authorization || c->http.oauth2))
        FAIL("at most one of consul SD token, authorization, or oauth2 can be configured");
}
KIND(consul,
     DEF(.s[0] = STR_INIT("localhost:8500"), .s[4] = STR_INIT(","), .s[5] = STR_INIT("http"), .flag[0] = true,
         .refresh_ms = 30000),
     S(0, "server"), S(1, "path_prefix"), SEC(0, "token"), S(2, "datacenter"), S(3, "namespace"), S(7, "partition"),
     S(4, "tag_separator"), S(5, "scheme"), S(6, "username"), SEC(1, "password"), B(0, "allow_stale"), L(0, "services"),
     L(1, "tags"), A(dict, "node_meta", CONF_DICT, .of = CONF_STR), S(8, "filter"), S(9, "health_filter"), REFRESH,
     HTTP);

CHECK(digitalocean)
{
    (void)cx, (void)n, (void)obj;
}
KIND(digitalocean, DEF(.number[0] = 80, .refresh_ms = 60000), N(0, "port"), REFRESH, HTTP);

CHECK(docker)
{
    SD;
    struct err_text et;
    REQUIRE(0, "host missing");
    if (conf_check_url(c->s[0], false, &et))
        FAIL("%s", et.msg);
}
KIND(docker, DEF(.number[0] = 80, .s[1] = STR_INIT("localhost"), .flag[0] = true, .refresh_ms = 60000), S(0, "host"),
     N(0, "port"), FILTERS, S(1, "host_networking_host"), B(0, "match_first_network"), REFRESH, HTTP);

CHECK(dockerswarm)
{
    SD;
    REQUIRE(0, "host missing");
    REQUIRE(1, "role missing (one of: tasks, services, nodes)");
    if (!one_of(c->s[1], "tasks services nodes"))
        FAIL("invalid role " STR_FMT ", expected tasks, services, or nodes", STR_ARG(c->s[1]));
}
KIND(dockerswarm, DEF(.number[0] = 80, .refresh_ms = 60000), S(0, "host"), S(1, "role"), N(0, "port"), FILTERS, REFRESH,
     HTTP);

CHECK(ec2)
{
    check_filters(cx, n, obj);
}
KIND(ec2, DEF(.number[0] = 80, .refresh_ms = 60000), S(0, "endpoint"), S(1, "region"), S(2, "access_key"),
     SEC(0, "secret_key"), S(3, "profile"), S(4, "role_arn"), S(5, "external_id"), N(0, "port"), REFRESH, FILTERS,
     HTTP);

CHECK(lightsail)
{
    (void)cx, (void)n, (void)obj;
}
KIND(lightsail, DEF(.number[0] = 80, .refresh_ms = 60000), S(0, "endpoint"), S(1, "region"), S(2, "access_key"),
     SEC(0, "secret_key"), S(3, "profile"), S(4, "role_arn"), S(5, "external_id"), N(0, "port"), REFRESH, HTTP);

CHECK(aws)
{
    SD;
    REQUIRE(6, "role missing (one of: ec2, ecs, elasticache, lightsail, msk, rds)");
    if (!one_of(c->s[6], "ec2 ecs elasticache lightsail msk rds"))
        FAIL("unknown AWS SD role \"" STR_FMT "\"", STR_ARG(c->s[6]));
    check_filters(cx, n, c);
}
KIND(aws, DEF(.number[0] = 80, .refresh_ms = 60000), S(6, "role"), S(0, "endpoint"), S(1, "region"), S(2, "access_key"),
     SEC(0, "secret_key"), S(3, "profile"), S(4, "role_arn"), S(5, "external_id"), N(0, "port"), REFRESH, FILTERS,
     L(0, "clusters"), N(1, "request_concurrency"), HTTP);

CHECK(eureka)
{
    SD;
    struct err_text et;
    REQUIRE(0, "eureka_sd: empty or null eureka server");
    if (conf_check_url(c->s[0], true, &et))
        FAIL("eureka_sd: invalid eureka server URL");
}
KIND(eureka, DEF(.refresh_ms = 30000), S(0, "server"), REFRESH, HTTP);

CHECK(gce)
{
    SD;
    REQUIRE(0, "GCE SD configuration requires a project");
    REQUIRE(1, "GCE SD configuration requires a zone");
}
KIND(gce, DEF(.number[0] = 80, .s[3] = STR_INIT(","), .refresh_ms = 60000), S(0, "project"), S(1, "zone"),
     S(2, "filter"), REFRESH, N(0, "port"), S(3, "tag_separator"));

CHECK(hetzner)
{
    SD;
    REQUIRE(0, "role missing (one of: robot, hcloud)");
    if (!one_of(c->s[0], "robot hcloud"))
        FAIL("unknown role \"" STR_FMT "\"", STR_ARG(c->s[0]));
}
KIND(hetzner, DEF(.number[0] = 80, .refresh_ms = 60000), S(0, "role"), N(0, "port"), S(1, "label_selector"), REFRESH,
     HTTP);

CHECK(ionos)
{
    SD;
    REQUIRE(0, "datacenter id can't be empty");
}
KIND(ionos, DEF(.number[0] = 80, .refresh_ms = 60000), S(0, "datacenter_id"), N(0, "port"), REFRESH, HTTP);

/* ---- Kubernetes ---- */

/* The selectors each role may have. */
static const struct {
    const char *role, *allowed, *shown;
} kube_roles[] = {
    { "pod", "pod", "pod" },
    { "service", "service", "service" },
    { "endpointslice", "pod service endpointslice", "pod, service, endpointslice" },
    { "endpoints", "pod service endpoints", "pod, service, endpoints" },
    { "node", "node", "node" },
    { "ingress", "ingress", "ingress" },
};

/* Field selectors: comma-separated name=value, name==value, name!=value. */
static void check_field_selector(struct conf_ctx *cx, const struct conf_node *n, str s)
{
    str rest = s, part;
    while (str_cut(&rest, ',', &part))
        if (part.n && str_find_char(part, '=') == SIZE_MAX)
            FAIL("invalid selector: '" STR_FMT "'; can't understand '" STR_FMT "'", STR_ARG(s), STR_ARG(part));
}

static void check_selectors(struct conf_ctx *cx, const struct conf_node *n, const struct sd_any *c, size_t role)
{
    for (size_t i = 0; i < c->selectors.n; i++) {
        const struct sd_selector *s = &c->selectors.p[i];
        for (size_t k = 0; k < i; k++)
            if (str_eq(c->selectors.p[k].role, s->role)) {
                FAIL("duplicated selector role: " STR_FMT, STR_ARG(s->role));
                return;
            }
        if (!one_of(s->role, kube_roles[role].allowed)) {
            FAIL("%s role supports only %s selectors", kube_roles[role].role, kube_roles[role].shown);
            return;
        }
        check_field_selector(cx, n, s->field);
    }
}

static bool http_given(const struct http_config *h)
{
    const struct tls_config *t = &h->tls;
    return h->basic_auth || h->authorization || h->oauth2 || h->proxy_url.n || h->headers.n || !h->follow_redirects ||
           !h->enable_http2 || t->ca_file.n || t->cert_file.n || t->ca.n || t->cert.n || t->server_name.n ||
           t->insecure_skip_verify;
}

CHECK(kubernetes)
{
    SD;
    size_t role = ARRAY_LEN(kube_roles);
    REQUIRE(0, "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)");
    for (size_t i = 0; i < ARRAY_LEN(kube_roles); i++)
        if (str_eq(c->s[0], str_c(kube_roles[i].role)))
            role = i;
    bool server = c->s[1].n, kubeconfig = c->s[2].n, http = http_given(&c->http);
    if (role == ARRAY_LEN(kube_roles))
        FAIL("unknown Kubernetes SD role \"" STR_FMT "\"", STR_ARG(c->s[0]));
    else if (server && kubeconfig)
        FAIL("cannot use 'kubeconfig_file' and 'api_server' simultaneously");
    else if (kubeconfig && http)
        FAIL("cannot use a custom HTTP client configuration together with 'kubeconfig_file'");
    else if (!server && http)
        FAIL("to use custom HTTP client configuration please provide the 'api_server' URL explicitly");
    else if (server && c->namespaces.own)
        FAIL("cannot use 'api_server' and 'namespaces.own_namespace' simultaneously");
    else if (kubeconfig && c->namespaces.own)
        FAIL("cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously");
    else
        check_selectors(cx, n, c, role);
}
KIND(kubernetes, DEF(.refresh_ms = 0), S(1, "api_server"), S(0, "role"), S(2, "kubeconfig_file"), HTTP,
     A(namespaces, "namespaces", CONF_STRUCT, .schema = &namespaces_schema),
     A(selectors, "selectors", CONF_LIST, .of = CONF_STRUCT, .schema = &selector_schema),
     A(metadata, "attach_metadata", CONF_STRUCT, .schema = &metadata_schema));

/* ---- the rest of the alphabet ---- */

CHECK(kuma)
{
    SD;
    REQUIRE(0, "kuma SD server must not be empty");
}
KIND(kuma, DEF(.refresh_ms = 30000, .timeout_ms = 120000), S(0, "server"), S(1, "client_id"), REFRESH,
     TIMEOUT("fetch_timeout"), HTTP);

CHECK(linode)
{
    (void)cx, (void)n, (void)obj;
}
KIND(linode, DEF(.number[0] = 80, .s[0] = STR_INIT(","), .refresh_ms = 60000), N(0, "port"), S(0, "tag_separator"),
     S(1, "region"), REFRESH, HTTP);

CHECK(marathon)
{
    SD;
    bool token = c->secret[0].value.n || c->s[0].n;
    if (c->list[0].n == 0)
        FAIL("marathon_sd: must contain at least one Marathon server");
    else if (c->secret[0].value.n && c->s[0].n)
        FAIL("marathon_sd: at most one of auth_token & auth_token_file must be configured");
    else if (token && c->http.basic_auth)
        FAIL("marathon_sd: at most one of basic_auth, auth_token & auth_token_file must be configured");
    else if (token && (conf_has(n, "bearer_token") || conf_has(n, "bearer_token_file")))
        FAIL("marathon_sd: at most one of bearer_token, bearer_token_file, auth_token & auth_token_file must be "
             "configured");
    else if (token && c->http.authorization)
        FAIL("marathon_sd: at most one of auth_token, auth_token_file & authorization must be configured");
}
KIND(marathon, DEF(.refresh_ms = 30000), L(0, "servers"), REFRESH, SEC(0, "auth_token"), S(0, "auth_token_file"), HTTP);

static void check_zookeeper(struct conf_ctx *cx, const struct conf_node *n, const struct sd_any *c, const char *kind)
{
    if (c->list[0].n == 0)
        FAIL("%s SD config must contain at least one Zookeeper server", kind);
    else if (c->list[1].n == 0)
        FAIL("%s SD config must contain at least one path", kind);
    for (size_t i = 0; i < c->list[1].n; i++)
        if (!str_has_prefix(c->list[1].p[i], STR("/")))
            FAIL("%s SD config paths must begin with '/': " STR_FMT, kind, STR_ARG(c->list[1].p[i]));
}
CHECK(nerve)
{
    check_zookeeper(cx, n, obj, "nerve");
}
KIND(nerve, DEF(.timeout_ms = 10000), L(0, "servers"), L(1, "paths"), TIMEOUT("timeout"));
CHECK(serverset)
{
    check_zookeeper(cx, n, obj, "serverset");
}
KIND(serverset, DEF(.timeout_ms = 10000), L(0, "servers"), L(1, "paths"), TIMEOUT("timeout"));

CHECK(nomad)
{
    SD;
    REQUIRE(2, "nomad SD configuration requires a server address");
}
KIND(nomad,
     DEF(.s[0] = STR_INIT("default"), .s[1] = STR_INIT("global"), .s[2] = STR_INIT("http://localhost:4646"),
         .s[3] = STR_INIT(","), .flag[0] = true, .refresh_ms = 60000),
     B(0, "allow_stale"), S(0, "namespace"), REFRESH, S(1, "region"), S(2, "server"), S(3, "tag_separator"), HTTP);

CHECK(oci)
{
    SD;
    if (!one_of(c->s[0], "api_key instance_principal"))
        FAIL("oci_sd: unknown auth method \"" STR_FMT "\", expected \"api_key\" or \"instance_principal\"",
             STR_ARG(c->s[0]));
    else if (c->secret[0].value.n && c->s[6].n && c->s[5].n && c->s[7].n)
        FAIL("oci_sd: at most one of key_passphrase & key_passphrase_file must be configured");
}
KIND(oci, DEF(.s[0] = STR_INIT("api_key"), .number[0] = 80, .refresh_ms = 60000), S(0, "auth"), S(1, "region"),
     S(2, "tenancy"), S(3, "user"), S(4, "fingerprint"), S(5, "key_file"), SEC(1, "key"), SEC(0, "key_passphrase"),
     S(6, "key_passphrase_file"), L(0, "compartments"), N(0, "port"), REFRESH, HTTP);

CHECK(openstack)
{
    SD;
    if (!one_of(c->s[13], "public admin internal"))
        FAIL("unknown availability " STR_FMT ", must be one of admin, internal or public", STR_ARG(c->s[13]));
    REQUIRE(11, "role missing (one of: instance, hypervisor, loadbalancer)");
    if (!one_of(c->s[11], "instance hypervisor loadbalancer"))
        FAIL("unknown OpenStack SD role \"" STR_FMT "\"", STR_ARG(c->s[11]));
    else if (!c->s[12].n)
        FAIL("openstack SD configuration requires a region");
}
KIND(openstack, DEF(.number[0] = 80, .s[13] = STR_INIT("public"), .refresh_ms = 60000), S(0, "identity_endpoint"),
     S(1, "username"), S(2, "userid"), SEC(0, "password"), S(3, "project_name"), S(4, "project_id"),
     S(5, "domain_name"), S(6, "domain_id"), S(7, "application_credential_name"), S(8, "application_credential_id"),
     SEC(1, "application_credential_secret"), S(11, "role"), S(12, "region"), REFRESH, N(0, "port"),
     B(0, "all_tenants"), TLS, S(13, "availability"));

CHECK(outscale)
{
    SD;
    REQUIRE(0, "outscale SD configuration requires a region");
    REQUIRE(2, "outscale SD configuration requires an access_key");
    check_secret_pair(cx, n, &c->secret[0], c->s[3]);
}
KIND(outscale, DEF(.number[0] = 80, .refresh_ms = 60000), S(0, "region"), S(1, "endpoint"), S(2, "access_key"),
     SEC(0, "secret_key"), S(3, "secret_key_file"), N(0, "port"), REFRESH, HTTP);

CHECK(ovhcloud)
{
    SD;
    REQUIRE(0, "endpoint can not be empty");
    REQUIRE(1, "application key can not be empty");
    if (!c->secret[0].value.n)
        FAIL("application secret can not be empty");
    else if (!c->secret[1].value.n)
        FAIL("consumer key can not be empty");
    else if (!one_of(c->s[2], "vps dedicated_server"))
        FAIL("unknown service: " STR_FMT, STR_ARG(c->s[2]));
}
KIND(ovhcloud, DEF(.s[0] = STR_INIT("ovh-eu"), .refresh_ms = 60000), S(0, "endpoint"), S(1, "application_key"),
     SEC(0, "application_secret"), SEC(1, "consumer_key"), REFRESH, S(2, "service"));

CHECK(puppetdb)
{
    SD;
    size_t before = cx->n_errors;
    check_required_url(cx, n, c->s[0]);
    if (cx->n_errors == before && !c->s[1].n)
        FAIL("query missing");
}
KIND(puppetdb, DEF(.number[0] = 80, .refresh_ms = 60000), S(0, "url"), S(1, "query"), B(0, "include_parameters"),
     N(0, "port"), REFRESH, HTTP);

CHECK(scaleway)
{
    SD;
    if (!c->s[1].n) {
        FAIL("role missing (one of: instance, baremetal)");
        return;
    }
    if (!one_of(c->s[1], "instance baremetal")) {
        FAIL("unknown role \"" STR_FMT "\"", STR_ARG(c->s[1]));
        return;
    }
    REQUIRE(0, "project_id is mandatory");
    check_secret_pair(cx, n, &c->secret[0], c->s[3]);
    REQUIRE(2, "access_key is mandatory");
}
KIND(scaleway,
     DEF(.number[0] = 80, .s[5] = STR_INIT("https://api.scaleway.com"), .s[6] = STR_INIT("fr-par-1"),
         .refresh_ms = 60000),
     S(0, "project_id"), S(1, "role"), S(2, "access_key"), SEC(0, "secret_key"), S(3, "secret_key_file"),
     S(4, "name_filter"), L(0, "tags_filter"), REFRESH, S(5, "api_url"), S(6, "zone"), N(0, "port"), HTTP);

CHECK(stackit)
{
    SD;
    if (!c->s[0].n)
        FAIL("stackit SD configuration requires a project");
}
KIND(stackit, DEF(.number[0] = 80, .s[1] = STR_INIT("eu01"), .refresh_ms = 60000), S(0, "project"), S(1, "region"),
     S(2, "endpoint"), N(0, "port"), REFRESH, SEC(0, "service_account_key"), SEC(1, "private_key"),
     S(3, "service_account_key_path"), S(4, "private_key_path"), S(5, "credentials_file_path"), HTTP);

CHECK(triton)
{
    SD;
    if (!one_of(c->s[1], "container cn"))
        FAIL("triton SD configuration requires role to be 'container' or 'cn'");
    REQUIRE(0, "triton SD configuration requires an account");
    REQUIRE(2, "triton SD configuration requires a dns_suffix");
    REQUIRE(3, "triton SD configuration requires an endpoint");
    if (c->refresh_ms <= 0)
        FAIL("triton SD configuration requires RefreshInterval to be a positive integer");
}
KIND(triton, DEF(.number[0] = 9163, .number[1] = 1, .s[1] = STR_INIT("container"), .refresh_ms = 60000),
     S(0, "account"), S(1, "role"), S(2, "dns_suffix"), S(3, "endpoint"), L(0, "groups"), N(0, "port"), REFRESH, TLS,
     N(1, "version"));

CHECK(uyuni)
{
    SD;
    REQUIRE(0, "Uyuni SD configuration requires server host");
    REQUIRE(1, "Uyuni SD configuration requires a username");
    if (!c->secret[0].value.n)
        FAIL("Uyuni SD configuration requires a password");
}
KIND(uyuni, DEF(.s[2] = STR_INIT("monitoring_entitled"), .s[3] = STR_INIT(","), .refresh_ms = 60000), S(0, "server"),
     S(1, "username"), SEC(0, "password"), S(2, "entitlement"), S(3, "separator"), REFRESH, HTTP);

CHECK(vultr)
{
    (void)cx, (void)n, (void)obj;
}
KIND(vultr, DEF(.number[0] = 80, .refresh_ms = 60000), N(0, "port"), REFRESH, HTTP);

/* ---- all of them ---- */

#define OTHERS(X)                                                                                                     \
    X(azure)                                                                                                          \
    X(consul)                                                                                                         \
    X(digitalocean)                                                                                                   \
    X(docker)                                                                                                         \
    X(dockerswarm)                                                                                                    \
    X(ec2) X(lightsail) X(aws) X(eureka) X(gce) X(hetzner) X(ionos) X(kubernetes) X(kuma) X(linode) X(marathon)       \
        X(nerve) X(serverset) X(nomad) X(oci) X(openstack) X(outscale) X(ovhcloud) X(puppetdb) X(scaleway) X(stackit) \
            X(triton) X(uyuni) X(vultr)
enum {
#define X(kind) OTHER_##kind,
    OTHERS(X)
#undef X
        OTHERS_N
};
_Static_assert(OTHERS_N <= SD_OTHERS_MAX, "struct sd_configs");
static const char *const other_names[] = {
#define X(kind) #kind "_sd_configs",
    OTHERS(X)
#undef X
};

static bool runs_here(size_t other)
{
    return other == OTHER_kubernetes || other == OTHER_consul || other == OTHER_docker || other == OTHER_ec2;
}
size_t sd_other_index(enum sd_other kind)
{
    static const size_t of[] = { [SD_OTHER_KUBERNETES] = OTHER_kubernetes,
                                 [SD_OTHER_CONSUL] = OTHER_consul,
                                 [SD_OTHER_DOCKER] = OTHER_docker,
                                 [SD_OTHER_EC2] = OTHER_ec2 };
    return of[kind];
}

static void check_sds(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct sd_configs *sd = obj;
    for (size_t i = 0; i < OTHERS_N; i++)
        if (sd->others[i].n && !runs_here(i))
            conf_warn(cx, conf_get(n, str_c(other_names[i])), "%s is not supported yet: its targets are not scraped",
                      other_names[i]);
}

#define F(m, key, schema_)                                                            \
    CF(struct sd_configs, m, key, CONF_LIST, .of = CONF_STRUCT, .schema = &(schema_), \
       .empty_text = "empty or null section in " key)
static const struct conf_field sd_fields[] = {
    F(statics, "static_configs", target_group_schema), F(files, "file_sd_configs", file_sd_schema),
    F(https, "http_sd_configs", http_sd_schema), F(dnss, "dns_sd_configs", dns_sd_schema),
#define X(kind) F(others[OTHER_##kind], #kind "_sd_configs", kind##_schema),
    OTHERS(X)
#undef X
};
SCHEMA(sd_configs_schema, struct sd_configs, "discovery.Configs", sd_fields, .check = check_sds);

const char *sd_configs_unsupported(const struct sd_configs *sd, size_t *it)
{
    while (*it < OTHERS_N)
        if (sd->others[(*it)++].n && !runs_here(*it - 1))
            return other_names[*it - 1];
    return NULL;
}

void sd_configs_set_dir(struct arena *a, struct sd_configs *c, str dir)
{
    for (size_t i = 0; i < c->files.n; i++)
        for (size_t k = 0; k < c->files.p[i].files.n; k++)
            c->files.p[i].files.p[k] = http_join_dir(a, dir, c->files.p[i].files.p[k]);
    for (size_t i = 0; i < c->https.n; i++)
        http_config_set_dir(a, &c->https.p[i].http, dir);
    for (size_t k = 0; k < OTHERS_N; k++)
        for (size_t i = 0; i < c->others[k].n; i++) {
            struct sd_any *any = (struct sd_any *)c->others[k].p + i;
            http_config_set_dir(a, &any->http, dir);
            if (k == OTHER_kubernetes)
                any->s[S_KUBE_CONFIG] = http_join_dir(a, dir, any->s[S_KUBE_CONFIG]);
        }
}
