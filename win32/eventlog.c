#include "win32/eventlog.h"

#include "base/span.h"
#include "win32/text.h"

#include <windows.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <messages.h> /* generated from messages.mc */

enum {
    ENTRY_TEXT_MAX = 8 * 1024
}; /* of an insertion string; the log's limit is 31,839 characters */

static struct {
    _Atomic(HANDLE) source; /* NULL: closed */
} events;

/* What has a message of its own; a name that ends in a dot stands for all that begin so. */
static const struct {
    const char *name;
    uint32_t message; /* 0: not for the event log; a busy relay would fill it */
} table[] = {
    {"service.ready", MSG_STARTED},
    {"service.stopped", MSG_STOPPED},
    {"service.start.failed", 0}, /* eventlog_start_refused tells it */
    {"service.reloaded", MSG_RELOADED},
    {"service.reload.refused", MSG_RELOAD_REFUSED},
    {"access.lists.refused", MSG_RELOAD_REFUSED},
    {"auth.account.held_back", MSG_LOCKED_OUT},
    {"delivery.failed", MSG_DELIVERY_FAILED},
    {"delivery.expired", MSG_DELIVERY_FAILED},
    {"badmail.filed", MSG_DELIVERY_FAILED},
    {"tls.certificate.renewed", MSG_CERTIFICATE_RENEWED},
    {"tls.certificate.refused", MSG_CERTIFICATE_REFUSED},
    {"tls.key.failed", MSG_KEY_FAILED},
    {"smtp.", 0},
    {"outbound.", 0},
};

/* "2026-01-31T12:00:00.000Z info service.ready key=value", or JSON with "event":"service.ready". */
static struct span name_of(struct span line)
{
    static const char key[] = "\"event\":\"";
    uint8_t end = ' ';
    if (line.n > 0 && line.p[0] == '{') {
        size_t at = 0, n = sizeof key - 1;
        while (at + n <= line.n && memcmp(line.p + at, key, n) != 0)
            at++;
        line = span_from(line, at + n);
        end = '"';
    } else {
        for (int word = 0; word < 2; word++)
            line = span_from(line, span_find(line, ' ') + 1);
    }
    return span_sub(line, 0, span_find(line, end));
}

uint32_t eventlog_message(enum log_level level, struct span line)
{
    struct span name = name_of(line);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t n = strlen(table[i].name);
        bool family = table[i].name[n - 1] == '.';
        if (family && level == LOG_ERROR)
            continue;
        if (family ? span_starts_nocase(name, table[i].name) : span_is(name, table[i].name))
            return table[i].message;
    }
    return level == LOG_ERROR ? MSG_ERROR : level == LOG_WARN ? MSG_WARNING : 0;
}

void eventlog_open(void)
{
    if (atomic_load(&events.source) == NULL)
        atomic_store(&events.source, RegisterEventSourceW(NULL, L"Postern"));
}

void eventlog_close(void)
{
    HANDLE source = atomic_exchange(&events.source, NULL);
    if (source != NULL)
        (void)DeregisterEventSource(source);
}

static WORD kind_of(uint32_t message)
{
    switch (message >> 30) { /* the severity is in the number, winerror.h */
    case 3: return EVENTLOG_ERROR_TYPE;
    case 2: return EVENTLOG_WARNING_TYPE;
    default: return EVENTLOG_INFORMATION_TYPE;
    }
}

/* "%1" and "%%1" in an insertion string are inserted again by the event viewer: a space keeps the
 * sign and what follows apart. */
static void report(uint32_t message, struct span text, const char *second)
{
    HANDLE source = atomic_load(&events.source);
    char *cut = source == NULL ? NULL : malloc(ENTRY_TEXT_MAX);
    wchar_t *wide = cut == NULL ? NULL : malloc(ENTRY_TEXT_MAX * sizeof *wide);
    wchar_t wide_second[64] = L"";
    if (wide != NULL) {
        size_t n = 0;
        for (size_t i = 0; i < text.n && n < ENTRY_TEXT_MAX - 2; i++) {
            cut[n++] = text.p[i] == 0 ? ' ' : (char)text.p[i];
            if (text.p[i] == '%')
                cut[n++] = ' ';
        }
        while (n > 0 && ((uint8_t)cut[n - 1] & 0xc0) == 0x80 && n >= ENTRY_TEXT_MAX - 2)
            n--; /* not in the middle of a letter */
        cut[n] = 0;
        if (!text_to_wide(cut, wide, ENTRY_TEXT_MAX))
            wmemcpy(wide, L"(no text)", 10);
        if (!text_to_wide(second, wide_second, sizeof wide_second / sizeof *wide_second))
            wide_second[0] = 0;
        const wchar_t *strings[] = {wide, wide_second};
        (void)ReportEventW(source, kind_of(message), 0, message, NULL, 2, 0, strings, NULL);
    }
    free(wide);
    free(cut);
}

void eventlog_line(enum log_level level, struct span line)
{
    uint32_t message = atomic_load(&events.source) == NULL ? 0 : eventlog_message(level, line);
    if (message != 0)
        report(message, line, "");
}

void eventlog_start_refused(const char *said, int exit_code)
{
    char code[16];
    (void)snprintf(code, sizeof code, "%d", exit_code);
    report(MSG_START_REFUSED, span_str(said), code);
}
