/* Kubernetes objects -> targets with __meta_kubernetes_* labels, the same that Prometheus gives.
 * Spec: prometheus.io/docs, <kubernetes_sd_config>; a list of roles with their labels. */
#include <stdio.h>

#include "base/vec.h"
#include "scrape/scrape_sd_kube.h"

#define META "__meta_kubernetes_"

json_t *kube_at(json_t *o, const char *path)
{
    str rest = str_c(path), name;
    while (o && str_cut(&rest, '.', &name)) {
        char key[64];
        snprintf(key, sizeof(key), STR_FMT, STR_ARG(name));
        o = json_object_get(o, key);
    }
    return o;
}

static str text_of(const json_t *v)
{
    return json_is_string(v) ? str_n(json_string_value(v), json_string_length(v)) : STR("");
}

str kube_str(json_t *o, const char *path)
{
    return text_of(kube_at(o, path));
}

/* ---- labels being collected ---- */

struct out {
    struct sd_groups *g;
    struct arena *a; /* g's */
    const struct kube_view *v;
    VEC(struct label) base; /* of the group */
    VEC(struct label) own;  /* of the target */
    VEC(struct labels) targets;
    bool in_target;
};

/* name: a literal or in the arena. An empty value is no label. */
static void put_name(struct out *o, str name, str value)
{
    struct label l = { name, value.n ? arena_str(o->a, value) : STR("") };
    if (o->in_target)
        avec_push(o->a, &o->own, l);
    else
        avec_push(o->a, &o->base, l);
}
#define PUT(o, name, value) put_name((o), STR(META name), (value))

static void put_bool(struct out *o, str name, bool v)
{
    put_name(o, name, v ? STR("true") : STR("false"));
}

static void put_i64(struct out *o, str name, json_t *v)
{
    if (json_is_integer(v))
        put_name(o, name, arena_printf(o->a, "%lld", (long long)json_integer_value(v)));
}

static void put_map(struct out *o, const char *what, const char *kind, json_t *map)
{
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v)
    {
        char prefix[100];
        snprintf(prefix, sizeof(prefix), META "%s_%s_", what, kind);
        put_name(o, sd_label_name(o->a, prefix, str_c(key)), text_of(v));
        snprintf(prefix, sizeof(prefix), META "%s_%spresent_", what, kind);
        put_name(o, sd_label_name(o->a, prefix, str_c(key)), STR("true"));
    }
}

/* Name, labels and annotations of an object. */
static void put_meta(struct out *o, const char *what, json_t *object)
{
    put_name(o, arena_printf(o->a, META "%s_name", what), kube_str(object, "metadata.name"));
    put_map(o, what, "label", kube_at(object, "metadata.labels"));
    put_map(o, what, "annotation", kube_at(object, "metadata.annotations"));
}

static void target_begin(struct out *o, str address)
{
    o->own.n = 0;
    o->in_target = true;
    put_name(o, STR("__address__"), address);
}

static void target_end(struct out *o)
{
    struct label_builder b;
    lb_init(&b, o->a);
    for (size_t i = 0; i < o->base.n; i++)
        lb_set(&b, o->base.p[i].name, o->base.p[i].value);
    for (size_t i = 0; i < o->own.n; i++)
        lb_set(&b, o->own.p[i].name, o->own.p[i].value);
    struct labels ls = lb_labels(&b);
    avec_push(o->a, &o->targets, ls);
    o->in_target = false;
}

/* ---- other objects ---- */

static json_t *find(struct out *o, enum kube_resource what, str namespace, str name)
{
    char key[600];
    if (name.n == 0 ||
        snprintf(key, sizeof(key), STR_FMT "/" STR_FMT, STR_ARG(namespace), STR_ARG(name)) >= (int)sizeof(key))
        return NULL;
    for (size_t i = 0; i < o->v->of[what].n; i++) {
        json_t *found = json_object_get(o->v->of[what].sets[i], key);
        if (found)
            return found;
    }
    return NULL;
}

static void attach_node(struct out *o, str name)
{
    json_t *node = o->v->with_nodes ? find(o, KUBE_NODE, STR(""), name) : NULL;
    if (node)
        put_meta(o, "node", node);
}

static void attach_namespace(struct out *o, str name)
{
    json_t *ns = o->v->with_namespaces ? find(o, KUBE_NAMESPACE, STR(""), name) : NULL;
    if (!ns)
        return;
    put_map(o, "namespace", "label", kube_at(ns, "metadata.labels"));
    put_map(o, "namespace", "annotation", kube_at(ns, "metadata.annotations"));
}

static void attach_service(struct out *o, str namespace, str name)
{
    json_t *svc = find(o, KUBE_SERVICE, namespace, name);
    if (svc)
        put_meta(o, "service", svc);
}

/* ---- pods ---- */

static str pod_ready(struct out *o, json_t *pod)
{
    size_t i;
    json_t *c;
    json_array_foreach(kube_at(pod, "status.conditions"), i, c)
    {
        if (!str_eq(kube_str(c, "type"), STR("Ready")))
            continue;
        str s = arena_str(o->a, kube_str(c, "status"));
        for (char *p = (char *)(uintptr_t)s.p; p < s.p + s.n; p++)
            *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        return s;
    }
    return STR("unknown");
}

static void put_pod(struct out *o, json_t *pod)
{
    size_t i;
    json_t *owner;
    PUT(o, "pod_ip", kube_str(pod, "status.podIP"));
    PUT(o, "pod_ready", pod_ready(o, pod));
    PUT(o, "pod_phase", kube_str(pod, "status.phase"));
    PUT(o, "pod_node_name", kube_str(pod, "spec.nodeName"));
    PUT(o, "pod_host_ip", kube_str(pod, "status.hostIP"));
    PUT(o, "pod_uid", kube_str(pod, "metadata.uid"));
    put_meta(o, "pod", pod);
    json_array_foreach(kube_at(pod, "metadata.ownerReferences"), i, owner)
    {
        if (!json_is_true(kube_at(owner, "controller")))
            continue;
        PUT(o, "pod_controller_kind", kube_str(owner, "kind"));
        PUT(o, "pod_controller_name", kube_str(owner, "name"));
        break;
    }
}

static str container_id(json_t *pod, bool is_init, str name)
{
    size_t i;
    json_t *s;
    json_array_foreach(kube_at(pod, is_init ? "status.initContainerStatuses" : "status.containerStatuses"), i, s)
    {
        if (str_eq(kube_str(s, "name"), name))
            return kube_str(s, "containerID");
    }
    return STR("");
}

static void put_container(struct out *o, json_t *c, bool is_init, json_t *port)
{
    PUT(o, "pod_container_name", kube_str(c, "name"));
    PUT(o, "pod_container_image", kube_str(c, "image"));
    put_bool(o, STR(META "pod_container_init"), is_init);
    if (!port)
        return;
    PUT(o, "pod_container_port_name", kube_str(port, "name"));
    put_i64(o, STR(META "pod_container_port_number"), kube_at(port, "containerPort"));
    PUT(o, "pod_container_port_protocol", kube_str(port, "protocol"));
}

/* Each (container, port) of a pod, init containers last; port NULL once for a container without ports. */
typedef bool (*container_fn)(struct out *o, void *ctx, json_t *container, bool is_init, json_t *port);
static void each_container(struct out *o, json_t *pod, container_fn fn, void *ctx)
{
    for (int is_init = 0; is_init < 2; is_init++) {
        size_t i, k;
        json_t *c, *port;
        json_array_foreach(kube_at(pod, is_init ? "spec.initContainers" : "spec.containers"), i, c)
        {
            json_t *ports = kube_at(c, "ports");
            if (json_array_size(ports) == 0 && !fn(o, ctx, c, is_init, NULL))
                return;
            json_array_foreach(ports, k, port)
            {
                if (!fn(o, ctx, c, is_init, port))
                    return;
            }
        }
    }
}

static bool pod_target(struct out *o, void *pod, json_t *c, bool is_init, json_t *port)
{
    str ip = kube_str(pod, "status.podIP");
    target_begin(o, port ? sd_host_port(o->a, ip, json_integer_value(kube_at(port, "containerPort"))) : ip);
    put_container(o, c, is_init, port);
    PUT(o, "pod_container_id", container_id(pod, is_init, kube_str(c, "name")));
    target_end(o);
    return true;
}

static void pod_group(struct out *o, json_t *pod)
{
    str namespace = kube_str(pod, "metadata.namespace");
    if (!kube_str(pod, "status.podIP").n)
        return;
    PUT(o, "namespace", namespace);
    put_pod(o, pod);
    attach_node(o, kube_str(pod, "spec.nodeName"));
    attach_namespace(o, namespace);
    each_container(o, pod, pod_target, pod);
}

/* ---- services, nodes, ingresses ---- */

static void service_group(struct out *o, json_t *svc)
{
    size_t i;
    json_t *port;
    str namespace = kube_str(svc, "metadata.namespace"), type = kube_str(svc, "spec.type");
    PUT(o, "namespace", namespace);
    put_meta(o, "service", svc);
    attach_namespace(o, namespace);
    str host =
        arena_printf(o->a, STR_FMT "." STR_FMT ".svc", STR_ARG(kube_str(svc, "metadata.name")), STR_ARG(namespace));
    json_array_foreach(kube_at(svc, "spec.ports"), i, port)
    {
        target_begin(o, sd_host_port(o->a, host, json_integer_value(kube_at(port, "port"))));
        PUT(o, "service_port_name", kube_str(port, "name"));
        put_i64(o, STR(META "service_port_number"), kube_at(port, "port"));
        PUT(o, "service_port_protocol", kube_str(port, "protocol"));
        PUT(o, "service_type", type);
        if (str_eq(type, STR("ExternalName")))
            PUT(o, "service_external_name", kube_str(svc, "spec.externalName"));
        else
            PUT(o, "service_cluster_ip", kube_str(svc, "spec.clusterIP"));
        if (str_eq(type, STR("LoadBalancer")))
            PUT(o, "service_loadbalancer_ip", kube_str(svc, "spec.loadBalancerIP"));
        target_end(o);
    }
}

static str node_address(json_t *node, const char *type)
{
    size_t i;
    json_t *a;
    json_array_foreach(kube_at(node, "status.addresses"), i, a)
    {
        if (str_eq(kube_str(a, "type"), str_c(type)))
            return kube_str(a, "address");
    }
    return STR("");
}

static void node_group(struct out *o, json_t *node)
{
    static const char *const wanted[] = { "InternalIP",  "InternalDNS",  "ExternalIP",
                                          "ExternalDNS", "LegacyHostIP", "Hostname" };
    str address = STR("");
    size_t i;
    json_t *a;
    for (size_t k = 0; k < ARRAY_LEN(wanted) && !address.n; k++)
        address = node_address(node, wanted[k]);
    if (!address.n)
        return;
    PUT(o, "node_provider_id", kube_str(node, "spec.providerID"));
    put_meta(o, "node", node);
    target_begin(o, sd_host_port(o->a, address,
                                 json_integer_value(kube_at(node, "status.daemonEndpoints.kubeletEndpoint.Port"))));
    put_name(o, STR("instance"), kube_str(node, "metadata.name"));
    json_array_foreach(kube_at(node, "status.addresses"), i, a)
    {
        str type = kube_str(a, "type");
        put_name(o, sd_label_name(o->a, META "node_address_", type), node_address(node, arena_cstr(o->a, type)));
    }
    target_end(o);
}

/* "*.example.org" stands for one label in front. */
static bool host_matches(str pattern, str host)
{
    str head;
    if (str_eq(pattern, host))
        return true;
    if (!str_has_prefix(pattern, STR("*.")) || !str_cut(&host, '.', &head) || !head.n)
        return false;
    return str_eq(str_skip(pattern, 2), host);
}

static bool ingress_tls(json_t *ingress, str host)
{
    size_t i, k;
    json_t *tls, *h;
    json_array_foreach(kube_at(ingress, "spec.tls"), i, tls)
    {
        json_array_foreach(kube_at(tls, "hosts"), k, h)
        {
            if (host_matches(text_of(h), host))
                return true;
        }
    }
    return false;
}

static void ingress_target(struct out *o, str scheme, str host, str path)
{
    target_begin(o, host);
    PUT(o, "ingress_scheme", scheme);
    PUT(o, "ingress_host", host);
    PUT(o, "ingress_path", path.n ? path : STR("/"));
    target_end(o);
}

static void ingress_group(struct out *o, json_t *ingress)
{
    size_t i, k;
    json_t *rule, *path;
    str namespace = kube_str(ingress, "metadata.namespace");
    PUT(o, "namespace", namespace);
    put_meta(o, "ingress", ingress);
    attach_namespace(o, namespace);
    PUT(o, "ingress_class_name", kube_str(ingress, "spec.ingressClassName"));
    json_array_foreach(kube_at(ingress, "spec.rules"), i, rule)
    {
        str host = kube_str(rule, "host"), scheme = ingress_tls(ingress, host) ? STR("https") : STR("http");
        json_t *paths = kube_at(rule, "http.paths");
        if (!paths)
            ingress_target(o, scheme, host, STR("/"));
        json_array_foreach(paths, k, path)
        {
            ingress_target(o, scheme, host, kube_str(path, "path"));
        }
    }
}

/* ---- endpoints and endpoint slices ---- */

struct seen_pod {
    json_t *pod;
    VEC(long long) ports; /* that have a target */
};
struct endpoints {
    VEC(struct seen_pod) pods;
};

struct port_match {
    long long port;
};
static bool put_matching_container(struct out *o, void *ctx, json_t *c, bool is_init, json_t *port)
{
    const struct port_match *m = ctx;
    if (!port || json_integer_value(kube_at(port, "containerPort")) != m->port)
        return true;
    put_container(o, c, is_init, port);
    return false;
}

/* The pod behind an endpoint's current target: its labels, and those of the container that has the port. */
static void attach_pod(struct out *o, struct endpoints *e, json_t *ref, str namespace, long long port)
{
    if (!str_eq(kube_str(ref, "kind"), STR("Pod")))
        return;
    str own = kube_str(ref, "namespace");
    json_t *pod = find(o, KUBE_POD, own.n ? own : namespace, kube_str(ref, "name"));
    struct port_match m = { port };
    struct seen_pod *seen = NULL, fresh = { .pod = pod };
    if (!pod)
        return;
    put_pod(o, pod);
    each_container(o, pod, put_matching_container, &m);
    for (size_t i = 0; i < e->pods.n && !seen; i++)
        if (e->pods.p[i].pod == pod)
            seen = &e->pods.p[i];
    if (!seen) {
        avec_push(o->a, &e->pods, fresh);
        seen = &vec_last(&e->pods);
    }
    avec_push(o->a, &seen->ports, port);
}

static bool uncovered_port(struct out *o, void *ctx, json_t *c, bool is_init, json_t *port)
{
    struct seen_pod *s = ctx;
    long long number = json_integer_value(kube_at(port, "containerPort"));
    if (!port)
        return true;
    for (size_t i = 0; i < s->ports.n; i++)
        if (s->ports.p[i] == number)
            return true;
    target_begin(o, sd_host_port(o->a, kube_str(s->pod, "status.podIP"), number));
    put_container(o, c, is_init, port);
    put_pod(o, s->pod);
    target_end(o);
    return true;
}

/* Ports of the pods that no endpoint names are targets too. */
static void uncovered_ports(struct out *o, struct endpoints *e)
{
    for (size_t i = 0; i < e->pods.n; i++)
        if (kube_str(e->pods.p[i].pod, "status.podIP").n)
            each_container(o, e->pods.p[i].pod, uncovered_port, &e->pods.p[i]);
}

static void attach_endpoint_node(struct out *o, json_t *ref, str node)
{
    attach_node(o, str_eq(kube_str(ref, "kind"), STR("Node")) ? kube_str(ref, "name") : node);
}

static void endpoints_address(struct out *o, struct endpoints *e, json_t *addr, json_t *port, bool ready, str namespace)
{
    json_t *ref = kube_at(addr, "targetRef");
    long long number = json_integer_value(kube_at(port, "port"));
    target_begin(o, sd_host_port(o->a, kube_str(addr, "ip"), number));
    PUT(o, "endpoint_port_name", kube_str(port, "name"));
    PUT(o, "endpoint_port_protocol", kube_str(port, "protocol"));
    put_bool(o, STR(META "endpoint_ready"), ready);
    PUT(o, "endpoint_address_target_kind", kube_str(ref, "kind"));
    PUT(o, "endpoint_address_target_name", kube_str(ref, "name"));
    PUT(o, "endpoint_node_name", kube_str(addr, "nodeName"));
    PUT(o, "endpoint_hostname", kube_str(addr, "hostname"));
    attach_endpoint_node(o, ref, kube_str(addr, "nodeName"));
    attach_pod(o, e, ref, namespace, number);
    target_end(o);
}

static void endpoints_group(struct out *o, json_t *ep)
{
    struct endpoints e = { 0 };
    str namespace = kube_str(ep, "metadata.namespace");
    size_t i, k, n;
    json_t *subset, *port, *addr;
    PUT(o, "namespace", namespace);
    put_meta(o, "endpoints", ep);
    attach_namespace(o, namespace);
    attach_service(o, namespace, kube_str(ep, "metadata.name"));
    json_array_foreach(kube_at(ep, "subsets"), i, subset)
    {
        json_array_foreach(kube_at(subset, "ports"), k, port)
        {
            json_array_foreach(kube_at(subset, "addresses"), n, addr)
            {
                endpoints_address(o, &e, addr, port, true, namespace);
            }
            json_array_foreach(kube_at(subset, "notReadyAddresses"), n, addr)
            {
                endpoints_address(o, &e, addr, port, false, namespace);
            }
        }
    }
    uncovered_ports(o, &e);
}

static void put_condition(struct out *o, str name, json_t *v)
{
    if (json_is_boolean(v))
        put_bool(o, name, json_is_true(v));
}

static void slice_address(struct out *o, struct endpoints *e, str ip, json_t *ep, json_t *port, str namespace)
{
    json_t *ref = kube_at(ep, "targetRef"), *v, *topology = kube_at(ep, "deprecatedTopology"),
           *number = kube_at(port, "port");
    const char *key;
    target_begin(o, json_is_integer(number) ? sd_host_port(o->a, ip, json_integer_value(number)) : ip);
    PUT(o, "endpointslice_port_name", kube_str(port, "name"));
    PUT(o, "endpointslice_port_protocol", kube_str(port, "protocol"));
    put_i64(o, STR(META "endpointslice_port"), number);
    PUT(o, "endpointslice_port_app_protocol", kube_str(port, "appProtocol"));
    put_condition(o, STR(META "endpointslice_endpoint_conditions_ready"), kube_at(ep, "conditions.ready"));
    put_condition(o, STR(META "endpointslice_endpoint_conditions_serving"), kube_at(ep, "conditions.serving"));
    put_condition(o, STR(META "endpointslice_endpoint_conditions_terminating"), kube_at(ep, "conditions.terminating"));
    PUT(o, "endpointslice_endpoint_hostname", kube_str(ep, "hostname"));
    PUT(o, "endpointslice_endpoint_node_name", kube_str(ep, "nodeName"));
    PUT(o, "endpointslice_endpoint_zone", kube_str(ep, "zone"));
    PUT(o, "endpointslice_address_target_kind", kube_str(ref, "kind"));
    PUT(o, "endpointslice_address_target_name", kube_str(ref, "name"));
    json_object_foreach(topology, key, v)
    {
        put_name(o, sd_label_name(o->a, META "endpointslice_endpoint_topology_", str_c(key)), text_of(v));
        put_name(o, sd_label_name(o->a, META "endpointslice_endpoint_topology_present_", str_c(key)), STR("true"));
    }
    attach_endpoint_node(o, ref, kube_str(ep, "nodeName"));
    attach_pod(o, e, ref, namespace, json_integer_value(number));
    target_end(o);
}

static void slice_group(struct out *o, json_t *slice)
{
    struct endpoints e = { 0 };
    str namespace = kube_str(slice, "metadata.namespace");
    size_t i, k, n;
    json_t *port, *ep, *addr;
    PUT(o, "namespace", namespace);
    PUT(o, "endpointslice_address_type", kube_str(slice, "addressType"));
    put_meta(o, "endpointslice", slice);
    attach_namespace(o, namespace);
    attach_service(o, namespace,
                   text_of(json_object_get(kube_at(slice, "metadata.labels"), "kubernetes.io/service-name")));
    json_array_foreach(kube_at(slice, "ports"), i, port)
    {
        json_array_foreach(kube_at(slice, "endpoints"), k, ep)
        {
            json_array_foreach(kube_at(ep, "addresses"), n, addr)
            {
                slice_address(o, &e, text_of(addr), ep, port, namespace);
            }
        }
    }
    uncovered_ports(o, &e);
}

/* ---- all of them ---- */

static void (*const group_of[KUBE_RESOURCES])(struct out *o, json_t *object) = {
    [KUBE_POD] = pod_group,
    [KUBE_SERVICE] = service_group,
    [KUBE_ENDPOINTS] = endpoints_group,
    [KUBE_ENDPOINTSLICE] = slice_group,
    [KUBE_NODE] = node_group,
    [KUBE_INGRESS] = ingress_group,
};

struct sd_groups *kube_groups(const struct kube_view *v)
{
    struct sd_groups *g = sd_groups_new();
    struct out o = { .g = g, .a = &g->a, .v = v };
    for (size_t i = 0; i < v->of[v->role].n; i++) {
        const char *key;
        json_t *object;
        json_object_foreach(v->of[v->role].sets[i], key, object)
        {
            o.base.n = 0;
            memset(&o.targets, 0, sizeof(o.targets));
            group_of[v->role](&o, object);
            struct sd_group group = { o.targets.p, o.targets.n };
            if (group.n)
                avec_push(o.a, &g->v, group);
        }
    }
    return g;
}

/* ---- what need not be kept ---- */

static void drop(json_t *o, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_object_del(o, names[i]);
}
#define DROP(o, ...)                                         \
    do {                                                     \
        static const char *const names_[] = { __VA_ARGS__ }; \
        drop((o), names_, ARRAY_LEN(names_));                \
    } while (0)

void kube_prune(json_t *o, enum kube_resource what)
{
    DROP(kube_at(o, "metadata"), "managedFields", "finalizers", "selfLink", "generateName");
    if (what == KUBE_NODE)
        DROP(kube_at(o, "status"), "images", "conditions", "capacity", "allocatable", "nodeInfo", "volumesInUse",
             "volumesAttached");
    if (what != KUBE_POD)
        return;
    DROP(kube_at(o, "spec"), "volumes", "affinity", "tolerations", "securityContext", "topologySpreadConstraints",
         "ephemeralContainers");
    for (int is_init = 0; is_init < 2; is_init++) {
        size_t i;
        json_t *c;
        json_array_foreach(kube_at(o, is_init ? "spec.initContainers" : "spec.containers"), i, c)
        {
            DROP(c, "env", "envFrom", "volumeMounts", "resources", "livenessProbe", "readinessProbe", "startupProbe",
                 "lifecycle", "securityContext", "command", "args");
        }
        json_array_foreach(kube_at(o, is_init ? "status.initContainerStatuses" : "status.containerStatuses"), i, c)
        {
            DROP(c, "state", "lastState");
        }
    }
}
