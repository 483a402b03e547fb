#include "smtp/client_internal.h"

#include <stdio.h>
#include <string.h>

static void set_text(struct smtp_client_outcome *o, struct span text)
{
    size_t n = 0;
    for (; n < text.n && n + 1 < sizeof o->text; n++) {
        uint8_t c = text.p[n];
        if (c == '\n' || c == '\t')
            c = ' ';
        o->text[n] = (char)(c >= 0x20 && c < 0x7f ? c : '?');
    }
    o->text[n] = '\0';
}

void smtp_client_outcome_set(struct smtp_client_outcome *o, enum smtp_client_result result,
                             const char *status, const char *text)
{
    *o = (struct smtp_client_outcome){.result = result};
    (void)snprintf(o->status, sizeof o->status, "%s", status);
    set_text(o, span_str(text));
}

void smtp_client_outcome_from_reply(struct smtp_client_outcome *o, const struct smtp_reply *reply)
{
    static const char *const status[] = {"2.0.0", "4.0.0", "5.0.0"};
    enum smtp_client_result result = reply->code >= 500   ? SMTP_CLIENT_FAILED
                                     : reply->code >= 400 ? SMTP_CLIENT_DEFERRED
                                                          : SMTP_CLIENT_DELIVERED;
    smtp_client_outcome_set(o, result,
                            reply->enhanced[0] != '\0' ? reply->enhanced : status[result], "");
    o->code = reply->code;
    set_text(o, reply->text);
    /* 530, 534, 535, 538 (RFC 4954 6, RFC 3207 4): our configuration is at fault, not the mail. */
    o->needs_auth =
        reply->code == 530 || reply->code == 534 || reply->code == 535 || reply->code == 538;
    if (o->needs_auth)
        o->result = SMTP_CLIENT_DEFERRED;
}
