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
    ENTRY_TEXT_MAX = 8 * 1024, /* of an insertion string; the log's limit is 31,839 characters */
    STRINGS = 4                /* in each entry, as monitoring counts on them; the rest is empty */
};

static struct {
    _Atomic(HANDLE) source; /* NULL: closed */
} events;

/* What has a message of its own, and the fields of the line that follow it as insertion strings %2,
 * %3, %4; a name that ends in a dot stands for all that begin so. */
static const struct entry {
    const char *name;
    uint32_t message; /* 0: not for the event log; a busy relay would fill it */
    const char *fields[STRINGS - 1];
} table[] = {
    {"service.ready", 0, {NULL}},   /* eventlog_started tells it */
    {"service.stopped", 0, {NULL}}, /* eventlog_ended */
    {"service.start.failed", 0, {NULL}},
    {"service.reloaded", MSG_RELOADED, {NULL}},
    {"service.reload.refused", MSG_RELOAD_REFUSED, {"why"}},
    {"access.lists.refused", MSG_RELOAD_REFUSED, {"why"}},
    {"auth.account.held_back", MSG_LOCKED_OUT, {"user"}},
    {"auth.peer.refused", MSG_LOCKED_OUT, {"client", "guesses"}},
    {"delivery.failed", MSG_DELIVERY_FAILED, {"id", "rcpt", "text"}},
    {"delivery.expired", MSG_DELIVERY_FAILED, {"id", "rcpt", "text"}},
    {"badmail.filed", MSG_BADMAIL, {"id", "why"}},
    {"tls.certificate.renewed", MSG_CERTIFICATE_RENEWED, {"subject", "thumbprint", "until"}},
    {"tls.certificate.refused", MSG_CERTIFICATE_REFUSED, {"why", "change"}},
    {"tls.key.failed", MSG_KEY_FAILED, {"certificate", "why"}},
    {"smtp.", 0, {NULL}},
    {"outbound.", 0, {NULL}},
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

static const struct entry *entry_of(enum log_level level, struct span line)
{
    struct span name = name_of(line);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t n = strlen(table[i].name);
        bool family = table[i].name[n - 1] == '.';
        if (family && level == LOG_ERROR)
            continue;
        if (family ? span_starts_nocase(name, table[i].name) : span_is(name, table[i].name))
            return &table[i];
    }
    return NULL;
}

static uint32_t message_of(const struct entry *entry, enum log_level level)
{
    return entry != NULL        ? entry->message
           : level == LOG_ERROR ? MSG_ERROR
           : level == LOG_WARN  ? MSG_WARNING
                                : 0;
}

uint32_t eventlog_message(enum log_level level, struct span line)
{
    return message_of(entry_of(level, line), level);
}

/* One value from *at on, bare or in quotation marks, and *at behind it. */
static void take_value(struct span line, size_t *at, char *out, size_t size)
{
    size_t n = 0;
    bool quoted = *at < line.n && line.p[*at] == '"';
    for (*at += quoted ? 1 : 0; *at < line.n; ++*at) {
        uint8_t c = line.p[*at];
        if (quoted ? c == '"' : c == ' ' || c == ',' || c == '}')
            break;
        if (quoted && c == '\\' && *at + 1 < line.n)
            c = line.p[++*at]; /* of \\ and \"; \x0a stands as x0a */
        if (n + 1 < size)
            out[n++] = (char)c;
    }
    *at += quoted ? 1 : 0;
    if (size > 0)
        out[n] = 0;
}

/* The keys are ours and stand bare (key=) or in JSON ("key":); values are walked over, since a peer
 * has written some of them. */
bool eventlog_field(struct span line, const char *key, char *out, size_t size)
{
    bool json = line.n > 0 && line.p[0] == '{';
    size_t at = json ? 1 : 0;
    for (int word = 0; !json && word < 3; word++) /* time, level, name */
        at += span_find(span_from(line, at), ' ') + 1;
    while (at < line.n) {
        char name[32];
        size_t n = 0;
        at += json && line.p[at] == '"' ? 1 : 0;
        for (; at < line.n && line.p[at] != (json ? '"' : '='); at++)
            if (n + 1 < sizeof name)
                name[n++] = (char)line.p[at];
        name[n] = 0;
        at += json ? 2 : 1;
        take_value(line, &at, out, size);
        if (strcmp(name, key) == 0)
            return true;
        at++; /* the space, the comma */
    }
    if (size > 0)
        out[0] = 0;
    return false;
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

bool eventlog_is_open(void)
{
    return atomic_load(&events.source) != NULL;
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
 * sign and what follows apart. NULL: no memory. */
static wchar_t *insertion(struct span text)
{
    size_t room = text.n >= ENTRY_TEXT_MAX / 2 ? ENTRY_TEXT_MAX : text.n * 2 + 3, n = 0;
    char *cut = malloc(room);
    wchar_t *wide = cut == NULL ? NULL : malloc((room < 16 ? 16 : room) * sizeof *wide);
    if (wide != NULL) {
        for (size_t i = 0; i < text.n && n < room - 2; i++) {
            cut[n++] = text.p[i] == 0 ? ' ' : (char)text.p[i];
            if (text.p[i] == '%')
                cut[n++] = ' ';
        }
        while (n > 0 && ((uint8_t)cut[n - 1] & 0xc0) == 0x80 && n >= ENTRY_TEXT_MAX - 2)
            n--; /* not in the middle of a letter */
        cut[n] = 0;
        if (!text_to_wide(cut, wide, room))
            wmemcpy(wide, L"(no text)", 10);
    }
    free(cut);
    return wide;
}

static void report(uint32_t message, const struct span texts[STRINGS])
{
    HANDLE source = atomic_load(&events.source);
    wchar_t *wide[STRINGS] = {NULL};
    const wchar_t *strings[STRINGS];
    for (size_t i = 0; i < STRINGS; i++) {
        wide[i] = source == NULL ? NULL : insertion(texts[i]);
        strings[i] = wide[i] == NULL ? L"" : wide[i];
    }
    if (source != NULL)
        (void)ReportEventW(source, kind_of(message), 0, message, NULL, STRINGS, 0, strings, NULL);
    for (size_t i = 0; i < STRINGS; i++)
        free(wide[i]);
}

void eventlog_line(enum log_level level, struct span line)
{
    if (!eventlog_is_open())
        return;
    const struct entry *entry = entry_of(level, line);
    uint32_t message = message_of(entry, level);
    if (message == 0)
        return;
    static const char none[] = "";
    char values[STRINGS - 1][1024];
    struct span texts[STRINGS] = {line};
    for (size_t i = 0; i < STRINGS - 1; i++) {
        const char *key = entry == NULL ? NULL : entry->fields[i];
        bool found = key != NULL && eventlog_field(line, key, values[i], sizeof values[i]);
        texts[i + 1] = span_str(found ? values[i] : none);
    }
    report(message, texts);
}

void eventlog_started(const char *program, const char *status)
{
    report(MSG_STARTED, (const struct span[STRINGS]){span_str(status), span_str(program),
                                                     span_str(""), span_str("")});
}

void eventlog_ended(bool had_started, int exit_code, const char *said)
{
    char code[16];
    (void)snprintf(code, sizeof code, "%d", exit_code);
    report(
        exit_code == 0 ? MSG_STOPPED
        : had_started  ? MSG_ENDED
                       : MSG_START_REFUSED,
        (const struct span[STRINGS]){span_str(said), span_str(code), span_str(""), span_str("")});
}
