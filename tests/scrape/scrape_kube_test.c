/* Kubernetes discovery: labels of every role, and list and watch against an API server that misbehaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "scrape/scrape_sd_kube.h"
#include "target_server.h"

/* ---- labels ---- */

/* JSON with ' for ". */
static json_t *parse(const char *text)
{
    char *copy = mem_strdup(str_c(text));
    for (char *p = copy; *p; p++)
        if (*p == '\'')
            *p = '"';
    json_error_t je;
    json_t *doc = json_loads(copy, 0, &je);
    if (!doc)
        fail_msg("%s in %s", je.text, copy);
    mem_free(copy);
    return doc;
}

static const char pod_a[] =
    "{'metadata': {'name': 'a', 'namespace': 'ns', 'uid': 'u1', 'labels': {'app.kubernetes.io/name': 'web'}, "
    "'annotations': {'scrape': 'true'},"
    "  'ownerReferences': [{'kind': 'ReplicaSet', 'name': 'a-rs', 'controller': true}], 'managedFields': [1]},"
    " 'spec': {'nodeName': 'n1', 'containers': [{'name': 'main', 'image': 'web:1', 'ports': [{'name': 'http', "
    "'containerPort': 80, 'protocol': 'TCP'},"
    "   {'name': 'admin', 'containerPort': 81, 'protocol': 'TCP'}]}, {'name': 'side', 'image': 'side:2'}],"
    "   'initContainers': [{'name': 'setup', 'image': 'i:1', 'env': [1], 'ports': [{'containerPort': 9, 'protocol': "
    "'UDP'}]}]},"
    " 'status': {'podIP': '10.0.0.1', 'hostIP': '1.1.1.1', 'phase': 'Running', 'conditions': [{'type': 'Ready', "
    "'status': 'True'}],"
    "   'containerStatuses': [{'name': 'main', 'containerID': 'docker://1'}]}}";
static const char node_1[] = "{'metadata': {'name': 'n1', 'labels': {'zone': 'z'}}, 'spec': {'providerID': 'p://1'},"
                             " 'status': {'addresses': [{'type': 'Hostname', 'address': 'n1.local'}, {'type': "
                             "'InternalIP', 'address': 'fd00::1'}],"
                             "   'daemonEndpoints': {'kubeletEndpoint': {'Port': 10250}}}}";
static const char service_s[] =
    "{'metadata': {'name': 's', 'namespace': 'ns', 'labels': {'tier': 'x'}},"
    " 'spec': {'type': 'LoadBalancer', 'clusterIP': '10.1.0.1', 'loadBalancerIP': '9.9.9.9',"
    "   'ports': [{'name': 'web', 'port': 8080, 'protocol': 'TCP'}]}}";
static const char endpoints_s[] = "{'metadata': {'name': 's', 'namespace': 'ns'}, 'subsets': [{'ports': [{'name': "
                                  "'web', 'port': 80, 'protocol': 'TCP'}],"
                                  " 'addresses': [{'ip': '10.0.0.1', 'nodeName': 'n1', 'targetRef': {'kind': 'Pod', "
                                  "'name': 'a', 'namespace': 'ns'}}],"
                                  " 'notReadyAddresses': [{'ip': '10.0.0.9', 'hostname': 'h'}]}]}";
static const char slice_s[] = "{'metadata': {'name': 's-x', 'namespace': 'ns', 'labels': "
                              "{'kubernetes.io/service-name': 's'}}, 'addressType': 'IPv4',"
                              " 'ports': [{'name': 'web', 'port': 80, 'protocol': 'TCP', 'appProtocol': 'http'}],"
                              " 'endpoints': [{'addresses': ['10.0.0.7'], 'conditions': {'ready': true, 'serving': "
                              "false}, 'zone': 'z', 'nodeName': 'n1',"
                              "   'deprecatedTopology': {'a/b': 'c'}}]}";
static const char ingress_i[] =
    "{'metadata': {'name': 'i', 'namespace': 'ns'}, 'spec': {'ingressClassName': 'nginx', 'tls': [{'hosts': "
    "['*.example.org']}],"
    " 'rules': [{'host': 'a.example.org', 'http': {'paths': [{'path': '/x'}, {}]}}, {'host': 'b.a.example.org'}]}}";

#define POD_LABELS \
    "__meta_kubernetes_pod_annotation_scrape=\"true\", __meta_kubernetes_pod_annotationpresent_scrape=\"true\", "
#define POD_MAIN                                                                                           \
    "__meta_kubernetes_pod_container_id=\"docker://1\", __meta_kubernetes_pod_container_image=\"web:1\", " \
    "__meta_kubernetes_pod_container_init=\"false\", __meta_kubernetes_pod_container_name=\"main\", "
#define POD_REST                                                                                             \
    "__meta_kubernetes_pod_controller_kind=\"ReplicaSet\", __meta_kubernetes_pod_controller_name=\"a-rs\", " \
    "__meta_kubernetes_pod_host_ip=\"1.1.1.1\", "                                                            \
    "__meta_kubernetes_pod_ip=\"10.0.0.1\", __meta_kubernetes_pod_label_app_kubernetes_io_name=\"web\", "    \
    "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name=\"true\", __meta_kubernetes_pod_name=\"a\", " \
    "__meta_kubernetes_pod_node_name=\"n1\", "                                                               \
    "__meta_kubernetes_pod_phase=\"Running\", __meta_kubernetes_pod_ready=\"true\", __meta_kubernetes_pod_uid=\"u1\""

static const struct {
    enum kube_resource role;
    const char *object;
    bool metadata;
    const char *want[5];
} rows[] = {
    { KUBE_POD,
      pod_a,
      false,
      { "{__address__=\"10.0.0.1:80\", __meta_kubernetes_namespace=\"ns\", " POD_LABELS POD_MAIN
        "__meta_kubernetes_pod_container_port_name=\"http\", __meta_kubernetes_pod_container_port_number=\"80\", "
        "__meta_kubernetes_pod_container_port_protocol=\"TCP\", " POD_REST "}",
        "{__address__=\"10.0.0.1:81\", __meta_kubernetes_namespace=\"ns\", " POD_LABELS POD_MAIN
        "__meta_kubernetes_pod_container_port_name=\"admin\", __meta_kubernetes_pod_container_port_number=\"81\", "
        "__meta_kubernetes_pod_container_port_protocol=\"TCP\", " POD_REST "}",
        "{__address__=\"10.0.0.1\", __meta_kubernetes_namespace=\"ns\", " POD_LABELS
        "__meta_kubernetes_pod_container_image=\"side:2\", "
        "__meta_kubernetes_pod_container_init=\"false\", __meta_kubernetes_pod_container_name=\"side\", " POD_REST "}",
        "{__address__=\"10.0.0.1:9\", __meta_kubernetes_namespace=\"ns\", " POD_LABELS
        "__meta_kubernetes_pod_container_image=\"i:1\", "
        "__meta_kubernetes_pod_container_init=\"true\", __meta_kubernetes_pod_container_name=\"setup\", "
        "__meta_kubernetes_pod_container_port_number=\"9\", "
        "__meta_kubernetes_pod_container_port_protocol=\"UDP\", " POD_REST "}" } },
    { KUBE_SERVICE,
      service_s,
      true,
      { "{__address__=\"s.ns.svc:8080\", __meta_kubernetes_namespace=\"ns\", "
        "__meta_kubernetes_namespace_label_team=\"red\", "
        "__meta_kubernetes_namespace_labelpresent_team=\"true\", __meta_kubernetes_service_cluster_ip=\"10.1.0.1\", "
        "__meta_kubernetes_service_label_tier=\"x\", __meta_kubernetes_service_labelpresent_tier=\"true\", "
        "__meta_kubernetes_service_loadbalancer_ip=\"9.9.9.9\", __meta_kubernetes_service_name=\"s\", "
        "__meta_kubernetes_service_port_name=\"web\", "
        "__meta_kubernetes_service_port_number=\"8080\", __meta_kubernetes_service_port_protocol=\"TCP\", "
        "__meta_kubernetes_service_type=\"LoadBalancer\"}" } },
    { KUBE_NODE,
      node_1,
      false,
      { "{__address__=\"[fd00::1]:10250\", __meta_kubernetes_node_address_Hostname=\"n1.local\", "
        "__meta_kubernetes_node_address_InternalIP=\"fd00::1\", "
        "__meta_kubernetes_node_label_zone=\"z\", __meta_kubernetes_node_labelpresent_zone=\"true\", "
        "__meta_kubernetes_node_name=\"n1\", "
        "__meta_kubernetes_node_provider_id=\"p://1\", instance=\"n1\"}" } },
    { KUBE_INGRESS,
      ingress_i,
      false,
      { "{__address__=\"a.example.org\", __meta_kubernetes_ingress_class_name=\"nginx\", "
        "__meta_kubernetes_ingress_host=\"a.example.org\", "
        "__meta_kubernetes_ingress_name=\"i\", __meta_kubernetes_ingress_path=\"/x\", "
        "__meta_kubernetes_ingress_scheme=\"https\", "
        "__meta_kubernetes_namespace=\"ns\"}",
        "{__address__=\"a.example.org\", __meta_kubernetes_ingress_class_name=\"nginx\", "
        "__meta_kubernetes_ingress_host=\"a.example.org\", "
        "__meta_kubernetes_ingress_name=\"i\", __meta_kubernetes_ingress_path=\"/\", "
        "__meta_kubernetes_ingress_scheme=\"https\", "
        "__meta_kubernetes_namespace=\"ns\"}",
        "{__address__=\"b.a.example.org\", __meta_kubernetes_ingress_class_name=\"nginx\", "
        "__meta_kubernetes_ingress_host=\"b.a.example.org\", "
        "__meta_kubernetes_ingress_name=\"i\", __meta_kubernetes_ingress_path=\"/\", "
        "__meta_kubernetes_ingress_scheme=\"http\", "
        "__meta_kubernetes_namespace=\"ns\"}" } },
#define SERVICE                                                                                          \
    "__meta_kubernetes_service_label_tier=\"x\", __meta_kubernetes_service_labelpresent_tier=\"true\", " \
    "__meta_kubernetes_service_name=\"s\"}"
#define OF_MAIN                                                                                         \
    "__meta_kubernetes_pod_container_image=\"web:1\", __meta_kubernetes_pod_container_init=\"false\", " \
    "__meta_kubernetes_pod_container_name=\"main\", "
    { KUBE_ENDPOINTS,
      endpoints_s,
      false,
      { "{__address__=\"10.0.0.1:80\", __meta_kubernetes_endpoint_address_target_kind=\"Pod\", "
        "__meta_kubernetes_endpoint_address_target_name=\"a\", "
        "__meta_kubernetes_endpoint_node_name=\"n1\", __meta_kubernetes_endpoint_port_name=\"web\", "
        "__meta_kubernetes_endpoint_port_protocol=\"TCP\", "
        "__meta_kubernetes_endpoint_ready=\"true\", __meta_kubernetes_endpoints_name=\"s\", "
        "__meta_kubernetes_namespace=\"ns\", " POD_LABELS OF_MAIN
        "__meta_kubernetes_pod_container_port_name=\"http\", __meta_kubernetes_pod_container_port_number=\"80\", "
        "__meta_kubernetes_pod_container_port_protocol=\"TCP\", " POD_REST ", " SERVICE,
        "{__address__=\"10.0.0.9:80\", __meta_kubernetes_endpoint_hostname=\"h\", "
        "__meta_kubernetes_endpoint_port_name=\"web\", "
        "__meta_kubernetes_endpoint_port_protocol=\"TCP\", __meta_kubernetes_endpoint_ready=\"false\", "
        "__meta_kubernetes_endpoints_name=\"s\", "
        "__meta_kubernetes_namespace=\"ns\", " SERVICE,
        "{__address__=\"10.0.0.1:81\", __meta_kubernetes_endpoints_name=\"s\", "
        "__meta_kubernetes_namespace=\"ns\", " POD_LABELS OF_MAIN
        "__meta_kubernetes_pod_container_port_name=\"admin\", __meta_kubernetes_pod_container_port_number=\"81\", "
        "__meta_kubernetes_pod_container_port_protocol=\"TCP\", " POD_REST ", " SERVICE,
        "{__address__=\"10.0.0.1:9\", __meta_kubernetes_endpoints_name=\"s\", "
        "__meta_kubernetes_namespace=\"ns\", " POD_LABELS
        "__meta_kubernetes_pod_container_image=\"i:1\", __meta_kubernetes_pod_container_init=\"true\", "
        "__meta_kubernetes_pod_container_name=\"setup\", "
        "__meta_kubernetes_pod_container_port_number=\"9\", "
        "__meta_kubernetes_pod_container_port_protocol=\"UDP\", " POD_REST ", " SERVICE } },
    { KUBE_ENDPOINTSLICE,
      slice_s,
      true,
      { "{__address__=\"10.0.0.7:80\", __meta_kubernetes_endpointslice_address_type=\"IPv4\", "
        "__meta_kubernetes_endpointslice_endpoint_conditions_ready=\"true\", "
        "__meta_kubernetes_endpointslice_endpoint_conditions_serving=\"false\", "
        "__meta_kubernetes_endpointslice_endpoint_node_name=\"n1\", "
        "__meta_kubernetes_endpointslice_endpoint_topology_a_b=\"c\", "
        "__meta_kubernetes_endpointslice_endpoint_topology_present_a_b=\"true\", "
        "__meta_kubernetes_endpointslice_endpoint_zone=\"z\", "
        "__meta_kubernetes_endpointslice_label_kubernetes_io_service_name=\"s\", "
        "__meta_kubernetes_endpointslice_labelpresent_kubernetes_io_service_name=\"true\", "
        "__meta_kubernetes_endpointslice_name=\"s-x\", "
        "__meta_kubernetes_endpointslice_port=\"80\", __meta_kubernetes_endpointslice_port_app_protocol=\"http\", "
        "__meta_kubernetes_endpointslice_port_name=\"web\", __meta_kubernetes_endpointslice_port_protocol=\"TCP\", "
        "__meta_kubernetes_namespace=\"ns\", "
        "__meta_kubernetes_namespace_label_team=\"red\", __meta_kubernetes_namespace_labelpresent_team=\"true\", "
        "__meta_kubernetes_node_label_zone=\"z\", __meta_kubernetes_node_labelpresent_zone=\"true\", "
        "__meta_kubernetes_node_name=\"n1\", " SERVICE } },
};

static json_t *set_of(const char *key, const char *object, enum kube_resource what)
{
    json_t *set = json_object(), *o = parse(object);
    kube_prune(o, what);
    json_object_set_new(set, key, o);
    return set;
}

static void labels_of_roles(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *sets[KUBE_RESOURCES] = {
            [KUBE_POD] = set_of("ns/a", pod_a, KUBE_POD),
            [KUBE_SERVICE] = set_of("ns/s", service_s, KUBE_SERVICE),
            [KUBE_NODE] = set_of("/n1", node_1, KUBE_NODE),
            [KUBE_NAMESPACE] = set_of("/ns", "{'metadata': {'name': 'ns', 'labels': {'team': 'red'}}}", KUBE_NAMESPACE),
        };
        json_decref(sets[rows[i].role]);
        sets[rows[i].role] = set_of("it", rows[i].object, rows[i].role);
        struct kube_view v = { .role = rows[i].role,
                               .with_nodes = rows[i].metadata,
                               .with_namespaces = rows[i].metadata };
        for (int k = 0; k < KUBE_RESOURCES; k++) {
            v.of[k].sets = &sets[k];
            v.of[k].n = sets[k] != NULL;
        }
        struct sd_groups *g = kube_groups(&v);
        assert_int_equal(g->v.n, 1);
        size_t n = 0;
        for (; n < ARRAY_LEN(rows[i].want) && rows[i].want[n]; n++) {
            AUTO_BUF struct buf text;
            buf_init(&text, 0);
            assert_true(n < g->v.p[0].n);
            labels_print(&text, g->v.p[0].targets[n]);
            buf_u8(&text, 0);
            assert_string_equal(text.p, rows[i].want[n]);
        }
        assert_int_equal(g->v.p[0].n, n);
        sd_groups_free(g);
        for (int k = 0; k < KUBE_RESOURCES; k++)
            json_decref(sets[k]);
    }
}

/* ---- an API server ---- */

struct api_server {
    struct target_server *server;
    atomic_int lists, refused, expire, watches_30;
    atomic_bool token_seen, selector_seen;
};

static void put_pod(struct buf *b, const char *name, int port)
{
    buf_printf(b,
               "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"ns\",\"resourceVersion\":\"15\"},\"spec\":{"
               "\"containers\":[{\"name\":\"c\",\"ports\":"
               "[{\"containerPort\":%d}]}]},\"status\":{\"podIP\":\"127.0.0.1\"}}",
               name, port);
}
static void put_event(struct buf *b, const char *type, const char *name, int port)
{
    buf_printf(b, "{\"type\":\"%s\",\"object\":", type);
    put_pod(b, name, port);
    buf_lit(b, "}\n");
}

static void answer_list(struct api_server *s, str path, struct buf *b)
{
    bool second_page = str_contains(path, STR("continue=more"));
    if (atomic_load(&s->expire)) {
        buf_lit(b, "{\"metadata\":{\"resourceVersion\":\"30\"},\"items\":[");
        put_pod(b, "d", 4);
    } else if (second_page) {
        buf_lit(b, "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[");
        put_pod(b, "b", 2);
    } else {
        buf_lit(b, "{\"metadata\":{\"resourceVersion\":\"10\",\"continue\":\"more\"},\"items\":[");
        put_pod(b, "a", 1);
    }
    buf_lit(b, "]}");
}

/* From 10: changes, then the server ends the watch. From 20: 410 when it is time. From 30: nothing more. */
static void answer_watch(struct api_server *s, str path, struct target_answer *a, struct buf *b)
{
    if (str_contains(path, STR("resourceVersion=10"))) {
        put_event(b, "ADDED", "c", 3);
        put_event(b, "MODIFIED", "a", 11);
        put_event(b, "DELETED", "b", 2);
        buf_lit(b, "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"20\"}}}\n");
    } else if (str_contains(path, STR("resourceVersion=20"))) {
        for (int i = 0; i < 1000 && !atomic_load(&s->expire); i++)
            os_sleep_ms(5);
        buf_lit(b, "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410}}\n");
    } else {
        atomic_fetch_add(&s->watches_30, 1);
        a->hold_ms = 20000;
    }
}

static bool answer(void *ctx, str path, str head, struct target_answer *a)
{
    struct api_server *s = ctx;
    AUTO_BUF struct buf body;
    buf_init(&body, 0);
    if (!str_has_prefix(path, STR("/api/v1/namespaces/ns/pods?"))) {
        target_answer_text(a, "404 Not Found", "", STR("no\n"));
        return true;
    }
    if (str_contains(head, STR("Authorization: Bearer secret\r\n")))
        atomic_store(&s->token_seen, true);
    if (str_contains(path, STR("labelSelector=app%3Dweb&fieldSelector=spec.nodeName%3Dn1")))
        atomic_store(&s->selector_seen, true);
    if (str_contains(path, STR("watch=1"))) {
        answer_watch(s, path, a, &body);
        if (a->hold_ms)
            buf_lit(&a->raw, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        else
            target_answer_text(a, "200 OK", "Content-Type: application/json\r\n", buf_str(&body));
        return true;
    }
    if (atomic_fetch_add(&s->refused, 1) == 0) { /* the first one fails: it is tried again */
        target_answer_text(a, "503 Service Unavailable", "", STR("later\n"));
        return true;
    }
    atomic_fetch_add(&s->lists, 1);
    answer_list(s, path, &body);
    target_answer_text(a, "200 OK", "Content-Type: application/json\r\n", buf_str(&body));
    return true;
}

/* ---- the engine against it ---- */

static enum err sink_append(struct scrape_sink *sink, const struct batch *b)
{
    (void)sink, (void)b;
    return OK;
}

/* Wait until the targets' addresses, sorted, are these. */
static void wait_targets(struct scrape *s, const char *want)
{
    char got[300] = "";
    for (int i = 0; i < 1600; i++) {
        AUTO_ARENA struct arena a;
        AUTO_BUF struct buf text;
        struct scrape_status st;
        arena_init(&a, 0);
        buf_init(&text, 0);
        scrape_status(s, STR(""), STR(""), &a, &st);
        for (size_t k = 0; k < st.n_active; k++)
            buf_printf(&text, STR_FMT " ", STR_ARG(labels_get(st.active[k].labels, STR("instance"))));
        snprintf(got, sizeof(got), STR_FMT, STR_ARG(buf_str(&text)));
        if (strcmp(got, want) == 0)
            return;
        os_sleep_ms(5);
    }
    fail_msg("targets are %s, not %s", got, want);
}

static void configure(struct scrape *s, const char *kubernetes)
{
    AUTO_BUF struct buf b;
    struct prom_config *c;
    struct err_text et = { .msg = "" };
    buf_init(&b, 0);
    buf_printf(&b, "scrape_configs:\n- job_name: k\n  kubernetes_sd_configs:\n  - %s\n", kubernetes);
    if (prom_config_parse(STR("t.yml"), buf_str(&b), &c, NULL, &et) || scrape_reload(s, c, &et))
        fail_msg("%s", et.msg);
}

static void list_and_watch(void **state)
{
    struct api_server api = { 0 };
    struct scrape_sink sink = { sink_append };
    struct scrape *s;
    struct err_text et;
    char text[400], file[] = "/tmp/vane-kube-XXXXXX", config[500];
    (void)state;
    api.server = target_server_open(answer, &api);
    assert_int_equal(scrape_open(&(struct scrape_options){ .sink = &sink }, &s, &et), OK);
    snprintf(text, sizeof(text),
             "{role: pod, api_server: 'http://127.0.0.1:%u/', authorization: {credentials: secret}, namespaces: "
             "{names: [ns]},"
             " selectors: [{role: pod, label: app=web, field: spec.nodeName=n1}]}",
             target_server_port(api.server));
    configure(s, text);
    wait_targets(s, "127.0.0.1:11 127.0.0.1:3 ");
    assert_int_equal(atomic_load(&api.lists), 2);
    assert_true(atomic_load(&api.token_seen));
    assert_true(atomic_load(&api.selector_seen));
    atomic_store(&api.expire, 1);
    wait_targets(s, "127.0.0.1:4 ");
    for (int i = 0; i < 1000 && atomic_load(&api.watches_30) == 0; i++)
        os_sleep_ms(5);
    configure(s, text); /* a reload with the same settings changes nothing */
    os_sleep_ms(50);
    wait_targets(s, "127.0.0.1:4 ");
    assert_int_equal(atomic_load(&api.watches_30), 1);
    assert_int_equal(atomic_load(&api.lists), 3);
    /* the same through a kubeconfig; the old watch is taken down while it waits */
    int fd = mkstemp(file);
    snprintf(
        config, sizeof(config),
        "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:%u'}}]\nusers: [{name: u, user: {token: secret}}]\n",
        target_server_port(api.server));
    assert_int_equal(write(fd, config, strlen(config)), (ssize_t)strlen(config));
    close(fd);
    snprintf(text, sizeof(text), "{role: pod, kubeconfig_file: '%s', namespaces: {names: [ns]}}", file);
    configure(s, text);
    wait_targets(s, "127.0.0.1:4 ");
    for (int i = 0; i < 1000 && atomic_load(&api.watches_30) < 2; i++)
        os_sleep_ms(5);
    assert_int_equal(atomic_load(&api.watches_30), 2);
    scrape_close(s);
    target_server_close(api.server);
    unlink(file);
}

static void trouble_is_told(void **state)
{
    static const struct {
        const char *config, *error;
    } cases[] = {
        { "{role: node, api_server: 'http://127.0.0.1:1'}", "kubernetes nodes: " },
        { "{role: pod, kubeconfig_file: /nonexistent/x}", "kubeconfig_file" },
        { "{role: pod}", "not inside a cluster" },
    };
    struct scrape_sink sink = { sink_append };
    struct err_text et;
    (void)state;
    unsetenv("KUBERNETES_SERVICE_HOST");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scrape *s;
        struct scrape_status st = { 0 };
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        assert_int_equal(scrape_open(&(struct scrape_options){ .sink = &sink }, &s, &et), OK);
        configure(s, cases[i].config);
        for (int k = 0; k < 600 && (!k || !st.pools[0].discovery_error.n); k++) {
            os_sleep_ms(5);
            scrape_status(s, STR(""), STR(""), &a, &st);
        }
        if (!str_contains(st.pools[0].discovery_error, str_c(cases[i].error)))
            fail_msg("row %zu: " STR_FMT, i, STR_ARG(st.pools[0].discovery_error));
        scrape_close(s);
    }
}

int main(void)
{
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = { cmocka_unit_test(labels_of_roles), cmocka_unit_test(list_and_watch),
                                        cmocka_unit_test(trouble_is_told) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
