/* libvane propagation: contexts and baggage into and out of headers, environments or any other carrier.
 *
 * Formats: W3C traceparent/tracestate, W3C baggage, B3 (one header, or X-B3-*), Jaeger (uber-trace-id, uberctx-*). Which
 * are used is `propagators` of the configuration. Malformed headers are ignored (no context), counted in
 * vane_self().headers_refused; nothing longer than the limits below is read. */
#ifndef VANE_PROPAGATE_H
#define VANE_PROPAGATE_H

#include "core.h"
#include "trace.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VANE_HEADER_MAX        8192 /* bytes of one header value looked at */
#define VANE_BAGGAGE_MAX       8192 /* bytes of baggage altogether, as W3C says */
#define VANE_BAGGAGE_ITEMS_MAX 64

/* Look up a header, any case of its name. The answer is borrowed until the next call or the end of the extraction;
 * *ret_n is its length. NULL: no such header. Several lines of one header: joined with "," or asked for by index.
 *   index   0 for the first line with this name, 1 for the second ...; answer NULL past the last */
typedef const char *(*vane_header_get)(void *carrier, const char *name, size_t index, size_t *ret_n);

/* Set a header; name and value are borrowed for the call. */
typedef void (*vane_header_set)(void *carrier, const char *name, const char *value);

/* Read the context of a request: the first of `propagators` that finds one. Jaeger's baggage is read from the header
 * jaeger-baggage only: uberctx-* names cannot be asked for one by one.
 * Returns VANE_OK with *ret (zero context when there is none; baggage may come without), VANE_E_ARG, VANE_E_NOMEM. */
VANE_API vane_status vane_extract(vane_header_get get, void *carrier, vane_context *ret);

/* Write a context (NULL: the thread's current one) with its baggage. A zero context writes no trace headers.
 * Returns VANE_OK, VANE_E_ARG. */
VANE_API vane_status vane_inject(const vane_context *c, vane_header_set set, void *carrier);

/* The two header values alone, for hosts that build headers by hand. buf_56: "00-...-01" and NUL; empty string when the
 * context is zero. */
VANE_API void vane_traceparent(const vane_context *c, char buf_56[56]);
VANE_API vane_status vane_traceparent_parse(const char *traceparent, size_t n, vane_context *ret);

/* From and to an environment: TRACEPARENT, TRACESTATE, BAGGAGE (names upper case, "-" becomes "_").
 *   env     "NAME=value" pointers ending in NULL; NULL: this process's environment
 * vane_inject_env() answers a new environment for execve(): env with the variables added or replaced; one block, freed
 * with vane_env_free(). NULL when memory is out. */
VANE_API vane_status vane_extract_env(char *const *env, vane_context *ret);
VANE_API char **vane_inject_env(const vane_context *c, char *const *env);
VANE_API void vane_env_free(char **env);

/* tracestate of a context. get: bytes copied to buf (cut at n - 1, NUL-terminated), returns its length. set: the context
 * with that state; a malformed one answers the context without state. */
VANE_API size_t vane_context_tracestate(const vane_context *c, char *buf, size_t n);
VANE_API vane_context vane_context_with_tracestate(vane_context c, const char *tracestate);

/* Baggage of a context. with: the context with key set to value (NULL removes), value any UTF-8 (percent-encoded on the
 * wire), properties as in the header after ";" or NULL. Over the limits the context is answered unchanged, counted. get:
 * as tracestate; returns the length, SIZE_MAX when the key is absent. each: in order, until fn answers non-zero. */
VANE_API vane_context vane_baggage_with(vane_context c, const char *key, const char *value, const char *properties);
VANE_API size_t vane_baggage_get(const vane_context *c, const char *key, char *buf, size_t n);
VANE_API void vane_baggage_each(const vane_context *c, int (*fn)(void *ctx, const char *key, const char *value),
                                void *ctx);

/* tracestate and baggage live in the library, `extra` of the context is their handle. They are held as long as a context
 * extracted or made here is in use: until vane_context_release(), or, for the contexts the middleware and spans hold, by
 * themselves. At most 65536 at a time; over that the context goes without, counted. A released one is refused. */
VANE_API void vane_context_release(vane_context c);

#ifdef __cplusplus
}
#endif
#endif
