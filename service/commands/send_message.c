#include "commands/send_message.h"

#include "commands/exit_codes.h"
#include "message/received.h"
#include "platform/clock.h"
#include "platform/files.h"
#include "platform/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = 256 * 1024 * 1024 };

static bool one_line(const char *text)
{
    return text == NULL || strpbrk(text, "\r\n") == NULL;
}

int send_message_make(const struct send_text *text, struct buf *out)
{
    struct err e = {0};
    buf_init(out, MESSAGE_MAX);
    if (text->file != NULL) {
        enum files_result r = files_read(text->file, MESSAGE_MAX - 1, out, &e);
        if (r == FILES_OK)
            return EXIT_DONE;
        fprintf(stderr, "postern send: %s: %s\n", text->file,
                r == FILES_ABSENT ? "there is no such file" : e.text);
        return r == FILES_ABSENT ? EXIT_NO_INPUT : EXIT_IO;
    }
    if (!one_line(text->to) || !one_line(text->from) || !one_line(text->subject)) {
        fprintf(stderr, "postern send: a line break in an address or in the subject\n");
        return EXIT_USAGE;
    }
    uint64_t id;
    char id_text[20];
    random_bytes(&id, sizeof id);
    (void)snprintf(id_text, sizeof id_text, "%016" PRIx64, id);
    bool ok =
        buf_addf(out, "From: <%s>\r\nTo: %s\r\nSubject: %s\r\n",
                 text->from[0] == '\0' ? "postmaster" : text->from, text->to,
                 text->subject == NULL ? "Postern test message" : text->subject) &&
        message_date_line(out, clock_wall_ms()) &&
        message_id_line(out, clock_wall_ms(), span_str(id_text), span_str(text->hostname)) &&
        buf_addf(out,
                 "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                 "Content-Transfer-Encoding: 8bit\r\n\r\n%s\r\n",
                 text->body == NULL ? "This is a test message from postern send." : text->body);
    if (ok)
        return EXIT_DONE;
    fprintf(stderr, "postern send: no memory\n");
    return EXIT_INTERNAL;
}
