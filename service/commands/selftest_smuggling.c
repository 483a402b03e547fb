/* SMTP smuggling: what one server takes for text and another for the end of a message. The text
 * never ends here, so no reply may come. */
#include "commands/selftest.h"

#include <string.h>

enum { SILENCE_MS = 250, PART_MS = 30 };

struct sequence {
    const char *name, *bytes;
    size_t n;
};
#define SEQUENCE(text, shown)                                                                      \
    {                                                                                              \
        .name = (shown), .bytes = (text), .n = sizeof(text) - 1                                    \
    }
static const struct sequence sequences[] = {
    SEQUENCE("\n.\n", "LF.LF"),
    SEQUENCE("\n.\r", "LF.CR"),
    SEQUENCE("\r.\n", "CR.LF"),
    SEQUENCE("\r.\r", "CR.CR"),
    SEQUENCE("\n.\r\n", "LF.CRLF"),
    SEQUENCE("\r.\r\n", "CR.CRLF"),
    SEQUENCE("\r\n.\r\r\n", "CRLF.CRCRLF"),
    SEQUENCE("\r\r\n.\r\r\n", "CRCRLF.CRCRLF"),
    SEQUENCE("\r\n.\n", "CRLF.LF"),
    SEQUENCE("\r\n.\r", "CRLF.CR"),
    SEQUENCE("\r\n\0.\r\n", "CRLF NUL.CRLF"),
    SEQUENCE("\r\n.\0\r\n", "CRLF. NUL CRLF"),
    SEQUENCE("\r\n..\r\n", "CRLF..CRLF"),
};
enum { SEQUENCES = sizeof sequences / sizeof *sequences };

/* Into the text of a message for postmaster; *code is what refused it. */
static bool into_data(struct selftest *s, struct talk *t, int *code)
{
    static const char *const lines[] = {"MAIL FROM:<>", "RCPT TO:<postmaster>", "DATA"};
    if (!selftest_begin(s, t, NULL, code))
        return false;
    for (size_t i = 0; i < 3; i++) {
        talk_say_line(t, "%s", lines[i]);
        *code = talk_code(t);
        if (*code / 100 != 2 && *code != 354)
            break;
    }
    if (*code == 354)
        return true;
    talk_close(t);
    return false;
}

/* True when the server answered: it took the sequence for the end, or refuses the text at once,
 * which is as good. */
static bool answered(struct talk *t, const struct sequence *q, bool in_parts, int *code)
{
    static const char head[] = "Subject: postern selftest\r\n\r\ntext";
    static const char smuggled[] = "MAIL FROM:<smuggled@third.selftest.invalid>\r\n"
                                   "RCPT TO:<postmaster>\r\nNOOP\r\nmore text";
    talk_say(t, span_of(head, sizeof head - 1));
    for (size_t i = 0; in_parts && i < q->n; i++) {
        talk_say(t, span_of(q->bytes + i, 1));
        (void)talk_bytes(t, PART_MS, 1);
    }
    if (!in_parts)
        talk_say(t, span_of(q->bytes, q->n));
    talk_say(t, span_of(smuggled, sizeof smuggled - 1));
    return talk_hear(t, SILENCE_MS, code, NULL) == TALK_REPLY;
}

void selftest_smuggling(struct selftest *s)
{
    struct talk t;
    size_t tried = 0, failed = 0, refused = 0;
    int code = 0;
    for (size_t i = 0; i < 2 * SEQUENCES; i++) {
        const struct sequence *q = &sequences[i / 2];
        if (!into_data(s, &t, &code)) {
            selftest_say(s, SELFTEST_SKIPPED, "smuggling",
                         "no message can be begun without a login (%d)%s", code,
                         selftest_limited(code));
            return;
        }
        tried++;
        if (answered(&t, q, i % 2 == 1, &code)) {
            bool bad = code / 100 == 2 || code / 100 == 3;
            failed += bad;
            refused += !bad;
            if (bad)
                selftest_say(s, SELFTEST_FAILED, "smuggling",
                             "%s%s ends a message: commands can be smuggled in (%d)", q->name,
                             i % 2 == 1 ? " in pieces" : "", code);
        }
        talk_close(&t);
    }
    if (failed == 0)
        selftest_say(s, SELFTEST_OK, "smuggling",
                     "%zu false ends of a message, none taken for one (%zu refused at once)", tried,
                     refused);
}
