/* Private to wire: pieces of OTLP that metrics share with what comes next (traces, logs, profiles). */
#ifndef VANE_WIRE_OTLP_INT_H
#define VANE_WIRE_OTLP_INT_H

#include "base/json.h"
#include "wire/otlp.h"
#include "wire/pb.h"

/* A KeyValue with its value as text, the way label values show it: strings as they are, numbers and booleans in JSON
 * form, bytes in base64, lists and maps as JSON. Unset: empty. */
struct otlp_attr {
    str key, value;
};
struct otlp_attrs {
    struct otlp_attr *p;
    size_t n, cap;
};
enum { OTLP_VALUE_DEPTH_MAX = 32 };

/* Read one KeyValue message and append it; beyond this many they are dropped (far above any label limit, so that the
 * owner is refused for its number of labels, and a body of empty attributes costs no memory). */
enum { OTLP_ATTRS_MAX = 4096 };
void otlp_attr_read(struct arena *a, struct otlp_attrs *out, struct pb m, struct pb *up);
str otlp_attr_get(const struct otlp_attrs *at, str key); /* STR_NONE (p == NULL) if absent */
/* Bytes as lower case hex, in a. */
str otlp_hex(struct arena *a, str bytes);

/* ---- OTLP/JSON -> protobuf: one table row per field ---- */
enum otlp_json_kind {
    OJ_STRING,
    OJ_HEX,    /* trace and span ids */
    OJ_BASE64, /* other bytes */
    OJ_BOOL,
    OJ_VARINT,  /* int32, int64, uint32, uint64: number or string of digits; enums by number or name */
    OJ_SVARINT, /* sint32 */
    OJ_FIXED64, /* fixed64, sfixed64 */
    OJ_DOUBLE,  /* number, "NaN", "Infinity", "-Infinity" */
    OJ_MESSAGE,
};
struct otlp_json_field {
    const char *name; /* lowerCamelCase */
    uint32_t number;
    uint8_t kind; /* enum otlp_json_kind */
    bool repeated;
    const struct otlp_json_message *message;
};
struct otlp_json_message {
    const char *name;
    const struct otlp_json_field *fields;
    size_t n_fields;
};
extern const struct otlp_json_message otlp_json_metrics_request;
/* The protobuf form of a JSON body. Unknown fields and nulls are passed over. ERR_PARSE: line, column, field. */
enum err otlp_json_to_protobuf(struct arena *a, str json, const struct otlp_json_message *root, struct buf *out,
                               struct err_text *reterr) MUST_CHECK;

#endif
