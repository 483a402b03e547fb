#include "message/dsn.h"

#include "message/received.h"
#include "message/text.h"

#include <string.h>

enum { ADDRESS_MAX = 1000, HOST_MAX = 255, QUEUE_ID_MAX = 80, REASON_MAX = 1024 };

bool dsn_is_due(enum dsn_action action, unsigned notify, bool null_sender)
{
    if (null_sender || (notify & DSN_NOTIFY_NEVER) != 0)
        return false;
    switch (action) {
    case DSN_FAILED: return notify == 0 || (notify & DSN_NOTIFY_FAILURE) != 0;
    case DSN_DELAYED: return notify == 0 || (notify & DSN_NOTIFY_DELAY) != 0;
    case DSN_DELIVERED:
    case DSN_RELAYED: return (notify & DSN_NOTIFY_SUCCESS) != 0;
    }
    return false;
}

bool dsn_returns_full(enum dsn_ret ret, enum dsn_action action, uint64_t size, uint64_t max)
{
    return action == DSN_FAILED && ret != DSN_RET_HDRS && size <= max;
}

/* What the whole notice is about: the worst that it tells. */
static enum dsn_action worst(const struct dsn_info *info)
{
    enum dsn_action action = DSN_RELAYED;
    for (size_t i = 0; i < info->recipient_count; i++)
        if (info->recipients[i].action < action)
            action = info->recipients[i].action;
    return action;
}

static const char *action_word(enum dsn_action action)
{
    static const char *const words[] = {"failed", "delayed", "delivered", "relayed"};
    return words[action];
}

/* "class.subject.detail" (RFC 3463 2), of a class that the action can have: an expired message has
 * failed with the 4.x.x of its last attempt. */
static bool status_fits(const char *status, enum dsn_action action)
{
    static const char *const classes[] = {"45", "4", "2", "2"};
    if (status == NULL || status[0] == '\0' || strchr(classes[action], status[0]) == NULL)
        return false;
    size_t i = 1, parts = 1;
    while (status[i] == '.') {
        size_t digits = strspn(status + i + 1, "0123456789");
        if (digits < 1 || digits > 3)
            return false;
        i += 1 + digits;
        parts++;
    }
    return status[i] == '\0' && parts == 3;
}

static const char *status_of(const struct dsn_recipient *r)
{
    static const char *const standard[] = {"5.0.0", "4.0.0", "2.0.0", "2.0.0"};
    return status_fits(r->status, r->action) ? r->status : standard[r->action];
}

static void add_host(struct buf *out, struct span host)
{
    (void)text_add_clean(out, host, HOST_MAX, false, "()<>\\\"; ");
}

/* An address for the reader's eye and for To: never a control character, UTF-8 only where the
 * notice is internationalised. */
static void add_address(struct buf *out, struct span address, bool utf8)
{
    (void)text_add_clean(out, address, ADDRESS_MAX, utf8, "<>");
}

static void write_head(struct buf *out, const struct dsn_info *info)
{
    static const char *const subjects[] = {
        "Your message could not be delivered",
        "Your message is delayed, we are still trying",
        "Your message was delivered",
        "Your message was passed on",
    };
    (void)buf_add_str(out, "From: Mail Delivery Service <MAILER-DAEMON@");
    add_host(out, info->host);
    (void)buf_add_str(out, ">\r\nTo: <");
    add_address(out, info->to, info->utf8);
    (void)buf_addf(out, ">\r\nSubject: %s\r\n", subjects[worst(info)]);
    (void)message_date_line(out, info->wall_ms);
    (void)message_id_line(out, info->wall_ms, info->id, info->host);
    (void)buf_addf(out,
                   "Auto-Submitted: auto-replied\r\n"
                   "MIME-Version: 1.0\r\n"
                   "Content-Type: multipart/report; report-type=delivery-status;\r\n"
                   "\tboundary=\"%s\"\r\n",
                   info->boundary);
    if (info->eightbit || info->utf8) /* a multipart says the most that its parts need */
        (void)buf_add_str(out, "Content-Transfer-Encoding: 8bit\r\n");
    (void)buf_add_str(out, "\r\nThis is a MIME-encapsulated message.\r\n");
}

static void write_human_recipient(struct buf *out, const struct dsn_info *info,
                                  const struct dsn_recipient *r)
{
    (void)buf_add_str(out, "\r\n<");
    add_address(out, r->address, info->utf8);
    (void)buf_addf(out, "> (%s, %s)\r\n", action_word(r->action), status_of(r));
    if (r->reason.n > 0 || r->code != 0) {
        (void)buf_add_str(out, "    ");
        size_t begin = out->n;
        if (r->code != 0) {
            (void)buf_add_str(out, "The next hop ");
            if (r->remote_mta.n > 0) {
                add_host(out, r->remote_mta);
                (void)buf_add_byte(out, ' ');
            }
            (void)buf_addf(out, "said: %d ", r->code);
        } else if (r->remote_mta.n > 0) {
            (void)buf_add_str(out, "While talking to ");
            add_host(out, r->remote_mta);
            (void)buf_add_str(out, ": ");
        }
        size_t column = 4 + out->n - begin;
        (void)text_add_wrapped(out, span_sub(r->reason, 0, REASON_MAX), column, "    ", info->utf8);
        (void)buf_add_str(out, "\r\n");
    }
    if (r->action == DSN_DELAYED && r->will_retry_until_wall_ms > 0) {
        char date[MESSAGE_DATE_MAX];
        message_date(r->will_retry_until_wall_ms, date);
        (void)buf_addf(out, "    We keep trying until %s.\r\n", date);
    }
}

static void write_human(struct buf *out, const struct dsn_info *info)
{
    static const char *const words[] = {
        "could not deliver your message to the addresses below and has given up.\r\n"
        "Nothing more will be tried: correct the cause and send the message again.\r\n",
        "could not yet deliver your message to the addresses below.\r\n"
        "You need not send it again: the service keeps trying.\r\n",
        "has delivered your message to the addresses below.\r\n",
        "has passed your message on to the next mail system on its way to the\r\n"
        "addresses below. That system may not tell you what becomes of it.\r\n",
    };
    (void)buf_addf(out,
                   "\r\n--%s\r\n"
                   "Content-Type: text/plain; charset=%s\r\n"
                   "Content-Description: Notification\r\n",
                   info->boundary, info->utf8 ? "utf-8" : "us-ascii");
    if (info->utf8)
        (void)buf_add_str(out, "Content-Transfer-Encoding: 8bit\r\n");
    (void)buf_add_str(out, "\r\nThe mail relay ");
    add_host(out, info->host);
    (void)buf_addf(out, "\r\n%s", words[worst(info)]);
    for (size_t i = 0; i < info->recipient_count; i++)
        write_human_recipient(out, info, &info->recipients[i]);
    if (info->queue_id.n > 0) {
        (void)buf_add_str(out, "\r\nFor the administrator: this message's queue id was ");
        (void)text_add_clean(out, info->queue_id, QUEUE_ID_MAX, false, "");
        (void)buf_add_str(out, ".\r\n");
    }
}

/* "Name: type; value" for an address. In the 7-bit form a foreign address is written as
 * utf-8-addr-xtext, in the global form as itself (RFC 6533 3). */
static void write_typed_address(struct buf *out, const char *field, struct span address, bool utf8)
{
    bool ascii = text_is_ascii(address);
    (void)buf_addf(out, "%s: %s; ", field, ascii ? "rfc822" : "utf-8");
    if (!ascii && !utf8)
        (void)text_add_utf8_xtext(out, span_sub(address, 0, ADDRESS_MAX / 4));
    else
        (void)text_add_clean(out, address, ADDRESS_MAX, utf8, "");
    (void)buf_add_str(out, "\r\n");
}

static void write_original_recipient(struct buf *out, struct span orcpt, bool utf8)
{
    size_t semicolon = span_find(orcpt, ';');
    if (semicolon == 0 || semicolon >= orcpt.n)
        return;
    struct span type = span_sub(orcpt, 0, semicolon);
    struct buf plain, wide;
    buf_init(&plain, ADDRESS_MAX);
    buf_init(&wide, ADDRESS_MAX);
    if (text_xtext_decode(span_from(orcpt, semicolon + 1), &plain)) {
        struct span value = buf_span(&plain);
        if (utf8 && span_is_nocase(type, "utf-8") && text_utf8_xtext_decode(value, &wide))
            value = buf_span(&wide);
        (void)buf_add_str(out, "Original-Recipient: ");
        (void)text_add_clean(out, type, 40, false, "; ");
        (void)buf_add_str(out, "; ");
        (void)text_add_clean(out, value, ADDRESS_MAX, utf8, "");
        (void)buf_add_str(out, "\r\n");
    }
    buf_deinit(&plain);
    buf_deinit(&wide);
}

static void write_date_field(struct buf *out, const char *field, int64_t wall_ms)
{
    char date[MESSAGE_DATE_MAX];
    if (wall_ms <= 0)
        return;
    message_date(wall_ms, date);
    (void)buf_addf(out, "%s: %s\r\n", field, date);
}

/* per-recipient-fields of RFC 3464 2.3, in its order. */
static void write_recipient(struct buf *out, const struct dsn_info *info,
                            const struct dsn_recipient *r)
{
    (void)buf_add_str(out, "\r\n");
    write_original_recipient(out, r->orcpt, info->utf8);
    write_typed_address(out, "Final-Recipient", r->address, info->utf8);
    (void)buf_addf(out, "Action: %s\r\nStatus: %s\r\n", action_word(r->action), status_of(r));
    if (r->remote_mta.n > 0) {
        (void)buf_add_str(out, "Remote-MTA: dns; ");
        add_host(out, r->remote_mta);
        (void)buf_add_str(out, "\r\n");
    }
    if (r->code != 0 || r->reason.n > 0) {
        size_t begin = out->n;
        if (r->code != 0)
            (void)buf_addf(out, "Diagnostic-Code: smtp; %d ", r->code);
        else
            (void)buf_add_str(out, "Diagnostic-Code: x-postern; ");
        size_t column = out->n - begin;
        (void)text_add_wrapped(out, span_sub(r->reason, 0, REASON_MAX), column, " ", info->utf8);
        (void)buf_add_str(out, "\r\n");
    }
    write_date_field(out, "Last-Attempt-Date", r->last_attempt_wall_ms);
    if (r->action == DSN_DELAYED)
        write_date_field(out, "Will-Retry-Until", r->will_retry_until_wall_ms);
}

static void write_status(struct buf *out, const struct dsn_info *info)
{
    (void)buf_addf(out,
                   "\r\n--%s\r\n"
                   "Content-Type: message/%sdelivery-status\r\n"
                   "Content-Description: Delivery report\r\n",
                   info->boundary, info->utf8 ? "global-" : "");
    if (info->utf8)
        (void)buf_add_str(out, "Content-Transfer-Encoding: 8bit\r\n");
    (void)buf_add_str(out, "\r\n");
    struct buf envid;
    buf_init(&envid, ADDRESS_MAX);
    if (info->envid.n > 0 && text_xtext_decode(info->envid, &envid)) {
        (void)buf_add_str(out, "Original-Envelope-Id: ");
        (void)text_add_clean(out, buf_span(&envid), ADDRESS_MAX, false, "");
        (void)buf_add_str(out, "\r\n");
    }
    buf_deinit(&envid);
    (void)buf_add_str(out, "Reporting-MTA: dns; ");
    add_host(out, info->host);
    (void)buf_add_str(out, "\r\n");
    write_date_field(out, "Arrival-Date", info->arrival_wall_ms);
    if (info->queue_id.n > 0) {
        (void)buf_add_str(out, "X-Postern-Queue-ID: ");
        (void)text_add_clean(out, info->queue_id, QUEUE_ID_MAX, false, "");
        (void)buf_add_str(out, "\r\n");
    }
    for (size_t i = 0; i < info->recipient_count; i++)
        write_recipient(out, info, &info->recipients[i]);
}

static void write_original_head(struct buf *out, const struct dsn_info *info)
{
    const char *type = info->full ? (info->utf8 ? "message/global" : "message/rfc822")
                                  : (info->utf8 ? "message/global-headers" : "text/rfc822-headers");
    (void)buf_addf(out, "\r\n--%s\r\nContent-Type: %s\r\nContent-Description: %s\r\n",
                   info->boundary, type, info->full ? "Your message" : "Your message's header");
    if (info->eightbit || info->utf8)
        (void)buf_add_str(out, "Content-Transfer-Encoding: 8bit\r\n");
    (void)buf_add_str(out, "\r\n");
}

bool dsn_write_prefix(struct buf *out, const struct dsn_info *info)
{
    write_head(out, info);
    write_human(out, info);
    write_status(out, info);
    write_original_head(out, info);
    return !out->failed;
}

bool dsn_write_suffix(struct buf *out, const struct dsn_info *info)
{
    return buf_addf(out, "\r\n--%s--\r\n", info->boundary);
}
