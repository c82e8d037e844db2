/* Finished spans as Zipkin v2 JSON, by the mapping of the OpenTelemetry specification (trace/sdk_exporters/zipkin.md and
 * common/mapping-to-non-otlp.md): ids in hex, times in microseconds, attributes as tags of text, status as otel.status_code
 * and error, events as annotations with their attributes behind the name. What Zipkin has no place for (links, tracestate)
 * is left out. Resource attributes become tags too, but service.name, which is the local endpoint, and telemetry.*. */
#include "sdk_conf.h"
#include "sdk_push.h"

bool sdk_pb_next(const char **at, const char *end, struct sdk_pb_field *ret)
{
    uint64_t v[2] = { 0, 0 }; /* tag; value or length */
    const char *p = *at;
    for (size_t k = 0; k < 2; k++) {
        if (k && ((v[0] & 7) == 1 || (v[0] & 7) == 5)) {
            size_t n = (v[0] & 7) == 1 ? 8 : 4;
            if ((size_t)(end - p) < n)
                return false;
            for (size_t i = 0; i < n; i++)
                v[1] |= (uint64_t)(uint8_t)*p++ << 8 * i;
            break;
        }
        for (unsigned shift = 0;; shift += 7) {
            if (p == end || shift > 63)
                return false;
            v[k] |= (uint64_t)(*p & 0x7F) << shift;
            if (!(*p++ & 0x80))
                break;
        }
    }
    unsigned wire = v[0] & 7;
    bool bytes = wire == 2;
    if (!(v[0] >> 3) || v[0] >> 32 || (wire > 2 && wire != 5) || (bytes && v[1] > (size_t)(end - p)))
        return false;
    *ret = (struct sdk_pb_field){
        .number = (unsigned)(v[0] >> 3), .wire = wire, .v = v[1], .p = p, .n = bytes ? v[1] : 0
    };
    *at = p + ret->n;
    return true;
}

/* ---- JSON ---- */

static void name(struct sdk_buf *b, const char *key)
{
    sdk_putc(b, '"');
    sdk_puts(b, key);
    SDK_PUTS(b, "\":");
}

static void id(struct sdk_buf *b, const char *key, const uint8_t *p, size_t n)
{
    name(b, key);
    sdk_putc(b, '"');
    sdk_put_hex(b, p, n);
    SDK_PUTS(b, "\",");
}

static void number(struct sdk_buf *b, const char *key, uint64_t v)
{
    name(b, key);
    sdk_put_u64(b, v);
}

/* ---- attributes ---- */

struct attrs {
    const char *p;
    size_t n;
};

static bool attr_next(struct attrs *a, struct sdk_rec_attr *ret, const char **ret_key, const char **ret_value)
{
    if (!a->n)
        return false;
    a->n--;
    memcpy(ret, a->p, sizeof *ret);
    *ret_key = a->p + sizeof *ret;
    *ret_value = *ret_key + ret->key_n;
    a->p = *ret_value + ret->n;
    return true;
}

static struct attrs attrs_of(const struct sdk_span_rec *r)
{
    return (struct attrs){ (const char *)(r + 1) + r->name_n + r->status_n + r->state_n, r->n_attrs };
}

static bool is(const char *key, size_t n, const char *name)
{
    return strlen(name) == n && !memcmp(key, name, n);
}

/* Value of an attribute; NULL: not there, or no text. */
static const char *find(const struct sdk_span_rec *r, const char *name, struct sdk_rec_attr *ret)
{
    const char *key, *value;
    for (struct attrs a = attrs_of(r); attr_next(&a, ret, &key, &value);)
        if (is(key, ret->key_n, name))
            return value;
    return NULL;
}

/* The service behind a call, by the first attribute that names it. */
static void remote(struct sdk_buf *b, const struct sdk_span_rec *r)
{
    static const char *const keys[] = { "peer.service",  "server.address", "net.peer.name", "network.peer.address",
                                        "peer.hostname", "peer.address",   "db.name" };
    struct sdk_rec_attr a, p;
    const char *port = find(r, "network.peer.port", &p), *v = NULL;
    size_t i = 0;
    while (i < SDK_COUNT_OF(keys) && (!(v = find(r, keys[i], &a)) || a.type != VANE_T_STR))
        i++;
    if ((r->kind != VANE_SPAN_CLIENT && r->kind != VANE_SPAN_PRODUCER) || i == SDK_COUNT_OF(keys))
        return;
    SDK_PUTS(b, ",\"remoteEndpoint\":{\"serviceName\":");
    sdk_put_json_str(b, v, a.n);
    if (!strcmp(keys[i], "network.peer.address") && port && p.type == VANE_T_INT) {
        SDK_PUTS(b, ",\"port\":");
        sdk_put_json_value(b, VANE_T_INT, port, 8, false);
    }
    sdk_putc(b, '}');
}

/* ---- events ---- */

bool sdk_pb_attr(const char *p, size_t n, struct sdk_pb_attr *ret)
{
    static const uint8_t types[] = { VANE_T_NONE, VANE_T_STR,  VANE_T_BOOL, VANE_T_INT,
                                     VANE_T_F64,  VANE_T_NONE, VANE_T_NONE, VANE_T_BYTES };
    const char *end = p + n;
    struct sdk_pb_field any;
    if (!sdk_pb_next(&p, end, &ret->key) || !sdk_pb_next(&p, end, &any))
        return false;
    p = any.p;
    if (ret->key.wire != 2 || any.wire != 2 || !sdk_pb_next(&p, any.p + any.n, &ret->v) ||
        ret->v.number >= sizeof types)
        return false;
    ret->type = (vane_type)types[ret->v.number];
    bool text = ret->type == VANE_T_STR || ret->type == VANE_T_BYTES;
    return ret->type && (ret->v.wire == 2) == text;
}

static void event_attr(struct sdk_buf *b, const char *p, size_t n)
{
    struct sdk_pb_attr a;
    if (!sdk_pb_attr(p, n, &a)) /* not ours */
        return;
    sdk_put_json_str(b, a.key.p, a.key.n);
    SDK_PUTS(b, ": ");
    sdk_put_json_value(b, a.type, a.v.wire == 2 ? (const void *)a.v.p : &a.v.v, a.v.n, false);
}

static void events(struct sdk_buf *b, const char *p, size_t n)
{
    const char *sep = ",\"annotations\":[", *end = p + n;
    struct sdk_pb_field e, f;
    struct sdk_buf text;
    sdk_buf_init(&text, (size_t)1 << 20);
    for (; sdk_pb_next(&p, end, &e); sep = ",") {
        struct sdk_pb_field title = { 0 };
        uint64_t at_ns = 0;
        const char *comma = ": { ";
        text.n = 0;
        for (const char *at = e.p; sdk_pb_next(&at, e.p + e.n, &f);) {
            if (f.number == 1) {
                at_ns = f.v;
            } else if (f.number == 2) {
                title = f;
                sdk_put_json_str(&text, f.p, f.n);
            } else if (f.number == 3) {
                sdk_puts(&text, comma);
                event_attr(&text, f.p, f.n);
                comma = ", ";
            }
        }
        bool bare = comma[0] == ':';
        SDK_PUTS(&text, " }");
        sdk_puts(b, sep);
        sdk_putc(b, '{');
        number(b, "timestamp", at_ns / 1000);
        SDK_PUTS(b, ",\"value\":");
        sdk_put_json_str(b, bare || text.failed ? title.p : text.p, bare || text.failed ? title.n : text.n);
        sdk_putc(b, '}');
    }
    if (sep[1] != '"')
        sdk_putc(b, ']');
    sdk_buf_free(&text);
}

/* ---- tags ---- */

static void tag_n(struct sdk_buf *b, const char **sep, const char *key, size_t key_n)
{
    sdk_puts(b, *sep);
    *sep = ",";
    sdk_put_json_str(b, key, key_n);
    sdk_putc(b, ':');
}

static void tag(struct sdk_buf *b, const char **sep, const char *key, vane_type type, const void *value, size_t n)
{
    tag_n(b, sep, key, strlen(key));
    sdk_put_json_value(b, type, value, n, true);
}

static void text_tag(struct sdk_buf *b, const char **sep, const char *key, const char *value)
{
    tag(b, sep, key, VANE_T_STR, value, strlen(value));
}

/* Attributes whose names this mapping uses itself are not written twice; "error" is, unless it says that there is none. */
static bool hidden(const struct sdk_span_rec *r, const struct sdk_rec_attr *a, const char *key, const char *value)
{
    static const char own[] = "otel.", zero[8];
    bool no_error = r->code == VANE_SPAN_ERROR || (a->type == VANE_T_BOOL && !memcmp(value, zero, 8)) ||
                    (a->type == VANE_T_STR && is(value, a->n, "false"));
    return (a->key_n > sizeof own - 1 && !memcmp(key, own, sizeof own - 1)) || (is(key, a->key_n, "error") && no_error);
}

static void tags(struct sdk_buf *b, const struct sdk_span_rec *r)
{
    const char *sep = ",\"tags\":{", *status = (const char *)(r + 1) + r->name_n, *key, *value;
    struct sdk_rec_attr a;
    for (struct attrs at = attrs_of(r); attr_next(&at, &a, &key, &value);)
        if (!hidden(r, &a, key, value)) {
            tag_n(b, &sep, key, a.key_n);
            sdk_put_json_value(b, (vane_type)a.type, value, a.n, true);
        }
    static const struct {
        const char *key;
        size_t at;
    } dropped[] = {
        { "otel.dropped_attributes_count", offsetof(struct sdk_span_rec, dropped_attrs) },
        { "otel.dropped_events_count", offsetof(struct sdk_span_rec, dropped_events) },
        { "otel.dropped_links_count", offsetof(struct sdk_span_rec, dropped_links) },
    };
    for (size_t i = 0; i < SDK_COUNT_OF(dropped); i++) {
        uint32_t n;
        memcpy(&n, (const char *)r + dropped[i].at, sizeof n);
        int64_t value64 = n;
        if (n)
            tag(b, &sep, dropped[i].key, VANE_T_INT, &value64, 8);
    }
    text_tag(b, &sep, "otel.scope.name", "libvane");
    text_tag(b, &sep, "otel.scope.version", vane_version());
    if (r->code)
        text_tag(b, &sep, "otel.status_code", r->code == VANE_SPAN_ERROR ? "ERROR" : "OK");
    if (r->code == VANE_SPAN_ERROR)
        tag(b, &sep, "error", VANE_T_STR, status, r->status_n);
    for (size_t i = 0; i < sdk_resource_n; i++) {
        key = sdk_resource[i].key;
        if (!strncmp(key, "telemetry.", 10) || !strcmp(key, "service.name") || find(r, key, &a))
            continue;
        text_tag(b, &sep, key, sdk_resource[i].value);
    }
    sdk_putc(b, '}');
}

void sdk_zipkin_span(struct sdk_buf *b, const struct sdk_span_rec *r)
{
    static const char *const kinds[] = { [VANE_SPAN_SERVER] = "SERVER",
                                         [VANE_SPAN_CLIENT] = "CLIENT",
                                         [VANE_SPAN_PRODUCER] = "PRODUCER",
                                         [VANE_SPAN_CONSUMER] = "CONSUMER" };
    static const uint8_t none[8];
    uint64_t us = (r->end_unix_ns - r->start_unix_ns) / 1000;
    sdk_putc(b, b->n ? ',' : '[');
    sdk_putc(b, '{');
    id(b, "traceId", r->trace_id, 16);
    id(b, "id", r->span_id, 8);
    if (memcmp(r->parent, none, 8))
        id(b, "parentId", r->parent, 8);
    name(b, "name");
    sdk_put_json_str(b, (const char *)(r + 1), r->name_n);
    if (r->kind < SDK_COUNT_OF(kinds) && kinds[r->kind]) {
        SDK_PUTS(b, ",\"kind\":\"");
        sdk_puts(b, kinds[r->kind]);
        sdk_putc(b, '"');
    }
    sdk_putc(b, ',');
    number(b, "timestamp", r->start_unix_ns / 1000);
    sdk_putc(b, ',');
    number(b, "duration", us ? us : 1); /* 0 reads as unknown */
    SDK_PUTS(b, ",\"localEndpoint\":{\"serviceName\":");
    const char *service = sdk_resource_value("service.name");
    sdk_put_json_str(b, service, strlen(service));
    sdk_putc(b, '}');
    remote(b, r);
    struct attrs end = attrs_of(r);
    struct sdk_rec_attr a;
    const char *key, *value;
    while (attr_next(&end, &a, &key, &value))
        ;
    events(b, end.p, r->events_n);
    tags(b, r);
    sdk_putc(b, '}');
}
