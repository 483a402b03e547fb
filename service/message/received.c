#include "message/received.h"

#include "base/civil.h"
#include "message/text.h"

#include <inttypes.h>
#include <stdio.h>

/* What would change the structure of the line around it. */
#define STRUCTURE "()<>[]\\\"; "

enum { NAME_MAX_OCTETS = 255, NOTE_MAX = 120, ID_MAX = 80, FOR_MAX = 700 };

const char *received_protocol(bool esmtp, bool tls, bool authenticated, bool utf8)
{
    static const char *const plain[] = {"ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"};
    static const char *const wide[] = {"UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"};
    if (!esmtp)
        return "SMTP";
    int i = (tls ? 1 : 0) + (authenticated ? 2 : 0);
    return utf8 ? wide[i] : plain[i];
}

static void add_hello(struct buf *out, const struct received_info *info)
{
    struct span hello = info->hello;
    bool literal = hello.n > 2 && hello.p[0] == '[' && hello.p[hello.n - 1] == ']';
    if (hello.n == 0) {
        (void)buf_add_str(out, "unknown");
        return;
    }
    if (literal) { /* "[192.0.2.1]": its brackets may stay */
        (void)buf_add_byte(out, '[');
        (void)text_add_clean(out, span_sub(hello, 1, hello.n - 2), NAME_MAX_OCTETS, false,
                             STRUCTURE);
        (void)buf_add_byte(out, ']');
        return;
    }
    (void)text_add_clean(out, hello, NAME_MAX_OCTETS, info->utf8, STRUCTURE);
}

/* A backslash quotes in a comment (RFC 5322 3.2.1), so the one of DOMAIN\account is doubled. */
static void add_identity(struct buf *out, const struct received_info *info)
{
    size_t cut = span_find(info->identity, '\\');
    (void)buf_add_str(out, "\r\n\t(authenticated as ");
    (void)text_add_clean(out, span_sub(info->identity, 0, cut), NAME_MAX_OCTETS, info->utf8,
                         "()\\");
    if (cut < info->identity.n) {
        (void)buf_add_str(out, "\\\\");
        (void)text_add_clean(out, span_from(info->identity, cut + 1), NAME_MAX_OCTETS, info->utf8,
                             "()\\");
    }
    (void)buf_add_byte(out, ')');
}

/* Stamp = From-domain By-domain Opt-info [CFWS] ";" FWS date-time (RFC 5321 4.4); the address of
 * the client stands in the comment, as TCP-info wants it. */
bool received_write(struct buf *out, const struct received_info *info)
{
    char date[MESSAGE_DATE_MAX];
    (void)buf_add_str(out, "Received: from ");
    add_hello(out, info);
    if (info->peer != NULL) {
        char ip[NETADDR_TEXT_MAX];
        netaddr_format(info->peer, ip);
        (void)buf_add_str(out, " (");
        if (info->peer_name.n > 0) {
            (void)text_add_clean(out, info->peer_name, NAME_MAX_OCTETS, false, STRUCTURE);
            (void)buf_add_byte(out, ' ');
        }
        (void)buf_addf(out, netaddr_is_v4(info->peer) ? "[%s])" : "[IPv6:%s])", ip);
    }
    if (info->tls && info->tls_note.n > 0) {
        (void)buf_add_str(out, "\r\n\t(using ");
        (void)text_add_clean(out, info->tls_note, NOTE_MAX, false, "()\\");
        (void)buf_add_byte(out, ')');
    }
    if (info->authenticated && info->identity.n > 0)
        add_identity(out, info);
    (void)buf_add_str(out, "\r\n\tby ");
    (void)text_add_clean(out, info->by, NAME_MAX_OCTETS, false, STRUCTURE);
    const char *with = info->with != NULL ? info->with
                                          : received_protocol(info->esmtp, info->tls,
                                                              info->authenticated, info->utf8);
    (void)buf_addf(out, " with %s id ", with);
    (void)text_add_clean(out, info->id, ID_MAX, false, STRUCTURE);
    bool told = info->recipient.n > 0 && info->recipient.n <= FOR_MAX &&
                (info->utf8 || text_is_ascii(info->recipient));
    if (told) {
        (void)buf_add_str(out, "\r\n\tfor <");
        (void)text_add_clean(out, info->recipient, FOR_MAX, info->utf8, "<>");
        (void)buf_add_byte(out, '>');
    }
    message_date(info->wall_ms, date);
    return buf_addf(out, ";\r\n\t%s\r\n", date);
}

void message_date(int64_t wall_ms, char *out)
{
    static const char *const week[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct civil t = civil_from_wall_ms(wall_ms);
    /* The remainders change nothing; they show the compiler that the text fits. */
    (void)snprintf(out, MESSAGE_DATE_MAX, "%s, %02u %s %04u %02u:%02u:%02u +0000", week[t.weekday],
                   (unsigned)t.day % 100, months[t.month - 1], (unsigned)t.year % 10000,
                   (unsigned)t.hour % 24, (unsigned)t.minute % 60, (unsigned)t.second % 60);
}

bool message_date_line(struct buf *out, int64_t wall_ms)
{
    char date[MESSAGE_DATE_MAX];
    message_date(wall_ms, date);
    return buf_addf(out, "Date: %s\r\n", date);
}

bool message_id_line(struct buf *out, int64_t wall_ms, struct span id, struct span host)
{
    (void)buf_addf(out, "Message-ID: <%" PRIx64 ".", (uint64_t)(wall_ms < 0 ? 0 : wall_ms));
    (void)text_add_clean(out, id, ID_MAX, false, STRUCTURE "@,:");
    (void)buf_add_byte(out, '@');
    (void)text_add_clean(out, host, NAME_MAX_OCTETS, false, STRUCTURE "@,:");
    return buf_add_str(out, ">\r\n");
}
