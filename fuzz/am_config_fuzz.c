/* alertmanager.yml: whatever is taken can be printed, printed it is taken again, and every integration can be told about
 * an alert, over a line that answers from the input. */
#include <stddef.h>
#include <stdint.h>

#include "alerting/am_exchange.h"
#include "alerting/am_mail.h"
#include "base/check.h"

static str input;

static enum err call(void *ctx, const struct am_request *rq, struct arena *a, struct am_answer *ret,
                     struct err_text *reterr)
{
    unsigned *calls = ctx;
    (void)rq;
    if (++*calls > 20)
        return err_fail(reterr, ERR_IO, "enough");
    ret->status = *calls % 5 == 4 ? 400 : 200;
    ret->body = arena_str(a, input);
    return OK;
}

static void tell(const struct am_config *c)
{
    AUTO_ARENA struct arena a;
    struct tmpl_set *text, *html;
    struct label l[] = { { STR("alertname"), STR("<!here> @all [a](b)") }, { STR("x"), STR("\xff") } };
    struct am_data_alert al = { .labels = { l, 2 }, .starts_ms = 1, .generator_url = STR("") };
    arena_init(&a, 64u << 20);
    if (am_config_templates(c, false, &text, NULL) != OK)
        return;
    if (am_config_templates(c, true, &html, NULL) == OK) {
        for (size_t i = 0; i < c->receivers.n; i++)
            for (size_t k = 0; k < c->receivers.p[i].n_integrations; k++) {
                const struct am_receiver *r = &c->receivers.p[i];
                struct am_data_input in = { .receiver = r->name, .external_url = STR("http://v"), .alerts = &al, .n = 1 };
                struct tmpl_val data = am_data(&a, &in);
                unsigned calls = 0;
                struct am_line line = { &calls, call, NULL, NULL };
                struct am_message m = { .receiver = r,
                                        .integration = &r->integrations[k],
                                        .data = &data,
                                        .text = text,
                                        .html = html,
                                        .group_key = STR("{}:{}"),
                                        .fs = fs_os(),
                                        .memory = STR("C1 1.2"),
                                        .callback_url = STR("http://v") };
                struct am_delivery d;
                struct am_mail mail;
                struct err_text why;
                if (m.integration->kind == AM_EMAIL)
                    IGNORE_ERR(am_mail_build(&m, NULL, &a, &mail, &why));
                else
                    (void)am_exchange(&m, &line, &a, &d, &why);
            }
        tmpl_set_free(html);
    }
    tmpl_set_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct am_config *c, *again;
    struct err_text why;
    AUTO_BUF struct buf out, diags;
    input = str_n((const char *)data, size);
    buf_init(&out, 0);
    buf_init(&diags, 1 << 20);
    if (size > 65536 || str_contains(input, STR("_file")) || str_contains(input, STR("templates")))
        return 0; /* no files of this machine */
    if (am_config_parse(STR("am.yml"), input, &c, &diags, &why) != OK) {
        ASSERT(why.msg[0] != 0);
        return 0;
    }
    am_config_print(c, &out);
    if (am_config_parse(STR("am.yml"), buf_str(&out), &again, NULL, &why) == OK)
        am_config_unref(again);
    tell(c);
    am_config_unref(c);
    return 0;
}
