/* Private to am_config*.c. */
#ifndef VANE_ALERTING_AM_CONFIG_INT_H
#define VANE_ALERTING_AM_CONFIG_INT_H

#include "alerting/am_config.h"
#include "base/check.h"

#define FAIL(...) IGNORE_ERR(conf_error(cx, n, __VA_ARGS__))

extern const struct conf_schema am_receiver_schema;

/* Rows for values that conf has no type for. */
#define URL_ROW(m, key)    F(m, key, CONF_CUSTOM, .read = am_read_url, .print = am_print_str)
#define SECRET_URL(m, key) F(m, key, CONF_CUSTOM, .read = am_read_secret_url, .print = am_print_secret)
#define TRI_ROW(m, key)    F(m, key, CONF_CUSTOM, .read = am_read_tri, .print = am_print_tri)
#define GO_TIME(m, key)    F(m, key, CONF_CUSTOM, .read = am_read_go_duration, .print = am_print_duration)
#define HOST_PORT(m, key)  F(m, key, CONF_CUSTOM, .read = am_read_host_port, .print = am_print_host_port)
enum err am_read_url(struct conf_ctx *cx, const struct conf_node *n, void *field);         /* str */
enum err am_read_secret_url(struct conf_ctx *cx, const struct conf_node *n, void *field);  /* struct conf_secret */
enum err am_read_tri(struct conf_ctx *cx, const struct conf_node *n, void *field);         /* enum am_tri */
enum err am_read_go_duration(struct conf_ctx *cx, const struct conf_node *n, void *field); /* int64_t, ms: "1h1.5s" */
enum err am_read_host_port(struct conf_ctx *cx, const struct conf_node *n, void *field);   /* struct am_host_port */
void am_print_str(struct conf_out *out, const void *field);
void am_print_secret(struct conf_out *out, const void *field);
void am_print_tri(struct conf_out *out, const void *field);
void am_print_duration(struct conf_out *out, const void *field);
void am_print_host_port(struct conf_out *out, const void *field);

#endif
