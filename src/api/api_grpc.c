/* gRPC services: the tables of all families, and grpc.health.v1.Health for load balancers and probes.
 *
 *   HealthCheckRequest  { string service = 1; }     "" = the server as a whole
 *   HealthCheckResponse { ServingStatus status = 1; }  1 SERVING, 2 NOT_SERVING
 * A service we do not have is NOT_FOUND; Watch, a stream, is not offered (UNIMPLEMENTED, which clients take as healthy).
 * Spec: github.com/grpc/grpc/blob/master/doc/health-checking.md */
#include "wire/pb.h"

#include "api/api_int.h"

enum { SERVING = 1, NOT_SERVING = 2 };

static bool is_ours(str service)
{
    static const char *const services[] = { API_OTLP_METRICS_SERVICE, "/grpc.health.v1.Health" };
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        if (str_eq(service, str_c(services[i] + 1)))
            return true;
    return service.n == 0;
}

static void check(struct grpc_request *rq, struct grpc_response *rs)
{
    struct pb m = pb_init(rq->message);
    str service = STR("");
    while (pb_next(&m)) {
        if (m.field == 1)
            service = pb_bytes(&m);
        else
            pb_skip(&m);
    }
    if (m.bad)
        grpc_fail(rs, GRPC_INVALID_ARGUMENT, 0, "malformed HealthCheckRequest");
    else if (!is_ours(service))
        grpc_fail(rs, GRPC_NOT_FOUND, 0, "unknown service");
    else
        pb_put_varint(&rs->message, 1, api_taking(rq->ctx) ? SERVING : NOT_SERVING);
}

static const struct grpc_method health_methods[] = {
    { "/grpc.health.v1.Health/Check", check, HTTP_INLINE, NULL },
};

size_t api_grpc_tables(struct api *api, struct grpc_table tables[API_GRPC_TABLES_MAX])
{
    const struct grpc_table rows[] = {
        { api_otlp_methods, api_otlp_methods_n, api },
        { health_methods, ARRAY_LEN(health_methods), api },
    };
    _Static_assert(ARRAY_LEN(rows) <= API_GRPC_TABLES_MAX, "API_GRPC_TABLES_MAX");
    memcpy(tables, rows, sizeof(rows));
    return ARRAY_LEN(rows);
}
